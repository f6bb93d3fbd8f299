//! The emergency stop, from outside: it acts on calls in flight, stays, and is undone on purpose.

mod killed;

use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use crate::{
    client::{Client, Kind},
    harness::{Gateway, fixture, journal, stdio_server, wait_until},
    keys::exchange,
};

#[tokio::test(flavor = "multi_thread")]
async fn the_stop_ends_calls_in_flight_stays_over_a_restart_and_is_reset_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let tables = stdio_server("up", &["--journal", path.to_str().unwrap()]);
    let gateway = Gateway::start_in(dir, &tables);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let reached = |tool: &str| {
        let calls = journal(&path).into_iter();
        calls.filter(|e| e["method"] == "tools/call" && e["tool"] == tool).count()
    };

    let sleeping = client.begin("up__sleep", json!({ "ms": 600_000, "text": "z" }), None).await;
    wait_until("the call", || (reached("sleep") == 1).then_some(()), || gateway.log());
    gateway.signal("USR1");
    let stopped = sleeping.finish().await.response;
    assert_eq!(stopped["error"]["code"], -31001, "{stopped}");
    assert_eq!(stopped["error"]["data"]["reason"], "stopped");
    assert_eq!(stopped["error"]["data"]["sent"], "yes");

    let refused = client.call("up__count", json!({ "key": "a" })).await.response;
    assert_eq!(refused["error"]["code"], -31001, "{refused}");
    assert_eq!(refused["error"]["data"]["sent"], "no");
    // Set, never toggled.
    gateway.signal("USR1");
    gateway.wait_audit("the engagement", |record| record["kind"] == "latch_engaged");
    let refused = client.call("up__count", json!({ "key": "a" })).await.response;
    assert_eq!(refused["error"]["code"], -31001, "{refused}");
    assert!(gateway.get("/ready").starts_with("HTTP/1.1 503"));
    assert!(gateway.get("/health").starts_with("HTTP/1.1 200"));

    let (status, dir) = gateway.end();
    assert!(status.success());
    let gateway = Gateway::launch(dir, &tables);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let refused = client.call("up__count", json!({ "key": "a" })).await.response;
    assert_eq!(refused["error"]["code"], -31001, "{refused}");
    assert_eq!(gateway.cli(&["estop", "status"]).status.code(), Some(4));
    assert_eq!(gateway.cli(&["call", "up__count", "key=a"]).status.code(), Some(4));

    let wrong = gateway.cli(&["estop", "reset", "--id", "stop-0", "--reason", "test"]);
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    let state: Value =
        serde_json::from_slice(&gateway.cli(&["estop", "status", "--json"]).stdout).unwrap();
    let id = state["id"].as_str().unwrap();
    assert_eq!(gateway.status()["stop"]["id"], id);
    let early = gateway.cli(&["estop", "resume", "--id", id]);
    assert_eq!(early.status.code(), Some(1), "{early:?}");
    let reset = gateway.cli(&["estop", "reset", "--id", id, "--reason", "test over"]);
    assert!(reset.status.success(), "{reset:?}");
    // Permitted to be resumed, and no more.
    assert_eq!(gateway.status()["stop"]["state"], "ready");
    assert_eq!(gateway.cli(&["call", "up__count", "key=a"]).status.code(), Some(4));
    let resumed = gateway.cli(&["estop", "resume", "--id", id]);
    assert!(resumed.status.success(), "{resumed:?}");
    let counted = || {
        let output = gateway.cli(&["call", "up__count", "key=a"]);
        output.status.success().then_some(())
    };
    wait_until("calls after the reset", counted, || gateway.log());
    assert_eq!(reached("count"), 1);
    gateway.wait_audit("the reset", |record| record["kind"] == "latch_reset");
    gateway.wait_audit("the resume", |record| record["kind"] == "latch_resumed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_and_the_command_line_engage_the_same_stop() {
    let gateway = Gateway::start(&stdio_server("up", &[]));
    let client = Client::http(Kind::LegacyHttp, gateway.port).await;
    assert_eq!(client.text("up__echo", json!({ "text": "x" })).await, "x");
    let engaged = gateway.cli(&["stop", "--reason", "odd calls"]);
    assert!(engaged.status.success(), "{engaged:?}");
    let refused = client.call("up__echo", json!({ "text": "x" })).await.response;
    assert_eq!(refused["error"]["code"], -31001, "{refused}");
    let record = gateway.wait_audit("the stop", |record| record["kind"] == "latch_engaged");
    assert_eq!(record["why"], "odd calls");
    // The admin surface is not on the main listener.
    assert!(gateway.get("/admin/estop").starts_with("HTTP/1.1 404"));
    assert_eq!(gateway.status()["stop"]["engaged"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stop_wakes_calls_that_wait_for_their_turn() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let args = ["--journal", path.to_str().unwrap()];
    let full = format!("{}in_flight = 1\nqueue_timeout_sec = 600\n", stdio_server("up", &args));
    let gateway = Gateway::start_in(dir, &full);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let called = || journal(&path).iter().filter(|e| e["method"] == "tools/call").count();
    let first = client.begin("up__sleep", json!({ "ms": 600_000, "text": "z" }), None).await;
    wait_until("the call", || (called() == 1).then_some(()), || gateway.log());
    let mut waiting = Vec::new();
    for _ in 0..5 {
        waiting.push(client.begin("up__echo", json!({ "text": "x" }), None).await);
    }
    let crowd = || {
        let status = gateway.status();
        let (server, all) = (&status["servers"][0], &status["in_flight"]);
        [&server["in_flight"], &server["waiting"], all].map(|n| n.as_u64().unwrap())
    };
    wait_until("all to wait", || (crowd() == [1, 5, 6]).then_some(()), || gateway.log());

    gateway.signal("USR1");
    let told = first.finish().await.response;
    assert_eq!(told["error"]["data"]["sent"], "yes", "{told}");
    for call in waiting {
        let told = call.finish().await.response;
        assert_eq!(told["error"]["code"], -31001, "{told}");
        let data = &told["error"]["data"];
        assert_eq!((&data["reason"], &data["sent"]), (&json!("stopped"), &json!("no")), "{told}");
    }
    wait_until("free places", || (crowd() == [0, 0, 0]).then_some(()), || gateway.log());
    assert_eq!(called(), 1);
    let outcomes = || {
        let records = gateway.audit().into_iter();
        records.filter(|r| r["kind"] == "outcome" && r["error"] == "stopped").count()
    };
    wait_until("all outcomes", || (outcomes() == 6).then_some(()), || gateway.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stop_wakes_calls_that_wait_for_a_session_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let (once, program) = (dir.path().join("once"), fixture());
    let (once, program) = (once.display(), program.display());
    // The first lists, and every other one sleeps.
    let script = format!("test -e {once} && exec sleep 600; touch {once}; exec {program}");
    let table = format!(
        "[servers.up]\ncommand = \"sh\"\nargs = [\"-c\", {script:?}]\n\
         isolation = \"per-principal\"\nstartup_timeout_sec = 600\nprotocol = \"legacy\"\n"
    );
    let gateway = Gateway::start_in(dir, &table);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let call = client.begin("up__echo", json!({ "text": "x" }), None).await;
    let opening = || {
        let open = gateway.status()["servers"][0]["own_sessions"]["open"] == 1;
        open.then_some(())
    };
    wait_until("a session that opens", opening, || gateway.log());
    gateway.signal("USR1");
    let told = call.finish().await.response;
    assert_eq!(told["error"]["data"]["reason"], "stopped", "{told}");
    assert_eq!(told["error"]["data"]["sent"], "no", "{told}");
}

#[test]
fn the_stop_is_heard_when_the_admin_listener_is_full() {
    let gateway = Gateway::start("");
    let socket = gateway.dir.path().join("admin.sock");
    let idle: Vec<_> = (0..32).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    let reload = gateway.cli(&["reload"]);
    assert_eq!(reload.status.code(), Some(1), "{reload:?}");
    assert!(String::from_utf8_lossy(&reload.stderr).contains("503"), "{reload:?}");
    let stop = gateway.cli(&["stop"]);
    assert!(stop.status.success(), "{stop:?}");
    assert_eq!(gateway.status()["stop"]["engaged"], true);
    drop(idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_of_one_server_ends_its_processes_and_no_other_call() {
    let gateway =
        Gateway::start(&format!("{}{}", stdio_server("up", &[]), stdio_server("on", &[])));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let arguments = || json!({ "ms": 600_000, "text": "z" });
    let sleeping = client.begin("up__sleep", arguments(), None).await;
    let going_on = client.begin("on__sleep", json!({ "ms": 1500, "text": "on" }), None).await;
    let pid = |server: usize| gateway.status()["servers"][server]["replicas"][0]["pid"].as_u64();
    let in_flight = || {
        let status = gateway.status();
        (status["in_flight"] == 2).then_some(())
    };
    wait_until("both calls", in_flight, || gateway.log());
    let (on, up) = (pid(0), pid(1));
    let stop = gateway.cli(&["estop", "engage", "--scope", "server:up", "--reason", "odd"]);
    assert!(stop.status.success(), "{stop:?}");
    let stopped = sleeping.finish().await.response;
    assert_eq!(stopped["error"]["code"], -31001, "{stopped}");
    let refused = client.call("up__echo", json!({ "text": "x" })).await.response;
    assert_eq!(refused["error"]["code"], -31001, "{refused}");
    let gone = || (!is_there(up.unwrap())).then_some(());
    wait_until("its process to go", gone, || gateway.log());
    // Not a moment of the other's.
    let answer = going_on.finish().await.response;
    assert_eq!(answer["result"]["content"][0]["text"], "on", "{answer}");
    assert_eq!((pid(0), pid(1)), (on, None), "{}", gateway.status());
    assert!(gateway.get("/ready").starts_with("HTTP/1.1 200"));
    assert_eq!(gateway.cli(&["status"]).status.code(), Some(4));
    let record = gateway.wait_audit("the stop", |record| record["kind"] == "latch_engaged");
    assert_eq!(record["scope"], "server:up");
    gateway.reset();
    let back = || {
        let output = gateway.cli(&["call", "up__echo", "text=x"]);
        output.status.success().then_some(())
    };
    wait_until("calls after the resume", back, || gateway.log());
    assert_eq!(gateway.status()["servers"][1]["restarts"], 0, "it was no crash");
}

fn is_there(pid: u64) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_of_one_tool_or_caller_leaves_the_processes_alone() {
    let gateway = Gateway::start(&stdio_server("up", &[]));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let pid = || gateway.status()["servers"][0]["replicas"][0]["pid"].as_u64();
    let before = pid();
    let sleeping = client.begin("up__sleep", json!({ "ms": 600_000, "text": "z" }), None).await;
    let in_flight = || (gateway.status()["in_flight"] == 1).then_some(());
    wait_until("the call", in_flight, || gateway.log());
    assert!(gateway.cli(&["stop", "--scope", "tool:up/sleep"]).status.success());
    let stopped = sleeping.finish().await.response;
    assert_eq!(stopped["error"]["code"], -31001, "{stopped}");
    assert_eq!(client.text("up__echo", json!({ "text": "x" })).await, "x");
    let refused = client.call("up__sleep", json!({ "ms": 1, "text": "z" })).await.response;
    assert_eq!(refused["error"]["code"], -31001, "{refused}");

    assert!(gateway.cli(&["stop", "--scope", "principal:local"]).status.success());
    let refused = client.call("up__echo", json!({ "text": "x" })).await.response;
    assert_eq!(refused["error"]["code"], -31001, "{refused}");
    let wrong = gateway.cli(&["stop", "--scope", "everything"]);
    assert_eq!(wrong.status.code(), Some(1), "{wrong:?}");
    gateway.reset();
    gateway.reset();
    assert_eq!(client.text("up__sleep", json!({ "ms": 1, "text": "z" })).await, "z");
    assert_eq!(pid(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn category_1_lets_a_server_wind_up_before_it_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let tables = stdio_server("up", &["--journal", path.to_str().unwrap()]);
    let gateway = Gateway::start_in(dir, &tables);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let sleeping = client.begin("up__sleep", json!({ "ms": 600_000, "text": "z" }), None).await;
    let heard = |method: &str| journal(&path).iter().any(|event| event["method"] == method);
    wait_until("the call", || heard("tools/call").then_some(()), || gateway.log());
    let pid = gateway.status()["servers"][0]["replicas"][0]["pid"].as_u64().unwrap();
    assert!(gateway.cli(&["stop", "--category", "1"]).status.success());
    let stopped = sleeping.finish().await.response;
    assert_eq!(stopped["error"]["code"], -31001, "{stopped}");
    let told = || heard("notifications/cancelled").then_some(());
    wait_until("the cancellation", told, || gateway.log());
    wait_until("its process to go", || (!is_there(pid)).then_some(()), || gateway.log());
}

#[test]
fn whoever_puts_the_file_there_stops_everything_and_must_take_it_away_first() {
    let gateway = Gateway::start(&stdio_server("up", &[]));
    let file = gateway.dir.path().join("state/STOP");
    std::fs::write(&file, "").unwrap();
    let engaged = || (gateway.status()["stop"]["engaged"] == true).then_some(());
    wait_until("the file to be seen", engaged, || gateway.log());
    let stop = gateway.status()["stop"].clone();
    assert_eq!(stop["who"], "file", "{stop}");
    let id = stop["id"].as_str().unwrap();
    let early = gateway.cli(&["estop", "reset", "--id", id, "--reason", "test"]);
    assert_eq!(early.status.code(), Some(1), "{early:?}");
    assert!(String::from_utf8_lossy(&early.stderr).contains("STOP"), "{early:?}");
    std::fs::remove_file(&file).unwrap();
    gateway.reset();
    gateway.wait_ready();
}

#[test]
fn the_stops_own_door_answers_while_others_keep_it_busy() {
    let gateway = Gateway::start("");
    let door = gateway.dir.path().join("state/estop/door.sock");
    // More than there are threads behind it; none says anything.
    let idle: Vec<_> = (0..6).map(|_| UnixStream::connect(&door).unwrap()).collect();
    let ask = |head: &str, body: &str| {
        let n_bytes = body.len();
        exchange(&door, &format!("{head} HTTP/1.1\r\ncontent-length: {n_bytes}\r\n\r\n{body}"))
    };
    let told = ask("POST /admin/estop", r#"{"reason":"by the door"}"#);
    assert!(told.starts_with("HTTP/1.1 200") && told.contains("\"saved\":true"), "{told}");
    drop(idle);
    assert!(ask("GET /admin/estop", "").contains("by the door"));
    assert!(ask("GET /admin/status", "").starts_with("HTTP/1.1 404"));
    assert!(ask("POST /admin/estop/reset", "{}").starts_with("HTTP/1.1 400"));
    assert_eq!(gateway.status()["stop"]["why"], "by the door");
}

#[test]
fn a_heartbeat_that_is_missed_stops_everything_until_it_is_back() {
    let gateway = Gateway::start("[stop]\nheartbeat_sec = 0.5\n");
    let door = gateway.dir.path().join("state/estop/door.sock");
    let engaged = || (gateway.status()["stop"]["who"] == "heartbeat").then_some(());
    wait_until("the stop", engaged, || gateway.log());
    let id = gateway.status()["stop"]["id"].as_str().unwrap().to_owned();
    let reset = || gateway.cli(&["estop", "reset", "--id", &id, "--reason", "test"]);
    let early = reset();
    assert!(String::from_utf8_lossy(&early.stderr).contains("heartbeat"), "{early:?}");
    let beaten = || {
        let beat = "POST /admin/estop/heartbeat HTTP/1.1\r\n\r\n";
        assert!(exchange(&door, beat).starts_with("HTTP/1.1 200"));
        reset().status.success().then_some(())
    };
    wait_until("the reset after a beat", beaten, || gateway.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_too_often_is_stopped() {
    let tables = format!("[stop]\ndenials_per_minute = 3\n{}", stdio_server("up", &[]));
    let gateway = Gateway::start(&tables);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    for _ in 0..4 {
        let refused = client.call("up__nothing", json!({})).await.response;
        assert_eq!(refused["error"]["code"], -32602, "{refused}");
    }
    let stopped = client.call("up__echo", json!({ "text": "x" })).await.response;
    assert_eq!(stopped["error"]["code"], -31001, "{stopped}");
    let record = gateway.wait_audit("the stop", |record| record["kind"] == "latch_engaged");
    assert_eq!(record["scope"], "principal:local", "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_stops_in_earnest_says_how_fast_and_takes_it_back() {
    let gateway = Gateway::start(&stdio_server("up", &[]));
    let pid = || gateway.status()["servers"][0]["replicas"][0]["pid"].as_u64();
    let before = pid().unwrap();
    let drill = gateway.cli(&["estop", "drill", "--scope", "server:up", "--json"]);
    assert!(drill.status.success(), "{drill:?}");
    let told: Value = serde_json::from_slice(&drill.stdout).unwrap();
    let figures = &told["drill"];
    assert!(figures["saved_us"].is_u64() && figures["processes_gone_us"].is_u64(), "{told}");
    assert_eq!(told["engaged"], false, "{told}");
    assert!(!is_there(before));
    let back = || gateway.cli(&["call", "up__echo", "text=x"]).status.success().then_some(());
    wait_until("calls after the drill", back, || gateway.log());
    gateway.wait_audit("the drill", |record| record["kind"] == "latch_drilled");
    let unscoped = gateway.cli(&["estop", "drill"]);
    assert_eq!(unscoped.status.code(), Some(2), "what is stopped has to be said");
}

/// A request on the admin socket, answered whole.
pub(crate) fn admin(gateway: &Gateway, request: &str, header: &str, body: &str) -> String {
    let n_bytes = body.len();
    let whole = format!(
        "{request} HTTP/1.1\r\nHost: localhost\r\n{header}Content-Length: {n_bytes}\r\n\
         Connection: close\r\n\r\n{body}"
    );
    // In one piece: who is refused by its head may find nobody who reads the rest.
    exchange(&gateway.dir.path().join("admin.sock"), &whole)
}

#[test]
fn no_web_page_speaks_to_the_admin_api_not_even_a_trusted_one() {
    let gateway = Gateway::start("[gateway]\norigins = [\"https://app.example\"]\n");
    let requests = [
        ("GET /health", ""),
        ("GET /admin/status", ""),
        ("GET /admin/estop", ""),
        ("POST /admin/estop", "{}"),
        ("POST /admin/estop/reset", r#"{"id":"x","reason":"y"}"#),
        ("POST /admin/estop/resume", r#"{"id":"x"}"#),
        ("POST /admin/reload", ""),
        ("GET /admin/diff", ""),
        ("GET /elsewhere", ""),
    ];
    let origins =
        ["https://app.example", "http://localhost:8080", "http://evil.example", "null", ""];
    for (request, body) in requests {
        for origin in origins {
            let answer = admin(&gateway, request, &format!("Origin: {origin}\r\n"), body);
            assert!(answer.starts_with("HTTP/1.1 403"), "{request} from {origin}: {answer}");
        }
    }
    assert_eq!(gateway.status()["stop"]["engaged"], false);
    // The same without an origin is heard.
    assert!(admin(&gateway, "POST /admin/estop", "", "{}").starts_with("HTTP/1.1 200"));
    assert_eq!(gateway.status()["stop"]["engaged"], true);
}
