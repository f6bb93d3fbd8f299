//! Spans of calls at a collector: below their caller's, above their server's, and never in a call's
//! way.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    thread,
};

use portcullis::telemetry::names;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::wait;
use crate::{
    auth::tls::Authority,
    client::{Client, Kind},
    harness::{Gateway, HttpFixture, journal, stdio_server, wait_until},
    https::{Tunnel, trusting},
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";

/// What a collector says to everything.
#[derive(Clone, Copy)]
enum Manner {
    Takes,
    Fails,
    /// It never answers.
    Hangs,
}

struct Collector {
    port: u16,
    bodies: Arc<Mutex<Vec<Value>>>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Collector {
    fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let (kept, seen) = (Arc::clone(&bodies), Arc::clone(&heads));
        thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let (head, body) = request_of(&stream);
                seen.lock().unwrap().push(head);
                kept.lock().unwrap().push(body);
                match manner {
                    Manner::Takes => answer(stream, "200 OK"),
                    Manner::Fails => answer(stream, "503 Service Unavailable"),
                    Manner::Hangs => held.push(stream),
                }
            }
        });
        Self { port, bodies, heads }
    }

    fn table(&self) -> String {
        telemetry(&format!("http://127.0.0.1:{}", self.port))
    }

    fn bodies(&self) -> MutexGuard<'_, Vec<Value>> {
        self.bodies.lock().unwrap()
    }

    fn spans(&self) -> Vec<Value> {
        let bodies = self.bodies();
        let of = |body: &Value| {
            body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone()
        };
        bodies.iter().flat_map(of).collect()
    }

    /// As soon as there are so many, the server's side first.
    #[track_caller]
    fn wait(&self, gateway: &Gateway, n: usize) -> Vec<Value> {
        let mut spans = wait_until(
            "spans",
            || Some(self.spans()).filter(|spans| spans.len() >= n),
            || format!("{:#?}\n{}", self.spans(), gateway.log()),
        );
        assert_eq!(spans.len(), n, "{spans:#?}");
        spans.sort_by_key(|span| span["kind"] == 3);
        spans
    }
}

fn telemetry(url: &str) -> String {
    format!("[telemetry]\notlp = {url:?}\n")
}

fn request_of(stream: &TcpStream) -> (String, Value) {
    let mut reader = BufReader::new(stream);
    let (mut head, mut n_bytes) = (String::new(), 0);
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
    for line in head.to_ascii_lowercase().lines() {
        if let Some(n) = line.strip_prefix("content-length: ") {
            n_bytes = n.parse().unwrap();
        }
    }
    assert!(head.starts_with("POST /v1/traces "), "{head}");
    assert!(head.to_ascii_lowercase().contains("content-type: application/json"), "{head}");
    let mut body = vec![0; n_bytes];
    reader.read_exact(&mut body).unwrap();
    (head, serde_json::from_slice(&body).unwrap())
}

fn answer(mut stream: TcpStream, status: &str) {
    let told = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
    stream.write_all(told.as_bytes()).unwrap();
}

/// A gateway between a server that keeps what it hears and a collector.
struct House {
    collector: Collector,
    gateway: Gateway,
    heard: PathBuf,
    _dir: TempDir,
    _fixture: HttpFixture,
}

impl House {
    fn build() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let heard = dir.path().join("journal");
        let fixture = HttpFixture::start(&["--journal", heard.to_str().unwrap()]);
        let collector = Collector::start(Manner::Takes);
        let tables = format!("{}[servers.up]\nurl = {:?}\n", collector.table(), fixture.url);
        let gateway = Gateway::start(&tables);
        Self { collector, gateway, heard, _dir: dir, _fixture: fixture }
    }
}

fn said<'v>(span: &'v Value, key: &str) -> &'v Value {
    let all = span["attributes"].as_array().unwrap();
    let found = all.iter().find(|one| one["key"] == key);
    found.map_or(&Value::Null, |one| &one["value"]["stringValue"])
}

