//! From bytes to a message, strictly.
//!
//! What is accepted here has exactly one reading: whoever parses the same bytes later, however
//! leniently, sees the same method, id and parameters. What is refused comes with the JSON-RPC code
//! and, when it could be read, the id to answer.

use bytes::Bytes;

use super::{
    id::RequestId,
    message::{Body, Message, Notification, Request, Response},
    near::{Known, near_miss},
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

const ENVELOPE: Known = Known::new(&["jsonrpc", "id", "method", "params", "result", "error"]);
/// Every parameter that some room reads.
const PARAMS: Known = Known::new(&[
    "_meta",
    "argument",
    "arguments",
    "capabilities",
    "clientInfo",
    "context",
    "cursor",
    "inputResponses",
    "level",
    "name",
    "notifications",
    "progressToken",
    "protocolVersion",
    "ref",
    "requestId",
    "requestState",
    "task",
    "taskId",
    "uri",
]);
/// What `ref` names: the target of a completion.
const REF: Known = Known::new(&["name", "type", "uri"]);
const META: Known = Known::new(&[
    "progressToken",
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/logLevel",
]);

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

/// The request that a refused message was meant to answer: it calls itself JSON-RPC, has a legible
/// id and names no method. A line of a log that happens to have an `id` is not one.
#[cold]
pub fn refused_answer(raw: &[u8], error: &WireError) -> Option<RequestId> {
    #[derive(serde::Deserialize)]
    struct Claim {
        jsonrpc: Option<serde::de::IgnoredAny>,
        method: Option<serde::de::IgnoredAny>,
    }
    let id = error.id()?;
    if matches!(error, WireError::NearMiss { known: "method", .. }) {
        return None;
    }
    let claim: Claim = serde_json::from_slice(raw).ok()?;
    (claim.jsonrpc.is_some() && claim.method.is_none()).then(|| id.clone())
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
    if envelope.peek("jsonrpc") != Some(b"\"2.0\"") {
        return Err(refuse("`jsonrpc` must be \"2.0\""));
    }
    if !envelope.contains("method") {
        return response(envelope, id_text.as_ref(), id.clone()).map(Message::Response);
    }
    if envelope.contains("result") || envelope.contains("error") {
        return Err(refuse("a request must not hold `result` or `error`"));
    }
    let Some(method) = envelope.str("method") else {
        return Err(refuse("`method` must be a string"));
    };
    let params = envelope.object("params");
    if params.is_none() && envelope.contains("params") {
        return Err(refuse("`params` must be an object"));
    }
    if let Some(params) = &params {
        distinct(params, &PARAMS, id.as_ref())?;
        if let Some(meta) = params.object("_meta") {
            distinct(&meta, &META, id.as_ref())?;
        }
        if let Some(target) = params.object("ref") {
            distinct(&target, &REF, id.as_ref())?;
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
    let body = match (envelope.peek("result"), envelope.peek("error")) {
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

fn distinct(object: &Object, known: &Known, id: Option<&RequestId>) -> Result<(), WireError> {
    match near_miss(object.keys_as_bytes(), known) {
        None => Ok(()),
        Some(known) => Err(WireError::NearMiss { known, id: id.cloned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::{Batch, decode, decode_batch};
    use crate::wire::{Body, Message, WireError};

    const BYTES_MAX: usize = 1024;

    /// What became of `raw`: the kind of message, or code, id and text of the refusal.
    fn told(raw: &str) -> String {
        match decode(raw.to_owned().into(), BYTES_MAX) {
            Ok(Message::Request(request)) => format!("request {} {}", request.id, request.method),
            Ok(Message::Notification(notification)) => {
                format!("notification {}", notification.method)
            }
            Ok(Message::Response(response)) => match response.body {
                Body::Result(body) => format!("result {:?} {body:?}", response.id),
                Body::Error(body) => format!("error {:?} {body:?}", response.id),
            },
            Err(error) => format!("{} {:?} {error}", error.code(), error.id()),
        }
    }

    #[track_caller]
    fn check(raw: &str, want: &str) {
        assert_eq!(told(raw), want, "{raw}");
    }

    #[test]
    fn messages_are_told_apart() {
        check(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, "request 1 ping");
        check(r#"{"method":"a\u002fb","id":"x","jsonrpc":"2.0"}"#, "request \"x\" a/b");
        check(r#"{"jsonrpc":"2.0","method":"n","params":{}}"#, "notification n");
        check(r#"{"jsonrpc":"2.0","id":1,"result":{"a":1},"x":2}"#, r#"result Some(1) {"a":1}"#);
        check(r#"{"jsonrpc":"2.0","id":null,"error":{}}"#, "error None {}");
        check(r#"{"jsonrpc":"2.0","error":{}}"#, "error None {}");
        check("\r\n {\"jsonrpc\":\n\"2.0\",\"id\":-7,\r\n\"method\":\"a\"}\n", "request -7 a");
    }

    #[test]
    fn what_is_not_json_is_a_parse_error_without_id() {
        check("", "-32700 None message is not JSON: expected a value at byte 0");
        check("{\"id\":1", "-32700 None message is not JSON: expected `,` or `}` at byte 7");
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"a"}{}"#,
            "-32700 None message is not JSON: more than one value at byte 37",
        );
        check("{\"a\":tr\nue}", "-32700 None message is not JSON: expected a value at byte 5");
        let long = format!("\"{}\"", "x".repeat(BYTES_MAX));
        check(&long, "-32700 None message has 1026 bytes; at most 1024 are allowed");
        let raw = bytes::Bytes::from_static(b"{\"a\":\"\xff\"}");
        assert_eq!(decode(raw, BYTES_MAX).unwrap_err(), WireError::Utf8 { at: 6 });
    }

    #[test]
    fn what_is_not_a_request_is_refused_under_its_id() {
        let rule =
            |id: &str, rule: &str| format!("-32600 {id} message is not valid JSON-RPC 2.0: {rule}");
        let id_rule = rule("None", super::ID_RULE);
        for id in ["1.0", "1e3", "null", "true", "{}", "[1]", "1.5"] {
            check(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"a"}}"#), &id_rule);
        }
        let long = "x".repeat(255);
        check(&format!(r#"{{"jsonrpc":"2.0","id":"{long}","method":"a"}}"#), &id_rule);
        check(r#"{"id":1,"method":"a"}"#, &rule("Some(1)", "`jsonrpc` must be \"2.0\""));
        check(
            r#"{"jsonrpc":"2.00","id":1,"method":"a"}"#,
            &rule("Some(1)", "`jsonrpc` must be \"2.0\""),
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
            &rule("Some(1)", "`method` must be a string"),
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"\ud800"}"#,
            &rule("Some(1)", "`method` must be a string"),
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":[]}"#,
            &rule("Some(1)", "`params` must be an object"),
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"a","result":{}}"#,
            &rule("Some(1)", "a request must not hold `result` or `error`"),
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#,
            &rule("Some(1)", "a response must not hold both `result` and `error`"),
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"result":7}"#,
            &rule("Some(1)", "`result` and `error` must be objects"),
        );
        check(r#"{"jsonrpc":"2.0","result":{}}"#, &rule("None", "a result must hold `id`"));
        check(
            r#"{"jsonrpc":"2.0","id":1}"#,
            &rule("Some(1)", "a message must hold `method`, `result` or `error`"),
        );
        check("[]", "-32600 None message is not a JSON object");
        check("7", "-32600 None message is not a JSON object");
    }

    #[test]
    fn a_message_with_two_readings_is_refused_under_its_id() {
        let twice = "-32600 Some(1) an object names the key at byte 54 twice";
        check(r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"p":1,"\u0070":2}}"#, twice);
        check(
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"a"}"#,
            "-32600 None an object names the key at byte 25 twice",
        );
        let near = |known: &str| {
            format!(
                "-32600 Some(1) a key differs from `{known}` only in letter case, width or invisible characters"
            )
        };
        check(r#"{"jsonrpc":"2.0","id":1,"method":"a","Method":"b"}"#, &near("method"));
        check(r#"{"jsonrpc":"2.0","id":1,"method":"a","paramſ":{}}"#, &near("params"));
        check(r#"{"jsonrpc":"2.0","id":1,"method":"a","\u0049D":2}"#, &near("id"));
        check(r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"Name":"x"}}"#, &near("name"));
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":{"progresstoken":1}}}"#,
            &near("progressToken"),
        );
        check(r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"ref":{"Uri":1}}}"#, &near("uri"));
        check(r#"{"jsonrpc":"2.0","id":1,"result":{},"Result":{}}"#, &near("result"));
        // Below, keys are the tool's own affair; and an escape may spell a key.
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"arguments":{"Name":1,"name":2}}}"#,
            "request 1 a",
        );
        check(
            r#"{"jsonrpc":"2.0","\u0069d":1,"method":"a","p\u0061rams":{"n\u0061me":"x"}}"#,
            "request 1 a",
        );
        let nested = "[".repeat(64) + &"]".repeat(64);
        let deep = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"a","params":{{"a":{nested}}}}}"#);
        check(&deep, "-32600 Some(1) message nests deeper than 64 levels at byte 113");
    }

    #[test]
    fn a_refused_answer_is_told_from_a_refused_request_and_from_noise() {
        let meant = |raw: &str| {
            let error = decode(raw.to_owned().into(), BYTES_MAX).unwrap_err();
            super::refused_answer(raw.as_bytes(), &error).map(|id| id.to_string())
        };
        let deep = "[".repeat(100) + &"]".repeat(100);
        for answer in [
            r#"{"jsonrpc":"2.0","id":7,"result":5}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{"a":1,"a":2}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{},"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":{},"error":{}}"#,
            r#"{"jsonrpc":"2.0","id":7,"Result":{}}"#,
            r#"{"jsonrpc":"1.0","id":7,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":7}"#,
            &format!(r#"{{"jsonrpc":"2.0","id":7,"result":{{"a":{deep}}}}}"#),
        ] {
            assert_eq!(meant(answer).as_deref(), Some("7"), "{answer}");
        }
        for other in [
            r#"{"jsonrpc":"2.0","id":7,"id":8,"result":{}}"#,
            r#"{"jsonrpc":"2.0","id":7,"method":"a","params":5}"#,
            r#"{"jsonrpc":"2.0","id":7,"method":"a","params":{"a":1,"a":2}}"#,
            r#"{"jsonrpc":"2.0","id":7,"Method":"a"}"#,
            r#"{"jsonrpc":"2.0","id":7.0,"result":5}"#,
            r#"{"id":7,"level":"info"}"#,
            r#"{"jsonrpc":"2.0","id":7,"result":5"#,
        ] {
            assert_eq!(meant(other), None, "{other}");
        }
    }

    #[test]
    fn a_batch_answers_for_each_message() {
        let batch = |raw: &str| decode_batch(raw.to_owned().into(), 1 << 20);
        let Ok(Batch::Many(all)) = batch(r#"[{"jsonrpc":"2.0","id":1,"method":"a"}, 7 ,{"id":2}]"#)
        else {
            panic!("not a batch")
        };
        let codes: Vec<_> =
            all.iter().map(|one| one.as_ref().map_err(WireError::code).err()).collect();
        assert_eq!(codes, [None, Some(-32600), Some(-32600)]);
        assert!(matches!(batch(r#" {"jsonrpc":"2.0","id":1,"method":"a"}"#), Ok(Batch::Single(_))));
        let refused = |raw: &str| batch(raw).unwrap_err().to_string();
        assert_eq!(refused("[]"), "message is not valid JSON-RPC 2.0: a batch must not be empty");
        assert_eq!(refused("[1,]"), "message is not JSON: expected a value at byte 3");
        let one = r#"{"jsonrpc":"2.0","method":"a"}"#;
        assert!(batch(&format!("[{}]", vec![one; 64].join(","))).is_ok());
        let many = refused(&format!("[{}]", vec![one; 65].join(",")));
        assert_eq!(many, "message is not valid JSON-RPC 2.0: a batch holds at most 64 messages");
    }
}
