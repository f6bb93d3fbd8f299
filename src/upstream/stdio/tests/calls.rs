//! What callers may rely on.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use tokio::time::Instant;

use super::{Rig, WAIT, notices, result_of, until};
use crate::{
    domain::{CallError, Sent, limits::SESSION_INBOX_MAX},
    upstream::talk::{Ear, Hears},
    wire::encode_notification,
};

#[tokio::test(start_paused = true)]
async fn answers_find_their_callers_in_any_order() {
    let mut rig = Rig::new();
    let calls: Vec<_> = (0..20).map(|_| rig.call()).collect();
    for _ in &calls {
        assert!(rig.line().await.contains("tools/call"));
    }
    for (id, _) in calls.iter().rev() {
        rig.answer(*id, &format!("{{\"for\":{id}}}")).await;
    }
    for (id, call) in calls {
        assert_eq!(result_of(call.await.unwrap()), format!("{{\"for\":{id}}}"));
    }
}

#[tokio::test(start_paused = true)]
async fn slow_call_does_not_delay_a_fast_one() {
    let mut rig = Rig::new();
    let (slow, slow_call) = rig.call();
    rig.line().await;
    let begun = Instant::now();
    let (fast, fast_call) = rig.call();
    rig.line().await;
    rig.answer(fast, "{}").await;
    result_of(fast_call.await.unwrap());
    assert_eq!(begun.elapsed(), Duration::ZERO);
    assert!(!slow_call.is_finished());
    tokio::time::advance(Duration::from_secs(5)).await;
    rig.answer(slow, "{}").await;
    result_of(slow_call.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_ends_at_its_deadline_and_is_cancelled_upstream() {
    let mut rig = Rig::new();
    let (late, late_call) = rig.start("{}", Duration::from_secs(3), None);
    let (patient, patient_call) = rig.call();
    rig.line().await;
    rig.line().await;
    assert_eq!(late_call.await.unwrap().unwrap_err(), CallError::Deadline { sent: Sent::Yes });
    let cancelled = rig.line().await;
    assert!(cancelled.contains("notifications/cancelled"), "{cancelled}");
    assert!(cancelled.contains(&format!("\"requestId\":{late}")), "{cancelled}");
    rig.answer(late, "{}").await;
    rig.answer(patient, "{}").await;
    result_of(patient_call.await.unwrap());
    assert_eq!(rig.oddities().n_strays, 1);
}

#[tokio::test(start_paused = true)]
async fn dropping_a_call_cancels_it_upstream() {
    let mut rig = Rig::new();
    let (id, call) = rig.call();
    rig.line().await;
    call.abort();
    let cancelled = rig.line().await;
    assert!(cancelled.contains(&format!("\"requestId\":{id}")), "{cancelled}");
    rig.answer(id, "{}").await;
    until(|| rig.oddities().n_strays == 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_full_inbox_refuses_and_forgets_nobody_who_left() {
    let mut rig = Rig::new();
    {
        let mut asks: Vec<_> = (0..SESSION_INBOX_MAX)
            .map(|_| Box::pin(rig.session.ask(rig.ask("{}", WAIT).1)))
            .collect();
        let mut one_more = pin!(rig.session.ask(rig.ask("{}", WAIT).1));
        // Without letting the actor run in between.
        let refused = poll_fn(|cx| {
            for ask in &mut asks {
                assert!(ask.as_mut().poll(cx).is_pending());
            }
            one_more.as_mut().poll(cx)
        });
        assert_eq!(refused.await.unwrap_err(), CallError::Busy);
        // All leave at once, and there is no room to say so.
    }
    let (id, call) = loop {
        let (id, call) = rig.call();
        tokio::task::yield_now().await;
        if !call.is_finished() {
            break (id, call);
        }
        assert_eq!(call.await.unwrap().unwrap_err(), CallError::Busy);
    };
    assert!(rig.line().await.contains(&format!("\"id\":{id},")), "an abandoned call was sent");
    rig.answer(id, "{}").await;
    result_of(call.await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn those_who_leave_while_the_inbox_is_full_are_withdrawn_upstream() {
    let mut rig = Rig::new();
    let session = rig.session.clone();
    let (first, ask) = rig.ask("{}", WAIT);
    let mut first_call = Box::pin(session.ask(ask));
    assert!(poll_fn(|cx| Poll::Ready(first_call.as_mut().poll(cx))).await.is_pending());
    rig.line().await;
    let mut crowd: Vec<_> =
        (0..SESSION_INBOX_MAX).map(|_| Box::pin(session.ask(rig.ask("{}", WAIT).1))).collect();
    poll_fn(|cx| {
        for ask in &mut crowd {
            assert!(ask.as_mut().poll(cx).is_pending());
        }
        Poll::Ready(())
    })
    .await;
    // The actor has had no turn since, so there is no room left to say it.
    drop(first_call);
    drop(crowd);
    assert!(rig.line().await.contains(&format!("\"requestId\":{first},")));
}

#[tokio::test(start_paused = true)]
async fn a_log_message_is_heard_where_it_can_only_be_of_one_call() {
    let mut rig = Rig::new();
    let log = |n: u32| {
        let params = format!("{{\"level\":\"info\",\"data\":{n}}}");
        let frame = encode_notification("notifications/message", Some(params.as_bytes()));
        [frame.into_bytes().as_ref(), b"\n"].concat()
    };
    let (sender, mut receiver) = notices(8);
    let mut calls = Vec::new();
    // Alone on a shared session, then alone on one of its caller's own, then not alone there.
    for (nth, hears) in [(0, Hears::Named), (1, Hears::Everything), (2, Hears::Everything)] {
        let ear = Ear { notices: sender.clone(), hears };
        calls.push(rig.start_hearing("{}", WAIT, Some(ear)));
        rig.line().await;
        rig.say(log(nth)).await;
        if nth == 0 {
            let (id, call) = calls.remove(0);
            rig.answer(id, "{}").await;
            result_of(call.await.unwrap());
        }
    }
    for (id, call) in calls {
        rig.answer(id, "{}").await;
        result_of(call.await.unwrap());
    }
    assert_eq!(receiver.recv().await.unwrap().params.unwrap().integer("data"), Some(1));
    assert!(receiver.try_recv().is_err(), "it is heard by one, or by nobody");
}

#[tokio::test(start_paused = true)]
async fn progress_goes_to_its_call_and_a_slow_reader_blocks_nobody() {
    let mut rig = Rig::new();
    let (sender, mut receiver) = notices(2);
    let (id, call) = rig.start("{}", WAIT, Some(sender));
    let (deaf, deaf_call) = rig.call();
    rig.line().await;
    rig.line().await;
    let progress = |token: u64, n: u32| {
        let params = format!("{{\"progressToken\":{token},\"progress\":{n}}}");
        let frame = encode_notification("notifications/progress", Some(params.as_bytes()));
        [frame.into_bytes().as_ref(), b"\n"].concat()
    };
    for n in 0..5 {
        rig.say(progress(id, n)).await;
    }
    rig.say(progress(deaf, 0)).await;
    rig.say(progress(999, 0)).await;
    rig.answer(id, "{}").await;
    rig.answer(deaf, "{}").await;
    result_of(call.await.unwrap());
    result_of(deaf_call.await.unwrap());
    for n in 0..2 {
        let params = receiver.recv().await.unwrap().params.unwrap();
        assert_eq!(params.integer("progress"), Some(n));
    }
    assert!(receiver.recv().await.is_none());
    assert_eq!(rig.oddities().n_notices_dropped, 5);
}

#[tokio::test(start_paused = true)]
async fn a_server_may_ping_and_say_that_its_tools_changed_but_ask_nothing() {
    let mut rig = Rig::new();
    let mut changed = rig.session.list_changed();
    rig.say("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}\n").await;
    changed.wait_for(|n| *n == 1).await.unwrap();
    rig.say("{\"jsonrpc\":\"2.0\",\"id\":\"a\",\"method\":\"ping\"}\n").await;
    assert_eq!(rig.line().await, r#"{"jsonrpc":"2.0","id":"a","result":{}}"#);
    rig.say("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tasks/list\"}\n").await;
    assert!(rig.line().await.contains("-32601"));
    assert_eq!(rig.oddities().n_questions, 1);
}

#[tokio::test(start_paused = true)]
async fn a_closed_session_says_why_and_takes_no_more_calls() {
    let mut rig = Rig::new();
    let (_, call) = rig.call();
    rig.line().await;
    rig.session.close().await;
    assert_eq!(call.await.unwrap().unwrap_err(), CallError::Unavailable { sent: Sent::Yes });
    assert_eq!(rig.session.closed().await, "the gateway closed the session");
    assert_eq!(rig.line().await, "", "stdin is still open");
    let (_, ask) = rig.ask("{}", WAIT);
    let refused = rig.session.ask(ask).await.unwrap_err();
    assert_eq!(refused, CallError::Unavailable { sent: Sent::No });
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_closes_the_pipes() {
    let Rig { session, mut stdin, stdout: _stdout, .. } = Rig::new();
    drop(session);
    let mut rest = Vec::new();
    let read = tokio::io::AsyncReadExt::read_to_end(&mut stdin, &mut rest);
    tokio::time::timeout(WAIT, read).await.unwrap().unwrap();
    assert!(rest.is_empty());
}
