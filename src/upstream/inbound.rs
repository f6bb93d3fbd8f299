//! What a message from a server means to a session, whichever transport it came by.
//!
//! A mute session declared no capability, so a server may ask nothing of it but `ping`; what is
//! to be said to anything else is a refusal, unless the session knows whom to ask. What was
//! declared but comes when nobody can be asked is refused as well, by another code. Pure: says
//! what was heard and what is to be answered, does nothing.

use bytes::Bytes;

use super::news::News;
use crate::{
    domain::{Asking, CallError},
    wire::{
        Caching, ErrorObject, Frame, Message, Notice, Notification, Object, Request, RequestId,
        Response, Version, WireError, code, encode_error, encode_result, is_of_a_task,
        refused_answer,
    },
};

#[derive(Debug)]
pub(super) enum Heard {
    /// An answer to the request with this number, if it is one of ours at all.
    Answer {
        id: Option<u64>,
        response: Response,
    },
    /// Progress of the call with this number.
    Progress {
        id: Option<u64>,
        notice: Notice,
    },
    /// A log message.
    Log(Notice),
    /// One of its lists is another now.
    ListChanged,
    /// About something that we watch.
    News(News),
    Asked(Asked),
    /// A notification that concerns nobody here.
    Other,
}

/// A request of the server, and what we say to it if nobody else does.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) reply: Frame,
    pub(super) kind: Question,
    pub(super) request: Request,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Ping,
    Refused,
    /// It belongs to a task and to no call, so nobody is asked, whoever could be.
    OfTask,
}

/// Reads a message on a session that has `declared` these capabilities.
pub(super) fn understand(message: Message, declared: &Object) -> Heard {
    match message {
        Message::Response(response) => {
            Heard::Answer { id: response.id.as_ref().and_then(RequestId::as_u64), response }
        }
        Message::Notification(notification) => notified(notification),
        Message::Request(request) => asked(request, declared),
    }
}

/// What a call ends with whose answer came but cannot be read.
pub(super) const MALFORMED: CallError = CallError::Protocol { what: "its answer is malformed" };

/// The number of the request that a message was meant to answer which could not be decoded.
pub(super) fn meant(raw: &[u8], error: &WireError) -> Option<u64> {
    refused_answer(raw, error)?.as_u64()
}

fn notified(notification: Notification) -> Heard {
    let notice = Notice::from(notification);
    match notice.method.as_str() {
        "notifications/progress" => {
            let id = notice.progress_token().and_then(|token| token.as_u64());
            Heard::Progress { id, notice }
        }
        "notifications/message" => Heard::Log(notice),
        "notifications/tools/list_changed"
        | "notifications/prompts/list_changed"
        | "notifications/resources/list_changed" => Heard::ListChanged,
        method => News::read(method, notice.params.as_ref()).map_or(Heard::Other, Heard::News),
    }
}

fn asked(request: Request, declared: &Object) -> Heard {
    let nothing = Object::parse(Bytes::from_static(b"{}"));
    match (request.method.as_str(), nothing) {
        ("ping", Ok(nothing)) => {
            let reply =
                encode_result(Version::LATEST_LEGACY, &request.id, &nothing, Caching::Never);
            Heard::Asked(Asked { reply, kind: Question::Ping, request })
        }
        _ => {
            let reply = encode_error(Some(&request.id), &refusal(&request.method, declared));
            let kind = match is_of_a_task(request.params.as_ref()) {
                true => Question::OfTask,
                false => Question::Refused,
            };
            Heard::Asked(Asked { reply, kind, request })
        }
    }
}

