//! Every key of `[servers.NAME]` that no other test shows, at a running gateway.

use std::{fs, path::Path};

use http::HeaderMap;
use http_body_util::BodyExt;
use serde_json::{Map, Value, json};

use super::serve;
use crate::{
    client::{Client, Kind, MODERN, post},
    harness::{Gateway, HttpFixture, fixture, journal, stdio_server, wait_until, write_config},
};

const TOKEN: &str = "bearer-7f3a91c2-value";
const KEY: &str = "file-5d20be44-value";
const TENANT: &str = "tenant-1c9e0f77-value";

/// Starts with these variables. Those who ask the gateway later do not have them.
fn spawn_with(dir: tempfile::TempDir, tables: &str, env: &[(&str, &str)]) -> Gateway {
    let config = write_config(dir.path(), tables);
    let mut command = serve(&config);
    command.envs(env.iter().copied());
    let gateway = Gateway::spawn(dir, command);
    gateway.wait_ready();
    gateway
}

fn server<'a>(status: &'a Value, name: &str) -> Option<&'a Value> {
    status["servers"].as_array().unwrap().iter().find(|server| server["name"] == name)
}

/// Nothing that is kept or shown holds a secret.
#[track_caller]
fn assert_hidden(gateway: &Gateway, status: &Value, secrets: &[&str]) {
    let audit = fs::read_to_string(gateway.dir.path().join("state/audit/current/seg/000001.jsonl"))
        .unwrap();
    for (place, text) in [("status", status.to_string()), ("log", gateway.log()), ("audit", audit)]
    {
        assert!(!text.is_empty(), "{place} is empty");
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} is in the {place}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn self_runs_this_program_with_its_args_in_its_cwd() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("sub/inner")).unwrap();
    fs::write(dir.path().join("top.txt"), "top").unwrap();
    fs::write(dir.path().join("sub/inner/deep.txt"), "deep").unwrap();
    let server = |name: &str, root: &str, more: &str| {
        format!(
            "[servers.{name}]\ncommand = \"@self\"\nargs = [\"provide\", \"files\", \"--root\", {root:?}]\n{more}"
        )
    };
    // Without cwd, relative to the directory of the file.
    let tables = server("here", ".", "") + &server("there", "inner", "cwd = \"sub\"\n");
    let gateway = Gateway::start_in(dir, &tables);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let read = async |server: &str, path: &str| {
        client.text(&format!("{server}__read_file"), json!({ "path": path })).await
    };
    assert!(read("here", "top.txt").await.contains("top"));
    assert!(read("there", "deep.txt").await.contains("deep"));
    let answer = client.call("there__read_file", json!({ "path": "top.txt" })).await.response;
    assert_eq!(answer["result"]["isError"], true, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_without_a_slash_is_looked_up_in_path() {
    let dir = tempfile::tempdir().unwrap();
    let place = fixture().parent().unwrap().display().to_string();
    let table = "[servers.up]\ncommand = \"fixture-server\"\nargs = [\"--extra-tools\", \"3\"]\n";
    let gateway = spawn_with(dir, table, &[("PATH", &format!("/nowhere:{place}"))]);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    assert_eq!(client.text("up__extra_00002", json!({})).await, "extra_00002");
    let unlisted = client.call("up__extra_00003", json!({})).await.response;
    assert_eq!(unlisted["error"]["code"], -32602, "more tools than its args say");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_reach_the_child_and_nothing_that_is_kept_or_shown() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("key"), format!("{KEY}\n")).unwrap();
    let file = dir.path().join("key").display().to_string();
    let env = format!(
        "env = {{ A = \"${{env:IT_TOKEN}}\", B = \"<${{file:{file}}}>\", C = \"plain\" }}\n"
    );
    let vars = [("IT_TOKEN", TOKEN), ("IT_OTHER", "not declared")];
    let gateway = spawn_with(dir, &format!("{}{env}", stdio_server("up", &[])), &vars);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let text = client.text("up__env", json!({})).await;
    let seen: Map<String, Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(seen["A"], TOKEN);
    assert_eq!(seen["B"], format!("<{KEY}>"));
    assert_eq!(seen["C"], "plain");
    assert!(!seen.contains_key("IT_OTHER") && !seen.contains_key("IT_TOKEN"), "{text}");
    gateway.wait_audit("the outcome", |record| record["kind"] == "outcome");
    let status = gateway.status();
    assert!(server(&status, "up").is_some(), "{status}");
    assert_hidden(&gateway, &status, &[TOKEN, KEY]);
    // Whoever stops the gateway need not have the secrets of its servers.
    fs::remove_file(file).unwrap();
    for words in [&["tools"][..], &["call", "up__pid"], &["audit", "verify"], &["stop"]] {
        let output = gateway.cli(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
    }
    assert_eq!(gateway.cli(&["check"]).status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_the_configuration_reach_the_url_and_those_of_the_client_do_not() {
    for era in ["modern", "legacy"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let upstream = HttpFixture::start(&["--era", era, "--journal", path.to_str().unwrap()]);
        fs::write(dir.path().join("key"), KEY).unwrap();
        let file = dir.path().join("key").display().to_string();
        let table = format!(
            "[servers.up]\nurl = {:?}\nbearer_token_env_var = \"IT_TOKEN\"\n\
             http_headers = {{ X-Team = \"platform\", X-Api-Key = \"${{file:{file}}}\" }}\n\
             env_http_headers = {{ X-Tenant = \"IT_TENANT\" }}\n",
            upstream.url
        );
        let vars = [("IT_TOKEN", TOKEN), ("IT_TENANT", TENANT)];
        let gateway = spawn_with(dir, &table, &vars);
        call_with_credentials(&gateway).await;

        let reached = journal(&path);
        let called = reached.iter().find(|event| event["method"] == "tools/call").unwrap();
        assert_eq!(called["tool"], "echo");
        let messages = reached.iter().filter(|event| event["event"] == "message");
        for event in messages {
            let headers = &event["headers"];
            assert_eq!(headers["authorization"], format!("Bearer {TOKEN}"), "{event}");
            assert_eq!(headers["x-team"], "platform", "{event}");
            assert_eq!(headers["x-api-key"], KEY, "{event}");
            assert_eq!(headers["x-tenant"], TENANT, "{event}");
        }
        let text = fs::read_to_string(&path).unwrap();
        for foreign in ["client-secret", "client-cookie", "client-note", "\"cookie\""] {
            assert!(!text.contains(foreign), "{era}: {foreign} reached the server: {text}");
        }
        let status = gateway.status();
        assert_hidden(&gateway, &status, &[TOKEN, KEY, TENANT, "client-secret", "client-cookie"]);
    }
}

/// A client that shows credentials of its own.
async fn call_with_credentials(gateway: &Gateway) {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "up__echo", "arguments": { "text": "x" }, "_meta": {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    }});
    let headers: HeaderMap = [
        ("mcp-protocol-version", MODERN),
        ("mcp-method", "tools/call"),
        ("mcp-name", "up__echo"),
        ("authorization", "Bearer client-secret"),
        ("cookie", "session=client-cookie"),
        ("x-note", "client-note"),
    ]
    .into_iter()
    .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
    .collect();
    let response = post(gateway.port, &body, headers).await;
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let answer: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(answer["result"]["content"][0]["text"], "x", "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inbound_credentials_go_nowhere_without_credentials_of_our_own() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let upstream = HttpFixture::start(&["--journal", path.to_str().unwrap()]);
    let gateway = Gateway::start_in(dir, &format!("[servers.up]\nurl = {:?}\n", upstream.url));
    call_with_credentials(&gateway).await;
    let reached = journal(&path);
    assert!(reached.iter().any(|event| event["method"] == "tools/call"));
    for event in reached.iter().filter(|event| event["event"] == "message") {
        let headers = event["headers"].as_object().unwrap();
        for name in ["authorization", "cookie", "x-note"] {
            assert!(!headers.contains_key(name), "{name}: {event}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_server_is_neither_started_nor_listed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let off = stdio_server("off", &["--journal", path.to_str().unwrap()]);
    let tables = format!("{off}enabled = false\n{}enabled = true\n", stdio_server("on", &[]));
    let gateway = Gateway::start_in(dir, &tables);
    let status = gateway.status();
    assert!(server(&status, "on").is_some() && server(&status, "off").is_none(), "{status}");
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let listed = client.ask("tools/list", json!({})).await.response.to_string();
    assert!(listed.contains("on__echo") && !listed.contains("off__"), "{listed}");
    let answer = client.call("off__echo", json!({ "text": "x" })).await.response;
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    assert!(!path.exists(), "it was started");
}

#[test]
fn startup_timeout_is_how_long_a_server_may_take() {
    let slow = ["--hostile", "slow-start", "--start-delay-ms"];
    let short = stdio_server("short", &[&slow[..], &["600000"]].concat());
    let long = stdio_server("long", &[&slow[..], &["1500"]].concat());
    // With the default of 30 s this would not be ready in time.
    let gateway = Gateway::start(&format!(
        "{short}startup_timeout_sec = 0.3\n{long}startup_timeout_sec = 15\n"
    ));
    let status = gateway.status();
    let short = server(&status, "short").unwrap();
    assert_ne!(short["state"], "ready", "{status}");
    let ready = || {
        let status = gateway.status();
        (server(&status, "long").unwrap()["state"] == "ready").then_some(status)
    };
    let status = wait_until("the slow server", ready, || gateway.log());
    assert_eq!(server(&status, "long").unwrap()["restarts"], 0, "{status}");
}

/// The protocol of each server by its status, and which handshakes reached it.
fn spoken(gateway: &Gateway, dir: &Path, name: &str) -> (Value, bool, bool) {
    let status = gateway.status();
    let protocol = server(&status, name).unwrap()["protocol"].clone();
    let reached = journal(&dir.join(format!("{name}.jsonl")));
    let heard = |method: &str| reached.iter().any(|event| event["method"] == method);
    (protocol, heard("server/discover"), heard("initialize"))
}

#[test]
fn protocol_pins_the_era_that_is_spoken_with_a_server_of_both() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().to_owned();
    let (mut tables, mut upstreams) = (String::new(), Vec::new());
    for pin in ["auto", "modern", "legacy"] {
        let args = |name: &str| {
            let path = place.join(format!("{name}.jsonl")).display().to_string();
            ["--era", "dual", "--journal", &path].map(str::to_owned)
        };
        let pipe = args(&format!("pipe-{pin}"));
        tables += &stdio_server(&format!("pipe-{pin}"), &pipe.each_ref().map(String::as_str));
        tables += &format!("protocol = {pin:?}\n");
        let url = args(&format!("url-{pin}"));
        let upstream = HttpFixture::start(&url.each_ref().map(String::as_str));
        tables += &format!("[servers.url-{pin}]\nurl = {:?}\nprotocol = {pin:?}\n", upstream.url);
        upstreams.push(upstream);
    }
    // A pin that the server does not fit is no server.
    tables += &stdio_server("unfit", &["--era", "legacy"]);
    tables += "protocol = \"modern\"\nstartup_timeout_sec = 5\n";
    let gateway = Gateway::start_in(dir, &tables);
    for way in ["pipe", "url"] {
        let of = |pin: &str| spoken(&gateway, &place, &format!("{way}-{pin}"));
        assert_eq!(of("modern"), (json!("2026-07-28"), true, false), "{way}");
        assert_eq!(of("legacy"), (json!("2025-11-25"), false, true), "{way}");
        assert_eq!(of("auto"), (json!("2026-07-28"), true, false), "{way}");
    }
    let status = gateway.status();
    assert_ne!(server(&status, "unfit").unwrap()["state"], "ready", "{status}");
}
