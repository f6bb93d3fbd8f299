//! The GET stream, broken streams and what only legacy servers do.

use std::time::Duration;

use super::{Opening, Rig, answer, event, next_progress, notices, progress, result_of, soon};
use crate::domain::{CallError, Era, Sent};

#[tokio::test]
async fn a_call_that_was_never_sent_is_not_recalled_either() {
    let mut rig = Rig::legacy().await;
    let epoch = rig.latch.epoch().unwrap();
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
