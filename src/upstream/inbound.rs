//! What a message from a server means to a session, whichever transport it came by.
//!
//! A mute session declared no capability, so a server may ask nothing of it but `ping`; what is
//! to be said to anything else is a refusal, unless the session knows whom to ask. Pure: says what
//! was heard and what is to be answered, does nothing.

use bytes::Bytes;

use super::news::News;
use crate::{
    domain::CallError,
    wire::{
        Caching, ErrorObject, Frame, Message, Notice, Notification, Object, Request, RequestId,
        Response, Version, WireError, encode_error, encode_result, is_of_a_task, refused_answer,
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

pub(super) fn understand(message: Message) -> Heard {
    match message {
        Message::Response(response) => {
            Heard::Answer { id: response.id.as_ref().and_then(RequestId::as_u64), response }
        }
        Message::Notification(notification) => notified(notification),
        Message::Request(request) => asked(request),
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

fn asked(request: Request) -> Heard {
    let nothing = Object::parse(Bytes::from_static(b"{}"));
    match (request.method.as_str(), nothing) {
        ("ping", Ok(nothing)) => {
            let reply =
                encode_result(Version::LATEST_LEGACY, &request.id, &nothing, Caching::Never);
            Heard::Asked(Asked { reply, kind: Question::Ping, request })
        }
        _ => {
            let error = ErrorObject {
                code: METHOD_NOT_FOUND,
                message: "this client answers no such request".to_owned(),
                data: None,
            };
            let reply = encode_error(Some(&request.id), &error);
            let kind = match is_of_a_task(request.params.as_ref()) {
                true => Question::OfTask,
                false => Question::Refused,
            };
            Heard::Asked(Asked { reply, kind, request })
        }
    }
}

const METHOD_NOT_FOUND: i64 = -32601;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Asked, Heard, Question, understand};
    use crate::wire::decode;

    #[track_caller]
    fn check(line: &str, want: &str) {
        let line = Bytes::copy_from_slice(line.as_bytes());
        let heard = understand(decode(line, 1 << 20).unwrap());
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
    }

    #[test]
    fn what_a_task_asks_is_told_apart_from_what_a_call_does() {
        let kind = |params: &str| {
            let line = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"elicitation/create","params":{params}}}"#
            );
            let heard = understand(decode(line.into(), 1 << 20).unwrap());
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
}
