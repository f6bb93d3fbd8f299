//! Every key of `[gateway]` and `[audit]` changes what a running gateway does. The keys of
//! servers are in `servers`; limits, hosts and origins are shown in `http_rules`, filters and
//! deadlines in `call_path`.

mod servers;

use std::{
    fs,
    io::{Read, Write},
    os::unix::{
        fs::{FileTypeExt, MetadataExt},
        net::UnixStream,
    },
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::{
    client::{Client, Kind, MODERN},
    harness::{Gateway, PORTCULLIS, SOON, journal, stdio_server, wait_until, write_config},
};

/// `serve` for the configuration in `dir`.
pub(crate) fn serve(config: &Path) -> Command {
    let mut command = Command::new(PORTCULLIS);
    command.args(["serve", "--config"]).arg(config);
    command
}

/// One HTTP exchange over a unix socket, head and body as they come.
pub(crate) fn exchange(socket: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

pub(crate) fn get(socket: &Path, path: &str) -> String {
    exchange(
        socket,
        &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"),
    )
}

/// A modern call of a tool, head and body.
pub(crate) fn tool_call(tool: &str, arguments: Value) -> String {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": tool, "arguments": arguments, "_meta": {
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    }})
    .to_string();
    let head = format!(
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
         Mcp-Protocol-Version: {MODERN}\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    head + &body
}

#[track_caller]
fn assert_private(socket: &Path) {
    let meta = fs::metadata(socket).unwrap();
    assert!(meta.file_type().is_socket());
    assert_eq!(meta.mode() & 0o777, 0o600, "{}", socket.display());
}

#[test]
fn listen_on_a_unix_socket_names_its_visitors_by_uid() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("mcp.sock");
    let tables = format!("[gateway]\nlisten = \"unix:{}\"\n", socket.display());
    let config = write_config(dir.path(), &format!("{tables}{}", stdio_server("up", &[])));
    let gateway = Gateway::spawn(dir, serve(&config));
    let ready = || get(&socket, "/ready").starts_with("HTTP/1.1 200").then_some(());
    wait_until("the gateway to be ready", ready, || gateway.log());
    assert_eq!(gateway.port, 0, "it listens on TCP");
    assert_private(&socket);

    let answer = exchange(&socket, &tool_call("up__echo", json!({ "text": "over the socket" })));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("over the socket"), "{answer}");
    let uid = fs::metadata("/proc/self").unwrap().uid();
    let intent = gateway.wait_audit("the intent", |record| record["kind"] == "intent");
    assert_eq!(intent["principal"], format!("uid:{uid}"));
    // The command line finds its way as well.
    let called = gateway.cli(&["call", "up__echo", "text=x"]);
    assert_eq!(called.stdout, b"x\n", "{called:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn visitors_over_tcp_are_local() {
    let gateway = Gateway::start(&stdio_server("up", &[]));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    assert_eq!(client.text("up__echo", json!({ "text": "x" })).await, "x");
    let intent = gateway.wait_audit("the intent", |record| record["kind"] == "intent");
    assert_eq!(intent["principal"], "local");
}

