//! Sessions that the server forgets, and what becomes of the calls that find out.

use tokio::time::timeout;

use super::{
    super::{About, Asked, line::Slot},
    Rig, event, result_of,
    server::Seen,
    soon, spawn,
    talk::{Call, ROOTS, able, asks},
};
use crate::{
    domain::{CallError, Sent, limits::UPSTREAM_STREAM_WAIT_MAX},
    wire::{RequestId, encode_request},
};

fn error(id: &str, text: &str) -> String {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":-32000,\"message\":\"{text}\"}}}}"
    )
}

/// A call that is answered so is sent again, in a new session.
async fn sent_again(body: &str) {
    let mut rig = Rig::legacy().await;
    let (id, call) = rig.call();
    rig.server.next().await.json(404, body);
    rig.server.greet("s2").await;
    let again = rig.server.next().await;
    assert_eq!((again.id(), again.header("mcp-session-id")), (id, "s2"), "{body}");
    again.answer("{}");
    result_of(soon(call).await.unwrap());
}

/// A call that is answered so is not sent again; the next one finds a new session.
async fn renewed_for_the_next(status: u16, id: Option<&str>, text: &str) {
    let mut rig = Rig::legacy().await;
    let (own, call) = rig.call();
    let id = id.map_or(own.to_string(), str::to_owned);
    rig.server.next().await.json(status, &error(&id, text));
    let failed = soon(call).await.unwrap().unwrap_err();
    assert_eq!(failed, CallError::Unavailable { sent: Sent::Yes }, "{status} {text}");
    let (next, call) = rig.call();
    rig.server.greet("s2").await;
    let seen = rig.server.next().await;
    assert_eq!((seen.id(), seen.header("mcp-session-id")), (next, "s2"), "{status} {text}");
    seen.answer("{}");
    result_of(soon(call).await.unwrap());
    assert!(rig.server.is_quiet());
}

/// A call that is answered so has its answer, and the session stays.
async fn answered(status: u16, text: &str) {
    let mut rig = Rig::legacy().await;
    let (id, call) = rig.call();
    rig.server.next().await.json(status, &error(&id.to_string(), text));
    assert!(result_of(soon(call).await.unwrap()).contains(text));
    let (_, call) = rig.call();
    let seen = rig.server.next().await;
    assert_eq!(seen.header("mcp-session-id"), "s1", "{status} {text}");
    seen.answer("{}");
    result_of(soon(call).await.unwrap());
}

