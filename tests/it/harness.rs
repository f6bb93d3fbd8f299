//! What every whole-path test needs: a running gateway in a directory of its own, the fixture
//! server, and waiting on values instead of sleeping.

use std::{
    fs,
    future::Future,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

/// Nothing in these tests takes this long unless it hangs.
pub(crate) const SOON: Duration = Duration::from_secs(20);

pub(crate) const PORTCULLIS: &str = env!("CARGO_BIN_EXE_portcullis");

/// The fixture server; `cargo test` builds examples, `cargo test --test it` alone does not.
pub(crate) fn fixture() -> PathBuf {
    let target = Path::new(PORTCULLIS).parent().unwrap();
    let path = target.join("examples/fixture-server");
    assert!(path.exists(), "{} is not built: run `cargo build --examples`", path.display());
    path
}

/// A gateway of our own, ended with the test.
pub(crate) struct Gateway {
    pub(crate) dir: TempDir,
    pub(crate) port: u16,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
}

impl Gateway {
    /// Starts with these `[servers.…]` tables (and others), waits until every server was tried.
    pub(crate) fn start(tables: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), tables)
    }

    pub(crate) fn start_in(dir: TempDir, tables: &str) -> Self {
        let gateway = Self::launch(dir, tables);
        gateway.wait_ready();
        gateway
    }

    /// Starts and returns when the endpoint is open.
    pub(crate) fn launch(dir: TempDir, tables: &str) -> Self {
        let config = write_config(dir.path(), tables);
        let mut command = Command::new(PORTCULLIS);
        command.args(["serve", "--config"]).arg(config);
        Self::spawn(dir, command)
    }

    /// The same for a command line of one's own, whose `servers.toml` is in `dir`. Over a unix
    /// socket there is no port, and 0 stands for it.
    pub(crate) fn spawn(dir: TempDir, mut command: Command) -> Self {
        command.stdin(Stdio::null());
        Self::spawn_with_input(dir, command)
    }

    /// The same with what the command has for its input.
    pub(crate) fn spawn_with_input(dir: TempDir, mut command: Command) -> Self {
        let mut child = command
            .env("PORTCULLIS_LOG", "info")
            .env("PORTCULLIS_LOG_FORMAT", "json")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let (found, endpoint) = mpsc::channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let kept = log.clone();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event: Value = serde_json::from_str(&line).unwrap_or_default();
                if let Some(endpoint) = event.get("endpoint").and_then(Value::as_str) {
                    found.send(endpoint.to_owned()).unwrap_or_default();
                }
                kept.lock().unwrap().push(line);
            }
        });
        let port = match endpoint.recv_timeout(SOON) {
            Ok(url) if url.starts_with("unix:") => 0,
            Ok(url) => url.rsplit(':').next().unwrap().trim_end_matches("/mcp").parse().unwrap(),
            Err(_) => panic!("the gateway did not start:\n{}", log.lock().unwrap().join("\n")),
        };
        Self { dir, port, child, log }
    }

    pub(crate) fn wait_ready(&self) {
        let ready = || {
            let answer = self.get("/ready");
            answer.starts_with("HTTP/1.1 200").then_some(())
        };
        wait_until("the gateway to be ready", ready, || self.log());
    }

    /// A plain GET, answered whole.
    pub(crate) fn get(&self, path: &str) -> String {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("servers.toml")
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().join("\n")
    }

    /// The `portcullis` command line, about this gateway.
    pub(crate) fn cli(&self, words: &[&str]) -> Output {
        Command::new(PORTCULLIS).args(words).arg("--config").arg(self.config()).output().unwrap()
    }

    /// Takes back the stop that is in force, in its two steps.
    #[track_caller]
    pub(crate) fn reset(&self) {
        let status = self.status();
        let id = status["stop"]["id"].as_str().unwrap_or_else(|| panic!("{status}"));
        for words in [
            &["estop", "reset", "--id", id, "--reason", "test over"][..],
            &["estop", "resume", "--id", id],
        ] {
            let step = self.cli(words);
            assert!(step.status.success(), "{step:?}");
        }
    }

    pub(crate) fn status(&self) -> Value {
        let output = self.cli(&["status", "--json"]);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The same by a configuration elsewhere that names the same admin socket.
    pub(crate) fn status_of(&self, dir: &Path) -> Value {
        let config = dir.join("servers.toml");
        let words = ["status", "--json", "--config"];
        let output = Command::new(PORTCULLIS).args(words).arg(config).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn signal(&self, name: &str) {
        let words = [format!("-{name}"), self.pid().to_string()];
        assert!(Command::new("kill").args(words).status().unwrap().success());
    }

    /// Every record of the audit but those of the log itself, in order.
    pub(crate) fn audit(&self) -> Vec<Value> {
        audit_in(&self.dir.path().join("state/audit"))
    }

    pub(crate) fn wait_audit(&self, what: &str, found: impl Fn(&Value) -> bool) -> Value {
        let look = || self.audit().into_iter().find(|record| found(record));
        wait_until(what, look, || format!("{:#?}\n{}", self.audit(), self.log()))
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn end(mut self) -> (ExitStatus, TempDir) {
        self.signal("TERM");
        let status = self.wait_exit();
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        (status, dir)
    }

    /// Waits for its end, and gives its directory to the next.
    pub(crate) fn ended(mut self) -> TempDir {
        self.wait_exit();
        std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap())
    }

    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let log = self.log.clone();
        let child = &mut self.child;
        wait_until(
            "the gateway to exit",
            || child.try_wait().unwrap(),
            || log.lock().unwrap().join("\n"),
        )
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().unwrap();
        if thread::panicking() {
            eprintln!("---- log of the gateway\n{}", self.log());
        }
    }
}

