//! The patience of a connection with whoever takes nothing, or comes when the end has begun.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, ServerName},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex},
    join,
    sync::{Semaphore, mpsc},
    time::{Instant, sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Body, Link, Place, Places, Porter, Serve, converse, to_stranger};
use crate::{
    audit::{Audit, Durability},
    domain::limits::{
        DRAIN_FIRST_REQUEST, HTTP_HEADER_TIMEOUT, HTTP_STRANGER_MAX, HTTP_WRITE_STALL_MAX,
    },
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

/// Much shorter than anybody's patience.
const PAUSE: Duration = Duration::from_secs(5);

/// Much; but of health, what a stranger is told.
fn answer(request: &Request<Incoming>) -> Response<Body> {
    match request.uri().path() {
        "/health" => to_stranger(Response::new(Body::text("ok".to_owned()))),
        // As a stream on which nothing happens.
        "/little" => {
            let (said, body) = mpsc::channel(1);
            TaskTracker::new().spawn(async move {
                while said.send(Bytes::from_static(b": still here\n\n")).await.is_ok() {
                    sleep(PAUSE).await;
                }
            });
            Response::new(Body::Stream(body))
        }
        _ => Response::new(Body::text("x".repeat(1 << 20))),
    }
}

/// Asks and reads one answer; false if there is no connection any more.
async fn is_answered(client: &mut DuplexStream, path: &str) -> bool {
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut bytes = Vec::new();
    if client.write_all(head.as_bytes()).await.is_err() {
        return false;
    }
    // What is left of a long one comes before the next.
    while !bytes.ends_with(b"ok") && bytes.len() < 1 << 20 {
        match client.read_u8().await {
            Ok(byte) => bytes.push(byte),
            Err(_) => return false,
        }
    }
    true
}

#[tokio::test(start_paused = true)]
async fn a_stranger_who_asks_again_and_again_has_no_place_for_ever() {
    let pause = HTTP_STRANGER_MAX / 8;
    let ask = async |client: &mut DuplexStream| {
        for _ in 0..20 {
            if !is_answered(client, "/health").await {
                return;
            }
            sleep(pause).await;
        }
    };
    let (lasted, ()) =
        talked(CancellationToken::new(), async |mut client| ask(&mut client).await).await;
    assert!(lasted >= HTTP_STRANGER_MAX && lasted <= HTTP_STRANGER_MAX + pause, "{lasted:?}");
    // Who was let in once is none.
    let known = async |mut client: DuplexStream| {
        assert!(is_answered(&mut client, "/mcp").await);
        for _ in 0..20 {
            assert!(is_answered(&mut client, "/health").await);
            sleep(pause).await;
        }
    };
    let (lasted, ()) = talked(CancellationToken::new(), known).await;
    assert!(lasted >= HTTP_STRANGER_MAX * 2, "{lasted:?}");
}

/// How long a connection lasts, and what its client has in the end.
async fn talked<T>(
    drain: CancellationToken,
    talk: impl AsyncFn(DuplexStream) -> T,
) -> (Duration, T) {
    let (ours, client) = duplex(64);
    join!(served((ours, Link::Tcp), drain), talk(client))
}

/// How long a connection lasts.
async fn served<S>(connected: (S, Link), drain: CancellationToken) -> Duration
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let held = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let place = Place { only: None, _held: held };
    let dir = tempfile::tempdir().unwrap();
    let (audit, _thread) = Audit::open(dir.path(), Durability::Cached).unwrap();
    let serve = Serve {
        answer: async |_, request| answer(&request),
        places: Places::new(1, &[]),
        porter: Porter::new("main", audit.refusals()),
        tls: None,
        drain,
        tasks: TaskTracker::new(),
    };
    let began = Instant::now();
    converse(connected, serve, place).await;
    began.elapsed()
}

/// Both ends of TLS on a pipe: ours, and a client's.
async fn shaken() -> (server::TlsStream<DuplexStream>, client::TlsStream<DuplexStream>) {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(own.cert.der().clone()).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let mut ours = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    // Nobody would take them out of so short a pipe.
    ours.send_tls13_tickets = 0;
    let theirs = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (server, client) = duplex(64);
    let name = ServerName::try_from("localhost").unwrap();
    let (server, client) = join!(
        TlsAcceptor::from(Arc::new(ours)).accept(server),
        TlsConnector::from(Arc::new(theirs)).connect(name, client),
    );
    (server.unwrap(), client.unwrap())
}

/// What TLS keeps for itself is not taken: much fills its buffers, little never does.
#[tokio::test(start_paused = true)]
async fn over_tls_too_a_client_that_takes_nothing_is_cut_off_whatever_is_said() {
    for path in ["/much", "/little"] {
        let (server, mut client) = shaken().await;
        let drain = CancellationToken::new();
        let serving = served((server, Link::Tls { certified: None }), drain);
        let serving = timeout(HTTP_WRITE_STALL_MAX * 5, serving);
        let ask = async {
            let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            client.write_all(head.as_bytes()).await.unwrap();
            client.flush().await.unwrap();
        };
        let (lasted, ()) = join!(serving, ask);
        let lasted = lasted.unwrap_or_else(|_| panic!("{path} is never given up"));
        let most = HTTP_WRITE_STALL_MAX + PAUSE;
        assert!(lasted >= HTTP_WRITE_STALL_MAX && lasted <= most, "{path} {lasted:?}");
        drop(client);
    }
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
