//! A gateway in a process of its own, whose runtime can be wedged, and its stop's own door.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::{fs::MetadataExt, net::UnixStream},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
    sync::{Arc, Barrier},
    thread,
    time::{Instant, UNIX_EPOCH},
};

use portcullis::{
    app::{self, Mode},
    config,
    gate::Rules,
    sys::Inherited,
    telemetry,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::{SOON, port::port_in, until};

const WORKERS: usize = 2;

/// The child: `block` on stdin puts every thread of the runtime to sleep, `free` wakes them.
pub(crate) fn gateway(config: &Path) -> ExitCode {
    telemetry::init().unwrap();
    let config = config::load(config).unwrap();
    let rules = Rules::compile(&config).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .unwrap();
    let handle = runtime.handle().clone();
    thread::spawn(move || {
        let wedge = Arc::new(Barrier::new(WORKERS + 1));
        let mut words = io::stdin().lines();
        while words.next().is_some() {
            for _ in 0..WORKERS {
                let wedge = Arc::clone(&wedge);
                handle.spawn(async move {
                    // All are in; all may go.
                    wedge.wait();
                    wedge.wait();
                });
            }
            wedge.wait();
            println!("blocked");
            words.next();
            wedge.wait();
        }
    });
    runtime
        .block_on(Box::pin(app::run(config, rules, Mode::Listen, Inherited::default())))
        .unwrap();
    runtime.shutdown_background();
    ExitCode::SUCCESS
}

pub(crate) struct House {
    pub(crate) port: u16,
    gateway: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    dir: TempDir,
}

impl House {
    pub(crate) fn start(tables: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "[gateway]\nlisten = \"127.0.0.1:0\"\nadmin = \"unix:{}\"\nstate_dir = \"state\"\n\
             pins = \"off\"\n[audit]\ndurability = \"cached\"\n{tables}",
            dir.path().join("admin.sock").display(),
        );
        fs::write(dir.path().join("servers.toml"), text).unwrap();
        fs::create_dir(dir.path().join("policies")).unwrap();
        let policy = "permit(principal, action, resource);\n";
        fs::write(dir.path().join("policies/all.cedar"), policy).unwrap();
        Self::launch(dir)
    }

    fn launch(dir: TempDir) -> Self {
        let mut gateway = Command::new(env::current_exe().unwrap())
            .arg("gateway")
            .arg(dir.path().join("servers.toml"))
            .env_remove("RUNTIME_DIRECTORY")
            .env("PORTCULLIS_LOG", "info")
            .env("PORTCULLIS_LOG_FORMAT", "json")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let port = port_in(gateway.stderr.take().unwrap());
        let stdin = gateway.stdin.take().unwrap();
        let stdout = BufReader::new(gateway.stdout.take().unwrap());
        Self { port, gateway, stdin, stdout, dir }
    }

    /// Another gateway over the same state.
    pub(crate) fn again(mut self) -> Self {
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        drop(self);
        Self::launch(dir)
    }

    pub(crate) fn until_ready(&self) {
        until("the gateway to be ready", || {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).unwrap();
            write!(stream, "GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            text.starts_with("HTTP/1.1 200")
        });
    }

    pub(crate) fn block(&mut self) {
        writeln!(self.stdin, "block").unwrap();
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "blocked\n");
    }

    pub(crate) fn free(&mut self) {
        writeln!(self.stdin, "free").unwrap();
    }

    pub(crate) fn signal(&self) {
        kill_process(Pid::from_child(&self.gateway), Signal::USR1).unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.gateway.kill().unwrap();
        self.gateway.wait().unwrap();
    }

    pub(crate) fn until_saved(&self) {
        until("the stop in its file", || self.is_saved());
    }

    pub(crate) fn is_saved(&self) -> bool {
        fs::exists(self.dir.path().join("state/estop/stops.json")).unwrap()
    }

    /// Looks without a pause: the mark is there for some tens of microseconds.
    pub(crate) fn until_marked(&self) {
        let own = fs::metadata(self.dir.path().join("state/estop")).unwrap();
        let born = own.created().map_or(0, |at| at.duration_since(UNIX_EPOCH).unwrap().as_nanos());
        let (device, number) = (own.dev(), own.ino());
        let mark = format!("/dev/shm/portcullis-stop-{device:x}-{number:x}-{born:x}");
        let deadline = Instant::now() + SOON;
        while !fs::exists(&mark).unwrap() && !self.is_saved() {
            assert!(Instant::now() < deadline, "waited too long for {mark}");
        }
    }

    /// Asks the stop's own threads.
    pub(crate) fn door(&self, head: &str, body: &str) -> String {
        let mut stream =
            UnixStream::connect(self.dir.path().join("state/estop/door.sock")).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let n_bytes = body.len();
        write!(stream, "{head} HTTP/1.1\r\ncontent-length: {n_bytes}\r\n\r\n{body}").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200"), "{head}: {text}");
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// Whoever watches sees what is going on.
    pub(crate) fn admin_answers(&self) {
        for path in ["/health", "/metrics", "/admin/status", "/admin/estop", "/admin/audit"] {
            let mut stream = UnixStream::connect(self.dir.path().join("admin.sock")).unwrap();
            stream.set_read_timeout(Some(SOON)).unwrap();
            let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
            write!(stream, "{head}\r\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            assert!(text.starts_with("HTTP/1.1 200"), "{path}: {text}");
        }
    }

    /// Takes back the only stop that there is.
    pub(crate) fn lift(&self) {
        let state: Value = serde_json::from_str(&self.door("GET /admin/estop", "")).unwrap();
        let id = state["stops"][0]["id"].as_str().unwrap_or_else(|| panic!("{state}"));
        self.door("POST /admin/estop/reset", &format!(r#"{{"id":"{id}","reason":"bench"}}"#));
        self.door("POST /admin/estop/resume", &format!(r#"{{"id":"{id}"}}"#));
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.gateway.kill().unwrap_or_default();
        self.gateway.wait().unwrap();
    }
}

/// The processes whose command line holds `mark`.
pub(crate) fn marked(mark: &str) -> Vec<u32> {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has_mark = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        memchr::memmem::find(&line, mark.as_bytes()).is_some()
    };
    pids.filter(has_mark).collect()
}
