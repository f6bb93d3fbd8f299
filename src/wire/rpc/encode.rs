//! From our own intentions to bytes: requests, notifications, errors.
//!
//! Envelopes are always ours and always written the same way; what they carry is spliced in as it
//! was given. The bodies of relayed calls and results are written in `mcp`.

use bytes::Bytes;

use super::id::RequestId;
use crate::domain::Era;
use crate::wire::{
    json::{Frame, Object, Writer, write_quoted},
    mcp::Version,
};

/// A JSON-RPC error of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorObject {
    pub code: i64,
    pub message: String,
    /// The JSON text of `data`.
    pub data: Option<Bytes>,
}

/// A request of our own; `params` is the text of a JSON object.
pub fn encode_request(id: &RequestId, method: &str, params: Option<&[u8]>) -> Frame {
    let mut out = open(64 + method.len() + params.map_or(0, <[u8]>::len));
    out.copy(b",\"id\":").copy(id.as_bytes());
    method_and_params(&mut out, method, params);
    out.finish()
}

/// A notification of our own; `params` is the text of a JSON object.
pub fn encode_notification(method: &str, params: Option<&[u8]>) -> Frame {
    let mut out = open(48 + method.len() + params.map_or(0, <[u8]>::len));
    method_and_params(&mut out, method, params);
    out.finish()
}

/// Tells a server that nobody waits for the answer to `id` any more.
pub fn encode_cancelled(id: &RequestId, reason: &str) -> Frame {
    let mut params = Vec::with_capacity(64 + reason.len());
    params.extend_from_slice(b"{\"requestId\":");
    params.extend_from_slice(id.as_bytes());
    params.extend_from_slice(b",\"reason\":");
    write_quoted(&mut params, reason);
    params.push(b'}');
    encode_notification("notifications/cancelled", Some(&params))
}

/// An error of our own; without an id when the request's could not be read.
pub fn encode_error(id: Option<&RequestId>, error: &ErrorObject) -> Frame {
    let mut body = Vec::with_capacity(64 + error.message.len());
    body.extend_from_slice(b"{\"code\":");
    body.extend_from_slice(error.code.to_string().as_bytes());
    body.extend_from_slice(b",\"message\":");
    write_quoted(&mut body, &error.message);
    let mut out = open(64 + body.len());
    answer_id(&mut out, id);
    out.copy(b",\"error\":").copy(&body);
    if let Some(data) = &error.data {
        out.copy(b",\"data\":").share_all(data);
    }
    out.copy(b"}}");
    out.finish()
}

/// A server's error, handed on as it was written; a code that the other era does not know is
/// replaced.
pub fn relay_error(to: Version, id: &RequestId, error: &Object) -> Frame {
    let mut out = open(64);
    answer_id(&mut out, Some(id));
    out.copy(b",\"error\":");
    match their_code(to, error) {
        Some(code) => error.edit().set("code", Bytes::from_static(code)).write(&mut out),
        None => {
            out.share_all(error.raw());
        }
    }
    out.copy(b"}");
    out.finish()
}

/// Unknown resource: legacy peers say -32002, which modern clients must never be sent; modern ones
/// say -32602 and name the URI. A page to be visited first has an error in the legacy era only.
fn their_code(to: Version, error: &Object) -> Option<&'static [u8]> {
    let names_uri = || error.object("data").is_some_and(|data| data.contains("uri"));
    match (to.era(), error.peek("code")?) {
        (Era::Modern, b"-32002") => Some(b"-32602"),
        (Era::Modern, b"-32042") => Some(b"-32603"),
        (Era::Legacy, b"-32602") if names_uri() => Some(b"-32002"),
        (Era::Modern | Era::Legacy, _) => None,
    }
}

/// The head of every message; the caller closes the brace.
pub(in crate::wire) fn open(capacity: usize) -> Writer {
    let mut out = Writer::with_capacity(capacity);
    out.copy(b"{\"jsonrpc\":\"2.0\"");
    out
}

pub(in crate::wire) fn answer_id(out: &mut Writer, id: Option<&RequestId>) {
    out.copy(b",\"id\":").copy(id.map_or(b"null", RequestId::as_bytes));
}

fn method_and_params(out: &mut Writer, method: &str, params: Option<&[u8]>) {
    let mut quoted = Vec::with_capacity(method.len() + 2);
    write_quoted(&mut quoted, method);
    out.copy(b",\"method\":").copy(&quoted);
    if let Some(params) = params {
        out.copy(b",\"params\":").copy(params);
    }
    out.copy(b"}");
}

#[cfg(test)]
mod tests {
    use super::{
        ErrorObject, Object, RequestId, Version, encode_cancelled, encode_error,
        encode_notification, encode_request, relay_error,
    };

    #[test]
    fn our_own_messages_are_written_one_way() {
        let id = RequestId::from_u64(3);
        assert_eq!(
            encode_request(&id, "tools/list", Some(b"{\"cursor\":\"a\"}")).into_bytes(),
            r#"{"jsonrpc":"2.0","id":3,"method":"tools/list","params":{"cursor":"a"}}"#
        );
        assert_eq!(
            encode_notification("notifications/initialized", None).into_bytes(),
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#
        );
        let cancelled = encode_cancelled(&id, "the \"stop\"\n").into_bytes();
        let params = r#"{"requestId":3,"reason":"the \"stop\"\u000a"}"#;
        assert_eq!(
            cancelled,
            encode_notification("notifications/cancelled", Some(params.as_bytes())).into_bytes()
        );
    }

    #[test]
    fn errors_carry_data_and_a_null_id_when_there_is_none() {
        let mut error = ErrorObject { code: -31001, message: "stopped".into(), data: None };
        assert_eq!(
            encode_error(None, &error).into_bytes(),
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-31001,"message":"stopped"}}"#
        );
        error.data = Some("{}".into());
        assert_eq!(
            encode_error(Some(&RequestId::from_u64(1)), &error).into_bytes(),
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-31001,"message":"stopped","data":{}}}"#
        );
    }

    #[test]
    fn an_unknown_resource_has_the_code_of_the_clients_era() {
        let check = |to, error: &'static str, want: &str| {
            let error = Object::parse(error.into()).unwrap();
            let sent = relay_error(to, &RequestId::from_u64(1), &error).into_bytes();
            assert_eq!(sent, format!(r#"{{"jsonrpc":"2.0","id":1,"error":{want}}}"#));
        };
        let legacy = r#"{"code":-32002,"message":"","data":{"uri":"a"}}"#;
        let modern = r#"{"code":-32602,"message":"","data":{"uri":"a"}}"#;
        check(Version::MODERN, legacy, modern);
        check(Version::LATEST_LEGACY, modern, legacy);
        let other = r#"{"code":-32602,"message":""}"#;
        check(Version::LATEST_LEGACY, other, other);
    }

    #[test]
    fn a_page_to_be_visited_first_is_no_error_of_the_modern_era() {
        let said = r#"{"code":-32042,"message":"m","data":{"elicitations":[]}}"#;
        let error = Object::parse(said.into()).unwrap();
        for (to, code) in [(Version::MODERN, "-32603"), (Version::LATEST_LEGACY, "-32042")] {
            let sent = relay_error(to, &RequestId::from_u64(1), &error).into_bytes();
            let want = said.replace("-32042", code);
            assert_eq!(sent, format!(r#"{{"jsonrpc":"2.0","id":1,"error":{want}}}"#));
        }
    }
}
