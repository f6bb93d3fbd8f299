//! A witness by URL: it sees the log grow, and sees when it does not.
//!
//! The witness is another program (`tests/audit/witness.py`), written from the specification.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::{
    auth::tls::Authority,
    harness::{Gateway, PORTCULLIS, records_in, stdio_server, wait_until, write_config},
    https::{Tunnel, trust, trusting},
};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/audit");

struct Witness {
    child: Child,
    key: String,
    port: u16,
}

impl Witness {
    fn start(dir: &Path, port: u16) -> Self {
        let mut child = Command::new("python3")
            .arg(format!("{SCRIPTS}/witness.py"))
            .args([dir.to_str().unwrap(), &port.to_string()])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (key, port) = line.trim_end().split_once(' ').expect("a key and a port");
        Self { child, key: key.to_owned(), port: port.parse().unwrap() }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().unwrap();
    }
}

/// A gateway's directory and its witness, which knows the log.
struct House {
    witness: Witness,
    of_witness: TempDir,
    dir: TempDir,
    tables: String,
}

impl House {
    fn build() -> Self {
        let (dir, of_witness) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let witness = Witness::start(of_witness.path(), 0);
        let tables = format!(
            "[audit]\nwitness = {{ url = \"http://127.0.0.1:{}/w/\", key = {:?} }}\n{}",
            witness.port,
            witness.key,
            stdio_server("up", &[]),
        );
        write_config(dir.path(), &tables);
        let house = Self { witness, of_witness, dir, tables };
        let key = house.audit(&["init", "--for-witness"]);
        assert!(key.status.success(), "{key:?}");
        fs::write(house.of_witness.path().join("logs"), key.stdout).unwrap();
        house
    }

    fn audit(&self, words: &[&str]) -> Output {
        let config = self.dir.path().join("servers.toml");
        let mut command = Command::new(PORTCULLIS);
        command.arg("audit").args(words).arg("--config").arg(config);
        command.env_remove("XDG_RUNTIME_DIR").env_remove("RUNTIME_DIRECTORY").output().unwrap()
    }

    /// Nothing but the witness knows of the log from outside.
    fn run(self) -> (Gateway, Witness, TempDir) {
        let config = write_config(self.dir.path(), &self.tables);
        let mut command = Command::new(PORTCULLIS);
        command.args(["serve", "--config"]).arg(config);
        command.env_remove("XDG_RUNTIME_DIR").env_remove("RUNTIME_DIRECTORY");
        (Gateway::spawn(self.dir, command), self.witness, self.of_witness)
    }

    /// What the witness shows of the log to everybody.
    fn seen(&self) -> PathBuf {
        let key = fs::read_to_string(self.of_witness.path().join("logs")).unwrap();
        let origin = key.split('+').next().unwrap();
        let hash: String =
            Sha256::digest(origin).iter().map(|byte| format!("{byte:02x}")).collect();
        self.of_witness.path().join(hash)
    }

    /// Runs until the witness says what it should, then ends.
    fn run_until(self, told: impl Fn(&Value) -> bool) -> Self {
        let tables = self.tables.clone();
        let (gateway, witness, of_witness) = self.run();
        until(&gateway, told);
        let (status, dir) = gateway.end();
        assert!(status.success());
        Self { witness, of_witness, dir, tables }
    }

    /// Runs and ends, and the witness has cosigned all of it.
    fn grow(self) -> Self {
        let before = self.size_of("cosigned");
        let house = self.run_until(beyond(0));
        assert!(house.size_of("cosigned") > before, "{:?}", house.asked());
        assert_eq!(house.size_of("cosigned"), house.size_of("checkpoint"), "{:?}", house.asked());
        house
    }

    /// How many records a note is over; 0 if there is none.
    fn size_of(&self, note: &str) -> u64 {
        let note = fs::read_to_string(self.dir.path().join("state/audit/current").join(note));
        note.ok().and_then(|note| note.lines().nth(1)?.parse().ok()).unwrap_or_default()
    }

