//! The wire: JSON-RPC and MCP as bytes. The only room that knows the protocol's shapes.
//!
//! Promises that what was decoded has one reading, and that what is forwarded is what was judged:
//! one strict scan per message, then look-ups and splices over the same bytes; every member that is
//! not ours passes in its order and spelling. Does no IO and holds no state but the two readers'
//! unfinished input. `front` decodes and answers with it, `upstream` calls with it.

pub mod base64;
mod error;
pub mod headers;
mod json;
mod mcp;
#[cfg(test)]
mod props;
mod rpc;
mod stream;

pub use error::WireError;
pub use json::{Edit, Frame, Leaf, Object, Text, What, leaves, quote, rewrite};
pub use mcp::{
    Caching, CallForm, CallMethod, CallParams, ClientFace, Filter, InputRequired, Item,
    LegacyStatus, LegacyTask, Level, List, ListPage, Meta, Notice, Onward, Progressed, Question,
    RELAYABLE, Sender, ShownParams, TaskNews, TaskShape, Tasks, Version, acknowledged,
    as_plain_answer, cancels_legacy_tasks, declares_tasks, encode_acknowledged, encode_call,
    encode_list_changed, encode_listen_end, encode_own_result, encode_result, encode_task_news,
    encode_updated, encode_visited, for_legacy_clients, headers_agree, input_required,
    input_responses, is_of_a_task, is_over, join_batch, parse_page, question_key,
    relayable_in_session, runs_legacy_tasks, task_told, tasks_extension, tells_of_roots, under_uri,
};
pub use rpc::{
    Batch, Body, ErrorObject, Message, Notification, ProgressToken, Request, RequestId, Response,
    code, decode, decode_batch, encode_cancelled, encode_error, encode_notification,
    encode_request, folded, folds_to, is_invisible, refused_answer, relay_error,
};
pub use stream::{
    LineReader, SseEvent, SseReader, sse_event, sse_event_with_id, sse_named, sse_primer,
};
