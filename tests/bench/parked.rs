//! 1,000 questions that nobody answers: after their time nothing of them is left.
//!
//! The whole gateway runs as a process of its own, on a clock that this program moves on, so that
//! ten minutes pass at once; servers and clients are real. Three rounds of the same size: what the
//! first two have touched for good is the baseline of the third. Counts the calls that the servers
//! were told to forget, the processes and sessions that are left, and the resident memory.
//! `cargo test --test parked` checks and prints it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a program that measures starts processes itself, and fails loudly"
)]

#[path = "upstream/port.rs"]
mod port;

use std::{
    collections::HashMap,
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use port::port_in;
use portcullis::{
    app::{self, Mode},
    config,
    domain::limits::{LEASE_IDLE_MAX, QUESTION_WAIT_MAX},
    gate::Rules,
    jail,
    sys::Inherited,
    telemetry,
};
use serde_json::{Value, json};
use tempfile::TempDir;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SOON: Duration = Duration::from_secs(60);
/// Modern callers share one session a server; each legacy conversation has one of its own. On a
/// pipe one call at a time is asked, because nothing else tells whose a question is.
const MODERN_OVER_STDIO: usize = 100;
const MODERN_OVER_HTTP: usize = 500;
const HTTP_CALLERS: usize = 10;
const CONVERSATIONS: usize = 20;
const CALLS_EACH: usize = 20;
const ALL: usize = MODERN_OVER_STDIO + MODERN_OVER_HTTP + CONVERSATIONS * CALLS_EACH;
const ROUNDS: usize = 3;
/// What the last round may leave of memory, relative to those before.
const GROWTH_MAX: f64 = 1.1;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().collect();
    match words.get(1).map(String::as_str) {
        Some("__exec") => jail::helper_main(),
        Some("gateway") => gateway(Path::new(words.get(2).unwrap())),
        Some(_) | None => {
            measure();
            ExitCode::SUCCESS
        }
    }
}

/// The child: the gateway, whose clock moves on by as many seconds as each line of stdin says.
fn gateway(config: &Path) -> ExitCode {
    telemetry::init().unwrap();
    let config = config::load(config).unwrap();
    let rules = Rules::compile(&config).unwrap();
    let (seconds, mut to_pass) = tokio::sync::mpsc::channel(1);
    thread::spawn(move || {
        for line in io::stdin().lines() {
            seconds.blocking_send(line.unwrap().parse::<u64>().unwrap()).unwrap();
        }
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let moved_on = async {
            while let Some(seconds) = to_pass.recv().await {
                tokio::time::pause();
                tokio::time::advance(Duration::from_secs(seconds)).await;
                tokio::time::resume();
            }
        };
        tokio::select! {
            ended = Box::pin(app::run(config, rules, Mode::Listen, Inherited::default())) => ended.unwrap(),
            () = moved_on => {}
        }
    });
    // Standard input may be blocked in a read.
    runtime.shutdown_background();
    ExitCode::SUCCESS
}

fn measure() {
    let house = House::start();
    let sessions: Vec<String> = (0..CONVERSATIONS).map(|_| house.initialize()).collect();
    let bare = house.census();
    let mut left = Vec::new();
    println!("before: {bare:?}");
    for round in 1..=ROUNDS {
        let began = Instant::now();
        let streams = house.park(&sessions, round);
        let parked = house.census();
        assert!(parked.children > bare.children + CONVERSATIONS, "{parked:?} after {bare:?}");
        assert_eq!(parked.http_sessions, bare.http_sessions + 1);
        println!("round {round}: {ALL} parked in {:?}: {parked:?}", began.elapsed());
        house.pass(QUESTION_WAIT_MAX);
        house.until("every call to be called back", |now| now.cancelled == round * ALL);
        drop(streams);
        // The sessions have been idle since their last call.
        house.pass(LEASE_IDLE_MAX.saturating_sub(QUESTION_WAIT_MAX));
        house.until("every session to be ended", |now| {
            (now.children, now.http_sessions) == (bare.children, bare.http_sessions)
        });
        left.push(house.settled());
        println!("round {round}: nobody answered: {} KiB are left", left.last().unwrap());
    }
    let last = left.pop().unwrap();
    let growth = last as f64 / left.into_iter().max().unwrap() as f64;
    println!("resident after the last round: {growth:.3} x what was left before");
    assert!(growth <= GROWTH_MAX, "memory does not return");
}