#[tokio::test]
async fn only_a_404_that_does_not_answer_the_call_sends_it_again() {
    sent_again("").await;
    sent_again("session not found").await;
    sent_again(&error("null", "Session not found")).await;
    sent_again(&error("\"server-error\"", "Session not found")).await;
    renewed_for_the_next(404, None, "Session not found").await;
    renewed_for_the_next(400, None, "Bad Request: No valid session ID provided").await;
    renewed_for_the_next(400, Some("null"), "No valid Session").await;
    answered(404, "Method not found").await;
    answered(400, "Bad arguments").await;
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_renewal_lets_nothing_out_again() {
    let mut rig = Rig::legacy().await;
    let (_, call) = rig.call();
    rig.server.next().await.json(404, "");
    let ready = rig.server.welcome("s2").await;
    rig.stop();
    let stopped = soon(call).await.unwrap().unwrap_err();
    assert_eq!(stopped, CallError::Stopped { sent: Sent::Yes });
    ready.json(202, "");
    // There is nothing to take back either.
    rig.next_is_the_goodbye_to("s1").await;
}

#[tokio::test]
async fn the_latch_is_asked_again_before_the_second_write() {
    let mut rig = Rig::legacy().await;
    let core = rig.http.0.core.clone();
    let epoch = rig.latch.now().ok();
    let version = rig.version;
    // Past the waiting for a stop that `ask` does: only the hand-over can hold it back.
    let call = spawn(async move {
        let frame = encode_request(&RequestId::from_u64(99), "tools/call", Some(b"{}"));
        let about = About::own(Some(version), "tools/call");
        let asked = Asked { epoch, ..Asked::own(99, frame, about) };
        core.converse(&mut Slot::default(), &asked).await
    });
    rig.server.next().await.json(404, "");
    let ready = rig.server.welcome("s2").await;
    rig.stop();
    ready.json(202, "");
    let stopped = soon(call).await.unwrap().unwrap_err();
    assert_eq!(stopped, CallError::Stopped { sent: Sent::Yes });
    assert!(rig.server.is_quiet(), "it was sent again after the stop");
}

#[tokio::test]
async fn a_session_that_stays_forgotten_ends_the_call() {
    let mut rig = Rig::legacy().await;
    let (_, call) = rig.call();
    rig.server.next().await.json(404, "session not found");
    rig.server.greet("s2").await;
    rig.server.next().await.json(404, "session not found");
    assert!(soon(call).await.unwrap().is_err());
    assert!(rig.server.is_quiet(), "it was sent a third time");
}

#[tokio::test]
async fn a_session_that_cannot_be_renewed_is_over() {
    let mut rig = Rig::legacy().await;
    let (_, call) = rig.call();
    rig.server.next().await.json(404, "");
    rig.server.next().await.json(503, "");
    let failed = soon(call).await.unwrap().unwrap_err();
    assert_eq!(failed, CallError::Unavailable { sent: Sent::Yes });
    assert!(soon(rig.http.closed()).await.contains("opened no new one"));
}

#[tokio::test]
async fn many_calls_renew_a_session_together() {
    let mut rig = Rig::legacy().await;
    let calls: Vec<_> = (0..3).map(|_| rig.call()).collect();
    for _ in &calls {
        rig.server.next().await.json(404, "");
    }
    rig.server.greet("s2").await;
    for _ in &calls {
        let seen = rig.server.next().await;
        assert_eq!(seen.header("mcp-session-id"), "s2");
        seen.answer("{}");
    }
    for (_, call) in calls {
        result_of(soon(call).await.unwrap());
    }
}

#[tokio::test]
async fn nobody_speaks_in_a_session_that_the_server_has_not_accepted() {
    let mut rig = Rig::legacy().await;
    let (_, first) = rig.call();
    rig.server.next().await.json(404, "");
    let ready = rig.server.welcome("s2").await;
    let (_, second) = rig.call();
    // It gets as far as it can.
    tokio::task::yield_now().await;
    ready.json(500, "");
    let failed = |sent| CallError::Unavailable { sent };
    assert_eq!(soon(first).await.unwrap().unwrap_err(), failed(Sent::Yes));
    assert_eq!(soon(second).await.unwrap().unwrap_err(), failed(Sent::No));
    assert!(rig.server.is_quiet(), "it was sent in half a session");
    assert!(soon(rig.http.closed()).await.contains("opened no new one"));
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_undo_the_renewal() {
    let mut rig = Rig::legacy().await;
    let (_, leaver) = rig.call();
    rig.server.next().await.json(404, "");
    let ready = rig.server.welcome("s2").await;
    leaver.abort();
    assert!(soon(leaver).await.unwrap_err().is_cancelled());
    let (id, call) = rig.call();
    tokio::task::yield_now().await;
    ready.json(202, "");
    let seen = rig.server.next().await;
    assert_eq!((seen.id(), seen.header("mcp-session-id")), (id, "s2"));
    seen.answer("{}");
    result_of(soon(call).await.unwrap());
}

#[tokio::test]
async fn closing_ends_the_wait_for_a_renewal() {
    let mut rig = Rig::legacy().await;
    let (_, call) = rig.call();
    rig.server.next().await.json(404, "");
    let _hello = rig.server.next().await;
    rig.next_is_the_goodbye_to("s1").await;
    let failed = soon(call).await.unwrap().unwrap_err();
    assert_eq!(failed, CallError::Unavailable { sent: Sent::Yes });
}

#[tokio::test]
async fn a_server_that_came_back_with_another_version_is_not_spoken_to() {
    let mut rig = Rig::legacy().await;
    let (_, call) = rig.call();
    rig.server.next().await.json(404, "");
    let hello = rig.server.next().await;
    hello.answer(
        r#"{"protocolVersion":"2025-06-18","capabilities":{},"serverInfo":{"name":"o","version":"1"}}"#,
    );
    rig.server.next().await.json(202, "");
    let failed = soon(call).await.unwrap().unwrap_err();
    assert_eq!(failed, CallError::Unavailable { sent: Sent::Yes });
    assert!(soon(rig.http.closed()).await.contains("changed its protocol version"));
    assert!(rig.server.is_quiet());
}

/// A call whose caller can be asked, in a session that is forgotten, up to where the server has to
/// answer for the stream of the new one.
async fn renewed_for_who_can_be_asked() -> (Rig, Call, Seen) {
    // The server does not end the old one.
    let (mut rig, _old) = able().await;
    let (_, call) = rig.talk(None);
    rig.server.next().await.json(404, "");
    rig.server.greet("s2").await;
    let get = rig.server.next().await;
    assert_eq!((get.method.as_str(), get.header("mcp-session-id")), ("GET", "s2"));
    (rig, call, get)
}

#[tokio::test]
async fn a_call_is_not_sent_again_before_the_stream_on_which_it_may_be_asked() {
    let (mut rig, call, get) = renewed_for_who_can_be_asked().await;
    tokio::time::pause();
    let early = timeout(UPSTREAM_STREAM_WAIT_MAX / 2, rig.server.next()).await;
    assert!(early.is_err(), "the stream is not there yet");
    tokio::time::resume();
    let stream = get.stream();
    let again = rig.server.next().await;
    assert_eq!((again.method.as_str(), again.header("mcp-session-id")), ("POST", "s2"));
    let _answer = again.stream();
    stream.say(&event(ROOTS)).await;
    assert_eq!(asks(call).await["inputRequests"]["q0"]["method"], "roots/list");
}

#[tokio::test]
async fn a_server_that_owes_the_stream_is_not_waited_for_for_ever() {
    let (mut rig, call, get) = renewed_for_who_can_be_asked().await;
    tokio::time::pause();
    tokio::time::advance(UPSTREAM_STREAM_WAIT_MAX).await;
    tokio::time::resume();
    let again = rig.server.next().await;
    assert_eq!(again.method, "POST");
    let answer = again.stream();
    answer.say(&event(ROOTS)).await;
    asks(call).await;
    drop(get);
}
