//! Under a service manager: what it is told, the sockets that outlive a restart, and the watchdog.

mod manager;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use manager::{Manager, has_socket, inode, listening};

use crate::harness::{
    Gateway, PORTCULLIS, SOON, records_in, stdio_server, wait_until, write_config,
};

/// So often is the gateway restarted under load.
const RESTARTS: usize = 4;
/// Connections at a time, each for one call.
const CLIENTS: usize = 4;

fn listen_at(at: &str) -> String {
    format!("[gateway]\nlisten = \"{at}\"\n{}", stdio_server("good", &[]))
}

/// One call on a connection of its own; what came back, or why nothing did.
fn call(at: &str) -> Result<String, std::io::Error> {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"good__echo","arguments":{"text":"here"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(SOON))?;
    write!(
        stream,
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: good__echo\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn the_service_manager_hears_ready_status_reloads_and_the_end() {
    let manager = Manager::new();
    let dir = tempfile::tempdir().unwrap();
    let gateway = manager.launch(dir, &stdio_server("good", &[]), None);
    manager.wait("READY=1");
    assert!(gateway.get("/health").starts_with("HTTP/1.1 200"));
    manager.wait("STATUS=1 of 1 servers ready, ");

    let reloaded = gateway.cli(&["reload"]);
    assert!(reloaded.status.success(), "{reloaded:?}");
    manager.wait("RELOADING=1");
    manager.wait("MONOTONIC_USEC=");
    wait_until(
        "being ready again",
        || (manager.n_said("READY=1") == 2).then_some(()),
        || format!("{:#?}", manager.said()),
    );
    let said = manager.said();
    let at = |line: &str| said.iter().position(|said| said == line).unwrap();
    assert!(at("READY=1") < at("RELOADING=1"), "{said:#?}");
    assert_eq!(said.iter().rposition(|said| said == "READY=1").unwrap(), {
        let after = said.iter().skip(at("RELOADING=1")).position(|said| said == "READY=1");
        at("RELOADING=1") + after.unwrap()
    });

    // A broken file is told as well as a good one: we are ready with what stood before.
    fs::write(gateway.config(), "[gateway\n").unwrap();
    assert_eq!(gateway.cli(&["reload"]).status.code(), Some(2));
    write_config(gateway.dir.path(), &stdio_server("good", &[]));
    let stopped = gateway.cli(&["stop", "--reason", "test"]);
    assert!(stopped.status.success(), "{stopped:?}");
    let look = || {
        let said = manager.said();
        let line = said.iter().rev().find(|said| said.starts_with("STATUS="))?.clone();
        line.contains("the emergency stop is engaged").then_some(())
    };
    wait_until("the stop in the status", look, || format!("{:#?}", manager.said()));

    assert_eq!(manager.n_said("STOPPING=1"), 0);
    let (status, _dir) = gateway.end();
    assert!(status.success());
    assert_eq!(manager.n_said("STOPPING=1"), 1);
    assert_eq!(manager.said().last().map(String::as_str), Some("STOPPING=1"));
}

#[test]
fn ready_is_said_when_the_endpoint_serves_and_no_earlier() {
    let manager = Manager::new();
    let (socket, at) = listening();
    // Nobody serves there yet, so the first start fails.
    let dir = tempfile::tempdir().unwrap();
    let config = write_config(dir.path(), &listen_at(&at));
    let mut second = Command::new(PORTCULLIS)
        .args(["serve", "--config"])
        .arg(config)
        .env("NOTIFY_SOCKET", manager.socket())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let ended = wait_until("the end", || second.try_wait().unwrap(), String::new);
    assert!(!ended.success());
    assert_eq!(manager.n_said("READY=1"), 0, "{:#?}", manager.said());
    drop(socket);
}

/// Calls go on over `RESTARTS` restarts; each of them is answered.
fn no_call_is_lost(at: &str, mut start: impl FnMut() -> Gateway) {
    let mut gateway = start();
    gateway.wait_ready();
    let (over, n_calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (at, over, n_calls) = (at.to_owned(), over.clone(), n_calls.clone());
            thread::spawn(move || {
                let mut lost = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    match call(&at) {
                        Ok(text) if text.starts_with("HTTP/1.1 200") => {}
                        other => lost.push(format!("{other:?}")),
                    }
                    n_calls.fetch_add(1, Ordering::Relaxed);
                }
                lost
            })
        })
        .collect();
    for _ in 0..RESTARTS {
        let before = n_calls.load(Ordering::Relaxed);
        let gone_on = || (n_calls.load(Ordering::Relaxed) >= before + 2 * CLIENTS).then_some(());
        wait_until("some calls", gone_on, || gateway.log());
        let (status, _dir) = gateway.end();
        assert!(status.success());
        gateway = start();
    }
    over.store(true, Ordering::Relaxed);
    let lost: Vec<String> = clients.into_iter().flat_map(|one| one.join().unwrap()).collect();
    assert!(lost.is_empty(), "{} calls lost: {lost:#?}\n{}", lost.len(), gateway.log());
}

