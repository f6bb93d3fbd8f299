//! From bytes to a message, strictly.
//!
//! What is accepted here has exactly one reading: whoever parses the same bytes later, however
//! leniently, sees the same method, id and parameters. What is refused comes with the JSON-RPC code
//! and, when it could be read, the id to answer.

use bytes::Bytes;

use super::{
    id::RequestId,
    message::{Body, Message, Notification, Request, Response},
    near::near_miss,
};
use crate::{
    domain::limits::BATCH_MESSAGES_MAX,
    wire::{
        WireError,
        json::{Object, elements},
    },
};

/// What a body of revision 2025-03-26 may hold.
#[derive(Clone, Debug)]
pub enum Batch {
    Single(Message),
    Many(Vec<Result<Message, WireError>>),
}

const ENVELOPE: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];
/// Every parameter that some room reads.
const PARAMS: [&str; 16] = [
    "_meta",
    "arguments",
    "capabilities",
    "clientInfo",
    "cursor",
    "inputResponses",
    "level",
    "name",
    "notifications",
    "progressToken",
    "protocolVersion",
    "requestId",
    "requestState",
    "task",
    "taskId",
    "uri",
];
const META: [&str; 5] = [
    "progressToken",
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/logLevel",
];

/// Decodes one message of at most `bytes_max` bytes.
pub fn decode(raw: Bytes, bytes_max: usize) -> Result<Message, WireError> {
    bounded(&raw, bytes_max)?;
    message(&Object::parse(raw)?)
}

/// Decodes one message, or an array of them as revision 2025-03-26 allows.
pub fn decode_batch(raw: Bytes, bytes_max: usize) -> Result<Batch, WireError> {
    bounded(&raw, bytes_max)?;
    let first = raw.iter().find(|byte| !byte.is_ascii_whitespace());
    if first != Some(&b'[') {
        return Object::parse(raw).and_then(|object| message(&object)).map(Batch::Single);
    }
    let all = elements(raw, BATCH_MESSAGES_MAX + 1)?;
    let refuse = |rule| Err(WireError::NotJsonRpc { rule, id: None });
    match all.len() {
        0 => refuse("a batch must not be empty"),
        1..=BATCH_MESSAGES_MAX => Ok(Batch::Many(
            all.into_iter().map(|one| Object::parse(one).and_then(|one| message(&one))).collect(),
        )),
        _ => refuse("a batch holds at most 64 messages"),
    }
}

fn bounded(raw: &Bytes, max: usize) -> Result<(), WireError> {
    if raw.len() > max {
        return Err(WireError::TooLarge { bytes: raw.len(), max });
    }
    Ok(())
}

fn message(envelope: &Object) -> Result<Message, WireError> {
    let id_text = envelope.get("id");
    let id = id_text.as_ref().and_then(RequestId::parse);
    let refuse = |rule| WireError::NotJsonRpc { rule, id: id.clone() };
    distinct(envelope, &ENVELOPE, id.as_ref())?;
    if envelope.get("jsonrpc").as_deref() != Some(b"\"2.0\"") {
        return Err(refuse("`jsonrpc` must be \"2.0\""));
    }
    let Some(method) = envelope.get("method") else {
        return response(envelope, id_text.as_ref(), id.clone()).map(Message::Response);
    };
    if envelope.contains("result") || envelope.contains("error") {
        return Err(refuse("a request must not hold `result` or `error`"));
    }
    let Some(method) = crate::wire::json::Text::of(&method) else {
        return Err(refuse("`method` must be a string"));
    };
    let params = match envelope.get("params") {
        None => None,
        Some(_) => match envelope.object("params") {
            None => return Err(refuse("`params` must be an object")),
            params => params,
        },
    };
    if let Some(params) = &params {
        distinct(params, &PARAMS, id.as_ref())?;
        if let Some(meta) = params.object("_meta") {
            distinct(&meta, &META, id.as_ref())?;
        }
    }
    match (id_text, id) {
        (None, _) => Ok(Message::Notification(Notification { method, params })),
        (Some(_), Some(id)) => Ok(Message::Request(Request { id, method, params })),
        (Some(_), None) => Err(WireError::NotJsonRpc { rule: ID_RULE, id: None }),
    }
}

const ID_RULE: &str = "`id` must be a string or an integer of at most 256 bytes";

fn response(
    envelope: &Object,
    id_text: Option<&Bytes>,
    id: Option<RequestId>,
) -> Result<Response, WireError> {
    let refuse = |rule| Err(WireError::NotJsonRpc { rule, id: id.clone() });
    let body = match (envelope.get("result"), envelope.get("error")) {
        (Some(_), None) => envelope.object("result").map(Body::Result),
        (None, Some(_)) => envelope.object("error").map(Body::Error),
        (Some(_), Some(_)) => return refuse("a response must not hold both `result` and `error`"),
        (None, None) => return refuse("a message must hold `method`, `result` or `error`"),
    };
    let Some(body) = body else { return refuse("`result` and `error` must be objects") };
    match (id_text.map(AsRef::as_ref), &id, &body) {
        (Some(_), Some(_), _) | (None | Some(b"null"), None, Body::Error(_)) => {
            Ok(Response { id, body })
        }
        (Some(_), None, _) => refuse(ID_RULE),
        (None, _, _) => refuse("a result must hold `id`"),
    }
}

fn distinct(
    object: &Object,
    known: &[&'static str],
    id: Option<&RequestId>,
) -> Result<(), WireError> {
    match near_miss(object.members().map(|(key, _)| key), known) {
        None => Ok(()),
        Some(known) => Err(WireError::NearMiss { known, id: id.cloned() }),
    }
}
