//! JSON as bytes: scanned once, looked up, spliced; never turned into a tree.
//!
//! `Object` is what was accepted, `Edit` changes a few of its members, `Frame` is what goes out.
//! Everything else in the wire room stands on these three. Knows nothing of JSON-RPC or MCP but
//! the few names that the scan indexes ahead.

mod edit;
mod frame;
mod leaves;
mod object;
mod scan;
mod text;

pub use edit::Edit;
pub use frame::Frame;
pub(super) use frame::Writer;
pub use leaves::{Leaf, What, leaves, rewrite};
pub use object::Object;
pub(super) use object::elements;
pub(super) use text::write_quoted;
pub use text::{Text, quote};

use bytes::Bytes;

use super::{RequestId, WireError};
use scan::{Fault, Rule};

fn fault(text: &[u8], found: Fault) -> WireError {
    let at = found.at;
    match found.rule {
        Rule::Utf8 => WireError::Utf8 { at },
        Rule::Size => WireError::TooLarge { bytes: text.len(), max: usize::MAX },
        Rule::Syntax(what) => WireError::Syntax { what, at },
        Rule::Depth => WireError::TooDeep { at, id: legible_id(text) },
        Rule::DuplicateKey => WireError::DuplicateKey { at, id: legible_id(text) },
    }
}

/// The id of a message that the scan gave up on, unless there are two.
#[cold]
fn legible_id(text: &[u8]) -> Option<RequestId> {
    #[derive(serde::Deserialize)]
    struct Envelope<'a> {
        #[serde(borrow)]
        id: &'a serde_json::value::RawValue,
    }
    let envelope: Envelope<'_> = serde_json::from_slice(text).ok()?;
    RequestId::parse(&Bytes::copy_from_slice(envelope.id.get().as_bytes()))
}
