//! The admin listener for programs: the feed of calls, the heads of the record, and the document
//! that says what is served.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    process::Command,
};

use serde_json::{Value, json};

use super::{Line, wait};
use crate::{
    client::{Client, Kind},
    harness::{Gateway, PORTCULLIS, SOON, stdio_server, wait_until, write_config},
    stop::admin,
};
use portcullis::telemetry::names;

/// Somebody who watches the feed.
struct Viewer {
    stream: BufReader<UnixStream>,
    raw: String,
}

impl Viewer {
    fn open(gateway: &Gateway) -> Self {
        let stream = ask(gateway, "GET", "/admin/calls", "");
        let mut viewer = Self { stream: BufReader::new(stream), raw: String::new() };
        let head = viewer.until(|line| line == "\r\n");
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
        // From now on nothing is missed.
        viewer.until(|line| line.starts_with(':'));
        viewer
    }

    fn until(&mut self, is_it: impl Fn(&str) -> bool) -> String {
        let mut text = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.stream.read_line(&mut line).unwrap(), 0, "it ended: {text}");
            text.push_str(&line);
            if is_it(&line) {
                return text;
            }
        }
    }

    fn next(&mut self) -> Value {
        let text = self.until(|line| line.starts_with("data: "));
        self.raw.push_str(&text);
        let (_, data) = text.rsplit_once("data: ").unwrap();
        serde_json::from_str(data).unwrap_or_else(|_| panic!("{data}"))
    }
}

fn ask(gateway: &Gateway, method: &str, path: &str, body: &str) -> UnixStream {
    let mut stream = UnixStream::connect(gateway.dir.path().join("admin.sock")).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let n_bytes = body.len();
    let whole = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {n_bytes}\r\n\
         Connection: close\r\n\r\n{body}"
    );
    stream.write_all(whole.as_bytes()).unwrap();
    stream
}

