//! Children and what becomes of them: real processes, with the built binary as the helper.
//!
//! The tests about a gateway's own death, and those that count descriptors and children, run in
//! `jail-driver`, a process of their own.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use portcullis::{
    domain::{
        ServerName,
        limits::{CHILD_OPEN_FILES_MAX, CHILD_PIPE_BYTES, KILL_STDIN_GRACE, KILL_TERM_GRACE},
    },
    jail::{Child, ChildSpec, Exit, Jail, JailError, Step},
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    task::JoinSet,
    time::timeout,
};

const SOON: Duration = Duration::from_secs(10);
/// Starts a daemon the thorough way (its own session, its parent gone) and says its number.
const DAEMON: &str = "(setsid sh -c 'echo $$; exec sleep 1000' &);";

fn jail() -> Jail {
    Jail::start_with(Path::new(env!("CARGO_BIN_EXE_portcullis"))).unwrap()
}

fn spec(program: &str, args: &[&str]) -> ChildSpec {
    ChildSpec {
        server: ServerName::parse("subject").unwrap(),
        program: program.into(),
        args: args.iter().map(OsString::from).collect(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        cwd: None,
    }
}

fn sh(script: &str) -> ChildSpec {
    spec("/bin/sh", &["-c", script])
}

async fn output(child: &mut Child) -> Vec<u8> {
    let mut bytes = Vec::new();
    timeout(SOON, child.stdout.read_to_end(&mut bytes)).await.unwrap().unwrap();
    bytes
}

async fn line(child: &mut Child) -> String {
    let mut line = String::new();
    let mut reader = BufReader::new(&mut child.stdout);
    timeout(SOON, reader.read_line(&mut line)).await.unwrap().unwrap();
    line.trim_end().to_owned()
}

async fn exited(child: &Child) -> Exit {
    timeout(SOON, child.life.exited()).await.unwrap()
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

fn status(child: &Child, key: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", child.life.pid())).unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t"));
    value.unwrap().to_owned()
}

fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal).unwrap();
}

#[tokio::test]
async fn environment_is_exactly_what_was_declared() {
    let mut spec = spec("/usr/bin/env", &[]);
    spec.env = vec![("ONE".into(), "1".into()), ("TWO".into(), "".into())];
    let mut child = jail().spawn(spec).await.unwrap();
    let text = String::from_utf8(output(&mut child).await).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["ONE=1", "TWO="]);
    assert_eq!(exited(&child).await, Exit::Code(0));
}

#[tokio::test]
async fn arguments_and_directory_arrive_byte_by_byte() {
    let directory = tempfile::tempdir().unwrap();
    let odd = OsString::from_vec(vec![b' ', 0xff, b'\n', b'$']);
    let cwd = directory.path().canonicalize().unwrap().join(&odd);
    fs::create_dir(&cwd).unwrap();
    let mut spec = sh("printf '%s|' \"$@\"; pwd -P");
    spec.args.extend(["name".into(), "".into(), odd.clone()]);
    spec.cwd = Some(cwd.clone());
    let mut child = jail().spawn(spec).await.unwrap();
    let want = [b"|", odd.as_encoded_bytes(), b"|", cwd.as_os_str().as_encoded_bytes(), b"\n"];
    assert_eq!(output(&mut child).await, want.concat());
}

#[tokio::test]
async fn only_the_three_pipes_are_inherited() {
    let leak = fs::File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let child = jail().spawn(spec("/bin/cat", &[])).await.unwrap();
    let directory = fs::read_dir(format!("/proc/{}/fd", child.life.pid())).unwrap();
    let mut fds: Vec<_> = directory.map(|entry| entry.unwrap().file_name()).collect();
    fds.sort();
    assert_eq!(fds, ["0", "1", "2"]);
}

#[tokio::test]
async fn child_has_its_own_session_limits_and_no_new_privileges() {
    let child = jail().spawn(spec("/bin/cat", &[])).await.unwrap();
    let pid = child.life.pid();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    assert_eq!((fields[2], fields[3]), (&*pid.to_string(), &*pid.to_string()), "group, session");
    assert_eq!(status(&child, "NoNewPrivs"), "1");
    assert_eq!(status(&child, "SigBlk"), "0".repeat(16));
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let hard = |name| {
        let line = limits.lines().find_map(|line: &str| line.strip_prefix(name)).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().to_owned()
    };
    assert_eq!(hard("Max core file size"), "0");
    assert!(hard("Max open files").parse::<u64>().unwrap() <= CHILD_OPEN_FILES_MAX);
}

#[tokio::test]
async fn pipes_are_large() {
    let child = jail().spawn(spec("/bin/cat", &[])).await.unwrap();
    let size = |fd: &dyn std::os::fd::AsFd| rustix::pipe::fcntl_getpipe_size(fd).unwrap();
    assert_eq!((size(&child.stdin), size(&child.stdout)), (CHILD_PIPE_BYTES, CHILD_PIPE_BYTES));
}

