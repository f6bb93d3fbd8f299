//! The emergency stop at the last hop.

use std::{
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use tokio::io::AsyncBufReadExt;

use super::{Rig, WAIT, result_of};
use crate::domain::{CallError, Sent};

#[tokio::test(start_paused = true)]
async fn a_stop_answers_what_is_in_flight_and_calls_it_back() {
    let mut rig = Rig::new();
    let (id, call) = rig.call();
    rig.line().await;
    rig.stop();
    assert_eq!(call.await.unwrap().unwrap_err(), CallError::Stopped { sent: Sent::Yes });
    let cancelled = rig.line().await;
    assert!(cancelled.contains(&format!("\"requestId\":{id},")), "{cancelled}");
}

#[tokio::test(start_paused = true)]
async fn a_call_admitted_before_the_stop_is_never_written_after_it() {
    let mut rig = Rig::new();
    let (_, ask) = rig.ask(r#"{"name":"too late"}"#, WAIT);
    rig.stop();
    let refused = rig.session.ask(ask).await.unwrap_err();
    assert_eq!(refused, CallError::Stopped { sent: Sent::No });
    rig.reset();
    // Not even after the reset: its permit is of another time.
    let (_, mut old) = rig.ask(r#"{"name":"too late"}"#, WAIT);
    let epoch = old.epoch;
    rig.stop();
    rig.reset();
    old.epoch = epoch;
    let refused = rig.session.ask(old).await.unwrap_err();
    assert_eq!(refused, CallError::Stopped { sent: Sent::No });
    let (id, call) = rig.call();
    assert!(rig.line().await.contains(&format!("\"id\":{id},")), "an old call was written");
    rig.answer(id, "{}").await;
    result_of(call.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_stop_spoils_the_line_that_is_half_written_and_drops_what_waits() {
    let mut rig = Rig::with_stdin_of(40);
    let (_, half) = rig.start(&format!("{{\"x\":\"{}\"}}", "y".repeat(500)), WAIT, None);
    let (_, behind) = rig.start(r#"{"name":"behind"}"#, WAIT, None);
    // The pipe is full now: forty bytes of the first line are in it.
    while rig.stdin.buffer().is_empty() {
        rig.stdin.fill_buf().await.unwrap();
    }
    rig.stop();
    assert_eq!(half.await.unwrap().unwrap_err(), CallError::Stopped { sent: Sent::Unknown });
    assert_eq!(behind.await.unwrap().unwrap_err(), CallError::Stopped { sent: Sent::No });
    let spoilt = rig.line().await;
    assert!(spoilt.ends_with('!') && spoilt.len() < 200, "{spoilt}");
    assert!(serde_json::from_str::<serde_json::Value>(&spoilt).is_err());
    assert!(rig.line().await.contains("notifications/cancelled"));
    rig.reset();
    let (id, call) = rig.call();
    assert!(rig.line().await.contains(&format!("\"id\":{id},")));
    rig.answer(id, "{}").await;
    result_of(call.await.unwrap());
}

/// Both wake the actor at once: the stop, and room in the pipe for a call that waits to be written.
/// Many rounds, because a choice between the two that is left to chance often goes well.
#[tokio::test(start_paused = true)]
async fn the_stop_wins_over_room_in_a_full_pipe_in_the_same_turn() {
    let params = r#"{"name":"t"}"#;
    let line_bytes = Rig::new().ask(params, WAIT).1.frame.len() + 1;
    for _ in 0..32 {
        let mut rig = Rig::with_stdin_of(line_bytes);
        let (first_id, first) = rig.start(params, WAIT, None);
        let (second_id, second) = rig.start(params, WAIT, None);
        // The paused clock moves only once nobody can go on: the first line fills the pipe, and
        // the second waits for room.
        tokio::time::sleep(Duration::from_millis(1)).await;
        rig.stop();
        let mut line = String::new();
        let took =
            pin!(rig.stdin.read_line(&mut line)).poll(&mut Context::from_waker(Waker::noop()));
        assert!(took.is_ready() && line.len() == line_bytes, "the pipe was not full: {line}");
        assert!(line.contains(&format!("\"id\":{first_id},")), "{line}");

        assert_eq!(second.await.unwrap().unwrap_err(), CallError::Stopped { sent: Sent::No });
        assert_eq!(first.await.unwrap().unwrap_err(), CallError::Stopped { sent: Sent::Yes });
        let next = rig.line().await;
        assert!(next.contains(&format!("\"requestId\":{first_id},")), "{next}");
        rig.reset();
        let (id, call) = rig.call();
        let next = rig.line().await;
        assert!(next.contains(&format!("\"id\":{id},")), "not {second_id}: {next}");
        rig.answer(id, "{}").await;
        result_of(call.await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn our_own_requests_live_through_a_stop() {
    let mut rig = Rig::new();
    let (id, mut ask) = rig.ask("{}", WAIT);
    ask.epoch = None;
    let session = rig.session.clone();
    let listed = async { session.ask(ask).await };
    let stop_and_answer = async {
        rig.line().await;
        rig.stop();
        rig.answer(id, "{}").await;
    };
    let (listed, ()) = tokio::join!(listed, stop_and_answer);
    result_of(listed);
}