fn json_at(gateway: &Gateway, path: &str) -> Value {
    let answer = admin(gateway, &format!("GET {path}"), "", "");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_tells_decisions_and_outcomes_and_never_what_was_said() {
    let gateway = Gateway::start(&stdio_server("up", &[]));
    let client = Client::http(Kind::LegacyHttp, gateway.port).await;
    client.text("up__echo", json!({ "text": "before anybody watches" })).await;
    let mut viewer = Viewer::open(&gateway);
    client.text("up__echo", json!({ "text": "s3cret" })).await;
    let (allowed, ended) = (viewer.next(), viewer.next());
    for event in [&allowed, &ended] {
        assert_eq!((&event["server"], &event["name"]), (&json!("up"), &json!("echo")), "{event}");
        assert_eq!(event["method"], "tools/call");
        assert_eq!((&event["principal"], &event["transport"]), (&json!("local"), &json!("http")));
        assert_eq!(event["call"], allowed["call"]);
    }
    assert_eq!((&allowed["event"], &allowed["verdict"]), (&json!("decision"), &json!("allow")));
    assert!(allowed["risk"].is_u64() && allowed["reason"].is_null(), "{allowed}");
    assert_eq!((&ended["event"], &ended["outcome"]), (&json!("outcome"), &json!("answered")));
    assert!(ended["duration_us"].as_u64() > Some(0), "{ended}");
    assert!(ended["at_us"].as_u64() >= allowed["at_us"].as_u64());
    gateway.wait_audit("that call", |record| record["call"] == allowed["call"]);

    client.call("up__echo", json!({ "text": 7, "s3cret": 1 })).await;
    client.call("up__nothing", json!({ "text": "s3cret" })).await;
    client.ask("resources/read", json!({ "uri": "s3cret://x" })).await;
    for (server, name, reason) in
        [(json!("up"), json!("echo"), "schema"), (Value::Null, json!("up__nothing"), "unknown")]
    {
        let event = viewer.next();
        assert_eq!((&event["server"], &event["name"]), (&server, &name), "{event}");
        assert_eq!((&event["verdict"], &event["reason"]), (&json!("deny"), &json!(reason)));
    }
    let (read, ended) = (viewer.next(), viewer.next());
    assert_eq!((&read["method"], &read["name"]), (&json!("resources/read"), &Value::Null));
    assert_eq!(ended["outcome"], "server_error", "{ended}");
    assert!(!viewer.raw.contains("s3cret"), "{}", viewer.raw);

    // Who leaves makes room.
    drop(viewer);
    let last = gateway.cli(&["call", "up__echo", "text=x"]);
    assert!(last.status.success(), "{last:?}");
}

#[test]
fn a_viewer_that_reads_nothing_loses_events_is_told_and_holds_nobody_up() {
    const CALLS: u64 = 8_000;
    let cached = "[audit]\ndurability = \"cached\"\n";
    let gateway = Gateway::start(&format!("{cached}{}", stdio_server("up", &[])));
    let mut line = Line::called(gateway.port, &"c".repeat(128));
    let (mut deaf, mut other) = (Viewer::open(&gateway), Viewer::open(&gateway));
    for _ in 0..CALLS {
        line.call(&format!("up__{}", "x".repeat(50)));
        assert_eq!(other.next()["event"], "decision", "who reads gets everything");
    }
    let (mut told, mut lost) = (0, 0);
    while told + lost < CALLS {
        match deaf.next() {
            event if event["event"] == "lost" => lost += event["lost"].as_u64().unwrap(),
            _ => told += 1,
        }
    }
    assert_eq!(told + lost, CALLS);
    assert!(lost > 0 && told > 0, "{told} told, {lost} lost");
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    wait(&gateway, &names::FEED_LOST, &[], lost as f64);
}

#[test]
fn the_feed_ends_with_the_gateway_and_has_places_for_a_few() {
    let gateway = Gateway::start("");
    let viewers: Vec<_> = (0..16).map(|_| Viewer::open(&gateway)).collect();
    let full = admin(&gateway, "GET /admin/calls", "", "");
    assert!(full.starts_with("HTTP/1.1 503"), "{full}");
    let (status, _dir) = gateway.end();
    assert!(status.success());
    for mut viewer in viewers {
        let mut rest = String::new();
        viewer.stream.read_to_string(&mut rest).unwrap();
    }
}

#[test]
fn the_heads_of_the_record_are_those_on_disk() {
    let gateway = Gateway::start(&stdio_server("up", &[]));
    let heads = json_at(&gateway, "/admin/audit");
    let signed = &heads["signed"];
    let path = gateway.dir.path().join("state/audit/current/checkpoint");
    let note = fs::read_to_string(path).unwrap();
    assert_eq!(signed["checkpoint"], note, "{heads}");
    let mut lines = note.lines().skip(1);
    assert_eq!(signed["size"].to_string(), lines.next().unwrap());
    assert_eq!(signed["root"], lines.next().unwrap());
    assert_eq!((&signed["epoch"], &heads["healthy"]), (&json!(0), &json!(true)));
    assert!(heads["size"].as_u64() >= signed["size"].as_u64(), "{heads}");
    assert!(gateway.cli(&["call", "up__echo", "text=x"]).status.success());
    let more = || {
        let now = json_at(&gateway, "/admin/audit");
        (now["size"].as_u64()? >= heads["size"].as_u64()? + 2).then_some(())
    };
    wait_until("the records of a call", more, || gateway.log());
}

/// Both ways: what is served and not told of is what another method finds.
#[test]
fn the_document_tells_of_everything_that_is_served_and_of_nothing_else() {
    let gateway = Gateway::start(&stdio_server("up", &[]));
    let document = json_at(&gateway, "/admin/openapi.json");
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    let head = |method: &str, path: &str| {
        // What is no body for a request that changes something changes nothing.
        let mut stream = BufReader::new(ask(&gateway, method, path, "7"));
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).unwrap() > 0 {}
        head
    };
    let mut ids = BTreeSet::new();
    for (path, operations) in paths {
        let here = path.replace("{id}", "apr-0000000000000001");
        let operations = operations.as_object().unwrap();
        for (method, operation) in operations {
            let head = head(&method.to_ascii_uppercase(), &here);
            let is_page = path.ends_with("{id}") && head.starts_with("HTTP/1.1 404");
            let is_served = !head.starts_with("HTTP/1.1 404") && !head.starts_with("HTTP/1.1 405");
            assert!(is_served || is_page, "{method} {path}: {head}");
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{operation}");
            let form = operation["responses"]["200"]["content"].as_object().unwrap();
            let (form, _) = form.iter().next().unwrap();
            assert!(!head.starts_with("HTTP/1.1 200") || head.contains(form.as_str()), "{head}");
            let roles = ["anybody", "viewer", "operator", "admin"];
            let role = operation["x-portcullis-role"].as_str().unwrap();
            assert!(roles.contains(&role), "{operation}");
            assert!(operation["requestBody"].is_null() || method == "post", "{operation}");
        }
        let other = head("PATCH", &here);
        assert!(other.starts_with("HTTP/1.1 405"), "{path}: {other}");
        let allow = other.lines().find_map(|line| line.strip_prefix("allow: ")).unwrap();
        let allowed: BTreeSet<_> = allow.split(", ").map(str::to_ascii_lowercase).collect();
        assert_eq!(allowed, operations.keys().cloned().collect(), "{path}");
    }
    // Everything that the command line and the operator's manual name.
    let manual = include_str!("../../../docs/OPERATIONS.md");
    let quoted = manual.split('`').skip(1).step_by(2).flat_map(str::split_whitespace);
    let named = quoted.filter(|word| word.starts_with("/admin/") && !word.ends_with('/'));
    let named: BTreeSet<_> = named.collect();
    assert!(named.len() > 5, "{named:?}");
    for path in named {
        assert!(paths.contains_key(path), "{path} is not told of");
    }
    assert_eq!(gateway.status()["stop"]["engaged"], false);
}

#[test]
fn an_admin_address_that_is_taken_is_told_and_stops_nothing() {
    let first = Gateway::start("");
    let dir = tempfile::tempdir().unwrap();
    let taken = first.dir.path().join("admin.sock");
    let tables = format!("[gateway]\nadmin = \"unix:{}\"\n", taken.display());
    let config = write_config(dir.path(), &tables);
    let ended = Command::new(PORTCULLIS).args(["serve", "--config"]).arg(config).output().unwrap();
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(told.contains("cannot listen on") && !told.contains("panicked"), "{told}");
    assert!(!dir.path().join("state/estop/stops.json").exists(), "{told}");
    assert_eq!(first.status()["stop"]["engaged"], false);
}
