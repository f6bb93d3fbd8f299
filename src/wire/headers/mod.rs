//! The HTTP headers of MCP: their names, how they say text, and when they contradict the body.
//!
//! The body is what counts; headers only repeat it for those on the way who do not read bodies. A
//! modern request whose headers say something else is refused (-32020), since somebody before us
//! may have decided by the headers.

mod annotations;
mod params;
mod value;

use http::{HeaderMap, HeaderName, HeaderValue};

pub use annotations::parse_param_headers;
pub use params::{MCP_PARAM_PREFIX, ParamHeader, ParamKind, check_param_headers, param_headers};
pub use value::{decode_value, encode_value};

pub const MCP_PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
pub const MCP_SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
pub const MCP_METHOD: HeaderName = HeaderName::from_static("mcp-method");
pub const MCP_NAME: HeaderName = HeaderName::from_static("mcp-name");
pub const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
pub const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A header that is missing, stands twice, is unreadable, or says something else than the body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("header `{header}` does not match the request body")]
pub struct Mismatch {
    pub header: HeaderName,
}

/// Whether `header` stands exactly once in `sent` and says `want`. Only `Mcp-Name` may be encoded.
pub fn check(sent: &HeaderMap, header: &HeaderName, want: &str) -> Result<(), Mismatch> {
    let mut values = sent.get_all(header).iter();
    let same = values.next().map(HeaderValue::as_bytes).is_some_and(|said| {
        if *header == MCP_NAME {
            decode_value(said).as_deref() == Some(want)
        } else {
            said == want.as_bytes()
        }
    });
    if same && values.next().is_none() {
        return Ok(());
    }
    Err(Mismatch { header: header.clone() })
}
