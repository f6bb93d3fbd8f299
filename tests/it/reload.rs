//! Reload: a good file is taken whole while calls go on, a bad one changes nothing.

mod drill;
mod noticed;

use std::{
    fs,
    os::unix::fs::symlink,
    process::{Command, Output},
};

use serde_json::{Value, json};

use crate::{
    client::{Client, Kind},
    harness::{
        Gateway, PORTCULLIS, allow_everything, journal, marked, stdio_server, wait_until,
        write_config,
    },
    stop::admin,
};

/// What `/admin/status` says of one server.
fn server(gateway: &Gateway, name: &str) -> Value {
    let status = gateway.status();
    let mut servers = status["servers"].as_array().unwrap().iter();
    servers.find(|server| server["name"] == name).cloned().unwrap_or_default()
}

fn pid(gateway: &Gateway, name: &str) -> Value {
    server(gateway, name)["replicas"][0]["pid"].clone()
}

fn generation(gateway: &Gateway) -> u64 {
    gateway.status()["generation"].as_u64().unwrap()
}

/// Writes the file and has it taken; what was printed as JSON.
fn reload(gateway: &Gateway, tables: &str) -> (Output, Value) {
    write_config(gateway.dir.path(), tables);
    let output = gateway.cli(&["reload", "--json"]);
    let told = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output, told)
}

