//! Whole sessions, with permits from a real gate: what goes out for one admitted call, which tools
//! a server is said to have, and which era a child is taken for.

mod call;
mod eras;
mod tools;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream},
    task::JoinHandle,
};

use super::{
    Line, Session, Whose,
    handshake::{self, Greeting},
    stdio::{Pipes, Stdio},
};
use crate::{
    domain::ServerName,
    gate::Latch,
    wire::{Object, Version},
};

const WAIT: Duration = Duration::from_secs(20);

/// The far end of a child's pipes.
pub(crate) struct FakeChild {
    stdin: BufReader<DuplexStream>,
    stdout: DuplexStream,
}

impl FakeChild {
    fn start(latch: &Latch) -> (Stdio, Self) {
        let (ours_in, stdin) = tokio::io::duplex(1 << 20);
        let (stdout, ours_out) = tokio::io::duplex(1 << 20);
        let name = ServerName::parse("fake").unwrap();
        let pipes = Pipes { stdout: ours_out, stdin: ours_in };
        let stdio = Stdio::over(&name, pipes, None, (latch.clone(), Object::empty()));
        (stdio, Self { stdin: BufReader::new(stdin), stdout })
    }

    /// The next message that it gets; none once its stdin is closed.
    pub(crate) async fn hear(&mut self) -> Option<serde_json::Value> {
        let mut line = String::new();
        self.stdin.read_line(&mut line).await.unwrap();
        (!line.is_empty()).then(|| serde_json::from_str(&line).unwrap())
    }

    pub(crate) async fn answer(&mut self, id: &serde_json::Value, body: &str) {
        self.say(&format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},{body}}}\n")).await;
    }

    pub(crate) async fn say(&mut self, line: &str) {
        self.stdout.write_all(line.as_bytes()).await.unwrap();
    }
}

/// An open session over the pipes of a fake child.
pub(crate) fn session(latch: &Latch, version: Version) -> (Session, FakeChild) {
    let (stdio, child) = FakeChild::start(latch);
    let greeting = Greeting { version, server_info: None, capabilities: None, instructions: None };
    let name = ServerName::parse("fake").unwrap();
    let face = (Whose::Everybodys, Arc::new(handshake::face()));
    (Session::new(name, Line::Stdio(stdio), greeting, face, latch.clone()), child)
}

fn latch() -> (Latch, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Latch::open(dir.path()), dir)
}

fn object(text: &str) -> Object {
    Object::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

async fn soon<T>(value: impl Future<Output = T>) -> T {
    tokio::time::timeout(WAIT, value).await.expect("it did not happen in time")
}

fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    #[expect(clippy::disallowed_methods, reason = "a test waits for every task it starts")]
    tokio::spawn(task)
}
