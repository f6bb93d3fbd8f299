//! Servers that lie, break off, hang up or answer what nobody asked.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

use super::{
    Opening, Rig, answer, assert_nearly_nothing_is_owed, config, event, result_of, server::Events,
    soon,
};
use crate::{
    config::Target,
    domain::{
        CallError, Era, Sent,
        limits::{
            UNASKED_BYTES_MAX, UNASKED_BYTES_PER_SECOND, UNASKED_LINE_BYTES,
            UPSTREAM_MESSAGE_BYTES_MAX,
        },
    },
    gate::Latch,
    upstream::handshake,
};

async fn check(status: u16, body: &str, want: CallError) {
    let mut rig = Rig::modern().await;
    let (_, call) = rig.call();
    rig.server.next().await.json(status, body);
    assert_eq!(soon(call).await.unwrap().unwrap_err(), want, "{status} {body}");
    // The next call is not harmed.
    let (_, call) = rig.call();
    rig.server.next().await.answer("{}");
    result_of(soon(call).await.unwrap());
}

#[tokio::test]
async fn an_answer_that_is_none_fails_its_call_and_no_other() {
    let gone = CallError::Unavailable { sent: Sent::Yes };
    let broke = |what| CallError::Protocol { what };
    let not_one = "the answer is no JSON-RPC response to the request";
    check(200, "", broke(not_one)).await;
    check(200, "<html>", broke(not_one)).await;
    check(202, "", broke(not_one)).await;
    check(200, &answer(4711, "{}"), broke(not_one)).await;
    check(200, "{\"jsonrpc\":\"2.0\",\"id\":2,\"id\":2,\"result\":{}}", broke(not_one)).await;
    check(302, "", broke("it redirects, which is not followed")).await;
    check(400, "", broke("it refused the request without a JSON-RPC error")).await;
    check(404, "", broke("it refused the request without a JSON-RPC error")).await;
    check(400, &answer(2, "{}"), broke("it refused the request without a JSON-RPC error")).await;
    for status in [401, 403] {
        check(status, "", CallError::Unauthorised).await;
    }
    for status in [429, 500, 502, 503] {
        check(status, "", gone).await;
    }
}

