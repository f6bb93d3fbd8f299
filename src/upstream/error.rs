//! Why a session with a server could not be opened.

use std::time::Duration;

use crate::{domain::ServerName, jail::JailError};

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot start server `{server}`")]
    Spawn {
        server: ServerName,
        #[source]
        source: JailError,
    },
    #[error("server `{server}` ended before it was ready: {why}{}", last_words(.stderr))]
    Ended { server: ServerName, why: String, stderr: Option<String> },
    #[error(
        "server `{server}` did not finish the handshake within {after:?}; \
         raise its startup_timeout_sec if it is slow to start"
    )]
    Silent { server: ServerName, after: Duration },
    #[error("server `{server}` refused the handshake with error {code}")]
    Refused { server: ServerName, code: i64 },
    #[error("server `{server}` speaks no protocol version that we know; it offers `{offers}`")]
    NoCommonVersion { server: ServerName, offers: String },
    #[error("cannot reach server `{server}` at `{address}`")]
    Unreachable {
        server: ServerName,
        address: String,
        #[source]
        source: std::io::Error,
    },
    #[error("server `{server}` asks for credentials (HTTP {status}); set its http_headers")]
    Unauthorized { server: ServerName, status: u16 },
    #[error("server `{server}` is not ready: it answers HTTP {status}")]
    NotReady { server: ServerName, status: u16 },
    #[error(
        "server `{server}` answers no MCP at this address (HTTP {status}); check the path of its url"
    )]
    NotMcp { server: ServerName, status: u16 },
    #[error("server `{server}` broke the protocol during the handshake: {what}")]
    Protocol { server: ServerName, what: &'static str },
}

fn last_words(stderr: &Option<String>) -> String {
    stderr.as_ref().map(|line| format!("; its last words were `{line}`")).unwrap_or_default()
}
