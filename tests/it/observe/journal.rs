//! Under systemd the log is in the journal, with its fields.

use std::{
    fs::{self, File},
    os::unix::{
        fs::MetadataExt,
        net::{UnixDatagram, UnixStream},
    },
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{PORTCULLIS, SOON, stdio_server, wait_until, write_config};

/// A gateway whose standard error is a file, and what the environment says of a journal.
struct Service(Child);

impl Service {
    fn start(dir: &Path, stderr: &Path, journal: &str) -> Self {
        Self::start_at("info", dir, stderr, journal)
    }

    fn start_at(level: &str, dir: &Path, stderr: &Path, journal: &str) -> Self {
        let config = write_config(dir, &stdio_server("up", &[]));
        let child = Command::new(PORTCULLIS)
            .args(["serve", "--config"])
            .arg(config)
            .env_remove("PORTCULLIS_LOG_FORMAT")
            .env("PORTCULLIS_LOG", level)
            .env("JOURNAL_STREAM", journal)
            .env("PORTCULLIS_JOURNAL_SOCKET", dir.join("journal.sock"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::options().append(true).open(stderr).unwrap())
            .spawn();
        Self(child.unwrap())
    }
}

impl Service {
    /// In order: the last checkpoint is over everything.
    fn end(mut self) {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, Signal::TERM).unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().unwrap();
    }
}

#[test]
fn the_log_is_in_the_journal_if_that_reads_standard_error_and_else_it_is_text() {
    let dir = tempfile::tempdir().unwrap();
    let journal = UnixDatagram::bind(dir.path().join("journal.sock")).unwrap();
    journal.set_read_timeout(Some(SOON)).unwrap();
    let stderr = dir.path().join("stderr");
    let about = File::create(&stderr).unwrap().metadata().unwrap();
    let named = format!("{}:{}", about.dev(), about.ino());
    let service = Service::start(dir.path(), &stderr, &named);
    let (mut bytes, mut told) = (vec![0; 1 << 16], String::new());
    while !told.contains("MESSAGE=Server is ready\n") {
        let n = journal.recv(&mut bytes).unwrap();
        told = String::from_utf8_lossy(&bytes[..n]).into_owned();
    }
    for part in
        ["SERVER_ID=up\n", "PRIORITY=6\n", "PROTOCOL=2026-07-28\n", "IDENTIFIER=portcullis\n"]
    {
        assert!(told.contains(part), "{told}");
    }
    assert_eq!(fs::read_to_string(&stderr).unwrap(), "");
    drop(service);

    let other = format!("{}:{}", about.dev(), about.ino() + 1);
    let _service = Service::start(dir.path(), &stderr, &other);
    let text = || fs::read_to_string(&stderr).unwrap();
    let said = || text().contains("MCP endpoint is open").then_some(());
    wait_until("the log as text", said, text);
}

/// The next checkpoint that the journal is told, beyond so many records.
fn told_beyond(journal: &UnixDatagram, size: u64) -> (u64, String) {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let n = journal.recv(&mut bytes).unwrap();
        let told = String::from_utf8_lossy(&bytes[..n]).into_owned();
        let field = told.lines().find_map(|line| line.strip_prefix("AUDIT_SIZE="));
        let Some(now) = field.map(|size| size.parse::<u64>().unwrap()) else {
            assert!(!told.contains("PRIORITY=6"), "beyond the level: {told}");
            continue;
        };
        if now > size {
            // Behind its name and eight bytes for the length.
            let name = b"AUDIT_CHECKPOINT\n";
            let at = memchr::memmem::find(&bytes[..n], name).unwrap() + name.len();
            let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
            let end = at + 8 + usize::try_from(length).unwrap();
            return (now, String::from_utf8(bytes[at + 8..end].to_vec()).unwrap());
        }
    }
}

#[test]
fn the_journal_has_the_mark_that_shows_a_log_cut_back_whatever_the_level() {
    let dir = tempfile::tempdir().unwrap();
    let (state, kept) = (dir.path().join("state"), dir.path().join("kept"));
    let journal = UnixDatagram::bind(dir.path().join("journal.sock")).unwrap();
    journal.set_read_timeout(Some(SOON)).unwrap();
    let stderr = dir.path().join("stderr");
    let about = File::create(&stderr).unwrap().metadata().unwrap();
    let named = format!("{}:{}", about.dev(), about.ino());
    let start = || {
        let service = Service::start_at("error", dir.path(), &stderr, &named);
        let is_open = || UnixStream::connect(dir.path().join("admin.sock")).ok();
        wait_until("the admin socket", is_open, String::new);
        service
    };
    let service = start();
    let (first, _) = told_beyond(&journal, 0);
    service.end();
    let (size, _) = told_beyond(&journal, first);
    let copied = Command::new("cp").arg("-a").args([&state, &kept]).status().unwrap();
    assert!(copied.success());
    let service = start();
    told_beyond(&journal, 0);
    service.end();
    let (_, mark) = told_beyond(&journal, size);
    let file = dir.path().join("mark");
    fs::write(&file, mark).unwrap();
    let verify = || {
        let mut verify = Command::new(PORTCULLIS);
        verify.args(["audit", "verify", "--witness"]).arg(&file).arg("--config");
        verify.arg(dir.path().join("servers.toml")).output().unwrap()
    };
    assert!(verify().status.success(), "{:?}", verify());
    fs::remove_dir_all(&state).unwrap();
    fs::rename(&kept, &state).unwrap();
    assert_eq!(verify().status.code(), Some(1), "{:?}", verify());
    let text = fs::read_to_string(&stderr).unwrap();
    assert!(!text.contains("Audit log signed"), "it is for the journal: {text}");
}

#[test]
fn no_mark_is_written_where_there_is_no_journal() {
    let dir = tempfile::tempdir().unwrap();
    let stderr = dir.path().join("stderr");
    File::create(&stderr).unwrap();
    let _service = Service::start_at("debug", dir.path(), &stderr, "0:0");
    let text = || fs::read_to_string(&stderr).unwrap();
    let said = || text().contains("MCP endpoint is open").then_some(());
    wait_until("the log as text", said, text);
    assert!(!text().contains("Audit log signed"), "{}", text());
}
