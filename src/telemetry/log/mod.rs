//! How the gateway speaks to its operator: one tracing subscriber, in the journal or on stderr.
//!
//! The level comes from `PORTCULLIS_LOG` (tracing's filter syntax, `info` when unset), the form
//! from `PORTCULLIS_LOG_FORMAT` (`text` or `json`); when that is unset, it is the journal's if that
//! is what reads our standard error, else text. Standard output is never written to: under
//! `serve --stdio` it belongs to the protocol. The audit does not pass through here.

mod journal;

use std::io::{self, IsTerminal};

use tracing_subscriber::{
    EnvFilter, filter::LevelFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt,
};

use super::recorder::BOARD;
use journal::Journal;

/// The target of what the journal alone is told, at any level of the log: it keeps it out of reach
/// of whoever has our files, and nobody reads it on standard error.
pub const FOR_THE_JOURNAL: &str = "for_the_journal";

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
    let format = std::env::var("PORTCULLIS_LOG_FORMAT").ok();
    let journal = if format.is_none() { Journal::reads_us() } else { None };
    let (journal, lack) = match journal.transpose() {
        Ok(journal) => (journal, None),
        Err(error) => (None, Some(error)),
    };
    let marks = if journal.is_some() { LevelFilter::INFO } else { LevelFilter::OFF };
    let filter = match format!("{FOR_THE_JOURNAL}={marks}").parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(source) => return Err(TelemetryError::Filter { source }),
    };
    let is_plain = !io::stderr().is_terminal() || std::env::var_os("NO_COLOR").is_some();
    let on_stderr = || fmt::layer().with_writer(io::stderr).with_ansi(!is_plain);
    let registry = tracing_subscriber::registry().with(filter);
    let set = match (journal, format.as_deref()) {
        (Some(journal), _) => registry.with(journal).try_init(),
        (None, None | Some("text")) => registry.with(on_stderr()).try_init(),
        (None, Some("json")) => registry.with(on_stderr().json().flatten_event(true)).try_init(),
        (None, Some(other)) => return Err(TelemetryError::Format { found: other.to_owned() }),
    };
    set.map_err(|_| TelemetryError::Twice)?;
    if let Some(error) = lack {
        tracing::warn!(%error, "The journal cannot be reached; the log is text on standard error");
    }
    // What libraries report by the facade is recorded, too, if the table has it.
    metrics::set_global_recorder(&*BOARD).map_err(|_| TelemetryError::Twice)
}
