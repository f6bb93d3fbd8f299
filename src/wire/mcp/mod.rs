//! MCP over JSON-RPC: versions, `_meta`, calls, results, notices and tool lists of both eras.
//!
//! Inside the house every call has the modern form; this room writes it for a server of either era
//! and answers for a client of either era, by splicing. Holds no state.

mod answer;
mod call;
mod meta;
mod modern;
mod notice;
mod tools;
mod version;

pub use answer::encode_result;
pub use call::{CallForm, CallParams, ClientFace, encode_call};
pub use meta::Meta;
pub use modern::{ShownParams, encode_own_result, headers_agree, join_batch};
pub use notice::Notice;
pub use tools::{ToolDef, ToolsPage, parse_tools_page};
pub use version::Version;