/// The gateway with its three servers.
struct House {
    gateway: Child,
    clock: ChildStdin,
    remote: Child,
    port: u16,
    dir: TempDir,
}

/// What is there at one moment.
#[derive(Clone, Copy, Debug)]
struct Census {
    /// Processes below the gateway, keepers included.
    children: usize,
    /// Sessions at the server behind HTTP.
    http_sessions: usize,
    /// Calls that servers were told to forget, in all.
    cancelled: usize,
    #[expect(dead_code, reason = "it is printed")]
    resident_kib: u64,
}

impl House {
    fn start() -> Self {
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
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let port = port_in(gateway.stderr.take().unwrap());
        let clock = gateway.stdin.take().unwrap();
        let house = Self { gateway, clock, remote, port, dir };
        house.until("the servers to be ready", |_| {
            let answer = house.exchange("GET /ready HTTP/1.1\r\nHost: localhost\r\n", "");
            answer.starts_with("HTTP/1.1 200")
        });
        house
    }

    fn pass(&self, time: Duration) {
        // A second more, so that what is due at that very moment is due.
        writeln!(&self.clock, "{}", time.as_secs() + 1).unwrap();
    }

    /// Has all questions asked; the streams of the legacy calls stay open.
    fn park(&self, sessions: &[String], round: usize) -> Vec<TcpStream> {
        let desk = [("desk", None, MODERN_OVER_STDIO)];
        let remote = [("remote", None, MODERN_OVER_HTTP / HTTP_CALLERS); HTTP_CALLERS];
        let shell = sessions.iter().map(|session| ("shell", Some(session.as_str()), CALLS_EACH));
        thread::scope(|scope| {
            let callers = desk.into_iter().chain(remote).chain(shell).enumerate();
            let callers: Vec<_> = callers
                .map(|(n, (server, session, n_calls))| {
                    // No id twice in a session, in either round.
                    let first = (round * ALL + n) * ALL;
                    let asked = move |id| self.ask(server, session, id);
                    scope.spawn(move || {
                        (first..first + n_calls).filter_map(asked).collect::<Vec<_>>()
                    })
                })
                .collect();
            callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
        })
    }

    /// One call that ends in a question: for a modern client with it, for a legacy one not at all.
    fn ask(&self, server: &str, session: Option<&str>, id: usize) -> Option<TcpStream> {
        let name = format!("{server}__test_elicitation");
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
        while !text.contains("elicitation/create") {
            let n = stream.read(&mut piece).unwrap();
            assert!(n > 0, "no question came: {text}");
            text.push_str(&String::from_utf8_lossy(piece.get(..n).unwrap()));
        }
        session.map(|_| stream)
    }

    fn initialize(&self) -> String {
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

    fn census(&self) -> Census {
        let journals = ["desk", "shell", "remote"].map(|name| self.journal(name));
        let n = |text: &str, what: &str| text.matches(what).count();
        let remote = &journals[2];
        let opened = n(remote, "\"method\":\"initialize\"");
        Census {
            children: n_below(self.gateway.id()),
            http_sessions: opened.saturating_sub(n(remote, "\"event\":\"session-deleted\"")),
            cancelled: journals.iter().map(|text| n(text, "notifications/cancelled")).sum(),
            resident_kib: self.resident_kib(),
        }
    }

    fn journal(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(format!("{name}.jsonl"))).unwrap_or_default()
    }

    fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.gateway.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The resident memory once it does not shrink any more: the allocator gives back at leisure.
    fn settled(&self) -> u64 {
        let mut least = self.resident_kib();
        for _ in 0..20 {
            thread::park_timeout(Duration::from_millis(100));
            least = least.min(self.resident_kib());
        }
        least
    }

    fn until(&self, what: &str, seen: impl Fn(Census) -> bool) {
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