#[test]
fn a_restart_with_socket_activation_loses_no_call() {
    let manager = Manager::new();
    let (socket, at) = listening();
    let start = || {
        let fd = OwnedFd::from(socket.try_clone().unwrap());
        manager.launch(
            tempfile::tempdir().unwrap(),
            &listen_at(&at),
            Some(("portcullis.socket", fd)),
        )
    };
    no_call_is_lost(&at, start);
    // It is the manager's own: nothing of it is to be kept.
    assert!(manager.kept("endpoint").is_empty());
}

#[test]
fn a_restart_with_the_socket_that_the_last_one_left_loses_no_call() {
    let manager = Manager::new();
    let at = listening().1;
    let start = || {
        let left = manager.kept("endpoint").pop().map(|fd| ("endpoint", fd));
        manager.launch(tempfile::tempdir().unwrap(), &listen_at(&at), left)
    };
    no_call_is_lost(&at, start);
    assert_eq!(manager.kept("endpoint").len(), 1, "left once, and kept");
}

#[test]
fn a_socket_for_another_address_is_closed_and_forgotten() {
    let manager = Manager::new();
    let (socket, at) = listening();
    let fd = OwnedFd::from(socket);
    let strange = inode(&fd);
    let dir = tempfile::tempdir().unwrap();
    let gateway = manager.launch(dir, &stdio_server("good", &[]), Some(("endpoint", fd)));
    manager.wait("READY=1");
    let log = gateway.log();
    assert!(log.contains("neither gateway.listen nor gateway.admin") && log.contains(&at), "{log}");
    manager.wait("FDSTOREREMOVE=1");
    assert!(!has_socket(gateway.pid(), strange), "it is still open");
}

/// The watchdog's patience, long enough for a machine that is busy with other tests.
const WATCHDOG: Duration = Duration::from_secs(6);

fn watched(tables: &str) -> (Manager, Gateway) {
    let mut manager = Manager::new();
    manager.watchdog = Some(WATCHDOG);
    let gateway = manager.launch(tempfile::tempdir().unwrap(), tables, None);
    gateway.wait_ready();
    manager.wait("WATCHDOG=1");
    (manager, gateway)
}

#[test]
fn a_slow_server_does_not_starve_the_watchdog() {
    let (manager, gateway) = watched(&stdio_server("good", &[]));
    let slow = stdio_server("slow", &["--start-delay-ms", "9000"]);
    write_config(gateway.dir.path(), &format!("{}{slow}", stdio_server("good", &[])));
    let began = Instant::now();
    let reloaded = gateway.cli(&["reload"]);
    assert!(reloaded.status.success(), "{reloaded:?}");
    assert!(began.elapsed() > WATCHDOG, "the reload did not wait for the slow server");
    let n = manager.n_said("WATCHDOG=1");
    // Beats come six times in its patience.
    assert!(n > 4, "{n} signs of life in {:?}", began.elapsed());
    assert!(!gateway.log().contains("is stuck"), "{}", gateway.log());
}