#[tokio::test]
async fn a_malformed_answer_fails_its_call_at_once_in_every_form() {
    let broke = CallError::Protocol { what: "its answer is malformed" };
    check(200, &answer(2, "7"), broke).await;
    check(200, &answer(2, "{\"a\":1,\n\"a\":2}"), broke).await;
    check(200, &format!("{}\n{}", super::progress(2, 1), answer(2, "7")), broke).await;
    check(404, &answer(2, "7"), broke).await;
    let mut rig = Rig::modern().await;
    let (id, call) = rig.call();
    let events = rig.server.next().await.stream();
    events.say(&event(&answer(id + 1, "7"))).await;
    events.say(&event(&answer(id, "7"))).await;
    // The stream stays open: there is nothing to wait for.
    assert_eq!(soon(call).await.unwrap().unwrap_err(), broke);
    assert_eq!(rig.http.counts().read().n_noise, 2);
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let mut rig = Rig::modern().await;
    let (_, call) = rig.call();
    let huge = "x".repeat(UPSTREAM_MESSAGE_BYTES_MAX + 1);
    rig.server.next().await.json(200, &huge);
    let failed = soon(call).await.unwrap().unwrap_err();
    assert_eq!(failed, CallError::Protocol { what: "the answer is too long" });
    let (id, call) = rig.call();
    let events = rig.server.next().await.stream();
    events.say(&event(&huge)).await;
    events.say(&event("not JSON")).await;
    events.say(&event(&answer(id + 1, "{}"))).await;
    events.say(&event(&answer(id, r#"{"ok":1}"#))).await;
    // So much that nobody asked for is read slowly.
    let answered = tokio::time::timeout(Duration::from_secs(90), call).await.unwrap();
    assert_eq!(result_of(answered.unwrap()), r#"{"ok":1}"#);
    let oddities = rig.http.counts().read();
    assert_eq!((oddities.n_noise, oddities.n_strays), (2, 1));
}

/// So many of them that a second and more of them is too much.
fn flood(of: &str, charged_each: u64) -> impl Iterator<Item = &str> {
    let n = (UNASKED_BYTES_MAX + UNASKED_BYTES_PER_SECOND * 3 / 2) / charged_each;
    (0..n).map(move |_| of)
}

async fn say_all(events: &Events, flood: impl Iterator<Item = &str>) {
    for one in flood {
        events.say(one).await;
    }
}

#[tokio::test]
async fn a_server_that_floods_the_stream_of_a_call_is_read_slowly_and_waits() {
    let noise = event(&"x".repeat(60_000));
    let comment = format!(": {}\n", "x".repeat(60_000));
    let lines = u64::try_from(noise.len()).unwrap();
    for (said, charged) in [(&noise, lines + UNASKED_LINE_BYTES), (&comment, lines)] {
        let mut rig = Rig::modern().await;
        let (id, call) = rig.call();
        let events = rig.server.next().await.stream();
        let begun = Instant::now();
        say_all(&events, flood(said, charged)).await;
        events.say(&event(&answer(id, "{}"))).await;
        result_of(soon(call).await.unwrap());
        assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
    }
}

/// Over several streams it may say no more than over one, and its other answers do not wait.
#[tokio::test]
async fn a_server_that_floods_its_get_stream_waits_and_its_calls_do_not() {
    let mut opening = Opening::begin(Some(Era::Legacy)).await;
    opening.server.greet("s1").await;
    let stream = opening.server.next().await.stream();
    let mut rig = opening.done().await;
    let mut changed = rig.http.list_changed();
    let changes = event(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#);
    let noise = event(&"x".repeat(60_000));
    let begun = Instant::now();
    let charged = u64::try_from(noise.len()).unwrap() + UNASKED_LINE_BYTES;
    say_all(&stream, flood(&noise, charged)).await;
    stream.say(&changes).await;
    let (_, call) = rig.call();
    rig.server.next().await.answer("{}");
    result_of(soon(call).await.unwrap());
    assert_eq!(*changed.borrow_and_update(), 0, "the call was first");
    soon(changed.wait_for(|n| *n == 1)).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());

    let (id, call) = rig.call();
    let events = rig.server.next().await.stream();
    let begun = Instant::now();
    // What the other stream has said is not forgotten yet.
    say_all(&events, flood(&noise, charged * 3)).await;
    events.say(&event(&answer(id, "{}"))).await;
    result_of(soon(call).await.unwrap());
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_answer_on_a_stream_costs_its_server_nothing_however_long_it_is() {
    let mut rig = Rig::modern().await;
    let long = format!("{{\"text\":\"{}\"}}", "x".repeat(3 << 20));
    for _ in 0..3 {
        let (id, call) = rig.call();
        let events = rig.server.next().await.stream();
        events.say(&event(&answer(id, &long))).await;
        assert_eq!(result_of(soon(call).await.unwrap()).len(), long.len());
    }
    assert_nearly_nothing_is_owed(&rig.http);
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_no_answer() {
    let mut rig = Rig::modern().await;
    let (_, call) = rig.call();
    let events = rig.server.next().await.stream();
    events.say("id: 1\ndata: {\"jsonrpc\"").await;
    drop(events);
    let failed = soon(call).await.unwrap().unwrap_err();
    assert_eq!(failed, CallError::Unavailable { sent: Sent::Yes }, "modern streams do not resume");
}

/// A server of bare sockets, for what hyper would never do.
struct Bare {
    listener: TcpListener,
    http: super::Http,
    latch: Latch,
    _dir: tempfile::TempDir,
}

impl Bare {
    /// Opens a session; the connection used for it is returned.
    async fn open() -> (Self, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let latch = Latch::open(dir.path());
        let config = config(&format!("http://{}/", listener.local_addr().unwrap()));
        let Target::Http(target) = &config.replicas[0].target else { panic!("not http") };
        let face = std::sync::Arc::new(handshake::face());
        let opened = super::open(&config, target, Some(Era::Modern), latch.clone(), face);
        let serve = async {
            let (mut socket, _) = listener.accept().await.unwrap();
            read_request(&mut socket).await;
            reply(&mut socket, super::DISCOVERED).await;
            socket
        };
        let (opened, socket) = soon(async { tokio::join!(opened, serve) }).await;
        let (http, _) = opened.unwrap();
        (Self { listener, http, latch, _dir: dir }, socket)
    }

    async fn call(&self) -> Result<crate::wire::Response, CallError> {
        let id = self.http.draw_id();
        let frame = crate::wire::encode_request(
            &crate::wire::RequestId::from_u64(id),
            "tools/call",
            Some(b"{}"),
        );
        let about = super::About::own(Some(crate::wire::Version::MODERN), "tools/call");
        let epoch = self.latch.now().ok();
        soon(self.http.ask(super::Asked { epoch, ..super::Asked::own(id, frame, about) })).await
    }
}

/// One request, head and body; its id.
async fn read_request(socket: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let n = soon(socket.read(&mut chunk)).await.unwrap();
        assert!(n > 0, "closed before a request");
        seen.extend_from_slice(&chunk[..n]);
        let text = String::from_utf8_lossy(&seen);
        if let Some((_, body)) = text.split_once("\r\n\r\n")
            && body.ends_with('}')
        {
            let body: serde_json::Value = serde_json::from_str(body).unwrap();
            return body["id"].to_string();
        }
    }
}

async fn reply(socket: &mut TcpStream, body: &str) {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
}

/// Closes a connection and lets the runtime see it: an exchange over another one comes after it.
async fn hang_up(socket: TcpStream) {
    drop(socket);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut theirs, _) = soon(listener.accept()).await.unwrap();
    theirs.write_all(b"x").await.unwrap();
    soon(ours.read_u8()).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_died_idle_costs_nothing() {
    let (bare, socket) = Bare::open().await;
    hang_up(socket).await;
    let serve = async {
        let (mut socket, _) = soon(bare.listener.accept()).await.unwrap();
        let id = read_request(&mut socket).await;
        reply(&mut socket, &format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}")).await;
    };
    let (answered, ()) = tokio::join!(bare.call(), serve);
    result_of(answered);
}

#[tokio::test]
async fn a_call_that_may_have_arrived_is_never_sent_again() {
    let (bare, mut socket) = Bare::open().await;
    let serve = async {
        read_request(&mut socket).await;
        drop(socket);
    };
    let (answered, ()) = tokio::join!(bare.call(), serve);
    assert_eq!(answered.unwrap_err(), CallError::Unavailable { sent: Sent::Yes });
    let again = tokio::time::timeout(std::time::Duration::from_millis(50), bare.listener.accept());
    assert!(again.await.is_err(), "it dialled again");
}

#[tokio::test]
async fn a_server_that_is_gone_is_said_to_be_gone() {
    let (bare, socket) = Bare::open().await;
    let Bare { listener, http, latch, _dir } = bare;
    drop(listener);
    hang_up(socket).await;
    let bare = async {
        let about = super::About::own(Some(crate::wire::Version::MODERN), "tools/call");
        let frame = crate::wire::encode_notification("tools/call", None);
        let epoch = latch.now().ok();
        http.ask(super::Asked { epoch, ..super::Asked::own(9, frame, about) }).await
    };
    assert_eq!(soon(bare).await.unwrap_err(), CallError::Unavailable { sent: Sent::No });
    assert!(soon(http.closed()).await.contains("could not be reached"));
}

#[tokio::test]
async fn a_server_that_refuses_one_connection_keeps_its_session() {
    let (mut bare, socket) = Bare::open().await;
    let address = bare.listener.local_addr().unwrap();
    bare.listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // Nobody listens while the call dials for the first time; then somebody does.
    let held = TcpSocket::new_v4().unwrap();
    held.set_reuseaddr(true).unwrap();
    held.bind(address).unwrap();
    hang_up(socket).await;
    let serve = async {
        let listener = held.listen(1).unwrap();
        let (mut socket, _) = soon(listener.accept()).await.unwrap();
        let id = read_request(&mut socket).await;
        reply(&mut socket, &format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}")).await;
    };
    let (answered, ()) = tokio::join!(biased; bare.call(), serve);
    result_of(answered);
    let closed = tokio::time::timeout(std::time::Duration::ZERO, bare.http.closed()).await;
    assert!(closed.is_err(), "the session is over");
}

#[tokio::test]
async fn a_request_that_the_server_does_not_take_in_full_is_unknown() {
    let (bare, socket) = Bare::open().await;
    let huge = format!("{{\"x\":\"{}\"}}", "y".repeat(64 << 20));
    let frame = crate::wire::encode_request(
        &crate::wire::RequestId::from_u64(9),
        "t",
        Some(huge.as_bytes()),
    );
    let about = super::About::own(Some(crate::wire::Version::MODERN), "tools/call");
    let wait = std::time::Duration::from_millis(200);
    let asked = super::Asked { wait, ..super::Asked::own(9, frame, about) };
    let failed = soon(bare.http.ask(asked)).await.unwrap_err();
    assert_eq!(failed, CallError::Deadline { sent: Sent::Unknown });
    drop(socket);
}

#[tokio::test]
async fn a_call_that_met_a_reset_before_its_first_byte_is_sent_once_more() {
    let (bare, socket) = Bare::open().await;
    // Reset, not closed, and the runtime has had no chance to see it.
    socket.set_zero_linger().unwrap();
    drop(socket);
    let serve = async {
        let (mut socket, _) = soon(bare.listener.accept()).await.unwrap();
        let id = read_request(&mut socket).await;
        reply(&mut socket, &format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{}}}}")).await;
    };
    let (answered, ()) = tokio::join!(bare.call(), serve);
    result_of(answered);
}

#[tokio::test]
async fn a_body_of_which_only_the_first_part_is_flushed_is_unknown() {
    use super::super::line::{Parts, Pool, Slot};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let security = super::super::socket::Security::Plain;
    let address = super::super::socket::Address { host: "127.0.0.1".to_owned(), port, security };
    let mut slot = Slot::default();
    let line = slot.take_up(soon(Pool::new(address).dial()).await.unwrap());
    assert_eq!(line.sent(), Sent::No);
    // Longer than hyper gathers, so that it is flushed before the next part is asked for.
    let parts = vec![vec![b'x'; (1 << 20) + 1].into(), vec![b'y'; 64 << 20].into()];
    let mut request = http::Request::new(Parts::new(parts));
    *request.method_mut() = http::Method::POST;
    let wait = std::time::Duration::from_millis(200);
    assert!(tokio::time::timeout(wait, line.send(request)).await.is_err());
    assert_eq!(slot.sent(), Sent::Unknown);
}

#[tokio::test]
async fn a_defect_of_ours_ends_an_http_session_too() {
    let (bare, _socket) = Bare::open().await;
    bare.http.0.core.tasks.run(async { panic!("as the test wants it") });
    assert_eq!(soon(bare.http.closed()).await, "a task of the session failed");
}
