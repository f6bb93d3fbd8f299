//! The patience of a connection with whoever takes nothing, or comes when the end has begun.

use std::{sync::Arc, time::Duration};

use http::Response;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    join,
    sync::Semaphore,
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Body, Link, Place, Places, Porter, Serve, converse};
use crate::{
    audit::{Audit, Durability},
    domain::limits::{DRAIN_FIRST_REQUEST, HTTP_HEADER_TIMEOUT, HTTP_WRITE_STALL_MAX},
};

/// How long a connection with a long answer on it lasts, for a client that does `read` and
/// then takes nothing more.
async fn lasts(read: impl AsyncFn(&mut DuplexStream)) -> Duration {
    let talk = async |mut client: DuplexStream| {
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        read(&mut client).await;
        client
    };
    talked(CancellationToken::new(), talk).await.0
}

/// How long a connection lasts, and what its client has in the end.
async fn talked<T>(
    drain: CancellationToken,
    talk: impl AsyncFn(DuplexStream) -> T,
) -> (Duration, T) {
    let (ours, client) = duplex(64);
    let held = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let place = Place { only: None, _held: held };
    let dir = tempfile::tempdir().unwrap();
    let (audit, _thread) = Audit::open(dir.path(), Durability::Cached).unwrap();
    let serve = Serve {
        answer: async |_, _| Response::new(Body::text("x".repeat(1 << 20))),
        places: Places::new(1, &[]),
        porter: Porter::new("main", audit.refusals()),
        tls: None,
        drain,
        tasks: TaskTracker::new(),
    };
    let began = Instant::now();
    let connection = async {
        converse((ours, Link::Tcp), serve, place).await;
        began.elapsed()
    };
    join!(connection, talk(client))
}

#[tokio::test(start_paused = true)]
async fn whoever_has_connected_is_answered_although_the_end_has_begun() {
    let ending = CancellationToken::new();
    ending.cancel();
    let late = async |mut client: DuplexStream| {
        sleep(DRAIN_FIRST_REQUEST / 2).await;
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        text
    };
    let (_, text) = talked(ending.clone(), late).await;
    assert!(text.starts_with("HTTP/1.1 200") && text.ends_with('x'), "{} bytes", text.len());
    let (lasted, _) = talked(ending, async |client: DuplexStream| client).await;
    let second = Duration::from_secs(1);
    assert!(lasted >= DRAIN_FIRST_REQUEST && lasted < DRAIN_FIRST_REQUEST + second);
}

#[tokio::test(start_paused = true)]
async fn who_has_said_nothing_has_no_more_time_than_a_head() {
    let talk = async |client: DuplexStream| client;
    let (lasted, _) = talked(CancellationToken::new(), talk).await;
    let second = Duration::from_secs(1);
    assert!(lasted >= HTTP_HEADER_TIMEOUT && lasted < HTTP_HEADER_TIMEOUT + second, "{lasted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_cut_off_and_a_slow_one_is_not() {
    let second = Duration::from_secs(1);
    let deaf = lasts(async |_| ()).await;
    assert!(deaf >= HTTP_WRITE_STALL_MAX && deaf < HTTP_WRITE_STALL_MAX + second, "{deaf:?}");
    let slow = lasts(async |client| {
        for _ in 0..5 {
            sleep(HTTP_WRITE_STALL_MAX - second).await;
            client.read_u8().await.unwrap();
        }
    });
    let slow = slow.await;
    let want = 5 * (HTTP_WRITE_STALL_MAX - second) + HTTP_WRITE_STALL_MAX;
    assert!(slow >= want && slow < want + second, "{slow:?}");
}
