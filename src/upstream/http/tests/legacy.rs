//! The GET stream, broken streams and what only legacy servers do.

use std::time::Duration;

use super::{
    Opening, Rig, answer, assert_nearly_nothing_is_owed, event, next_progress, notices, progress,
    result_of, server::Events, soon,
};
use crate::{
    domain::{CallError, Era, Sent, limits::UPSTREAM_RESUMES_MAX},
    upstream::talk::Hears,
};

#[tokio::test]
async fn a_call_that_was_never_sent_is_not_recalled_either() {
    let mut rig = Rig::legacy().await;
    let epoch = rig.latch.now().unwrap();
    rig.stop();
    let late = super::Asked {
        epoch: Some(epoch),
        ..super::Asked::own(
            99,
            crate::wire::encode_notification("tools/call", None),
            super::About::own(Some(rig.version), "tools/call"),
        )
    };
    let refused = soon(rig.http.ask(late)).await.unwrap_err();
    assert_eq!(refused, CallError::Stopped { sent: Sent::No });
    rig.next_is_the_goodbye_to("s1").await;
}

#[tokio::test]
async fn leaving_a_legacy_call_is_said_in_so_many_words() {
    let mut rig = Rig::legacy().await;
    let (id, call) = rig.call();
    let _seen = rig.server.next().await;
    call.abort();
    let told = rig.server.next().await;
    assert!(told.body.contains("notifications/cancelled"), "{}", told.body);
    assert!(told.body.contains(&format!("\"requestId\":{id},")), "{}", told.body);
    assert_eq!(told.header("mcp-session-id"), "s1");
    told.json(202, "");
    let (_, late) = rig.start(Duration::from_millis(20), None);
    let _seen = rig.server.next().await;
    assert_eq!(soon(late).await.unwrap().unwrap_err(), CallError::Deadline { sent: Sent::Yes });
    assert!(rig.server.next().await.body.contains("notifications/cancelled"));
}

