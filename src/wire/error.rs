//! Why bytes were not accepted as a message.
//!
//! Each case knows the JSON-RPC code that answers it: not JSON at all (-32700), JSON but not a
//! request (-32600), a request whose parameters are not what the method takes (-32602). The texts
//! are safe to send back: they name our rule, never more of the input than a known key.

use super::RequestId;
use crate::domain::limits::JSON_DEPTH_MAX;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("message has {bytes} bytes; at most {max} are allowed")]
    TooLarge { bytes: usize, max: usize },
    #[error("a line or an event has more than {max} bytes")]
    TooLong { max: usize },
    #[error("message is not UTF-8 at byte {at}")]
    Utf8 { at: usize },
    #[error("message is not JSON: {what} at byte {at}")]
    Syntax { what: &'static str, at: usize },
    #[error("message nests deeper than {max} levels at byte {at}", max = JSON_DEPTH_MAX)]
    TooDeep { at: usize, id: Option<RequestId> },
    #[error("an object names the key at byte {at} twice")]
    DuplicateKey { at: usize, id: Option<RequestId> },
    #[error("message is not a JSON object")]
    NotAnObject,
    #[error("value is not a JSON array")]
    NotAnArray,
    #[error("a key differs from `{known}` only in letter case, width or invisible characters")]
    NearMiss { known: &'static str, id: Option<RequestId> },
    #[error("message is not valid JSON-RPC 2.0: {rule}")]
    NotJsonRpc { rule: &'static str, id: Option<RequestId> },
    #[error("invalid params: {rule}")]
    Params { rule: &'static str },
    #[error("invalid tool definition: {rule}")]
    Tool { rule: &'static str },
    #[error("invalid list: {rule}")]
    List { rule: &'static str },
}

impl WireError {
    /// The JSON-RPC error code that answers it.
    pub fn code(&self) -> i64 {
        match self {
            Self::TooLarge { .. }
            | Self::TooLong { .. }
            | Self::Utf8 { .. }
            | Self::Syntax { .. } => -32700,
            Self::TooDeep { .. }
            | Self::DuplicateKey { .. }
            | Self::NotAnObject
            | Self::NotAnArray
            | Self::NearMiss { .. }
            | Self::NotJsonRpc { .. } => -32600,
            Self::Params { .. } | Self::Tool { .. } | Self::List { .. } => -32602,
        }
    }

    /// The id of the refused request, when it could be read.
    pub fn id(&self) -> Option<&RequestId> {
        match self {
            Self::TooDeep { id, .. }
            | Self::DuplicateKey { id, .. }
            | Self::NearMiss { id, .. }
            | Self::NotJsonRpc { id, .. } => id.as_ref(),
            Self::TooLarge { .. }
            | Self::TooLong { .. }
            | Self::Utf8 { .. }
            | Self::Syntax { .. }
            | Self::NotAnObject
            | Self::NotAnArray
            | Self::Params { .. }
            | Self::Tool { .. }
            | Self::List { .. } => None,
        }
    }
}
