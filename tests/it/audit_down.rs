//! An audit that cannot write: nothing is sent that is not on record, and nothing starts.
//!
//! The disk that is full is a limit on the size of files, which needs no privilege. The signal
//! that comes with it is ignored, as a full disk sends none.

use std::{
    fs,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    client::{Client, Kind},
    harness::{Gateway, HttpFixture, PORTCULLIS, journal, wait_until, write_config},
    tasks,
};

/// For what should end by itself; with 124 if it does not.
const BRIEFLY: &str = "timeout 20";

/// Serves with files bounded to so many blocks of 512 or 1024 bytes.
pub(crate) fn bounded(blocks: u32, before: &str) -> Command {
    let script = format!("ulimit -f {blocks}; exec {before} \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh", PORTCULLIS, "serve", "--config"]);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_cannot_be_put_on_record_is_refused_and_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    // Started by us: the bound is not on its journal.
    let server = HttpFixture::start(&["--journal", path.to_str().unwrap()]);
    let config = write_config(dir.path(), &format!("[servers.up]\nurl = {:?}\n", server.url));
    let mut command = bounded(16, "");
    command.arg(&config);
    let gateway = Gateway::spawn(dir, command);
    gateway.wait_ready();
    let client = Client::able_http(Kind::ModernHttp, gateway.port, tasks::able()).await;
    let task = tasks::begin(&client, "up__confirm_delete", json!({ "filename": "f" })).await;
    let reached = || journal(&path).iter().filter(|event| event["tool"] == "count").count();
    let mut counted = 0;
    let refused = loop {
        let answer = client.call("up__count", json!({ "key": "a" })).await.response;
        if answer["error"].is_object() {
            break answer;
        }
        counted += 1;
        assert!(counted < 1000, "the bound was never met");
    };
    assert!(counted > 0, "{refused}");
    assert_unrecorded(&refused);
    // It stays so, for every call, and nothing of it reaches the server.
    for tool in ["up__count", "up__count", "up__echo"] {
        let arguments = json!({ "key": "a", "text": "x" });
        assert_unrecorded(&client.call(tool, arguments).await.response);
    }
    for method in tasks::METHODS {
        let params = json!({ "taskId": task, "inputResponses": {} });
        assert_unrecorded(&client.ask(method, params).await.response);
    }
    assert_eq!(tasks::reached(&path), [] as [Value; 0]);
    assert_eq!(reached(), counted);
    assert!(!journal(&path).iter().any(|event| event["tool"] == "echo"));
    assert!(gateway.get("/ready").starts_with("HTTP/1.1 503"));
    assert!(gateway.get("/ready").contains("the audit cannot write"));
    assert_eq!(gateway.status()["audit"]["healthy"], false);
    let told = String::from_utf8(gateway.cli(&["status"]).stdout).unwrap();
    assert!(told.contains("audit FAILED"), "{told}");

    // Every call that was sent has its intent in the file.
    let intents = gateway.audit().iter().filter(|record| record["kind"] == "intent").count();
    assert!(intents >= counted, "{intents} intents for {counted} calls");
    // It stays stopped while the audit is down, and after a restart as well.
    let stop = gateway.status()["stop"].clone();
    assert_eq!((&stop["who"], &stop["scope"]), (&json!("audit"), &json!("global")), "{stop}");
    let id = stop["id"].as_str().unwrap();
    let early = gateway.cli(&["estop", "reset", "--id", id, "--reason", "test"]);
    assert_eq!(early.status.code(), Some(1), "{early:?}");
    // The next start, with room, cuts the torn end off and says so.
    let (status, dir) = gateway.end();
    assert!(status.success());
    let gateway = Gateway::launch(dir, &format!("[servers.up]\nurl = {:?}\n", server.url));
    gateway.reset();
    let calls = || gateway.cli(&["call", "up__echo", "text=x"]).status.success().then_some(());
    wait_until("calls after the resume", calls, || gateway.log());
    assert!(gateway.cli(&["audit", "verify"]).status.success());
}

#[track_caller]
pub(crate) fn assert_unrecorded(answer: &Value) {
    // A failed audit engages the stop, which is soon the reason for everything.
    let code = &answer["error"]["code"];
    assert!(code == -31005 || code == -31001, "{answer}");
    assert_eq!(answer["error"]["data"]["sent"], "no", "{answer}");
    assert!(answer["error"]["data"]["callId"].is_string(), "{answer}");
}

/// Starts what must not start, before a server that would journal its start.
#[track_caller]
fn refuses_to_start(mut command: Command, dir: &tempfile::TempDir) -> String {
    let journal = dir.path().join("journal.jsonl");
    let server = crate::harness::stdio_server("up", &["--journal", journal.to_str().unwrap()]);
    let output =
        command.arg(write_config(dir.path(), &server)).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(!journal.exists(), "a server was started");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_log_that_takes_no_record_refuses_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let told = refuses_to_start(bounded(0, BRIEFLY), &dir);
    assert!(told.contains("audit log"), "{told}");
}

#[test]
fn an_audit_directory_that_cannot_be_written_refuses_the_start() {
    let dir = tempfile::tempdir().unwrap();
    // No directory at all: what nobody can write in, root neither.
    fs::create_dir(dir.path().join("state")).unwrap();
    fs::write(dir.path().join("state/audit"), "in the way").unwrap();
    let mut command = Command::new("timeout");
    command.args(["20", PORTCULLIS, "serve", "--config"]);
    let told = refuses_to_start(command, &dir);
    assert!(told.contains("audit"), "{told}");
    assert!(told.contains("nothing may be called without it"), "{told}");
}
