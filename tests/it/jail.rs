//! How children are born: what they see, what they inherit, and what a failed start says. Real
//! processes, with the built binary as the helper.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::{
    ffi::OsString,
    fs,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    time::Duration,
};

use portcullis::{
    domain::{
        ServerName,
        limits::{CHILD_OPEN_FILES_MAX, CHILD_PIPE_BYTES},
    },
    jail::{Child, ChildSpec, Exit, Jail, JailError, Step},
};
use tokio::{io::AsyncReadExt, task::JoinSet, time::timeout};

mod ends;

const SOON: Duration = Duration::from_secs(10);
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

async fn exited(child: &Child) -> Exit {
    timeout(SOON, child.life.exited()).await.unwrap()
}

fn status(child: &Child, key: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{}/status", child.life.pid())).unwrap();
    let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t"));
    value.unwrap().to_owned()
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
