//! Sessions that the server forgets, and what becomes of the calls that find out.

use super::{Rig, result_of, soon, spawn};
use crate::domain::{CallError, Sent};

#[tokio::test]
async fn a_forgotten_session_is_opened_anew_once_and_the_call_sent_again() {
    let mut rig = Rig::legacy().await;
    let (id, call) = rig.call();
    rig.server.next().await.json(404, "session not found");
    rig.server.greet("s2").await;
    let again = rig.server.next().await;
    assert_eq!((again.id(), again.header("mcp-session-id")), (id, "s2"));
    again.answer("{}");
    result_of(soon(call).await.unwrap());
}

#[tokio::test]
async fn a_400_that_speaks_of_the_session_means_the_same_and_no_other_400_does() {
    let mut rig = Rig::legacy().await;
    let error = |id: u64, text: &str| {
        format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":-32000,\"message\":\"{text}\"}}}}"
        )
    };
    let (id, call) = rig.call();
    rig.server.next().await.json(400, &error(id, "Bad Request: No valid session ID provided"));
    rig.server.greet("s2").await;
    rig.server.next().await.answer("{}");
    result_of(soon(call).await.unwrap());
    let (id, call) = rig.call();
    rig.server.next().await.json(400, &error(id, "Bad arguments"));
    assert!(result_of(soon(call).await.unwrap()).contains("Bad arguments"));
    assert!(rig.server.is_quiet());
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
    let http = rig.http.clone();
    let closing = spawn(async move { http.close().await });
    let goodbye = rig.server.next().await;
    assert_eq!((goodbye.method.as_str(), goodbye.header("mcp-session-id")), ("DELETE", "s1"));
    goodbye.json(200, "");
    soon(closing).await.unwrap();
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
