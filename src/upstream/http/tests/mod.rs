//! The HTTP session against a small server whose every answer the test gives by hand.
//!
//! Real sockets on a real clock: what is waited for is a value, with a limit on the wait.

mod calls;
mod hostile;
mod legacy;
mod opening;
mod renewal;
pub(in crate::upstream) mod server;
mod talk;

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, task::JoinHandle};

use self::server::Server;
use super::{About, Asked, Http, Progress, open};
use crate::{
    config::{HttpTarget, Secret, ServerConfig, Target},
    domain::{CallError, Era, ServerName, limits::UNASKED_BYTES_MAX},
    gate::{Cause, Latch},
    upstream::{ConnectError, NoticeSender, handshake, handshake::Greeting, talk::Hears},
    wire::{Body, ClientFace, Notice, RequestId, Response, Version, encode_request},
};

/// Longer than anything here takes, shorter than anybody's patience.
const WAIT: Duration = Duration::from_secs(20);

/// An open session and its server.
struct Rig {
    http: Http,
    server: Server,
    latch: Latch,
    version: Version,
    _dir: tempfile::TempDir,
}

/// A session that is being opened: the test has to answer meanwhile.
struct Opening {
    server: Server,
    latch: Latch,
    opened: JoinHandle<Result<(Http, Greeting), ConnectError>>,
    dir: tempfile::TempDir,
}

impl Opening {
    async fn begin(era: Option<Era>) -> Self {
        Self::begin_as(era, handshake::face()).await
    }

    async fn begin_as(era: Option<Era>, face: ClientFace) -> Self {
        let server = Server::start().await;
        let dir = tempfile::tempdir().unwrap();
        let latch = Latch::open(dir.path());
        let config = config(&format!("http://{}/mcp", server.address));
        let (latch_of_task, face) = (latch.clone(), Arc::new(face));
        let opened = spawn(async move {
            let Target::Http(target) = &config.replicas[0].target else { panic!("not http") };
            open(&config, target, era, latch_of_task, face).await
        });
        Self { server, latch, opened, dir }
    }

    async fn done(self) -> Rig {
        let (http, greeting) = self.opened.await.unwrap().unwrap();
        let version = greeting.version;
        Rig { http, server: self.server, latch: self.latch, version, _dir: self.dir }
    }
}

impl Rig {
    async fn modern() -> Self {
        let mut opening = Opening::begin(None).await;
        opening.server.next().await.json(200, DISCOVERED);
        opening.done().await
    }

    /// A legacy session with an id; its GET stream is refused.
    async fn legacy() -> Self {
        let mut opening = Opening::begin(Some(Era::Legacy)).await;
        opening.server.greet("s1").await;
        let stream = opening.server.next().await;
        assert_eq!(stream.method, "GET");
        stream.json(405, "");
        opening.done().await
    }

    fn call(&self) -> (u64, JoinHandle<Result<Response, CallError>>) {
        self.start(WAIT, None)
    }

    fn start(
        &self,
        wait: Duration,
        notices: Option<NoticeSender>,
    ) -> (u64, JoinHandle<Result<Response, CallError>>) {
        self.start_as(Hears::Named, wait, notices)
    }

    fn start_as(
        &self,
        hears: Hears,
        wait: Duration,
        notices: Option<NoticeSender>,
    ) -> (u64, JoinHandle<Result<Response, CallError>>) {
        let (id, http, version) = (self.http.draw_id(), self.http.clone(), self.version);
        let epoch = self.latch.now().ok();
        let task = spawn(async move {
            let frame = encode_request(&RequestId::from_u64(id), "tools/call", Some(b"{}"));
            let about = About { name: Some("tool"), ..About::own(Some(version), "tools/call") };
            let asked = Asked {
                wait,
                epoch,
                notices: notices.as_ref(),
                progress: Progress::Wanted,
                hears,
                ..Asked::own(id, frame, about)
            };
            http.ask(asked).await
        });
        (id, task)
    }

    /// Closes the session; the server has heard nothing in between.
    async fn next_is_the_goodbye_to(&mut self, session: &str) {
        let http = self.http.clone();
        let closing = spawn(async move { http.close().await });
        let goodbye = self.server.next().await;
        let said = (goodbye.method.as_str(), goodbye.header("mcp-session-id"));
        assert_eq!((said, goodbye.body.as_str()), (("DELETE", session), ""));
        goodbye.json(200, "");
        soon(closing).await.unwrap();
    }

    fn stop(&self) {
        self.latch.engage(Cause::new("test", "test"));
    }

    fn reset(&self) {
        self.latch.lift_all();
    }
}

const DISCOVERED: &str =
    r#"{"jsonrpc":"2.0","id":1,"result":{"supportedVersions":["2026-07-28"]}}"#;

fn config(url: &str) -> ServerConfig {
    let headers = vec![(http::HeaderName::from_static("x-key"), Secret::new("s3cret"))];
    let target = Target::Http(HttpTarget { url: url.parse().unwrap(), headers });
    ServerConfig {
        startup_timeout: WAIT,
        tool_timeout: WAIT,
        ..ServerConfig::new(ServerName::parse("remote").unwrap(), target)
    }
}

fn answer(id: u64, result: &str) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}")
}

/// What a session has said unasked would not make it wait for long yet.
fn assert_nearly_nothing_is_owed(http: &Http) {
    let most = usize::try_from(UNASKED_BYTES_MAX).unwrap() - (64 << 10);
    let until = http.0.core.unasked.lock().unwrap().spend(most, 0, tokio::time::Instant::now());
    assert_eq!(until, None);
}

fn event(message: &str) -> String {
    format!("data: {message}\n\n")
}

fn progress(token: u64, n: u32) -> String {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\
         \"params\":{{\"progressToken\":{token},\"progress\":{n}}}}}"
    )
}

fn result_of(answered: Result<Response, CallError>) -> String {
    let body = match answered.unwrap().body {
        Body::Result(object) | Body::Error(object) => object,
    };
    String::from_utf8(body.raw().to_vec()).unwrap()
}

fn notices() -> (NoticeSender, mpsc::Receiver<Notice>) {
    mpsc::channel(8)
}

async fn next_progress(notices: &mut mpsc::Receiver<Notice>) -> i64 {
    let notice = soon(notices.recv()).await.expect("no notice");
    notice.params.unwrap().integer("progress").unwrap()
}

/// The value, or the end of the test.
async fn soon<T>(value: impl Future<Output = T>) -> T {
    tokio::time::timeout(WAIT, value).await.expect("it did not happen in time")
}

fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    #[expect(clippy::disallowed_methods, reason = "a test waits for every task it starts")]
    tokio::spawn(task)
}
