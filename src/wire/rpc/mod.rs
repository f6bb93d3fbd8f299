//! JSON-RPC 2.0: ids, the three kinds of message, decoding and our own envelopes.
//!
//! Whatever it hands out is whole and has one reading. Knows nothing of what a method means, `mcp`
//! does, and nothing of where the bytes came from.

pub mod code;
mod decode;
mod encode;
mod id;
mod message;
mod near;

pub use decode::{Batch, decode, decode_batch, refused_answer};
pub use encode::{
    ErrorObject, encode_cancelled, encode_error, encode_notification, encode_request, relay_error,
};
pub(super) use encode::{answer_id, open};
pub use id::{ProgressToken, RequestId};
pub use message::{Body, Message, Notification, Request, Response};
pub use near::{folded, folds_to, is_invisible};
