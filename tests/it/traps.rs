//! Traps that other gateways fell into: a test each, named after it, where no other test makes the
//! claim already. `docs/TRAPS.md` has them all.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    client::{Client, Kind},
    harness::{Gateway, fixture, journal, stdio_server, wait_until, write_config},
};

/// A server that starts only if this shell command succeeds.
fn server_if(name: &str, command: &str) -> String {
    let script = format!("{command} && exec '{}'", fixture().display());
    format!("[servers.{name}]\ncommand = \"/bin/sh\"\nargs = [\"-c\", {script:?}]\n")
}

fn wait_status(gateway: &Gateway, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let look = || Some(gateway.status()["servers"][0].take()).filter(|server| is(server));
    wait_until(what, look, || gateway.log())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_down_at_the_start_is_not_gone_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("mark");
    // The first three children die at once: more than one life has.
    let script = format!("! mkdir '{0}1' && ! mkdir '{0}2' && ! mkdir '{0}3'", mark.display());
    let server = server_if("late", &script);
    let gateway = Gateway::launch(dir, &server);
    let ready = wait_status(&gateway, "the server", |server| server["state"] == "ready");
    assert!(ready["restarts"].as_u64() >= Some(1), "{ready}");
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    assert_eq!(client.text("late__echo", json!({ "text": "x" })).await, "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_green_while_the_child_is_dead_and_its_revival_is_real() {
    let dir = tempfile::tempdir().unwrap();
    let gate = dir.path().join("gate");
    fs::write(&gate, "").unwrap();
    let gateway =
        Gateway::start_in(dir, &server_if("up", &format!("test -e '{}'", gate.display())));
    assert!(gateway.get("/ready").contains(r#""up":"ready""#), "{}", gateway.get("/ready"));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let pid = client.text("up__pid", json!({})).await;
    fs::remove_file(&gate).unwrap();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    let down = wait_status(&gateway, "the death", |server| server["state"] != "ready");
    assert!(!down["why"].as_str().unwrap().is_empty(), "{down}");
    assert!(!gateway.get("/ready").contains(r#""up":"ready""#), "{}", gateway.get("/ready"));
    // Whoever comes now is greeted, but no call pretends to work.
    let client = Client::http(Kind::LegacyHttp, gateway.port).await;
    let refused = client.call("up__echo", json!({ "text": "x" })).await.response;
    assert_eq!(refused["error"]["code"], -31002, "{refused}");
    assert_eq!(refused["error"]["data"]["sent"], "no", "{refused}");
    fs::write(&gate, "").unwrap();
    // By then it may be in a crash loop, which a reload ends.
    assert!(gateway.cli(&["reload"]).status.success());
    wait_status(&gateway, "the revival", |server| server["state"] == "ready");
    assert_eq!(client.text("up__echo", json!({ "text": "x" })).await, "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_breaker_is_asked_on_every_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.jsonl");
    let (command, journal_path) = (fixture().display().to_string(), path.display().to_string());
    let bad = ["--hostile", "no-newline", "--journal", &journal_path];
    let tables = format!(
        "{}tool_timeout_sec = 0.3\n[[servers.up.replica]]\ncommand = {command:?}\nargs = {bad:?}\n",
        stdio_server("up", &[])
    );
    let gateway = Gateway::start_in(dir, &tables);
    let replicas = |is: &dyn Fn(&Value) -> bool| {
        wait_status(&gateway, "its replicas", |server| {
            server["replicas"].as_array().unwrap().iter().all(is)
        });
    };
    replicas(&|replica| replica["state"] == "ready");
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let is_open = || gateway.status()["servers"][0]["replicas"][1]["breaker"] == "open";
    for _ in 0..100 {
        if is_open() {
            break;
        }
        client.call("up__echo", json!({ "text": "x" })).await;
    }
    assert!(is_open(), "{}", gateway.log());
    let methods = ["prompts/get", "resources/read", "completion/complete", "tools/call"];
    let reached = || {
        let is_call = |event: &&Value| methods.iter().any(|method| event["method"] == *method);
        journal(&path).iter().filter(is_call).count()
    };
    let before = reached();
    for _ in 0..6 {
        let prompt = json!({ "name": "up__test_simple_prompt" });
        let complete = json!({
            "ref": { "type": "ref/prompt", "name": "up__test_prompt_with_arguments" },
            "argument": { "name": "arg1", "value": "a" },
        });
        let resource = json!({ "uri": "test://static-text" });
        let tool = json!({ "name": "up__echo", "arguments": { "text": "x" } });
        for (method, params) in methods.iter().zip([prompt, resource, complete, tool]) {
            let answer = client.ask(method, params).await.response;
            assert!(answer["result"].is_object(), "{method}: {answer}");
        }
    }
    assert_eq!(reached(), before, "{:?}", journal(&path));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hot_added_server_can_be_called_at_once() {
    let mut tables = stdio_server("s0", &[]);
    let gateway = Gateway::start(&tables);
    let modern = Client::http(Kind::ModernHttp, gateway.port).await;
    let legacy = Client::http(Kind::LegacyHttp, gateway.port).await;
    for n in 1..4 {
        tables += &stdio_server(&format!("s{n}"), &[]);
        write_config(gateway.dir.path(), &tables);
        assert!(gateway.cli(&["reload"]).status.success());
        for client in [&modern, &legacy] {
            for of in 0..=n {
                let tool = format!("s{of}__echo");
                assert_eq!(client.text(&tool, json!({ "text": "x" })).await, "x", "{tool}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_watcher_is_not_woken_by_its_own_read_or_by_logs_beside_the_file() {
    let up = stdio_server("up", &[]);
    let gateway = Gateway::start(&up);
    let (dir, config) = (gateway.dir.path(), gateway.config());
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        fs::write(dir.join("server.log"), format!("{:?}\n", begun.elapsed())).unwrap();
        // The same text once more is no news either.
        let again = dir.join("again.toml");
        fs::copy(&config, &again).unwrap();
        fs::rename(&again, &config).unwrap();
    }
    write_config(dir, &format!("# another\n{up}"));
    let is_next = |record: &Value| record["kind"] == "reloaded";
    gateway.wait_audit("the reload", is_next);
    assert_eq!(gateway.audit().iter().filter(|record| is_next(record)).count(), 1);
    assert!(!gateway.log().contains("Nothing to reload"), "{}", gateway.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stop_is_not_defeated_by_tries_again_or_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let server = stdio_server("up", &["--journal", path.to_str().unwrap()]);
    let more = "replicas = 2\nretry = { tools = [\"sleep\"] }\n";
    let gateway = Gateway::start_in(dir, &format!("{server}{more}"));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let slow = json!({ "ms": 600_000, "text": "x" });
    let sleeping = client.begin("up__sleep", slow.clone(), None).await;
    let began = || {
        let mut events = journal(&path).into_iter();
        events.find(|event| event["event"] == "begun" && event["detail"]["tool"] == "sleep")
    };
    wait_until("the call", began, || gateway.log());
    let pids = |server: &Value| -> Vec<String> {
        let replicas = server["replicas"].as_array().unwrap().iter();
        replicas.map(|replica| replica["pid"].to_string()).collect()
    };
    let ready = wait_status(&gateway, "both", |server| {
        server["replicas"].as_array().unwrap().iter().all(|replica| replica["state"] == "ready")
    });
    gateway.signal("USR1");
    assert_eq!(sleeping.finish().await.response["error"]["code"], -31001);
    for pid in pids(&ready) {
        Command::new("kill").args(["-9", &pid]).status().unwrap();
    }
    let refused = client.call("up__sleep", slow).await.response;
    assert_eq!(refused["error"]["code"], -31001, "{refused}");
    // Whether or not they have come back by now, nothing was sent to them.
    let calls = journal(&path).into_iter().filter(|event| event["tool"] == "sleep");
    assert_eq!(calls.filter(|event| event["event"] == "message").count(), 1);
}
