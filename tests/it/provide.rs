//! The built-in file server over its protocol: both eras, and no way out of its root.
//!
//! The server runs in a thread on one end of a socket pair; the tests speak on the other, line by
//! line, and wait at most ten seconds for an answer.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test says by panicking what is wrong"
)]

mod answers;
mod cancel;
mod eras;
mod escapes;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{fs::symlink, net::UnixStream},
    path::PathBuf,
    thread,
    time::Duration,
};

use portcullis::provide::{FilesOptions, ProvideError, serve_files};
use serde_json::{Value, json};

const SECRET: &str = "never to be seen";

/// A root to serve, and a directory beside it that must stay out of reach.
struct Tree {
    dir: tempfile::TempDir,
}

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for part in ["root/sub", "root/empty", "outside"] {
            fs::create_dir_all(dir.path().join(part)).unwrap();
        }
        fs::write(dir.path().join("outside/secret"), SECRET).unwrap();
        let tree = Self { dir };
        tree.write("hello.md", "# Hello\nsecond line\n");
        tree.write("sub/inner.txt", "inner text\n");
        tree.write(".hidden", "hidden\n");
        tree
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        fs::write(self.root().join(path), content).unwrap();
    }

    fn link(&self, target: &str, path: &str) {
        symlink(target, self.root().join(path)).unwrap();
    }

    fn options(&self) -> FilesOptions {
        FilesOptions { root: self.root() }
    }
}

/// One client with its own server.
struct Client {
    lines: BufReader<UnixStream>,
    server: Option<thread::JoinHandle<Result<(), ProvideError>>>,
    next_id: u64,
    modern: bool,
}

impl Client {
    fn raw(tree: &Tree) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let options = tree.options();
        let server = thread::spawn(move || {
            let input = theirs.try_clone().unwrap();
            serve_files(&options, input, theirs)
        });
        Self { lines: BufReader::new(ours), server: Some(server), next_id: 0, modern: false }
    }

    fn modern(tree: &Tree) -> Self {
        let mut client = Self::raw(tree);
        client.modern = true;
        client
    }

    fn legacy(tree: &Tree, version: &str) -> Self {
        let mut client = Self::raw(tree);
        let params = json!({ "protocolVersion": version, "capabilities": {},
            "clientInfo": { "name": "t", "version": "1" } });
        client.request("initialize", params);
        client.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        client
    }

    fn send(&mut self, message: &Value) {
        let line = format!("{message}\n");
        self.lines.get_mut().write_all(line.as_bytes()).unwrap();
    }

    fn receive(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// The whole answer, an error or a result.
    fn request(&mut self, method: &str, mut params: Value) -> Value {
        self.next_id += 1;
        if self.modern {
            params["_meta"] = triple("2026-07-28");
        }
        let id = self.next_id;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        let answer = self.receive();
        assert_eq!(answer["id"], id, "{answer}");
        answer
    }

    fn call(&mut self, tool: &str, arguments: Value) -> Value {
        let params = json!({ "name": tool, "arguments": arguments });
        let answer = self.request("tools/call", params);
        assert!(answer["result"].is_object(), "{answer}");
        answer["result"].clone()
    }

    /// The one sentence with which a call failed.
    #[track_caller]
    fn mistake(&mut self, tool: &str, arguments: Value) -> String {
        let result = self.call(tool, arguments);
        assert_eq!(result["isError"], true, "{result}");
        text(&result)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.lines.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
        if let (Some(server), false) = (self.server.take(), thread::panicking()) {
            server.join().unwrap().unwrap();
        }
    }
}

fn triple(version: &str) -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": { "name": "t", "version": "1" },
    })
}

fn text(result: &Value) -> String {
    result["content"][0]["text"].as_str().unwrap().to_owned()
}

fn names(result: &Value) -> Vec<String> {
    let entries = result["structuredContent"]["entries"].as_array().unwrap();
    entries.iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
}
