//! The served directory tree, read-only: the one room that may touch files for a caller.
//!
//! Hands out paths, kinds, parts of files and ordered walks, and refuses whatever would lead out
//! of the root. Knows nothing of tools, resources or JSON-RPC.

mod error;
mod path;
mod read;
mod root;
mod walk;

pub(super) use error::FileError;
pub(super) use path::{RelPath, decode, encode};
pub(super) use read::{Content, Part, Span, read_at, read_part, read_whole};
pub(super) use root::{Kind, Last, Root, RootError};
pub(super) use walk::{Budget, Spent, Step, Walk};
