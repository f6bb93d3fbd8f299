//! The gateway of `parked`, its servers and callers, and what there is of it at one moment.
//!
//! The callers are sockets, so that they cost the machine little. Judges nothing.

use std::{
    collections::HashMap,
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    ALL, CALLS_EACH, HEAP, HTTP_CALLERS, MODERN_OVER_HTTP, MODERN_OVER_STDIO, port::port_in,
};

const SOON: Duration = Duration::from_secs(60);

#[derive(Clone, Copy)]
pub(crate) enum Tool {
    Asks,
    Answers,
}

/// The gateway with its three servers.
pub(crate) struct House {
    gateway: Child,
    clock: ChildStdin,
    answers: Mutex<BufReader<ChildStdout>>,
    remote: Child,
    port: u16,
    dir: TempDir,
}

/// What is there at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Census {
    /// Processes below the gateway, keepers included.
    pub(crate) children: usize,
    /// Sessions at the server behind HTTP.
    pub(crate) http_sessions: usize,
    /// Calls that servers were told to forget, in all.
    pub(crate) cancelled: usize,
    /// Allocated and not freed.
    pub(crate) heap_kib: u64,
    /// Without the pages of the program itself.
    pub(crate) resident_kib: u64,
}

impl House {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let program = fixture();
        let journal = |name: &str| dir.path().join(format!("{name}.jsonl")).display().to_string();
        let mut remote = Command::new(&program)
            .args(["--transport", "http", "--listen", "127.0.0.1:0", "--era", "legacy"])
            .args(["--journal", &journal("remote")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(remote.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap();
        let child = |name: &str, isolation: &str| {
            let args = ["--transport", "stdio", "--era", "legacy", "--journal", &journal(name)];
            format!(
                "[servers.{name}]\ncommand = {program:?}\nargs = {args:?}\nprotocol = \"legacy\"\n\
                 isolation = {isolation:?}\n"
            )
        };
        let config = dir.path().join("servers.toml");
        let text = format!(
            "[gateway]\nlisten = \"127.0.0.1:0\"\nadmin = \"unix:{}\"\nstate_dir = \"state\"\n{}{}\
             [servers.remote]\nurl = \"http://{address}/mcp\"\nprotocol = \"legacy\"\n\
             isolation = \"per-principal\"\n",
            dir.path().join("admin.sock").display(),
            child("desk", "per-principal"),
            child("shell", "per-session"),
        );
        fs::write(&config, text).unwrap();
        let policies = dir.path().join("policies");
        fs::create_dir(&policies).unwrap();
        fs::write(policies.join("all.cedar"), "permit(principal, action, resource);\n").unwrap();
        let mut gateway = Command::new(env::current_exe().unwrap())
            .arg("gateway")
            .arg(&config)
            .env("PORTCULLIS_LOG", "info")
            .env("PORTCULLIS_LOG_FORMAT", "json")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = Mutex::new(BufReader::new(gateway.stdout.take().unwrap()));
        let port = port_in(gateway.stderr.take().unwrap());
        let clock = gateway.stdin.take().unwrap();
        let house = Self { gateway, clock, answers, remote, port, dir };
        house.until("the servers to be ready", |_| {
            let answer = house.exchange("GET /ready HTTP/1.1\r\nHost: localhost\r\n", "");
            answer.starts_with("HTTP/1.1 200")
        });
        house
    }

    pub(crate) fn pass(&self, time: Duration) {
        // A second more, so that what is due at that very moment is due.
        writeln!(&self.clock, "{}", time.as_secs() + 1).unwrap();
    }

    /// Has all calls made; the streams of the legacy calls stay open.
    pub(crate) fn call(&self, sessions: &[String], round: usize, tool: Tool) -> Vec<TcpStream> {
        let desk = [("desk", None, MODERN_OVER_STDIO)];
        let remote = [("remote", None, MODERN_OVER_HTTP / HTTP_CALLERS); HTTP_CALLERS];
        let shell = sessions.iter().map(|session| ("shell", Some(session.as_str()), CALLS_EACH));
        thread::scope(|scope| {
            let callers = desk.into_iter().chain(remote).chain(shell).enumerate();
            let callers: Vec<_> = callers
                .map(|(n, (server, session, n_calls))| {
                    // No id twice in a session, in either round.
                    let first = (round * ALL + n) * ALL;
                    let asked = move |id| self.ask((server, tool), session, id);
                    scope.spawn(move || {
                        (first..first + n_calls).filter_map(asked).collect::<Vec<_>>()
                    })
                })
                .collect();
            callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
        })
    }

    /// One call. If it asks, it ends with the question for a modern client, and for a legacy one
    /// not at all.
    fn ask(
        &self,
        (server, tool): (&str, Tool),
        session: Option<&str>,
        id: usize,
    ) -> Option<TcpStream> {
        let (name, sign) = match tool {
            Tool::Asks => ("test_elicitation", "elicitation/create"),
            Tool::Answers => ("test_simple_text", "\"content\""),
        };
        let name = format!("{server}__{name}");
        let mut params = json!({ "name": name, "arguments": { "message": "anybody?" } });
        let head = match session {
            Some(session) => format!("Mcp-Session-Id: {session}\r\n"),
            None => {
                params["_meta"] = json!({
                    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientCapabilities": able(),
                });
                format!(
                    "Connection: close\r\nMcp-Protocol-Version: 2026-07-28\r\n\
                     Mcp-Method: tools/call\r\nMcp-Name: {name}\r\n"
                )
            }
        };
        let mut stream = self.post(&head, id, "tools/call", &params);
        let mut text = String::new();
        let mut piece = [0; 4096];
        while !text.contains(sign) {
            let n = stream.read(&mut piece).unwrap();
            assert!(n > 0, "no question came: {text}");
            text.push_str(&String::from_utf8_lossy(piece.get(..n).unwrap()));
        }
        session.map(|_| stream)
    }

    pub(crate) fn initialize(&self) -> String {
        let params = json!({
            "protocolVersion": "2025-06-18", "capabilities": able(),
            "clientInfo": { "name": "parked", "version": "1" },
        });
        let mut stream = self.post("Connection: close\r\n", 0, "initialize", &params);
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let id = text.lines().find_map(|line| line.strip_prefix("mcp-session-id: "));
        id.unwrap_or_else(|| panic!("no session: {text}")).to_owned()
    }

    fn post(&self, head: &str, id: usize, method: &str, params: &Value) -> TcpStream {
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let body = body.to_string();
        let mut stream = self.connect();
        write!(
            stream,
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Accept: application/json, text/event-stream\r\n{head}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        stream
    }

    fn exchange(&self, head: &str, body: &str) -> String {
        let mut stream = self.connect();
        write!(stream, "{head}Connection: close\r\n\r\n{body}").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }

    pub(crate) fn census(&self) -> Census {
        let journals = ["desk", "shell", "remote"].map(|name| self.journal(name));
        let n = |text: &str, what: &str| text.matches(what).count();
        let remote = &journals[2];
        let opened = n(remote, "\"method\":\"initialize\"");
        Census {
            children: n_below(self.gateway.id()),
            http_sessions: opened.saturating_sub(n(remote, "\"event\":\"session-deleted\"")),
            cancelled: journals.iter().map(|text| n(text, "notifications/cancelled")).sum(),
            heap_kib: self.heap_kib(),
            resident_kib: self.resident_kib(),
        }
    }

    fn journal(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(format!("{name}.jsonl"))).unwrap_or_default()
    }

    fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.gateway.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Once it does not shrink any more: the last streams take their time to close.
    pub(crate) fn settled(&self) -> Census {
        let mut least = self.census();
        for _ in 0..20 {
            thread::park_timeout(Duration::from_millis(100));
            let now = self.census();
            least = if now.heap_kib < least.heap_kib { now } else { least };
        }
        least
    }

    fn heap_kib(&self) -> u64 {
        writeln!(&self.clock, "{HEAP}").unwrap();
        let mut line = String::new();
        self.answers.lock().unwrap().read_line(&mut line).unwrap();
        line.trim().parse().unwrap()
    }

    pub(crate) fn until(&self, what: &str, seen: impl Fn(Census) -> bool) {
        let deadline = Instant::now() + SOON;
        while !seen(self.census()) {
            assert!(Instant::now() < deadline, "waited too long for {what}: {:?}", self.census());
            thread::park_timeout(Duration::from_millis(20));
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        for child in [&mut self.gateway, &mut self.remote] {
            child.kill().unwrap_or_default();
            child.wait().unwrap();
        }
    }
}

fn able() -> Value {
    json!({ "elicitation": { "form": {} } })
}

/// How many processes descend from this one.
fn n_below(ancestor: u32) -> usize {
    let mut parents = HashMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        // One that is gone meanwhile is none.
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let parent = after_name.split_whitespace().nth(1).and_then(|word| word.parse::<u32>().ok());
        parents.extend(pid.zip(parent));
    }
    let descends = |pid: &u32| {
        let chain = std::iter::successors(parents.get(pid), |pid| parents.get(pid));
        chain.take(parents.len()).any(|pid| *pid == ancestor)
    };
    parents.keys().filter(|pid| descends(pid)).count()
}

/// The fixture server, which `cargo test` builds as an example.
fn fixture() -> PathBuf {
    let path =
        Path::new(env!("CARGO_BIN_EXE_portcullis")).with_file_name("examples/fixture-server");
    assert!(path.exists(), "{} is not built: run `cargo build --examples`", path.display());
    path
}