#[tokio::test]
async fn failed_start_names_server_program_step_and_reason() {
    #[track_caller]
    fn check(error: &JailError, step: Step, want: &str) {
        let JailError::Spawn { step: at, source, .. } = error else { panic!("{error:?}") };
        assert_eq!((*at, &*format!("{error}: {source}")), (step, want));
    }
    let jail = jail();
    let error = jail.spawn(spec("/no/such/program", &[])).await.unwrap_err();
    let want = "cannot start server `subject`: running the program for `/no/such/program` failed: \
                No such file or directory (os error 2)";
    check(&error, Step::Execute, want);
    let error = jail.spawn(spec("/etc/passwd", &[])).await.unwrap_err();
    let want = "cannot start server `subject`: running the program for `/etc/passwd` failed: \
                Permission denied (os error 13)";
    check(&error, Step::Execute, want);
    let mut homeless = spec("/bin/cat", &[]);
    homeless.cwd = Some("/no/such/directory".into());
    let error = jail.spawn(homeless).await.unwrap_err();
    let want = "cannot start server `subject`: entering the working directory for `/bin/cat` \
                failed: No such file or directory (os error 2)";
    check(&error, Step::Directory, want);
    let helpless = Jail::start_with(Path::new("/etc/passwd")).unwrap();
    let error = helpless.spawn(spec("/bin/cat", &[])).await.unwrap_err();
    let want = "cannot start server `subject`: starting the helper for `/bin/cat` failed: \
                Permission denied (os error 13)";
    check(&error, Step::Helper, want);
}

#[tokio::test]
async fn impossible_specifications_are_refused() {
    #[track_caller]
    fn check(result: Result<Child, JailError>, want: &str) {
        assert_eq!(result.unwrap_err().to_string(), want);
    }
    let jail = jail();
    let want = "cannot start server `subject`: there is no `/` (a path is needed) in its command; \
                correct its entry";
    check(jail.spawn(spec("cat", &[])).await, want);
    let want =
        "cannot start server `subject`: there is a NUL byte in its command; correct its entry";
    check(jail.spawn(spec("/bin/cat", &["a\0b"])).await, want);
    for name in ["", "A=B", "A\0"] {
        let mut spec = spec("/bin/cat", &[]);
        spec.env.push((name.into(), "".into()));
        let want = "cannot start server `subject`: there is an impossible name or a NUL byte in \
                    its env; correct its entry";
        check(jail.spawn(spec).await, want);
    }
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
async fn kill_all_works_with_a_wedged_runtime() {
    let jail = jail();
    let mut children = Vec::new();
    for _ in 0..4 {
        let script = format!("trap '' TERM; {DAEMON} wait; sleep 1000");
        let mut child = jail.spawn(sh(&script)).await.unwrap();
        let daemon = line(&mut child).await;
        children.push((child, daemon));
    }
    // This test's runtime has one thread, and nothing here gives it back.
    jail.kill_all();
    for (child, daemon) in &children {
        assert!(!is_alive(&child.life.pid().to_string()) && !is_alive(daemon));
    }
    for (child, _) in &children {
        assert_eq!(exited(child).await, Exit::Signal(9));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_all_reaches_starts_that_were_asked_for_before() {
    let jail = jail();
    let mut starts = JoinSet::new();
    for _ in 0..16 {
        let jail = jail.clone();
        starts.spawn(async move { jail.spawn(spec("/bin/cat", &[])).await });
    }
    let first = starts.join_next().await.unwrap().unwrap().unwrap();
    jail.kill_all();
    assert_eq!(exited(&first).await, Exit::Signal(9));
    while let Some(start) = starts.join_next().await {
        match start.unwrap() {
            Ok(child) => assert_eq!(exited(&child).await, Exit::Signal(9)),
            Err(JailError::Killed { .. } | JailError::Spawn { step: Step::Helper, .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    let after = jail.spawn(spec("/bin/cat", &[])).await.unwrap();
    assert!(is_alive(&after.life.pid().to_string()), "only what was asked before is refused");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_starts_do_not_mix() {
    let jail = jail();
    let mut starts = JoinSet::new();
    for code in 0..32 {
        let jail = jail.clone();
        starts.spawn(async move {
            let mut child = jail.spawn(sh(&format!("echo {code}; exit {code}"))).await.unwrap();
            assert_eq!(output(&mut child).await, format!("{code}\n").into_bytes());
            assert_eq!(exited(&child).await, Exit::Code(code));
        });
    }
    while let Some(start) = starts.join_next().await {
        start.unwrap();
    }
}

#[tokio::test]
async fn own_cgroup_is_gone_after_the_server() {
    let child = jail().spawn(spec("/bin/cat", &[])).await.unwrap();
    let own = |pid: &str| {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        text.lines().find_map(|line| line.strip_prefix("0::").map(PathBuf::from))
    };
    let (ours, theirs) = (own("self"), own(&child.life.pid().to_string()));
    child.life.kill();
    assert_eq!(exited(&child).await, Exit::Signal(9));
    // Without delegation both share one, or there is none.
    let (Some(ours), Some(theirs)) = (ours, theirs) else { return };
    if let Ok(leaf) = theirs.strip_prefix(&ours).map(|leaf| leaf.to_str().unwrap())
        && !leaf.is_empty()
    {
        assert!(leaf.starts_with("portcullis-") && leaf.ends_with("-subject"), "{leaf}");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 ")).unwrap();
        let point = Path::new(mount.split(' ').nth(4).unwrap());
        assert!(point.exists() && !point.join(leaf).exists());
    }
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
