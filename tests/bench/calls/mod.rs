//! A call as the benches have it judged and put on record.

use std::sync::Arc;

use bytes::Bytes;
use portcullis::domain::{
    Call, CallIds, Caller, Era, Generation, Kind, Principal, ServerName, Subject, Transport,
};

/// Of a tool of the server `files`.
pub(crate) fn call(ids: &CallIds, tool: &str) -> Call {
    Call {
        id: ids.next(1_700_000_000_000),
        caller: Arc::new(Caller {
            principal: Principal::new("local"),
            client: "bench/1.0".into(),
            conversation: Some("0123456789abcdef".into()),
            era: Era::Modern,
            transport: Transport::Http,
        }),
        server: ServerName::parse("files").unwrap(),
        subject: Subject::parse(Kind::Tool, tool).unwrap(),
        arguments: Bytes::from_static(br#"{"path":"docs/README.md","head":20}"#),
        answers: None,
        generation: Generation(1),
        trace: None,
        at: None,
        under: None,
    }
}