async fn call(client: &Client, name: &str, meta: Value) -> Value {
    let params = json!({ "name": name, "arguments": { "text": "x" }, "_meta": meta });
    client.ask("tools/call", params).await.response
}

fn traceparent(flags: &str) -> Value {
    json!({ "traceparent": format!("00-{TRACE}-{SPAN}-{flags}") })
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_come_with_the_collectors_key_which_nobody_else_sees() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    std::fs::write(&path, "c0llect0r\n").unwrap();
    let collector = Collector::start(Manner::Takes);
    let headers = format!("{{ Authorization = \"Bearer ${{file:{}}}\" }}", path.display());
    let table = format!("{}otlp_headers = {headers}\n", collector.table());
    let gateway = Gateway::start(&format!("{table}{}", stdio_server("up", &[])));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    call(&client, "up__echo", json!({})).await;
    collector.wait(&gateway, 2);
    let heads = collector.heads.lock().unwrap().clone();
    assert!(
        heads.iter().all(|head| head.contains("authorization: Bearer c0llect0r\r\n")),
        "{heads:?}"
    );
    let output = gateway.cli(&["check"]);
    let told = [gateway.log(), gateway.status().to_string(), format!("{output:?}")];
    assert!(told.iter().all(|text| !text.contains("c0llect0r")), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_go_to_a_collector_behind_tls_if_the_machine_trusts_it() {
    let authority = Authority::new();
    let collector = Collector::start(Manner::Takes);
    let tunnel = Tunnel::before(collector.port, &authority.server());
    let table = telemetry(&format!("https://localhost:{}", tunnel.port));
    let tables = format!("{table}{}", stdio_server("up", &[]));
    let stranger = trusting(&Authority::new(), &tables);
    let gateway = trusting(&authority, &tables);
    for gateway in [&stranger, &gateway] {
        gateway.wait_ready();
        let client = Client::http(Kind::ModernHttp, gateway.port).await;
        call(&client, "up__echo", json!({})).await;
    }
    let is_told = || stranger.log().contains("invalid peer certificate").then_some(());
    wait_until("why nothing is sent", is_told, || stranger.log());
    // Those of one of them alone.
    collector.wait(&gateway, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_a_span_below_its_callers_and_one_above_its_servers() {
    let house = House::build();
    let House { collector, gateway, heard, .. } = &house;
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    call(&client, "up__echo", traceparent("01")).await;
    let [ours, servers] = &collector.wait(gateway, 2)[..] else { unreachable!() };

    assert_eq!((&ours["kind"], &servers["kind"]), (&json!(2), &json!(3)));
    assert_eq!((&ours["traceId"], &servers["traceId"]), (&json!(TRACE), &json!(TRACE)));
    assert_eq!((&ours["parentSpanId"], &servers["parentSpanId"]), (&json!(SPAN), &ours["spanId"]));
    assert_eq!(ours["name"], "tools/call up__echo");
    let calls = journal(heard);
    let told = calls.iter().rev().find(|line| line["method"] == "tools/call").unwrap();
    let hears = format!("00-{TRACE}-{}-01", servers["spanId"].as_str().unwrap());
    assert!(told["params"].as_str().unwrap().contains(&hears), "{told} {hears}");

    let intent = gateway.wait_audit("the intent", |record| record["kind"] == "intent");
    for span in [ours, servers] {
        assert_eq!(*said(span, "portcullis.call.id"), intent["call"]);
        assert_eq!(said(span, "mcp.method.name"), "tools/call");
        assert_eq!(said(span, "gen_ai.operation.name"), "execute_tool");
        assert_eq!(said(span, "gen_ai.tool.name"), "up__echo");
        assert_eq!(said(span, "error.type"), &Value::Null);
        let at = |key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
        assert!(at("startTimeUnixNano") < at("endTimeUnixNano"), "{span}");
        assert!(!span.to_string().contains("\"x\""), "arguments are told: {span}");
    }
    assert_eq!(
        (said(ours, "network.transport"), said(servers, "portcullis.server")),
        (&json!("tcp"), &json!("up"))
    );
    let resource = collector.bodies()[0]["resourceSpans"][0]["resource"].clone();
    assert_eq!(said(&resource, "service.name"), "portcullis");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_brings_no_trace_begins_one_and_who_says_not_to_is_left_alone() {
    let house = House::build();
    let House { collector, gateway, heard, .. } = &house;
    let client = Client::http(Kind::LegacyHttp, gateway.port).await;
    call(&client, "up__echo", traceparent("00")).await;
    call(&client, "up__echo", json!({})).await;
    call(&client, "up__echo", json!({})).await;
    let spans = collector.wait(gateway, 4);
    let (ours, servers) = spans.split_at(2);
    assert!(spans.iter().all(|span| span["traceId"] != TRACE), "{spans:#?}");
    assert_ne!(ours[0]["traceId"], ours[1]["traceId"]);
    for span in ours {
        assert_eq!(span.get("parentSpanId"), None);
        let below = |one: &&Value| one["parentSpanId"] == span["spanId"];
        assert_eq!(servers.iter().filter(below).count(), 1, "{spans:#?}");
    }
    let calls = journal(heard);
    let told: Vec<_> = calls.iter().filter(|line| line["method"] == "tools/call").collect();
    let n_traced =
        told.iter().filter(|one| one["params"].to_string().contains("traceparent")).count();
    assert_eq!((told.len(), n_traced), (3, 1), "servers hear of no trace but their callers'");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_ends_badly_says_why() {
    let collector = Collector::start(Manner::Takes);
    let server = stdio_server("up", &[]) + "disabled_tools = [\"sum\"]\n";
    let gateway = Gateway::start(&format!("{}{server}", collector.table()));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    call(&client, "up__sum", json!({})).await;
    call(&client, "up__fail", json!({})).await;
    let spans = collector.wait(&gateway, 3);
    let why: Vec<_> =
        spans.iter().map(|span| (said(span, "error.type"), &span["status"]["code"])).collect();
    let (unknown, tool) = (json!("unknown"), json!("tool_error"));
    assert!(why.iter().all(|(_, code)| **code == 2), "{spans:#?}");
    let mut why: Vec<_> = why.into_iter().map(|(why, _)| why).collect();
    why.sort_by_key(|why| why.to_string());
    assert_eq!(why, [&tool, &tool, &unknown], "{spans:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_hangs_or_fails_keeps_no_call_waiting_and_is_told_of() {
    for manner in [Manner::Hangs, Manner::Fails] {
        let collector = Collector::start(manner);
        let gateway = Gateway::start(&(collector.table() + &stdio_server("up", &[])));
        let client = Client::http(Kind::ModernHttp, gateway.port).await;
        call(&client, "up__echo", json!({})).await;
        wait_until(
            "an export",
            || (!collector.bodies().is_empty()).then_some(()),
            || gateway.log(),
        );
        let answer = call(&client, "up__echo", json!({})).await;
        assert_eq!(answer["result"]["content"][0]["text"], "x", "{answer}");
        if matches!(manner, Manner::Fails) {
            wait(&gateway, &names::SPANS_LOST, &[], 4.0);
            assert!(gateway.log().contains("nobody takes them"), "{}", gateway.log());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_no_span_is_made() {
    let gateway = Gateway::start(&stdio_server("up", &[]));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    call(&client, "up__echo", json!({})).await;
    call(&client, "up__echo", traceparent("01")).await;
    wait(&gateway, &names::CALLS, &[], 2.0);
    // One that is made is told, or lost.
    wait(&gateway, &names::SPANS_LOST, &[], 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_spans_go_out_at_the_end() {
    let collector = Collector::start(Manner::Takes);
    let gateway = Gateway::start(&(collector.table() + &stdio_server("up", &[])));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    call(&client, "up__echo", json!({})).await;
    gateway.end();
    assert_eq!(collector.spans().len(), 2, "{:#?}", collector.spans());
}
