//! Cancelled requests, ids in use, and the end of a client.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

use portcullis::provide::serve_files;
use serde_json::{Value, json};

use super::{Client, Tree, triple};

/// Opens once; until then everybody waits.
#[derive(Clone, Default)]
struct Barrier(Arc<(Mutex<bool>, Condvar)>);

impl Barrier {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let guard = self.0.0.lock().unwrap();
        let wait = self.0.1.wait_timeout_while(guard, Duration::from_secs(10), |open| !*open);
        assert!(!wait.unwrap().1.timed_out());
    }
}

/// Input that opens the barrier when everything in it has been taken in.
struct Script(std::io::Cursor<Vec<u8>>, Barrier);

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.0.read(buffer)?;
        if read == 0 {
            self.1.open();
        }
        Ok(read)
    }
}

/// Output that takes nothing until the barrier is open.
struct Stuck(Arc<Mutex<Vec<u8>>>, Barrier);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.1.wait();
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Sends `lines` while every worker is stuck with its answer, and gives the ids then answered.
fn answered_behind_stuck_workers(tree: &Tree, lines: &[Value]) -> Vec<Value> {
    let input = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
    let (output, barrier) = (Arc::default(), Barrier::default());
    let script = Script(std::io::Cursor::new(input.into_bytes()), barrier.clone());
    serve_files(&tree.options(), script, Stuck(Arc::clone(&output), barrier)).unwrap();
    let output = output.lock().unwrap();
    output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(answer).collect()
}

fn answer(line: &[u8]) -> Value {
    serde_json::from_slice(line).unwrap()
}

fn search(id: usize) -> Value {
    let params = json!({ "name": "search_files", "arguments": {}, "_meta": triple("2026-07-28") });
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params })
}

#[test]
fn a_cancelled_request_is_not_answered_and_all_others_are() {
    let tree = Tree::new();
    let mut lines = (1..=6).map(search).collect::<Vec<_>>();
    lines.push(json!({ "jsonrpc": "2.0", "method": "notifications/cancelled",
        "params": { "requestId": 5 } }));
    let answers = answered_behind_stuck_workers(&tree, &lines);
    let mut ids = answers.iter().map(|one| one["id"].as_u64().unwrap()).collect::<Vec<_>>();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2, 3, 4, 6]);
}

#[test]
fn an_id_in_use_is_refused() {
    let tree = Tree::new();
    let mut client = Client::legacy(&tree, "2025-03-26");
    // Both calls of a batch are begun before either is worked on.
    client.send(&json!([search(1), search(1)]));
    let answers = client.receive();
    assert!(answers[0]["result"].is_object());
    assert_eq!(answers[1]["error"]["code"], -32600);
    client.send(&json!([search(1)]));
    assert!(client.receive()[0]["result"].is_object());
}

#[test]
fn the_server_ends_when_its_client_does() {
    let tree = Tree::new();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let options = tree.options();
    let server = thread::spawn(move || {
        let input = theirs.try_clone().unwrap();
        serve_files(&options, input, theirs)
    });
    drop(ours);
    assert!(server.join().unwrap().is_ok());
}
