//! `doctor`: what it finds, how it ends, and that it disturbs nothing.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

use crate::harness::{
    Gateway, HttpFixture, PORTCULLIS, journal, marked, stdio_server, wait_until, write_config,
};

fn run(dir: &Path, words: &[&str]) -> Output {
    let all = [&["60", PORTCULLIS, "doctor"], words].concat();
    Command::new("timeout").args(all).current_dir(dir).output().unwrap()
}

/// The findings by what was looked at, and the exit code.
#[track_caller]
fn look(dir: &Path, words: &[&str]) -> (i32, Vec<Value>) {
    let output = run(dir, &[&["--json"], words].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    let told: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    (output.status.code().unwrap(), told["checks"].as_array().unwrap().clone())
}

#[track_caller]
fn finding<'v>(checks: &'v [Value], what: &str, verdict: &str) -> &'v str {
    let found = checks.iter().find(|check| check["check"] == what && check["verdict"] == verdict);
    let found = found.unwrap_or_else(|| panic!("no {verdict} `{what}` in {checks:#?}"));
    assert!(verdict == "ok" || found["help"].is_string(), "{what}: what to do?");
    found["told"].as_str().unwrap()
}

#[test]
fn a_running_gateway_is_taken_at_its_word_and_nothing_is_started_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let server = stdio_server("up", &["--journal", path.to_str().unwrap()]);
    let gateway = Gateway::start_in(dir, &server);
    let before = journal(&path);
    let (code, checks) = look(gateway.dir.path(), &[]);
    assert_eq!(code, 0, "{checks:#?}");
    assert!(finding(&checks, "server up", "ok").starts_with("ready, 20"));
    assert!(finding(&checks, "gateway", "ok").contains("it runs"));
    assert!(finding(&checks, "admin", "ok").ends_with("is the gateway's"));
    assert!(finding(&checks, "audit log", "ok").contains("chain intact"));
    assert_eq!(journal(&path), before, "the server was asked something");
}

/// By the steps of the gateway's own code: started or connected, discovered or initialized.
#[test]
fn without_a_gateway_each_server_is_opened_step_by_step_and_ended() {
    let dir = tempfile::tempdir().unwrap();
    let web = HttpFixture::start(&["--era", "modern"]);
    let marker = dir.path().join("marker").display().to_string();
    let tables = [
        stdio_server("up", &["--journal", &marker]),
        format!("[servers.web]\nurl = {:?}\n", web.url),
        "[servers.dies]\ncommand = \"sh\"\nargs = [\"-c\", \"echo no licence >&2; exit 3\"]\n"
            .into(),
        "[servers.away]\nurl = \"http://127.0.0.1:9/mcp\"\n".into(),
    ];
    write_config(dir.path(), &tables.concat());
    let (code, checks) = look(dir.path(), &[]);
    assert_eq!(code, 1);
    let up = finding(&checks, "server up", "ok");
    assert!(up.contains(" tools, ") && up.contains("started at "), "{up}");
    let web = finding(&checks, "server web", "ok");
    assert!(web.contains("connected at ") && web.contains("discovered at "), "{web}");
    let dies = finding(&checks, "server dies", "fail");
    assert!(dies.contains("started at ") && !dies.contains("initialized"), "{dies}");
    let last = checks.iter().find(|check| check["check"] == "server dies").unwrap();
    assert!(last["more"].to_string().contains("no licence"), "{last}");
    let away = finding(&checks, "server away", "fail");
    assert!(away.contains("no step was taken"), "{away}");
    finding(&checks, "gateway", "ok");
    let gone = || marked(&marker).is_empty().then_some(());
    wait_until("the server to be gone", gone, || format!("{:?}", marked(&marker)));
    assert!(!dir.path().join("state").exists(), "the doctor made a state");

    // Words for people, one line for each finding.
    let output = run(dir.path(), &["--no-servers"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("server up"), "{text}");
    for what in ["open files", "file watches", "clock", "pidfd", "openat2", "cgroups", "disk"] {
        let of = |line: &&str| line.get(5..).is_some_and(|rest| rest.starts_with(what));
        assert_eq!(text.lines().filter(of).count(), 1, "{what} in\n{text}");
    }
}

#[test]
fn what_would_keep_the_gateway_from_its_work_is_found() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let port = taken.local_addr().unwrap().port();
    let listen = format!("[gateway]\nlisten = \"127.0.0.1:{port}\"\n");
    let secret = dir.path().join("secret");
    fs::write(&secret, "s").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let server = format!("{}env = {{ T = \"${{file:secret}}\" }}\n", stdio_server("up", &[]));
    let config = write_config(dir.path(), &format!("{listen}{server}"));
    let state = dir.path().join("state");
    fs::create_dir_all(state.join("estop")).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(state.join("estop/token"), "word").unwrap();
    fs::set_permissions(state.join("estop/token"), fs::Permissions::from_mode(0o644)).unwrap();
    let (code, checks) = look(dir.path(), &["--no-servers"]);
    assert_eq!(code, 1);
    assert!(finding(&checks, "listen", "fail").contains("cannot be had"));
    assert!(finding(&checks, "secret file", "fail").ends_with("secret"));
    assert!(finding(&checks, "state directory", "fail").contains("estop/token"));
    finding(&checks, "state directory", "warn");

    // Nothing is started while everything is stopped.
    fs::write(state.join("STOP"), "").unwrap();
    let (_, checks) = look(dir.path(), &[]);
    assert!(finding(&checks, "servers", "warn").contains("stop is engaged"));

    fs::set_permissions(&config, fs::Permissions::from_mode(0o666)).unwrap();
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}[wat]\n")).unwrap();
    let (code, checks) = look(dir.path(), &[]);
    assert_eq!(code, 2, "{checks:#?}");
    finding(&checks, "configuration", "fail");
    finding(&checks, "servers.toml", "fail");
}

#[test]
fn a_log_that_was_tampered_with_is_found() {
    let gateway = Gateway::start(&stdio_server("up", &[]));
    assert!(gateway.cli(&["call", "up__echo", "text=x"]).status.success());
    gateway.wait_audit("the outcome", |record| record["kind"] == "outcome");
    let (_, dir) = gateway.end();
    finding(&look(dir.path(), &["--no-servers"]).1, "audit log", "ok");
    let segments = dir.path().join("state/audit/current/seg");
    let first = fs::read_dir(segments).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&first).unwrap();
    fs::write(&first, text.replacen("echo", "ecco", 1)).unwrap();
    let (code, checks) = look(dir.path(), &["--no-servers"]);
    assert_eq!(code, 1);
    finding(&checks, "audit log", "fail");
}