async fn tools(client: &Client) -> Vec<String> {
    let list = client.ask("tools/list", json!({})).await.response;
    let tools = list["result"]["tools"].as_array().unwrap().iter();
    tools.map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_at_the_server_it_was_sent_to_and_new_calls_go_to_the_new_one() {
    let marker = format!("leaving-{}", std::process::id());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let args = ["--name", &marker, "--journal", path.to_str().unwrap()];
    let (kept, old) = (stdio_server("kept", &[]), stdio_server("moved", &args));
    let gone = stdio_server("gone", &args);
    let gateway = Gateway::start_in(dir, &format!("{kept}{old}{gone}"));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let (kept_pid, old_pid) = (pid(&gateway, "kept"), pid(&gateway, "moved"));

    let long = json!({ "ms": 1500, "text": "z" });
    let moved = client.begin("moved__sleep", long.clone(), None).await;
    let leaving = client.begin("gone__sleep", long, None).await;
    // Calls elsewhere keep no server that is gone.
    let old_client = Client::http(Kind::LegacyHttp, gateway.port).await;
    let endless = json!({ "ms": 600_000, "text": "z" });
    let first = client.begin("kept__sleep", endless.clone(), None).await;
    let _endless = (first, old_client.begin("kept__sleep", endless, None).await);
    let asked = || {
        let intents = gateway.audit().into_iter().filter(|record| record["kind"] == "intent");
        (intents.count() == 4).then_some(())
    };
    wait_until("all calls", asked, || gateway.log());
    let reached = || journal(&path).iter().filter(|event| event["tool"] == "sleep").count();
    wait_until("both calls", || (reached() == 2).then_some(()), || gateway.log());
    let new = stdio_server("moved", &["--name", "anew", "--start-delay-ms", "300"]);
    let (output, told) = reload(&gateway, &format!("{kept}{new}{}", stdio_server("new", &[])));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(told["generation"], 2);

    // The command has waited: all of it can be called.
    assert_eq!(client.text("moved__echo", json!({ "text": "x" })).await, "x");
    assert_eq!(client.text("new__echo", json!({ "text": "y" })).await, "y");
    let unknown = client.call("gone__echo", json!({ "text": "x" })).await.response;
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    assert!(!tools(&client).await.iter().any(|name| name.starts_with("gone__")));
    assert_eq!(pid(&gateway, "kept"), kept_pid);
    assert_ne!(pid(&gateway, "moved"), old_pid);
    for call in [moved, leaving] {
        let answer = call.finish().await.response;
        assert_eq!(answer["result"]["content"][0]["text"], "z", "{answer}\n{}", gateway.log());
    }
    let ended = || marked(&marker).is_empty().then_some(());
    wait_until("the old servers to end", ended, || gateway.log());
    assert_eq!(reached(), 2);

    // Each call says under which generation it was judged.
    let intents: Vec<_> = gateway.audit().into_iter().filter(|r| r["kind"] == "intent").collect();
    let generations: Vec<_> = intents.iter().map(|intent| intent["generation"].clone()).collect();
    assert_eq!(generations, [1, 1, 1, 1, 2, 2]);
    let record = gateway.wait_audit("the reload", |record| record["kind"] == "reloaded");
    assert_eq!((&record["added"], &record["removed"]), (&json!("new"), &json!("gone")));
    assert_eq!((&record["changed"], &record["generation"]), (&json!("moved"), &json!(2)));
    assert_ne!(record["before_sha256"], record["config_sha256"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_a_mistake_changes_nothing_and_says_where_everywhere() {
    let gateway = Gateway::start(&stdio_server("up", &[]));
    let before = pid(&gateway, "up");
    let (output, told) = reload(&gateway, "[servers.up]\ncomand = \"x\"\n");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!((&told["result"], &told["errors"][0]["line"]), (&json!("refused"), &json!(7)));
    let place = format!("{}:7:1", gateway.config().display());
    let output = gateway.cli(&["reload"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains(&place) && told.contains("comand"), "{told}");

    let status = gateway.status();
    assert_eq!((&status["generation"], &status["config"]["generation"]), (&json!(1), &json!(1)));
    assert!(status["config"]["reloads"]["refused"].as_u64().unwrap() >= 2);
    assert_eq!(status["config"]["last_reload"]["errors"][0]["code"], "C003");
    let shown = gateway.cli(&["status"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("RELOAD REFUSED") && shown.contains(&place), "{shown}");
    assert!(gateway.log().contains("The configuration has a mistake"));
    let record = gateway.wait_audit("the refusal", |record| record["kind"] == "reload_refused");
    assert!(record["why"].as_str().unwrap().contains("C003"), "{record}");
    assert_eq!((&record["generation"], record["config_sha256"].is_string()), (&json!(1), true));

    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    assert_eq!(client.text("up__echo", json!({ "text": "x" })).await, "x");
    // What was running is asked for again.
    let (output, told) = reload(&gateway, &stdio_server("up", &[]));
    assert!(output.status.success());
    assert_eq!((&told["result"], &told["unchanged"]), (&json!("unchanged"), &json!(1)));
    assert_eq!(pid(&gateway, "up"), before);
    assert!(!String::from_utf8_lossy(&gateway.cli(&["status"]).stdout).contains("REFUSED"));
}

#[test]
fn hundreds_of_broken_files_change_nothing_and_every_mistake_has_a_line() {
    let tables = stdio_server("up", &[]);
    let gateway = Gateway::start(&tables);
    let before = pid(&gateway, "up");
    let good = fs::read_to_string(gateway.config()).unwrap();
    // No TOML, wherever they stand.
    let pieces = ["\n]x = ", "\n\"", "\u{1}\n="];
    let places = (0..good.len()).step_by((good.len() / 100).max(1));
    let broken: Vec<String> = places
        .filter_map(|at| good.split_at_checked(at))
        .flat_map(|(before, after)| pieces.map(|piece| format!("{before}{piece}{after}")))
        .collect();
    assert!(broken.len() >= 300, "{}", broken.len());
    for text in &broken {
        fs::write(gateway.config(), text).unwrap();
        let answer = admin(&gateway, "POST /admin/reload", "", "");
        let (head, told) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 409"), "{answer}\n{text}");
        let told: Value = serde_json::from_str(told).unwrap();
        let errors = told["errors"].as_array().unwrap();
        assert!(!errors.is_empty(), "{told}");
        let n_lines = text.matches('\n').count() + 1;
        for error in errors {
            let line = usize::try_from(error["line"].as_u64().unwrap()).unwrap();
            assert!(
                (1..=n_lines).contains(&line) && error["column"].as_u64() >= Some(1),
                "{error}"
            );
        }
    }
    assert_eq!((generation(&gateway), pid(&gateway, "up")), (1, before));
    let refusals = gateway.audit().into_iter().filter(|r| r["kind"] == "reload_refused").count();
    assert!(refusals >= broken.len(), "{refusals}");
}

#[test]
fn what_needs_a_restart_is_refused_with_its_line() {
    let up = stdio_server("up", &[]);
    let gateway = Gateway::start(&up);
    let (output, told) = reload(&gateway, &format!("{up}[limits]\nin_flight = 7\n"));
    assert_eq!(output.status.code(), Some(1));
    let error = &told["errors"][0];
    assert_eq!((&error["code"], &error["line"]), (&json!("C025"), &json!(10)), "{told}");
    assert_eq!(generation(&gateway), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_diff_says_what_a_reload_would_do_and_does_nothing() {
    let [kept, gone] = ["kept", "gone"].map(|name| stdio_server(name, &[]));
    // Behind a link to elsewhere nobody watches; else the gateway would take it meanwhile.
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = write_config(elsewhere.path(), &format!("{kept}{gone}"));
    symlink(file, dir.path().join("servers.toml")).unwrap();
    allow_everything(&dir.path().join("policies"));
    let mut command = Command::new(PORTCULLIS);
    command.args(["serve", "--config"]).arg(dir.path().join("servers.toml"));
    let gateway = Gateway::spawn(dir, command);
    gateway.wait_ready();
    let before = pid(&gateway, "kept");
    let hidden = format!("{kept}disabled_tools = [\"echo\"]\n{}", stdio_server("new", &[]));
    write_config(elsewhere.path(), &hidden);
    let output = gateway.cli(&["diff"]);
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(told, "  + new\n  - gone\n  ~ kept (disabled_tools): goes on\n  0 unchanged\n",);
    write_config(elsewhere.path(), "[servers.kept]\n");
    let output = gateway.cli(&["diff", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&told["errors"][0]["code"], &told["errors"][0]["line"]),
        (&json!("C008"), &json!(6))
    );
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    assert_eq!(client.text("gone__echo", json!({ "text": "x" })).await, "x");
    assert_eq!((generation(&gateway), pid(&gateway, "kept")), (1, before));
    assert!(!gateway.audit().iter().any(|r| r["kind"].as_str().unwrap().starts_with("reload")));
}

#[tokio::test(flavor = "multi_thread")]
async fn hiding_a_tool_takes_effect_at_once_and_replaces_no_process() {
    let up = stdio_server("up", &[]);
    let gateway = Gateway::start(&up);
    let before = pid(&gateway, "up");
    let client = Client::http(Kind::LegacyHttp, gateway.port).await;
    assert_eq!(client.text("up__echo", json!({ "text": "x" })).await, "x");
    let (output, _) = reload(&gateway, &format!("{up}disabled_tools = [\"echo\"]\n"));
    assert!(output.status.success(), "{output:?}");
    assert!(!tools(&client).await.contains(&"up__echo".to_owned()));
    let hidden = client.call("up__echo", json!({ "text": "x" })).await.response;
    assert_eq!(hidden["error"]["code"], -32602, "{hidden}");
    assert_eq!((generation(&gateway), pid(&gateway, "up")), (2, before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_come_up_holds_up_no_reload() {
    let up = stdio_server("up", &[]);
    let gateway = Gateway::start(&up);
    let new = stdio_server("new", &[]);
    let down = "[servers.down]\ncommand = \"/bin/false\"\n";
    let (output, told) = reload(&gateway, &format!("{up}{new}{down}"));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(told["down"][0]["server"], "down", "{told}");
    assert!(!told["down"][0]["why"].as_str().unwrap().is_empty());
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    assert_eq!(client.text("new__echo", json!({ "text": "x" })).await, "x");

    // One that was up and is no longer keeps its tools listed, as any server that goes down.
    let broken = "[servers.new]\ncommand = \"/bin/false\"\n";
    let (output, told) = reload(&gateway, &format!("{up}{broken}"));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(told["down"][0]["server"], "new", "{told}");
    assert!(tools(&client).await.contains(&"new__echo".to_owned()));
    let refused = client.call("new__echo", json!({ "text": "x" })).await.response;
    assert_eq!(refused["error"]["code"], -31002, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_while_stopped_stays_stopped() {
    let up = stdio_server("up", &[]);
    let gateway = Gateway::start(&up);
    assert!(gateway.cli(&["stop"]).status.success());
    let (output, told) = reload(&gateway, &format!("{up}{}", stdio_server("new", &[])));
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        (&told["generation"], &gateway.status()["stop"]["engaged"]),
        (&json!(2), &json!(true))
    );
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    for tool in ["up__echo", "new__echo"] {
        let refused = client.call(tool, json!({ "text": "x" })).await.response;
        assert_eq!(refused["error"]["code"], -31001, "{refused}");
    }
    gateway.reset();
    // Nothing was started while stopped.
    let listed = || {
        let output = gateway.cli(&["tools"]);
        String::from_utf8_lossy(&output.stdout).contains("new__echo").then_some(())
    };
    wait_until("the new server", listed, || gateway.log());
    assert_eq!(client.text("new__echo", json!({ "text": "x" })).await, "x");
    assert!(gateway.cli(&["stop"]).status.success());
    assert_eq!(generation(&gateway), 2);
}
