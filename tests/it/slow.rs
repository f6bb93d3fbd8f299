//! A slow call holds up nobody: on one pipe, and on one HTTP server, answers come as they are
//! ready. The slow calls here never end by themselves, so that only the order counts and no
//! clock; milliseconds are the benches' part.

use serde_json::json;

use crate::{
    client::{Client, Kind},
    harness::{Gateway, HttpFixture, stdio_server},
};

const SLOW_MS: u64 = 600_000;
const FAST_CALLS: usize = 50;

async fn slow_call_does_not_delay_a_fast_one(tables: &str, kind: Kind) {
    let gateway = Gateway::start(tables);
    let client = Client::http(kind, gateway.port).await;
    let slow = client.begin("up__sleep", json!({ "ms": SLOW_MS, "text": "z" }), None).await;
    gateway.wait_audit("the slow call's intent", |record| record["tool"] == "sleep");
    // A second slow one behind the first, to notice a queue that lets one pass.
    let second = client.begin("up__sleep", json!({ "ms": SLOW_MS, "text": "z" }), None).await;
    for n in 0..FAST_CALLS {
        let text = format!("fast {n}");
        assert_eq!(client.text("up__echo", json!({ "text": text })).await, text);
    }
    // What has ended by now is on record: the fast calls, and not the slow ones before them.
    let ended = |gateway: &Gateway| {
        let records = gateway.audit();
        let call_of = |record: &serde_json::Value| record["call"].as_str().unwrap().to_owned();
        let intents = records.iter().filter(|record| record["tool"] == "sleep");
        let slow: Vec<String> = intents.map(call_of).collect();
        let outcomes = records.iter().filter(|record| record["kind"] == "outcome");
        let (slow, fast): (Vec<_>, Vec<_>) =
            outcomes.map(call_of).partition(|call| slow.contains(call));
        (slow.len(), fast.len())
    };
    assert_eq!(ended(&gateway).0, 0, "a fast call waited for a slow one");
    for slow in [slow, second] {
        client.cancel(slow).await;
    }
    crate::harness::wait_until(
        "every outcome",
        || (ended(&gateway) == (2, FAST_CALLS)).then_some(()),
        || gateway.log(),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_call_does_not_delay_a_fast_one_over_stdio() {
    let tables = stdio_server("up", &[]);
    slow_call_does_not_delay_a_fast_one(&tables, Kind::ModernHttp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_call_does_not_delay_a_fast_one_over_modern_http() {
    let server = HttpFixture::start(&["--era", "modern"]);
    let tables = format!("[servers.up]\nurl = {:?}\n", server.url);
    slow_call_does_not_delay_a_fast_one(&tables, Kind::LegacyHttp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_call_does_not_delay_a_fast_one_over_legacy_http() {
    let server = HttpFixture::start(&["--era", "legacy"]);
    let tables = format!("[servers.up]\nurl = {:?}\n", server.url);
    slow_call_does_not_delay_a_fast_one(&tables, Kind::ModernHttp).await;
}
