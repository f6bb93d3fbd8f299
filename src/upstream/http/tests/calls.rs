//! What callers may rely on.

use std::time::Duration;

use super::{Rig, answer, event, next_progress, notices, progress, result_of, soon};
use crate::domain::{CallError, Sent};

#[tokio::test]
async fn slow_call_does_not_delay_a_fast_one() {
    let mut rig = Rig::modern().await;
    let (_, slow) = rig.call();
    let slow_seen = rig.server.next().await;
    let (_, fast) = rig.call();
    rig.server.next().await.answer(r#"{"fast":1}"#);
    assert_eq!(result_of(soon(fast).await.unwrap()), r#"{"fast":1}"#);
    assert!(!slow.is_finished());
    slow_seen.answer(r#"{"slow":1}"#);
    assert_eq!(result_of(soon(slow).await.unwrap()), r#"{"slow":1}"#);
}

#[tokio::test]
async fn calls_in_a_row_share_a_connection_whatever_form_the_answers_have() {
    let mut rig = Rig::modern().await;
    for n in 0..6 {
        let (id, call) = rig.call();
        let seen = rig.server.next().await;
        if n % 2 == 0 {
            seen.answer("{}");
        } else {
            seen.stream().say(&event(&answer(id, "{}"))).await;
        }
        result_of(soon(call).await.unwrap());
        // The end of a stream is read behind the answer's back.
        soon(async {
            while rig.http.0.core.pool.n_idle() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }
    assert_eq!(rig.server.n_connections(), 1);
}

#[tokio::test]
async fn notices_arrive_while_the_stream_goes_on() {
    let mut rig = Rig::modern().await;
    let (sender, mut receiver) = notices();
    let (id, call) = rig.start(super::WAIT, Some(sender));
    let events = rig.server.next().await.stream();
    events.say(": a comment\n\n").await;
    events.say(&event(&progress(id, 1))).await;
    assert_eq!(next_progress(&mut receiver).await, 1);
    events
        .say(&event(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"x"}}"#))
        .await;
    let log = soon(receiver.recv()).await.unwrap();
    assert_eq!(log.method.as_str(), "notifications/message");
    assert!(!call.is_finished());
    // An event may come in pieces.
    let last = event(&answer(id, r#"{"done":true}"#));
    let (head, tail) = last.split_at(last.len() / 2);
    events.say(head).await;
    events.say(tail).await;
    assert_eq!(result_of(soon(call).await.unwrap()), r#"{"done":true}"#);
}

#[tokio::test]
async fn lines_under_the_name_of_json_are_understood() {
    let mut rig = Rig::modern().await;
    let (sender, mut receiver) = notices();
    let (id, call) = rig.start(super::WAIT, Some(sender));
    let body = format!("{}\n{}\n", progress(id, 7), answer(id, r#"{"n":1}"#));
    rig.server.next().await.json(200, &body);
    assert_eq!(result_of(soon(call).await.unwrap()), r#"{"n":1}"#);
    assert_eq!(next_progress(&mut receiver).await, 7);
    // And so is an answer that is printed over several lines.
    let (id, call) = rig.call();
    let pretty = format!("{{\n  \"jsonrpc\": \"2.0\",\n  \"id\": {id},\n  \"result\": {{}}\n}}\n");
    rig.server.next().await.json(200, &pretty);
    result_of(soon(call).await.unwrap());
}

#[tokio::test]
async fn an_error_is_an_answer_whatever_its_status() {
    let mut rig = Rig::modern().await;
    for status in [200, 400, 404, 500] {
        let (id, call) = rig.call();
        let error = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{{\"code\":-32602,\"message\":\"no\"}}}}"
        );
        rig.server.next().await.json(status, &error);
        assert_eq!(result_of(soon(call).await.unwrap()), r#"{"code":-32602,"message":"no"}"#);
    }
}

#[tokio::test]
async fn a_deadline_closes_the_connection_and_says_that_the_call_was_sent() {
    let mut rig = Rig::modern().await;
    let (_, call) = rig.start(Duration::from_millis(50), None);
    let mut seen = rig.server.next().await;
    assert_eq!(soon(call).await.unwrap().unwrap_err(), CallError::Deadline { sent: Sent::Yes });
    soon(seen.reply.closed()).await;
    assert!(rig.server.is_quiet(), "a modern server is told by the closed connection alone");
}

#[tokio::test]
async fn dropping_a_call_closes_its_connection_also_in_the_middle_of_a_stream() {
    let mut rig = Rig::modern().await;
    let (id, call) = rig.call();
    let events = rig.server.next().await.stream();
    events.say(&event(&progress(id, 1))).await;
    call.abort();
    events.hung_up().await;
    assert!(rig.server.is_quiet());
}

#[tokio::test]
async fn a_stop_ends_what_is_in_flight_and_lets_nothing_out() {
    let mut rig = Rig::modern().await;
    let (_, call) = rig.call();
    let mut seen = rig.server.next().await;
    let epoch = rig.latch.now().unwrap();
    rig.stop();
    assert_eq!(soon(call).await.unwrap().unwrap_err(), CallError::Stopped { sent: Sent::Yes });
    soon(seen.reply.closed()).await;
    // A permit of before the stop is worth nothing, with an idle connection or without.
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
    assert!(rig.server.is_quiet());
}

#[tokio::test]
async fn the_latch_is_asked_in_the_hand_over_itself() {
    let mut rig = Rig::modern().await;
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
    let mut slot = super::super::line::Slot::default();
    // Not through `ask`, which watches the latch as well.
    let refused = soon(rig.http.0.core.converse(&mut slot, &late)).await.unwrap_err();
    assert_eq!(refused, CallError::Stopped { sent: Sent::No });
    assert!(rig.server.is_quiet());
}