/// But for what the log says of itself, and what is counted and not told one by one.
pub(crate) fn audit_in(dir: &Path) -> Vec<Value> {
    let own = ["log_begun", "segment", "key_epoch", "heartbeat", "turned_away", "repeated"];
    let records = records_in(dir).into_iter();
    records.filter(|record| !own.iter().any(|kind| record["kind"] == *kind)).collect()
}

pub(crate) fn records_in(dir: &Path) -> Vec<Value> {
    let segments = fs::read_dir(dir.join("current/seg")).unwrap();
    let mut paths: Vec<PathBuf> = segments.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let text: String = paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    // The last line may be in the writing.
    text.lines().map_while(|line| serde_json::from_str(line).ok()).collect()
}

/// `servers.toml` with everything inside `dir`, but for the keys that `tables` sets itself.
pub(crate) fn write_config(dir: &Path, tables: &str) -> PathBuf {
    let admin = format!("\"unix:{}\"", dir.join("admin.sock").display());
    let own = [
        ("listen", "\"127.0.0.1:0\""),
        ("admin", &admin),
        ("state_dir", "\"state\""),
        // The fixture changes its lists as it likes.
        ("pins", "\"off\""),
    ];
    let own: String = own
        .into_iter()
        .filter(|(key, _)| !tables.contains(&format!("\n{key} = ")))
        .map(|(key, value)| format!("{key} = {value}\n"))
        .collect();
    let text = match tables.split_once("[gateway]\n") {
        Some((before, after)) => format!("{before}[gateway]\n{own}{after}"),
        None => format!("[gateway]\n{own}{tables}"),
    };
    allow_everything(&dir.join("policies"));
    let path = dir.join("servers.toml");
    fs::write(&path, text).unwrap();
    path
}

/// A policy under which the other gates can be seen; unless there are some already.
pub(crate) fn allow_everything(policies: &Path) {
    if !policies.exists() {
        fs::create_dir(policies).unwrap();
        fs::write(policies.join("all.cedar"), "permit(principal, action, resource);\n").unwrap();
    }
}

/// One `[servers.NAME]` table that runs the fixture over stdio.
pub(crate) fn stdio_server(name: &str, fixture_args: &[&str]) -> String {
    let command = fixture();
    let args: Vec<&str> = ["--transport", "stdio"].iter().chain(fixture_args).copied().collect();
    format!("[servers.{name}]\ncommand = {:?}\nargs = {args:?}\n", command.display().to_string())
}

/// A fixture server over HTTP, ended with the test.
pub(crate) struct HttpFixture {
    pub(crate) url: String,
    child: Child,
}

impl HttpFixture {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut child = Command::new(fixture())
            .args(["--transport", "http", "--listen", "127.0.0.1:0"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { url: format!("http://{address}/mcp"), child }
    }
}

impl Drop for HttpFixture {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().unwrap();
    }
}

/// What reached a fixture server: one JSON object a line.
pub(crate) fn journal(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map_while(|line| serde_json::from_str(line).ok()).collect()
}

/// The processes whose command line holds `marker`, living or not yet reaped.
pub(crate) fn marked(marker: &str) -> Vec<(u32, String)> {
    let pids = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(marker).then_some((pid, line))
    })
    .collect()
}

/// Looks until there is something to see; fails with `context` when it takes too long.
#[track_caller]
pub(crate) fn wait_until<T>(
    what: &str,
    mut look: impl FnMut() -> Option<T>,
    context: impl Fn() -> String,
) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}\n{}", context());
        thread::yield_now();
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// Bounds a future, naming what it waited for.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(SOON, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for {what}"),
    }
}
