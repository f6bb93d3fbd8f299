//! A caller's trace goes on at the server, and in our log: from every kind of client to every kind
//! of server.

use serde_json::{Value, json};

use crate::{
    client::{Client, Kind},
    eras::{Cell, Server},
    harness::{Gateway, HttpFixture, journal, wait_until},
    questions::KINDS,
};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SPAN: &str = "b7ad6b7169203331";
const BAGGAGE: &str = "user=ann,tenant=a%20b;p=1";

fn parent() -> String {
    format!("00-{TRACE}-{SPAN}-01")
}

/// The `_meta` of the last tool call that reached the server.
fn arrived(cell: &Cell) -> Value {
    let calls = journal(&cell.journal);
    let call = calls.iter().rev().find(|line| line["method"] == "tools/call").unwrap();
    let params: Value = serde_json::from_str(call["params"].as_str().unwrap()).unwrap();
    params["_meta"].clone()
}

async fn call(client: &Client, meta: Value) -> Value {
    let params = json!({ "name": "up__echo", "arguments": { "text": "x" }, "_meta": meta });
    client.ask("tools/call", params).await.response
}

/// The span that a server got as its parent.
#[track_caller]
fn child(meta: &Value) -> String {
    let parent = meta["traceparent"].as_str().unwrap_or_default().to_owned();
    let span = parent.strip_prefix(&format!("00-{TRACE}-")).and_then(|it| it.strip_suffix("-01"));
    let span = span.unwrap_or_else(|| panic!("not our child: {meta}")).to_owned();
    assert!(span.len() == 16 && span.bytes().all(|byte| byte.is_ascii_hexdigit()), "{meta}");
    assert_ne!(span, SPAN, "the caller's own span");
    span
}

#[tokio::test(flavor = "multi_thread")]
async fn every_server_is_told_of_a_child_in_the_callers_trace() {
    let servers =
        [Server::ModernHttp, Server::LegacyHttp, Server::ModernStdio, Server::LegacyStdio];
    // Who speaks which era and transport on one side does not matter on the other.
    for (kind, server) in KINDS.into_iter().zip(servers.into_iter().rev()) {
        let cell = Cell::with(kind, server, json!({}), "baggage = [\"tenant\"]\n").await;
        let traced = json!({ "traceparent": parent(), "tracestate": "a=1", "baggage": BAGGAGE });
        call(&cell.client, traced.clone()).await;
        let first = arrived(&cell);
        let span = child(&first);
        assert_eq!(first["tracestate"], "a=1", "{kind:?}");
        assert_eq!(first["baggage"], "tenant=a%20b;p=1", "{kind:?}");
        call(&cell.client, traced).await;
        assert_ne!(child(&arrived(&cell)), span, "each call is a step of its own");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_dropped_and_nothing_is_invented() {
    for (kind, server) in
        [(Kind::ModernHttp, Server::LegacyStdio), (Kind::LegacyHttp, Server::ModernHttp)]
    {
        let cell = Cell::new(kind, server).await;
        for meta in [
            json!({}),
            json!({ "traceparent": "00-1-2-01", "tracestate": "a=1", "baggage": BAGGAGE }),
            json!({ "traceparent": [parent()], "tracestate": "a=1" }),
            json!({ "tracestate": "a=1" }),
        ] {
            let answer = call(&cell.client, meta.clone()).await;
            assert_eq!(answer["result"]["content"][0]["text"], "x", "{answer}");
            let told = arrived(&cell);
            for key in ["traceparent", "tracestate", "baggage"] {
                assert!(told.get(key).is_none(), "{meta} became {told}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_lines_of_a_call_name_its_trace() {
    let fixture = HttpFixture::start(&[]);
    let gateway = Gateway::start(&format!("[servers.up]\nurl = {:?}\n", fixture.url));
    let client = Client::http(Kind::LegacyHttp, gateway.port).await;
    drop(fixture);
    call(&client, json!({ "traceparent": parent() })).await;
    let line = || {
        let log = gateway.log();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["span"]["trace_id"] == TRACE)
    };
    let line = wait_until("a line of the call", line, || gateway.log());
    assert_eq!(line["span"]["span_id"].as_str().unwrap().len(), 16, "{line}");
    assert_ne!(line["span"]["span_id"], SPAN);
    let intent = gateway.wait_audit("the intent", |record| record["kind"] == "intent");
    assert_eq!(line["span"]["call.id"], intent["call"], "{line}");
}