/// Nothing more is fed, and the log says what is stuck.
#[track_caller]
fn is_starved(manager: &Manager, gateway: &Gateway, what: &str) {
    let said = || gateway.log().contains(&format!("\"what\":\"{what}\"")).then_some(());
    wait_until("word of what is stuck", said, || gateway.log());
    let before = manager.n_said("WATCHDOG=1");
    // So long that the manager would have ended it.
    thread::sleep(WATCHDOG);
    assert_eq!(manager.n_said("WATCHDOG=1"), before, "{}", gateway.log());
}

#[test]
fn a_stuck_reload_starves_the_watchdog() {
    let (manager, gateway) = watched(&stdio_server("good", &[]));
    // Whoever reads a pipe that nobody writes waits for ever.
    let config = gateway.config();
    fs::remove_file(&config).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, &config, rustix::fs::Mode::RWXU).unwrap();
    gateway.signal("HUP");
    is_starved(&manager, &gateway, "the task that reloads");
}

/// Holds the threads of that name, until it is dropped.
struct Frozen(Child);

impl Frozen {
    fn freeze(pid: u32, name: &str) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/freeze.py");
        let mut child = Command::new("python3")
            .args([script, &pid.to_string(), name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "frozen\n", "the threads `{name}` of {pid} could not be held");
        Self(child)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

#[test]
fn a_stuck_audit_starves_the_watchdog() {
    let (manager, gateway) = watched(&stdio_server("good", &[]));
    let _frozen = Frozen::freeze(gateway.pid(), "audit");
    let at = format!("127.0.0.1:{}", gateway.port);
    // It hears nothing while there is nothing to write.
    let caller = thread::spawn(move || call(&at));
    is_starved(&manager, &gateway, "the audit's writer");
    drop(_frozen);
    drop(caller.join());
}

#[test]
fn a_stuck_runtime_starves_the_watchdog() {
    let (manager, gateway) = watched(&stdio_server("good", &[]));
    let _frozen = Frozen::freeze(gateway.pid(), "tokio-rt-worker");
    is_starved(&manager, &gateway, "the road of a call");
}

#[test]
fn a_log_that_was_set_back_is_found_out_by_the_mark_that_the_manager_keeps() {
    let manager = Manager::new();
    let run = |dir| {
        let left = manager.kept("audit-mark").pop().map(|fd| ("audit-mark", fd));
        // Another one will do for the admin listener, at the same path.
        manager.close("admin");
        let gateway = manager.launch(dir, &stdio_server("up", &[]), left);
        gateway.wait_ready();
        gateway.end().1
    };
    let copy = |from: &Path, to: &Path| {
        let copied = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
        assert!(copied.success());
    };
    let dir = run(tempfile::tempdir().unwrap());
    let (state, kept) = (dir.path().join("state"), dir.path().join("kept"));
    let first_of = |dir: &Path| records_in(&dir.join("state/audit"))[0].clone();
    copy(&state, &kept);
    let dir = run(dir);
    assert_eq!(manager.kept("audit-mark").len(), 1, "left once, and kept");
    let origin = first_of(dir.path())["origin"].clone();
    let dir = run(dir);
    assert_eq!(first_of(dir.path())["origin"], origin, "nothing is wrong with it");
    fs::remove_dir_all(&state).unwrap();
    copy(&kept, &state);
    let dir = run(dir);
    let first = first_of(dir.path());
    assert_ne!(first["origin"], origin, "{first}");
    assert!(first["why"].as_str().unwrap().contains("the service manager knows"), "{first}");
    // A log that is gone altogether as well.
    fs::remove_dir_all(&state).unwrap();
    let dir = run(dir);
    let first = first_of(dir.path());
    assert!(first["why"].as_str().unwrap().contains("the service manager knows"), "{first}");
}
