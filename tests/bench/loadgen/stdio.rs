//! Sessions over one child's standard input and output, told apart by id.
//!
//! The child is shared, as it is behind a gateway: a thread reads its lines and hands each to the
//! call that waits for it. Writing blocks, which a pipe's reader on a thread of its own allows.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    Result,
    message::{INITIALIZED, Wire, id_of, request, result_of},
};

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Vec<u8>>>>>;

#[derive(Debug)]
pub(crate) struct StdioServer {
    input: Mutex<ChildStdin>,
    waiting: Waiting,
    child: Child,
}

impl StdioServer {
    #[expect(clippy::disallowed_methods, reason = "the load generator is not the gateway")]
    pub(crate) async fn open(command: &[String], wire: Wire) -> Result<Self> {
        let (program, args) = command.split_first().ok_or("no command after stdio:")?;
        let mut child = std::process::Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().ok_or("no stdin")?;
        let output = child.stdout.take().ok_or("no stdout")?;
        let waiting = Waiting::default();
        let readers = Arc::clone(&waiting);
        thread::spawn(move || read(output, &readers));
        let server = Self { input: Mutex::new(input), waiting, child };
        if wire == Wire::Legacy {
            result_of(&server.send(0, request(wire, 0, "initialize")).await?)?;
            server.write(INITIALIZED.as_bytes())?;
        }
        Ok(server)
    }

    pub(crate) async fn send(&self, id: u64, body: Bytes) -> Result<Bytes> {
        let (tell, told) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, tell);
        self.write(&body)?;
        Ok(Bytes::from(told.await.map_err(|_| "the child closed its stdout")?))
    }

    fn write(&self, line: &[u8]) -> Result<()> {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        // One write, so that the child does not wake up for half a line.
        Ok(input.write_all(&[line, b"\n"].concat())?)
    }
}

impl Drop for StdioServer {
    fn drop(&mut self) {
        // It may be gone already: then there is nothing to end.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn read(output: ChildStdout, waiting: &Waiting) {
    let mut output = BufReader::with_capacity(256 * 1024, output);
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        let call = id_of(&line);
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let told = call.and_then(|id| waiting.remove(&id));
        drop(told.map(|tell| tell.send(std::mem::take(&mut line))));
        line.clear();
    }
    waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
}