#[test]
fn admin_is_where_the_operator_connects() {
    // A relative socket is in the runtime directory.
    let dir = tempfile::tempdir().unwrap();
    let runtime = dir.path().join("run");
    let config = write_config(dir.path(), "[gateway]\nadmin = \"unix:op/ad.sock\"\n");
    let mut command = serve(&config);
    command.env("RUNTIME_DIRECTORY", &runtime);
    let gateway = Gateway::spawn(dir, command);
    let socket = runtime.join("op/ad.sock");
    assert_private(&socket);
    assert!(get(&socket, "/admin/status").contains("\"servers\":[]"));
    assert!(gateway.get("/admin/status").starts_with("HTTP/1.1 404"));
    drop(gateway);

    // Over TCP, on a port that is free now.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let gateway = Gateway::start(&format!("[gateway]\nadmin = \"127.0.0.1:{port}\"\n"));
    assert_ne!(gateway.port, port);
    assert_eq!(gateway.status()["stop"]["engaged"], false);
    // Whoever can connect may look, but not press: for that the word in the state is needed.
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    let head = "POST /admin/estop HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut told = String::new();
    stream.read_to_string(&mut told).unwrap();
    assert!(told.starts_with("HTTP/1.1 401"), "{told}");
    // Without the stop's own door the command line comes here too.
    fs::remove_file(gateway.dir.path().join("state/estop/door.sock")).unwrap();
    assert!(gateway.cli(&["stop", "--reason", "over TCP"]).status.success());
    let record = gateway.wait_audit("the stop", |record| record["kind"] == "latch_engaged");
    assert_eq!(record["who"], "token");
    assert!(!gateway.dir.path().join("admin.sock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_names_are_the_servers_own_and_forward_what_is_not_listed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let server = stdio_server("up", &["--journal", path.to_str().unwrap()]);
    let hidden = "disabled_tools = [\"count\", \"extra_00001\"]\n";
    let gateway =
        Gateway::start_in(dir, &format!("[gateway]\nnames = \"plain\"\n{server}{hidden}"));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let listed = client.ask("tools/list", json!({})).await.response;
    let tools = listed["result"]["tools"].as_array().unwrap();
    let lists = |name: &str| tools.iter().any(|tool| tool["name"] == name);
    assert!(lists("echo") && !lists("up__echo"), "{listed}");
    assert!(!lists("count") && !lists("test_dynamic_tool") && !lists("extra_00000"));
    assert_eq!(client.text("echo", json!({ "text": "x" })).await, "x");

    // The server knows these and does not list them.
    assert_eq!(client.text("test_dynamic_tool", json!({})).await, "accepted");
    assert_eq!(client.text("extra_00000", json!({})).await, "extra_00000");
    // Disabled is disabled, listed by the server or not; the prefix is no way around it.
    for name in ["count", "extra_00001"] {
        let answer = client.call(name, json!({ "key": "a" })).await.response;
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
    }
    let reached: Vec<Value> = journal(&path)
        .into_iter()
        .filter(|event| event["method"] == "tools/call")
        .map(|event| event["tool"].clone())
        .collect();
    assert_eq!(reached, ["echo", "test_dynamic_tool", "extra_00000"]);
    let records = gateway.audit();
    let denied: Vec<&Value> = records.iter().filter(|r| r["kind"] == "denied").collect();
    assert_eq!(denied.len(), 2, "{denied:?}");
    assert!(denied.iter().all(|record| record["reason"] == "not_listed"), "{denied:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn prefixed_names_forward_nothing() {
    let gateway = Gateway::start(&stdio_server("up", &[]));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    for name in ["up__test_dynamic_tool", "test_dynamic_tool", "echo"] {
        let answer = client.call(name, json!({ "text": "x" })).await.response;
        assert_eq!(answer["error"]["code"], -32602, "{name}: {answer}");
    }
}

#[test]
fn state_dir_holds_the_audit_and_the_stop() {
    let gateway = Gateway::start("[gateway]\nstate_dir = \"some/where\"\n");
    assert!(gateway.cli(&["stop"]).status.success());
    let state = gateway.dir.path().join("some/where");
    let engaged = || {
        let text = fs::read_to_string(state.join("audit/current/seg/000001.jsonl")).unwrap();
        text.contains("latch_engaged").then_some(())
    };
    wait_until("the stop on record", engaged, || gateway.log());
    assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o700);
    assert!(!gateway.dir.path().join("state").exists());
    // By default it is where systemd says.
    let (status, dir) = gateway.end();
    assert!(status.success());
    let place = dir.path().join("some/where");
    let text = fs::read_to_string(dir.path().join("servers.toml")).unwrap();
    let config = dir.path().join("servers.toml");
    fs::write(&config, text.replace("state_dir = ", "#state_dir = ")).unwrap();
    let mut command = serve(&config);
    command.env("STATE_DIRECTORY", &place);
    let gateway = Gateway::spawn(dir, command);
    assert_eq!(gateway.status()["stop"]["engaged"], true, "another state directory");
}

/// Counts the calls of `fdatasync` into a file, then makes them.
const COUNTING_SYNC: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
int fdatasync(int fd) {
    int count = open(getenv("SYNC_COUNT"), O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (count >= 0) { if (write(count, ".", 1) != 1) abort(); close(count); }
    return syscall(SYS_fdatasync, fd);
}
"#;

/// The C compiler that links Rust programs is there wherever these tests are built.
fn counting_sync(dir: &Path) -> PathBuf {
    let (source, library) = (dir.join("sync.c"), dir.join("sync.so"));
    fs::write(&source, COUNTING_SYNC).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-o"]).args([&library, &source]);
    assert!(compiler.status().unwrap().success());
    library
}

/// Flushes to disk of the audit for so many calls, one after the other.
async fn flushes(durability: &str, calls: u64) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let (library, count) = (counting_sync(dir.path()), dir.path().join("count"));
    let tables = format!("[audit]\ndurability = \"{durability}\"\n{}", stdio_server("up", &[]));
    let config = write_config(dir.path(), &tables);
    let mut command = serve(&config);
    command.env("LD_PRELOAD", library).env("SYNC_COUNT", &count);
    let gateway = Gateway::spawn(dir, command);
    gateway.wait_ready();
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let so_far = || fs::metadata(&count).map_or(0, |meta| meta.len());
    let before = so_far();
    for _ in 0..calls {
        assert_eq!(client.text("up__echo", json!({ "text": "x" })).await, "x");
    }
    // The last answer came after the flush of its intent; later ones are of outcomes.
    so_far() - before
}

#[tokio::test(flavor = "multi_thread")]
async fn durability_decides_whether_a_call_waits_for_the_disk() {
    const CALLS: u64 = 10;
    for durability in ["sync", "group"] {
        let flushed = flushes(durability, CALLS).await;
        assert!(flushed >= CALLS, "{durability}: {flushed} flushes for {CALLS} calls");
    }
    assert_eq!(flushes("cached", CALLS).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_decides_what_is_kept_of_a_call() {
    const SECRET: &str = "ghp_0123456789abcdef";
    let cases = [
        ("none", None),
        ("shape", Some(r#"{"text":"text 20"}"#)),
        ("redacted", Some(r#"{"text":"********************"}"#)),
        ("full", Some(r#"{"text":"ghp_0123456789abcdef"}"#)),
    ];
    for (payloads, want) in cases {
        let tables = format!("[audit]\npayloads = \"{payloads}\"\n{}", stdio_server("up", &[]));
        let gateway = Gateway::start(&tables);
        let client = Client::http(Kind::ModernHttp, gateway.port).await;
        assert_eq!(client.text("up__echo", json!({ "text": SECRET })).await, SECRET);
        let intent = gateway.wait_audit("the intent", |record| record["kind"] == "intent");
        drop(client);
        let (status, dir) = gateway.end();
        assert!(status.success());
        let mut command = Command::new(PORTCULLIS);
        command
            .args(["audit", "payload", "--json", "--config"])
            .arg(dir.path().join("servers.toml"));
        let told = command.arg(intent["call"].as_str().unwrap()).output().unwrap();
        assert!(told.status.success(), "{told:?}");
        let told: Value = serde_json::from_slice(&told.stdout).unwrap();
        let [arguments, result] = told["payloads"].as_array().unwrap().as_slice() else {
            panic!("arguments and a result: {told}")
        };
        assert_eq!((&arguments["what"], &result["what"]), (&json!("args"), &json!("result")));
        assert_eq!(arguments["as"], payloads);
        assert_eq!(arguments["text"].as_str(), want);
        assert_eq!(result["opened"], payloads == "full", "{told}");
        let audit = fs::read_to_string(dir.path().join("state/audit/current/seg/000001.jsonl"));
        assert!(!audit.unwrap().contains(SECRET), "never on record");
    }
}

#[test]
fn witness_file_is_a_copy_that_a_log_is_held_against() {
    let tables = format!("[audit]\nwitness_file = \"far/mark\"\n{}", stdio_server("up", &[]));
    let gateway = Gateway::start(&tables);
    let (status, dir) = gateway.end();
    assert!(status.success());
    let (far, state) = (dir.path().join("far/mark"), dir.path().join("state"));
    let config = dir.path().join("servers.toml");
    let verify = |place: &Path| {
        let mut command = Command::new(PORTCULLIS);
        command.args(["audit", "verify", "--config"]).arg(&config).arg("--witness").arg(&far);
        command.arg(place).output().unwrap()
    };
    assert!(verify(&state.join("audit")).status.success());
    // Nothing of the log is left, nor of the mark beside it: the copy remembers.
    fs::remove_dir_all(&state).unwrap();
    let gateway = Gateway::start_in(dir, &tables);
    let log = fs::read_to_string(gateway.dir.path().join("state/audit/current/seg/000001.jsonl"));
    let first = log.unwrap().lines().next().unwrap().to_owned();
    assert!(first.contains("\"after\":\"portcullis/audit/"), "{first}");
    assert!(first.contains("it is gone"), "{first}");
}
