//! What becomes of children and records when the gateway dies, and when it ends in order.

use std::fs;

use serde_json::{Value, json};

use crate::{
    client::{Client, Kind},
    harness::{Gateway, marked, stdio_server, wait_until, write_config},
};

/// Issue: "50 of the gateway: no orphan process, no zombie, audit file opens clean".
const GATEWAY_KILLS: usize = 50;

/// The calls that were in flight at each death.
fn sleeps(records: &[Value]) -> Vec<Value> {
    let intents = records.iter().filter(|r| r["kind"] == "intent" && r["tool"] == "sleep");
    intents.map(|record| record["call"].clone()).collect()
}

fn wait_none(marker: &str) {
    let gone = || marked(marker).is_empty().then_some(());
    wait_until("every child to be gone", gone, || format!("{:?}", marked(marker)));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_survives_a_killed_gateway_and_the_audit_opens_clean() {
    let marker = format!("marker-{}", std::process::id());
    let plain = stdio_server("plain", &["--name", &marker]);
    let daemon = stdio_server("daemon", &["--name", &marker, "--hostile", "daemonise"]);
    let stubborn = stdio_server("stubborn", &["--name", &marker, "--hostile", "ignore-sigterm"]);
    let tables = format!("{plain}{daemon}{stubborn}");
    let mut dir = tempfile::tempdir().unwrap();
    for cycle in 0..GATEWAY_KILLS {
        let mut gateway = Gateway::start_in(dir, &tables);
        let client = Client::http(Kind::ModernHttp, gateway.port).await;
        let echoed = client.text("plain__echo", json!({ "text": "x" })).await;
        assert_eq!(echoed, "x", "cycle {cycle}: {}", gateway.log());
        client.call("daemon__echo", json!({ "text": "x" })).await;
        assert!(marked(&marker).len() >= 3, "cycle {cycle}");
        // A call is in flight at the moment of death.
        let sleeping =
            client.begin("plain__sleep", json!({ "ms": 600_000, "text": "z" }), None).await;
        let asked = || (sleeps(&gateway.audit()).len() == cycle + 1).then_some(());
        wait_until("the intent", asked, || gateway.log());
        gateway.signal("KILL");
        gateway.wait_exit();
        drop(sleeping);
        wait_none(&marker);
        dir = std::mem::replace(&mut gateway.dir, tempfile::tempdir().unwrap());
    }
    let gateway = Gateway::start_in(dir, &tables);
    let verified = gateway.cli(&["audit", "verify"]);
    assert!(verified.status.success(), "{verified:?}");
    let records = gateway.audit();
    let orphaned = |call: &Value| {
        records.iter().any(|record| record["kind"] == "orphaned" && record["call"] == *call)
    };
    let sleeps = sleeps(&records);
    assert_eq!(sleeps.len(), GATEWAY_KILLS);
    assert!(sleeps.iter().all(orphaned), "a call of unknown outcome was not called so");
    let (status, _dir) = gateway.end();
    assert!(status.success());
    wait_none(&marker);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_end_leaves_no_process_even_of_stubborn_servers() {
    let marker = format!("ending-{}", std::process::id());
    let tables = ["daemonise", "ignore-sigterm", "close-stdout"]
        .map(|mode| stdio_server(mode, &["--name", &marker, "--hostile", mode]))
        .concat();
    let gateway = Gateway::start(&tables);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    client.call("daemonise__echo", json!({ "text": "x" })).await;
    client.call("close-stdout__echo", json!({ "text": "x" })).await;
    let (status, dir) = gateway.end();
    assert!(status.success());
    wait_none(&marker);
    let records = crate::harness::audit_in(&dir.path().join("state/audit"));
    assert_eq!(records.last().unwrap()["kind"], "stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_sees_the_declared_environment_and_no_file_of_ours() {
    let server = stdio_server("up", &[]);
    let gateway = Gateway::start(&format!("{server}env = {{ DECLARED = \"yes\" }}\n"));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let text = client.text("up__env", json!({})).await;
    let environment: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(environment["DECLARED"], "yes");
    let known = ["DECLARED", "PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"];
    let foreign: Vec<_> = environment.keys().filter(|key| !known.contains(&key.as_str())).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
    let fds = client.text("up__fds", json!({})).await;
    assert!(!fds.contains("jsonl") && !fds.contains("admin.sock"), "{fds}");
}

#[test]
fn a_second_gateway_on_the_same_state_is_refused() {
    let gateway = Gateway::start("");
    let output = std::process::Command::new(crate::harness::PORTCULLIS)
        .args(["serve", "--config"])
        .arg(gateway.config())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("audit"), "{told}");
    assert!(gateway.get("/health").starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_desktop_hosts_call_gets_its_grace_when_the_gateway_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let journal = dir.path().join("journal.jsonl");
    let tables = stdio_server("up", &["--journal", journal.to_str().unwrap()]);
    let config = write_config(dir.path(), &tables);
    let client = Client::stdio(Kind::LegacyStdio, &config).await;
    let arguments = json!({ "ms": 700, "text": "finished" });
    let call = client.begin("up__sleep", arguments, None).await;
    let arrived = || crate::harness::journal(&journal).iter().any(|e| e["tool"] == "sleep");
    wait_until("the call", || arrived().then_some(()), String::new);
    client.terminate();
    let answer = call.finish().await.response;
    assert_eq!(answer["result"]["content"][0]["text"], "finished", "{answer}");
}

#[test]
fn a_file_in_the_place_of_a_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let notes = dir.path().join("notes.txt");
    fs::write(&notes, "mine").unwrap();
    let config = write_config(dir.path(), "[gateway]\nlisten = \"unix:notes.txt\"\n");
    let text = fs::read_to_string(&config).unwrap();
    let absolute = format!("unix:{}", notes.display());
    fs::write(&config, text.replace("unix:notes.txt", &absolute)).unwrap();
    let output = std::process::Command::new(crate::harness::PORTCULLIS)
        .args(["serve", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(fs::read_to_string(&notes).unwrap(), "mine");
}

/// Whether the kernel may give a process huge pages, as it says itself.
fn huge_pages(pid: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("THP_enabled:"));
    line.unwrap().trim().to_owned()
}

#[test]
fn the_gateway_takes_small_pages_and_its_servers_have_what_the_system_gives() {
    let gateway = Gateway::start(&stdio_server("good", &[]));
    let child = gateway.status()["servers"][0]["replicas"][0]["pid"].to_string();
    assert_eq!(huge_pages(&gateway.pid().to_string()), "0");
    assert_eq!(huge_pages(&child), huge_pages("self"));
}
