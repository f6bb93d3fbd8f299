//! How the gateway speaks to its operator: one tracing subscriber, text or JSON, on stderr.
//!
//! The level comes from `PORTCULLIS_LOG` (tracing's filter syntax, `info` when unset), the form
//! from `PORTCULLIS_LOG_FORMAT` (`text` or `json`). Standard output is never written to: under
//! `serve --stdio` it belongs to the protocol. The audit does not pass through here.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use super::recorder::BOARD;

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("PORTCULLIS_LOG is not a filter such as `info` or `portcullis=debug`")]
    Filter {
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    #[error("PORTCULLIS_LOG_FORMAT is `{found}`; expected `text` or `json`")]
    Format { found: String },
    #[error("a log is set up already")]
    Twice,
}

/// Sets the log up, once for the process.
pub fn init() -> Result<(), TelemetryError> {
    let filter = match std::env::var("PORTCULLIS_LOG") {
        Ok(text) => EnvFilter::try_new(text).map_err(|source| TelemetryError::Filter { source })?,
        Err(_) => EnvFilter::new("info"),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    let format = std::env::var("PORTCULLIS_LOG_FORMAT").unwrap_or_else(|_| "text".to_owned());
    let set = match format.as_str() {
        "text" => builder.try_init(),
        "json" => builder.json().flatten_event(true).try_init(),
        _ => return Err(TelemetryError::Format { found: format }),
    };
    // What libraries report by the facade is recorded, too, if the table has it.
    metrics::set_global_recorder(&*BOARD).map_err(|_| TelemetryError::Twice)?;
    set.map_err(|_| TelemetryError::Twice)
}
