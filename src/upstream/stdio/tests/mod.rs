//! The stdio session against fake children, in memory and on a paused clock.

mod calls;
mod hostile;
mod stop;
mod talk;

use std::time::Duration;

use bytes::Bytes;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

use super::{Ask, Pipes, Stdio};
use crate::{
    domain::{CallError, ServerName},
    gate::{Cause, Epoch, Latch},
    upstream::{
        NoticeSender,
        talk::{Ear, Hears},
    },
    wire::{Body, Notice, Object, RequestId, Response, encode_request},
};

const WAIT: Duration = Duration::from_secs(60);

/// A session, the child's ends of its pipes, and the latch.
struct Rig {
    session: Stdio,
    stdin: BufReader<DuplexStream>,
    stdout: DuplexStream,
    latch: Latch,
    _dir: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        Self::with_stdin_of(1 << 20)
    }

    /// A child whose stdin holds so many bytes that it has not read.
    fn with_stdin_of(bytes: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let latch = Latch::open(dir.path());
        let (ours_in, stdin) = tokio::io::duplex(bytes);
        let (stdout, ours_out) = tokio::io::duplex(1 << 16);
        let name = ServerName::parse("fake").unwrap();
        let pipes = Pipes { stdout: ours_out, stdin: ours_in };
        let session = Stdio::over(&name, pipes, None, (latch.clone(), can()));
        Self { session, stdin: BufReader::new(stdin), stdout, latch, _dir: dir }
    }

    fn epoch(&self) -> Epoch {
        self.latch.now().unwrap()
    }

    fn ask(&self, params: &str, wait: Duration) -> (u64, Ask) {
        let id = self.session.draw_id();
        let frame = encode_request(&RequestId::from_u64(id), "tools/call", Some(params.as_bytes()));
        (id, Ask { id, frame, epoch: Some(self.epoch()), wait, ear: None, talk: None })
    }

    /// A call under way in a task of its own.
    fn call(&self) -> (u64, JoinHandle<Result<Response, CallError>>) {
        self.start(r#"{"name":"t"}"#, WAIT, None)
    }

    fn start(
        &self,
        params: &str,
        wait: Duration,
        notices: Option<NoticeSender>,
    ) -> (u64, JoinHandle<Result<Response, CallError>>) {
        let ear = notices.map(|notices| Ear { notices, hears: Hears::Named });
        self.start_hearing(params, wait, ear)
    }

    fn start_hearing(
        &self,
        params: &str,
        wait: Duration,
        ear: Option<Ear>,
    ) -> (u64, JoinHandle<Result<Response, CallError>>) {
        let (id, mut ask) = self.ask(params, wait);
        ask.ear = ear;
        let session = self.session.clone();
        #[expect(clippy::disallowed_methods, reason = "a test waits for every task it starts")]
        let task = tokio::spawn(async move { session.ask(ask).await });
        (id, task)
    }

    /// The next line that the child finds on its stdin; empty at its end.
    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = timeout(WAIT, self.stdin.read_line(&mut line)).await;
        read.expect("no line came").unwrap();
        line.trim_end().to_owned()
    }

    async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        self.stdout.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn answer(&mut self, id: u64, result: &str) {
        self.say(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}\n")).await;
    }

    fn stop(&self) {
        self.latch.engage(Cause::new("test", "test"));
    }

    fn reset(&self) {
        self.latch.lift_all();
    }

    fn oddities(&self) -> crate::upstream::Oddities {
        self.session.counts().read()
    }
}

/// What the child was told that it can ask.
fn can() -> Object {
    Object::parse(r#"{"elicitation":{},"roots":{}}"#.into()).unwrap()
}

fn result_of(answered: Result<Response, CallError>) -> Bytes {
    match answered.unwrap().body {
        Body::Result(result) => result.raw().clone(),
        Body::Error(error) => error.raw().clone(),
    }
}

fn notices(room: usize) -> (NoticeSender, mpsc::Receiver<Notice>) {
    mpsc::channel(room)
}

/// Waits until `seen` holds: the actor has got that far. Gives up after many turns, not after a
/// time, because the clock stands still.
async fn until(seen: impl Fn() -> bool) {
    for _ in 0..100_000 {
        if seen() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never happened");
}
