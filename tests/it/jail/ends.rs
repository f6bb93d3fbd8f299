//! How children end: the ladder, SIGKILL in every direction, and what is left (nothing).
//!
//! The tests about a gateway's own death, and those that count descriptors and children, run in
//! `jail-driver`, a process of their own.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use portcullis::{
    domain::{
        ServerName,
        limits::{KILL_STDIN_GRACE, KILL_TERM_GRACE},
    },
    jail::{Child, Exit, JailError, Step},
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    task::JoinSet,
    time::timeout,
};

use super::{SOON, exited, jail, sh, spec, status};

/// Starts a daemon the thorough way (its own session, its parent gone) and says its number.
const DAEMON: &str = "(setsid sh -c 'echo $$; exec sleep 1000' &);";

async fn line(child: &mut Child) -> String {
    let mut line = String::new();
    let mut reader = BufReader::new(&mut child.stdout);
    timeout(SOON, reader.read_line(&mut line)).await.unwrap().unwrap();
    line.trim_end().to_owned()
}

/// Whether the process is there and more than a zombie.
fn is_alive(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

async fn gone(pid: &str) {
    let wait = async {
        while is_alive(pid) {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, wait).await.unwrap();
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

#[tokio::test]
async fn closed_stdin_is_the_first_rung() {
    let child = jail().spawn(spec("/bin/cat", &[])).await.unwrap();
    drop(child.stdin);
    let begun = Instant::now();
    child.life.shut_down().await;
    assert_eq!(timeout(SOON, child.life.exited()).await.unwrap(), Exit::Code(0));
    assert!(begun.elapsed() < KILL_STDIN_GRACE);
}

#[tokio::test]
async fn sigterm_to_the_whole_group_is_the_second_rung() {
    // The shell runs its trap only after `sleep` has ended too.
    let mut child =
        jail().spawn(sh("trap 'exit 7' TERM; echo ready; sleep 1000; sleep 1000")).await.unwrap();
    assert_eq!(line(&mut child).await, "ready");
    child.life.shut_down().await;
    assert_eq!(exited(&child).await, Exit::Code(7));
}

#[tokio::test]
async fn sigkill_is_the_third_rung_and_comes_in_time() {
    let script = format!("trap '' TERM; {DAEMON} sleep 1000 & while :; do sleep 1000; done");
    let mut child = jail().spawn(sh(&script)).await.unwrap();
    let daemon = line(&mut child).await;
    let begun = Instant::now();
    child.life.shut_down().await;
    let (took, ladder) = (begun.elapsed(), KILL_STDIN_GRACE + KILL_TERM_GRACE);
    assert_eq!(exited(&child).await, Exit::Signal(9));
    assert!(!is_alive(&daemon));
    assert!(took >= ladder && took < ladder + Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn daemon_dies_with_its_server() {
    let mut child = jail().spawn(sh(&format!("{DAEMON} exec cat"))).await.unwrap();
    let daemon = line(&mut child).await;
    assert!(is_alive(&daemon));
    let Child { stdin, life, stdout: _stdout, stderr: _stderr } = child;
    drop(stdin);
    assert_eq!(timeout(SOON, life.exited()).await.unwrap(), Exit::Code(0));
    assert!(!is_alive(&daemon));
}

#[tokio::test]
async fn orphans_leave_no_zombies_while_the_server_lives() {
    let script = "for i in 1 2 3 4 5 6 7 8; do (true &); done; echo ready; exec cat";
    let mut child = jail().spawn(sh(script)).await.unwrap();
    assert_eq!(line(&mut child).await, "ready");
    let (keeper, server) = (status(&child, "PPid"), child.life.pid());
    let children = format!("/proc/{keeper}/task/{keeper}/children");
    let wait = async {
        while fs::read_to_string(&children).unwrap() != format!("{server} ") {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, wait).await.unwrap();
}

#[tokio::test]
async fn killed_child_is_seen_with_its_signal() {
    let jail = jail();
    for deadly in [Signal::KILL, Signal::SEGV] {
        let child = jail.spawn(spec("/bin/cat", &[])).await.unwrap();
        signal(child.life.pid(), deadly);
        assert_eq!(exited(&child).await, Exit::Signal(deadly.as_raw()));
    }
}

#[tokio::test]
async fn killing_the_keeper_saves_nobody() {
    let mut child = jail().spawn(sh(&format!("{DAEMON} exec cat"))).await.unwrap();
    let (daemon, server) = (line(&mut child).await, child.life.pid());
    signal(status(&child, "PPid").parse().unwrap(), Signal::KILL);
    assert_eq!(exited(&child).await, Exit::Signal(9));
    assert!(!is_alive(&daemon) && !is_alive(&server.to_string()));
}

#[tokio::test]
async fn last_life_takes_the_server_along() {
    let jail = jail();
    let mut child = jail.spawn(sh(&format!("{DAEMON} exec cat"))).await.unwrap();
    let daemon = line(&mut child).await;
    let Child { life, stdin: _stdin, stdout: _stdout, stderr: _stderr } = child;
    let server = life.pid().to_string();
    drop(life.clone());
    assert!(is_alive(&daemon), "one life is left");
    drop(life);
    gone(&daemon).await;
    gone(&server).await;
}

#[tokio::test]
async fn abandoned_start_leaves_nothing() {
    let jail = jail();
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    // Held open for reading by the server only: as long as it lives.
    let script = format!("exec 9<>{}; exec sleep 1000", fifo.display());
    for moment_us in [0, 100, 300, 1000, 3000, 10_000] {
        let start = jail.spawn(sh(&script));
        drop(timeout(Duration::from_micros(moment_us), start).await);
    }
    // Starts stand in line: when this one has run, the abandoned are over.
    let child = jail.spawn(spec("/bin/cat", &[])).await.unwrap();
    let no_reader = || {
        let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
        rustix::fs::open(&fifo, flags, rustix::fs::Mode::empty()).is_err()
    };
    let wait = async {
        while !no_reader() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, wait).await.unwrap();
    drop(child);
}

#[tokio::test]
async fn the_stop_works_with_a_wedged_runtime() {
    let jail = jail();
    let mut children = Vec::new();
    for _ in 0..4 {
        let script = format!("trap '' TERM; {DAEMON} wait; sleep 1000");
        let mut child = jail.spawn(sh(&script)).await.unwrap();
        let daemon = line(&mut child).await;
        children.push((child, daemon));
    }
    // This test's runtime has one thread, and nothing here gives it back.
    jail.stop(|_| true);
    let begun = Instant::now();
    while jail.has(|_| true) {
        assert!(begun.elapsed() < SOON);
        std::thread::yield_now();
    }
    for (child, daemon) in &children {
        assert!(!is_alive(&child.life.pid().to_string()) && !is_alive(daemon));
    }
    for (child, _) in &children {
        assert_eq!(exited(child).await, Exit::Signal(9));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_meets_the_guard_or_the_stop() {
    let jail = jail();
    let is_stopped = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&is_stopped);
    jail.start_only(move |server| server.as_str() == "other" || !asked.load(Ordering::SeqCst));
    let mut other = spec("/bin/cat", &[]);
    other.server = ServerName::parse("other").unwrap();
    let other = jail.spawn(other).await.unwrap();
    let mut starts = JoinSet::new();
    for _ in 0..16 {
        let jail = jail.clone();
        starts.spawn(async move { jail.spawn(spec("/bin/cat", &[])).await });
    }
    let first = starts.join_next().await.unwrap().unwrap().unwrap();
    is_stopped.store(true, Ordering::SeqCst);
    jail.stop(|server| server.as_str() == "subject");
    assert_eq!(exited(&first).await, Exit::Signal(9));
    while let Some(start) = starts.join_next().await {
        match start.unwrap() {
            Ok(child) => assert_eq!(exited(&child).await, Exit::Signal(9)),
            // Never born, or its keeper was killed while it was being set up.
            Err(JailError::Stopped { .. }) => {}
            Err(JailError::Spawn { step: Step::Helper | Step::DeathSignal, .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    let refused = jail.spawn(spec("/bin/cat", &[])).await.unwrap_err();
    assert!(matches!(refused, JailError::Stopped { .. }), "{refused}");
    assert!(is_alive(&other.life.pid().to_string()), "another server is not stopped");
    is_stopped.store(false, Ordering::SeqCst);
    jail.spawn(spec("/bin/cat", &[])).await.unwrap();
}

/// Runs the driver with the built binary as the helper; it must say that all is well.
async fn drive(mode: &str, cycles: usize, width: usize) {
    let driver = std::env::current_exe().unwrap();
    let driver = driver.parent().unwrap().with_file_name("examples").join("jail-driver");
    assert!(driver.exists(), "no {}: run `cargo build --examples`", driver.display());
    let run = move |mode: String| {
        #[expect(clippy::disallowed_methods, reason = "the driver is not a server")]
        let mut command = std::process::Command::new(driver);
        command.args([&mode, env!("CARGO_BIN_EXE_portcullis")]);
        command.args([cycles, width].map(|n| n.to_string())).output()
    };
    let mode = mode.to_owned();
    let output = tokio::task::spawn_blocking(move || run(mode)).await.unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn two_thousand_killed_servers_leave_no_trace() {
    drive("churn", 2000, 8).await;
}

#[tokio::test]
async fn fifty_killed_gateways_leave_nothing_behind() {
    drive("init", 50, 4).await;
}