    fn asked(&self) -> Vec<String> {
        let text = fs::read_to_string(self.of_witness.path().join("asked")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

fn until(gateway: &Gateway, told: impl Fn(&Value) -> bool) -> Value {
    let look = || Some(gateway.status()["audit"]["witness"].clone()).filter(&told);
    let show = || format!("{} {}", gateway.status()["audit"], gateway.log());
    wait_until("word of the witness", look, show)
}

/// More than so many records are cosigned, and all is well.
fn beyond(n: u64) -> impl Fn(&Value) -> bool {
    move |told| told["problem"].is_null() && told["records"].as_u64().unwrap_or_default() > n
}

/// What the other verifier says.
fn second(house: &House) -> Value {
    let pubkey = house.audit(&["init"]).stdout;
    let log = house.dir.path().join("state/audit/current");
    let output = Command::new("python3")
        .arg(format!("{SCRIPTS}/verify.py"))
        .arg(log)
        .args([String::from_utf8(pubkey).unwrap().trim_end(), &house.witness.key])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
}

#[test]
fn each_checkpoint_is_shown_to_follow_from_the_last_and_cosigned() {
    let mut house = House::build();
    for _ in 0..3 {
        house = house.grow();
        let verified = house.audit(&["verify", "--witness", &house.witness.key]);
        assert!(verified.status.success(), "{verified:?}");
        let seen = house.seen();
        let verified = house.audit(&["verify", "--witness", seen.to_str().unwrap()]);
        assert!(verified.status.success(), "{verified:?}");
        let now = ["verify", "--witness", &house.witness.key, "--until", "now", "--max-gap", "1h"];
        assert!(house.audit(&now).status.success());
    }
    let asked = house.asked();
    assert!(asked.iter().all(|line| line.ends_with(" 200")), "{asked:?}");
    assert!(asked.len() >= 3 && asked[1] != asked[2], "{asked:?}");
    assert!(asked[0].starts_with("old 0 ") && !asked[1].starts_with("old 0 "), "{asked:?}");
    let told = second(&house);
    assert_eq!(told["ok"], true, "{told}");
    assert!(told["cosigned"].as_u64().unwrap() > 1, "{told}");
    // By somebody else it is not.
    let stranger = house.witness.key.replace("example/test", "example/none");
    assert!(!house.audit(&["verify", "--witness", &stranger]).status.success());
}

#[test]
fn a_witness_behind_tls_cosigns_if_the_machine_trusts_it() {
    let authority = Authority::new();
    let mut house = House::build();
    let tunnel = Tunnel::before(house.witness.port, &authority.server());
    let (plain, secured) = (
        format!("http://127.0.0.1:{}/", house.witness.port),
        format!("https://localhost:{}/", tunnel.port),
    );
    house.tables = house.tables.replace(&plain, &secured);
    // The witness keeps what it knows; each of these begins a log of its own.
    let stranger = trusting(&Authority::new(), &house.tables);
    let told = until(&stranger, |told| !told["problem"].is_null());
    assert!(told["problem"].to_string().contains("invalid peer certificate"), "{told}");
    assert!(house.asked().is_empty(), "{:?}", house.asked());
    drop(stranger);
    let config = write_config(house.dir.path(), &house.tables);
    let mut command = Command::new(PORTCULLIS);
    command.args(["serve", "--config"]).arg(config);
    trust(&mut command, &authority, house.of_witness.path());
    let gateway = Gateway::spawn(house.dir, command);
    until(&gateway, beyond(0));
}

#[test]
fn the_last_checkpoint_is_cosigned_before_the_end() {
    let house = House::build();
    let tables = house.tables.clone();
    let (gateway, witness, of_witness) = house.run();
    gateway.wait_ready();
    until(&gateway, beyond(0));
    for _ in 0..3 {
        assert!(gateway.cli(&["call", "up__echo", "text=x"]).status.success());
    }
    let (status, dir) = gateway.end();
    assert!(status.success());
    let house = House { witness, of_witness, dir, tables };
    let records = records_in(&house.dir.path().join("state/audit"));
    assert_eq!(records.last().unwrap()["kind"], "stopped");
    let n_records = u64::try_from(records.len()).unwrap();
    assert_eq!(house.size_of("cosigned"), n_records, "{:?}", house.asked());
    // So whoever cuts off only the end is found out.
    let seen = fs::read_to_string(house.seen()).unwrap();
    assert_eq!(seen.lines().nth(1), Some(n_records.to_string().as_str()));
    // A witness that does not answer is not waited for long.
    let (gateway, mut witness, _of_witness) = house.run();
    until(&gateway, beyond(n_records - 1));
    witness.child.kill().unwrap();
    witness.child.wait().unwrap();
    let silent = TcpListener::bind(("127.0.0.1", witness.port)).unwrap();
    let began = Instant::now();
    assert!(gateway.end().0.success());
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    drop(silent);
}

#[test]
fn a_witness_that_is_down_is_told_and_holds_up_nothing_and_is_asked_again() {
    let mut house = House::build();
    let port = house.witness.port;
    house.witness.child.kill().unwrap();
    house.witness.child.wait().unwrap();
    let (gateway, _down, of_witness) = house.run();
    gateway.wait_ready();
    let told = until(&gateway, |told| told["problem"].is_string());
    assert!(told["problem"].as_str().unwrap().contains("cannot be reached"), "{told}");
    assert_eq!((&told["alarm"], &told["records"]), (&json!(false), &json!(0)));
    assert!(gateway.cli(&["call", "up__echo", "text=x"]).status.success());
    let status = String::from_utf8(gateway.cli(&["status"]).stdout).unwrap();
    assert!(status.contains("witness"), "{status}");
    let _up = Witness::start(of_witness.path(), port);
    until(&gateway, beyond(0));
}

#[test]
fn a_witness_that_lies_or_breaks_has_cosigned_nothing() {
    for (mode, problem) in [
        ("forge", "its cosignature does not verify"),
        ("other", "has no cosignature"),
        ("odd", "it answers 500"),
    ] {
        let house = House::build();
        fs::write(house.of_witness.path().join("mode"), mode).unwrap();
        let is_told =
            |told: &Value| told["problem"].as_str().is_some_and(|text| text.contains(problem));
        let house = house.run_until(is_told);
        assert!(!house.dir.path().join("state/audit/current/cosigned").exists(), "{mode}");
        let verified = house.audit(&["verify", "--witness", &house.witness.key]);
        assert_eq!(verified.status.code(), Some(1), "{mode} {verified:?}");
        // What the witness has cosigned and did not say is found by asking it where it is.
        fs::remove_file(house.of_witness.path().join("mode")).unwrap();
        let house = house.grow();
        let went_on = house.asked().iter().any(|line| line.ends_with(" 409"));
        assert_eq!(went_on, mode != "odd", "{:?}", house.asked());
    }
}

#[test]
fn a_log_that_was_set_back_whole_is_found_out_by_its_witness() {
    let mut house = House::build().grow();
    let (state, kept) = (house.dir.path().join("state"), house.dir.path().join("kept"));
    let copy = |from: &Path, to: &Path| {
        let copied = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
        assert!(copied.success());
    };
    copy(&state, &kept);
    // More happens, and is cosigned.
    let before = house.asked().len();
    for _ in 0..3 {
        house = house.grow();
    }
    assert!(house.asked().len() > before);
    fs::remove_dir_all(&state).unwrap();
    copy(&kept, &state);
    // As a whole it is a log that was signed.
    assert!(house.audit(&["verify"]).status.success());
    let seen = house.seen();
    let held = house.audit(&["verify", "--witness", seen.to_str().unwrap()]);
    assert_eq!(held.status.code(), Some(1), "{held:?}");
    let alarm = |says: &'static str| {
        move |told: &Value| {
            let problem = told["problem"].as_str().unwrap_or_default();
            told["alarm"] == true && problem.contains(says)
        }
    };
    house = house.run_until(alarm("was set back"));
    // It grows beyond what the witness saw, and is another one all the same.
    let tables = house.tables.clone();
    let (gateway, witness, of_witness) = house.run();
    gateway.wait_ready();
    for _ in 0..40 {
        assert!(gateway.cli(&["call", "up__echo", "text=x"]).status.success());
    }
    let (_, dir) = gateway.end();
    let house = House { witness, of_witness, dir, tables };
    let house = house.run_until(alarm("another history"));
    let held = house.audit(&["verify", "--witness", seen.to_str().unwrap()]);
    assert_eq!(held.status.code(), Some(1), "{held:?}");
}