/// A server that may ask, but has no request of ours about which it could, has the wrong
/// parameters at this time; the method exists.
fn refusal(method: &str, declared: &Object) -> ErrorObject {
    if Asking::is_declared(method, declared) {
        let told = "nobody can be asked this now: it must be about a call that is under way, and in \
                    words that its caller knows";
        return ErrorObject::new(code::INVALID_PARAMS, told);
    }
    ErrorObject::new(code::METHOD_NOT_FOUND, "this client answers no such request")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Asked, Heard, Question, understand};
    use crate::wire::{Object, decode};

    #[track_caller]
    fn check(line: &str, want: &str) {
        check_on("{}", line, want);
    }

    /// On a session that has declared this.
    #[track_caller]
    fn check_on(declared: &str, line: &str, want: &str) {
        let declared = Object::parse(declared.to_owned().into()).unwrap();
        let line = Bytes::copy_from_slice(line.as_bytes());
        let heard = understand(decode(line, 1 << 20).unwrap(), &declared);
        let got = match heard {
            Heard::Answer { id, .. } => format!("answer {id:?}"),
            Heard::Progress { id, .. } => format!("progress {id:?}"),
            Heard::Log(_) => "log".to_owned(),
            Heard::ListChanged => "list".to_owned(),
            Heard::Asked(Asked { reply, .. }) => {
                String::from_utf8(reply.into_bytes().to_vec()).unwrap()
            }
            Heard::News(news) => format!("{news:?}"),
            Heard::Other => "other".to_owned(),
        };
        assert_eq!(got, want);
    }

    #[test]
    fn every_kind_of_message_is_told_apart() {
        check(r#"{"jsonrpc":"2.0","id":7,"result":{}}"#, "answer Some(7)");
        check(r#"{"jsonrpc":"2.0","id":"7","result":{}}"#, "answer None");
        check(r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}"#, "answer None");
        check(
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":3,"progress":1}}"#,
            "progress Some(3)",
        );
        check(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#, "log");
        for list in ["tools", "prompts", "resources"] {
            let method = format!("notifications/{list}/list_changed");
            check(&format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#), "list");
        }
        check(r#"{"jsonrpc":"2.0","method":"notifications/unheard_of"}"#, "other");
        check(
            r#"{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"a:b"}}"#,
            "Updated(\"a:b\")",
        );
        check(
            r#"{"jsonrpc":"2.0","method":"notifications/elicitation/complete","params":{"elicitationId":"e"}}"#,
            "Visited(\"e\")",
        );
    }

    #[test]
    fn what_a_task_asks_is_told_apart_from_what_a_call_does() {
        let kind = |params: &str| {
            let line = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{params}}}"#
            );
            let heard = understand(decode(line.into(), 1 << 20).unwrap(), &Object::empty());
            let Heard::Asked(Asked { kind, .. }) = heard else { panic!("{heard:?}") };
            kind
        };
        let related = r#"{"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}}}"#;
        assert_eq!(kind(related), Question::OfTask);
        assert_eq!(kind(r#"{"_meta":{}}"#), Question::Refused);
    }

    #[test]
    fn a_mute_session_answers_ping_and_nothing_else() {
        check(
            r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":"p","result":{}}"#,
        );
        check(
            r#"{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{}}"#,
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"this client answers no such request"}}"#,
        );
    }
    #[test]
    fn what_was_declared_but_is_about_no_call_has_wrong_params() {
        let asks = |method: &str| {
            let line = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{}}}}"#);
            (line, r#"{"jsonrpc":"2.0","id":1,"error":{"code":"#)
        };
        let declared = r#"{"elicitation":{},"roots":{}}"#;
        for (method, code) in [
            ("elicitation/create", -32602),
            ("roots/list", -32602),
            ("sampling/createMessage", -32601),
            ("tasks/list", -32601),
        ] {
            let (line, start) = asks(method);
            let told = match code {
                -32602 => {
                    "nobody can be asked this now: it must be about a call that is under way, and in \
                     words that its caller knows"
                }
                _ => "this client answers no such request",
            };
            check_on(declared, &line, &format!(r#"{start}{code},"message":"{told}"}}}}"#));
        }
    }
}
