//! What a client hears, and what becomes of its call while it does not listen.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::mpsc, task::JoinSet, time::timeout};

use super::{Exchange, First, Outlet, Wants};
use crate::{
    domain::limits::NOTICE_QUEUE_MAX,
    front::{
        reject::Reply,
        replay::{Kept, Replay, Resumed},
    },
    upstream::NoticeSender,
    wire::{Frame, Message, Notice, RequestId, decode, encode_own_result},
};

const CALL: Duration = Duration::from_millis(4500);
const IDLE: Duration = Duration::from_secs(1);

fn notice(nth: u64) -> Notice {
    let text = format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":1,"progress":{nth}}}}}"#
    );
    let Ok(Message::Notification(notification)) = decode(text.into(), 1 << 16) else { panic!() };
    Notice::from(notification)
}

/// A call of some seconds that tells when it is done or dropped.
fn call(done: &Arc<AtomicBool>, dropped: &Arc<AtomicBool>) -> (Exchange, NoticeSender) {
    struct Told(Arc<AtomicBool>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let (done, told) = (done.clone(), Told(dropped.clone()));
    let wants = Wants { token: Some(RequestId::from_u64(7)), ..Wants::default() };
    let (lines, ears) = wants.open();
    let answering = Box::pin(async move {
        let _told = told;
        tokio::time::sleep(CALL).await;
        done.store(true, Ordering::SeqCst);
        Some(Reply::ok(encode_own_result(&RequestId::from_u64(1), "{}")))
    });
    (Exchange::new(answering, ears), lines.notices.unwrap())
}

fn outlet(out: mpsc::Sender<Bytes>) -> Outlet<Bytes> {
    let dress = |frame: &Frame, parts: &mut VecDeque<Bytes>| {
        parts.push_back(frame.clone().into_bytes());
    };
    Outlet { out, dress, idle: Some((IDLE, || Bytes::from_static(b"idle"))) }
}

fn flags() -> (Arc<AtomicBool>, Arc<AtomicBool>) {
    (Arc::default(), Arc::default())
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_does_not_hold_its_call() {
    let (done, dropped) = flags();
    let (exchange, notices) = call(&done, &dropped);
    let (out, _unread) = mpsc::channel(1);
    let mut tasks = JoinSet::new();
    tasks.spawn(exchange.run(outlet(out)));
    tasks.spawn(async move { while notices.send(notice(0)).await.is_ok() {} });
    assert!(timeout(CALL * 2, tasks.join_next()).await.unwrap().is_some(), "the flood ends");
    assert!(done.load(Ordering::SeqCst));
    assert!(timeout(CALL, tasks.join_next()).await.is_err(), "the answer waits for its reader");
}

#[tokio::test(start_paused = true)]
async fn everything_said_comes_in_order_and_the_answer_last() {
    let (done, dropped) = flags();
    let (mut exchange, notices) = call(&done, &dropped);
    for nth in 0..3 {
        notices.send(notice(nth)).await.unwrap();
    }
    assert!(matches!(exchange.first().await, First::Streams));
    let (out, mut heard) = mpsc::channel(1);
    let mut tasks = JoinSet::new();
    tasks.spawn(exchange.run(outlet(out)));
    let mut all = Vec::new();
    while let Some(part) = heard.recv().await {
        all.push(String::from_utf8(part.to_vec()).unwrap());
    }
    let (answer, said) = all.split_last().unwrap();
    assert!(answer.contains("\"result\""), "{answer}");
    assert!(said[..3].iter().enumerate().all(|(nth, text)| {
        text.contains(&format!("\"progress\":{nth}")) && text.contains("\"progressToken\":7")
    }));
    assert_eq!(said[3..], ["idle", "idle", "idle", "idle"], "a quiet stream shows that it lives");
}

#[tokio::test(start_paused = true)]
async fn nothing_said_means_nothing_streamed() {
    let (done, dropped) = flags();
    let (mut exchange, _notices) = call(&done, &dropped);
    assert!(matches!(exchange.first().await, First::Answer(Some(_))));
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_with_its_client() {
    let (done, dropped) = flags();
    let (exchange, _notices) = call(&done, &dropped);
    let (out, heard) = mpsc::channel(1);
    let mut tasks = JoinSet::new();
    tasks.spawn(exchange.run(outlet(out)));
    drop(heard);
    tasks.join_next().await;
    assert!(dropped.load(Ordering::SeqCst) && !done.load(Ordering::SeqCst));
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    Meanwhile,
    Afterwards,
}

/// What the reader of a recorded call finds.
async fn recorded(exchange: Exchange, notices: NoticeSender, reads: Reads) -> Vec<String> {
    let replay = Arc::new(Replay::new("aa", Kept::default()));
    let (recorder, reader) = replay.begin().unwrap();
    let mut reader = Some(reader).filter(|_| reads == Reads::Meanwhile);
    let mut tasks = JoinSet::new();
    tasks.spawn(exchange.record(recorder));
    tasks.spawn(async move {
        for nth in 0..200 {
            if notices.send(notice(nth)).await.is_err() {
                return;
            }
        }
    });
    if reads == Reads::Afterwards {
        while timeout(CALL * 2, tasks.join_next()).await.unwrap().is_some() {}
        let Ok(Resumed::Call(resumed)) = replay.resume("aa-1-0") else { panic!() };
        reader = Some(resumed);
    }
    let (mut reader, mut all) = (reader.unwrap(), Vec::new());
    while let Some(event) = timeout(CALL * 2, reader.next()).await.unwrap() {
        all.push(String::from_utf8(event.to_vec()).unwrap());
    }
    all
}

#[tokio::test(start_paused = true)]
async fn what_is_on_record_waits_for_its_reader_within_bounds() {
    let cases = [(Reads::Meanwhile, 200..=200), (Reads::Afterwards, 1..=3 * NOTICE_QUEUE_MAX)];
    for (reads, n_heard) in cases {
        let (done, dropped) = flags();
        let (exchange, notices) = call(&done, &dropped);
        let all = recorded(exchange, notices, reads).await;
        assert!(done.load(Ordering::SeqCst), "nobody holds it up");
        let (answer, said) = all.split_last().unwrap();
        assert!(answer.contains("\"result\""), "{answer}");
        assert!(n_heard.contains(&said.len()), "{}", said.len());
        let in_order = |(nth, text): (usize, &String)| {
            text.starts_with(&format!("id: aa-1-{}\n", nth + 1))
                && text.contains(&format!("\"progress\":{nth}"))
        };
        assert!(said.iter().enumerate().all(in_order), "{said:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn patience_ends_before_a_long_call_does() {
    let (done, dropped) = flags();
    let (mut exchange, _notices) = call(&done, &dropped);
    assert!(matches!(exchange.first_within(CALL / 2).await, First::Streams));
    assert!(matches!(exchange.first_within(CALL).await, First::Answer(Some(_))));
}
