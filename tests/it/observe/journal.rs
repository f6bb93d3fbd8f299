//! Under systemd the log is in the journal, with its fields.

use std::{
    fs::{self, File},
    os::unix::{fs::MetadataExt, net::UnixDatagram},
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::harness::{PORTCULLIS, SOON, stdio_server, wait_until, write_config};

/// A gateway whose standard error is a file, and what the environment says of a journal.
struct Service(Child);

impl Service {
    fn start(dir: &Path, stderr: &Path, journal: &str) -> Self {
        let config = write_config(dir, &stdio_server("up", &[]));
        let child = Command::new(PORTCULLIS)
            .args(["serve", "--config"])
            .arg(config)
            .env_remove("PORTCULLIS_LOG_FORMAT")
            .env("PORTCULLIS_LOG", "info")
            .env("JOURNAL_STREAM", journal)
            .env("PORTCULLIS_JOURNAL_SOCKET", dir.join("journal.sock"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::options().append(true).open(stderr).unwrap())
            .spawn();
        Self(child.unwrap())
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
        told = String::from_utf8(bytes[..n].to_vec()).unwrap();
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