#[tokio::test]
async fn the_get_stream_brings_list_changes_and_progress_by_token() {
    let mut opening = Opening::begin(Some(Era::Legacy)).await;
    opening.server.greet("s1").await;
    let stream = opening.server.next().await.stream();
    let mut rig = opening.done().await;
    let mut changed = rig.http.list_changed();
    stream.say(&event(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#)).await;
    soon(changed.wait_for(|n| *n == 1)).await.unwrap();
    let (sender, mut receiver) = notices();
    let (id, call) = rig.start(super::WAIT, Some(sender));
    let seen = rig.server.next().await;
    stream.say(&event(&progress(id, 3))).await;
    assert_eq!(next_progress(&mut receiver).await, 3);
    seen.answer("{}");
    result_of(soon(call).await.unwrap());
    // The route is closed with the call.
    stream.say(&event(&progress(id, 4))).await;
    soon(async {
        while rig.http.counts().read().n_notices_dropped == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

/// Between two calls nobody can tell, and neither can anybody on a session that is shared.
#[tokio::test]
async fn the_get_stream_brings_log_messages_to_the_only_call_of_its_callers_session() {
    for hears in [Hears::Everything, Hears::Named] {
        let mut opening = Opening::begin(Some(Era::Legacy)).await;
        opening.server.greet("s1").await;
        let stream = opening.server.next().await.stream();
        let mut rig = opening.done().await;
        let log = event(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#);
        let (sender, mut receiver) = notices();
        let (id, one) = rig.start_as(hears, super::WAIT, Some(sender));
        let seen = rig.server.next().await;
        stream.say(&format!("{log}{}", event(&progress(id, 1)))).await;
        if hears == Hears::Everything {
            assert_eq!(soon(receiver.recv()).await.unwrap().method, "notifications/message");
        }
        assert_eq!(next_progress(&mut receiver).await, 1);
        // Nobody listens to the other one.
        let (_, other) = rig.call();
        let seen_too = rig.server.next().await;
        stream.say(&format!("{log}{}", event(&progress(id, 2)))).await;
        assert_eq!(next_progress(&mut receiver).await, 2);
        seen.answer("{}");
        seen_too.answer("{}");
        result_of(soon(one).await.unwrap());
        result_of(soon(other).await.unwrap());
    }
}

#[tokio::test]
async fn a_question_on_a_stream_is_refused_by_a_post_of_its_own() {
    let mut rig = Rig::legacy().await;
    let (id, call) = rig.call();
    let events = rig.server.next().await.stream();
    events.say(&event(r#"{"jsonrpc":"2.0","id":"q","method":"roots/list"}"#)).await;
    let refusal = rig.server.next().await;
    assert!(refusal.body.contains("-32601") && refusal.body.contains("\"id\":\"q\""));
    refusal.json(202, "");
    events.say(&event(&answer(id, "{}"))).await;
    result_of(soon(call).await.unwrap());
    assert_eq!(rig.http.counts().read().n_questions, 1);
}

#[tokio::test]
async fn a_broken_stream_is_resumed_after_its_last_event() {
    let mut rig = Rig::legacy().await;
    let (id, call) = rig.call();
    let events = rig.server.next().await.stream();
    events.say("id: e1\nretry: 30\ndata:\n\n").await;
    drop(events);
    let resumed = rig.server.next().await;
    assert_eq!((resumed.method.as_str(), resumed.header("last-event-id")), ("GET", "e1"));
    let events = resumed.stream();
    events.say(&format!("id: e2\n{}", event(&answer(id, r#"{"late":1}"#)))).await;
    assert_eq!(result_of(soon(call).await.unwrap()), r#"{"late":1}"#);
}

#[tokio::test]
async fn a_stream_that_cannot_be_resumed_does_not_make_the_call_unsent() {
    let mut rig = Rig::legacy().await;
    let (_, call) = rig.call();
    let events = rig.server.next().await.stream();
    events.say("id: e1\nretry: 30\ndata:\n\n").await;
    // The server goes away: nothing listens there when the stream is to be resumed.
    drop(rig.server);
    drop(events);
    let failed = soon(call).await.unwrap().unwrap_err();
    assert_eq!(failed, CallError::Unavailable { sent: Sent::Yes });
}

#[tokio::test]
async fn a_broken_stream_without_an_event_id_is_a_lost_call() {
    let mut rig = Rig::legacy().await;
    let (_, call) = rig.call();
    drop(rig.server.next().await.stream());
    let failed = soon(call).await.unwrap().unwrap_err();
    assert_eq!(failed, CallError::Unavailable { sent: Sent::Yes });
}

#[tokio::test]
async fn a_stream_is_resumed_so_often_and_the_call_is_never_posted_again() {
    let mut rig = Rig::legacy().await;
    let (_, mut call) = rig.call();
    let events = rig.server.next().await.stream();
    events.say("id: e1\nretry: 1\ndata:\n\n").await;
    drop(events);
    let mut n_tries = 0;
    while let Some(tried) = rig.server.try_next(&mut call).await {
        assert_eq!((tried.method.as_str(), tried.header("last-event-id")), ("GET", "e1"));
        n_tries += 1;
        // Whether it is busy or has nothing to say comes to the same.
        if n_tries % 2 == 0 { tried.json(503, "") } else { drop(tried.stream()) }
    }
    assert_eq!(n_tries, UPSTREAM_RESUMES_MAX);
    assert_eq!(call.await.unwrap().unwrap_err(), CallError::Unavailable { sent: Sent::Yes });
}

/// A server that takes no POST at its URL and whose stream begins with these words.
async fn old(first: &str) -> (Opening, Events) {
    let mut opening = Opening::begin(Some(Era::Legacy)).await;
    let refused = opening.server.next().await;
    assert!(refused.body.contains("\"initialize\""), "{}", refused.body);
    refused.json(405, "");
    let asked = opening.server.next().await;
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("GET", "/mcp"));
    let events = asked.stream();
    events.say(first).await;
    (opening, events)
}

/// Its session, once both have said hello.
async fn old_rig() -> (Rig, Events) {
    let (mut opening, events) = old("event: endpoint\ndata: /m?s=1\n\n").await;
    let hello = opening.server.next().await;
    assert_eq!((hello.method.as_str(), hello.path.as_str()), ("POST", "/m?s=1"));
    let greeting = r#"{"protocolVersion":"2024-11-05","capabilities":{},"serverInfo":{"name":"o","version":"1"}}"#;
    // The answer may come before the POST is taken.
    events.say(&event(&answer(hello.id(), greeting))).await;
    hello.json(202, "Accepted");
    opening.server.next().await.json(202, "");
    (opening.done().await, events)
}

#[tokio::test]
async fn an_old_server_is_posted_to_where_it_says_and_answers_on_its_stream() {
    let (mut rig, events) = old_rig().await;
    let (sender, mut receiver) = notices();
    let (first, one) = rig.start(super::WAIT, Some(sender));
    rig.server.next().await.json(202, "");
    let (second, other) = rig.call();
    rig.server.next().await.json(202, "");
    events.say(&event(&progress(first, 1))).await;
    assert_eq!(next_progress(&mut receiver).await, 1);
    for (id, result) in [(99, "{}"), (second, r#"{"n":2}"#), (first, r#"{"n":1}"#)] {
        events.say(&event(&answer(id, result))).await;
    }
    assert_eq!(result_of(soon(one).await.unwrap()), r#"{"n":1}"#);
    assert_eq!(result_of(soon(other).await.unwrap()), r#"{"n":2}"#);
    assert_eq!(rig.http.counts().read().n_strays, 1, "nobody asked for 99");
    let long = format!("{{\"text\":\"{}\"}}", "x".repeat(3 << 20));
    for _ in 0..3 {
        let (id, call) = rig.call();
        rig.server.next().await.json(202, "");
        events.say(&event(&answer(id, &long))).await;
        assert_eq!(result_of(soon(call).await.unwrap()).len(), long.len());
    }
    assert_nearly_nothing_is_owed(&rig.http);
    // A message that is refused is answered by that.
    let (_, refused) = rig.call();
    rig.server.next().await.json(503, "");
    let refused = soon(refused).await.unwrap().unwrap_err();
    assert_eq!(refused, CallError::Unavailable { sent: Sent::Yes });
}

#[tokio::test]
async fn the_end_of_an_old_stream_ends_its_calls_and_its_session() {
    let (mut rig, events) = old_rig().await;
    let (_, call) = rig.call();
    rig.server.next().await.json(202, "");
    drop(events);
    let failed = soon(call).await.unwrap().unwrap_err();
    assert_eq!(failed, CallError::Unavailable { sent: Sent::Yes });
    assert_eq!(soon(rig.http.closed()).await, "the server closed its event stream");
    let (_, late) = rig.call();
    let failed = soon(late).await.unwrap().unwrap_err();
    assert_eq!(failed, CallError::Unavailable { sent: Sent::No });
}

#[tokio::test]
async fn an_old_server_that_names_a_foreign_endpoint_is_refused() {
    let (mut opening, events) = old("event: endpoint\ndata: http://127.0.0.1:1/m\n\n").await;
    let error = soon(opening.opened).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("not of its own origin"), "{error}");
    events.hung_up().await;
    assert!(opening.server.is_quiet(), "something was posted");
}

#[tokio::test]
async fn a_stream_that_names_no_endpoint_is_no_old_server() {
    let (opening, _events) = old(&event("{}")).await;
    let error = soon(opening.opened).await.unwrap().unwrap_err();
    assert!(matches!(error, crate::upstream::ConnectError::NotMcp { status: 405, .. }), "{error}");
}
