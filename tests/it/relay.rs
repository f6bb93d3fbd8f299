//! Prompts, resources and completions take the same road as a tool call: on record, under the stop,
//! within limits, withdrawn when asked.

use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::{
    client::{Client, Kind, LEGACY, MODERN, post, send},
    eras::{Cell, Server},
    harness::{Gateway, journal, stdio_server, wait_until, within},
};

mod owners;

pub(crate) const TEXT: &str = "This is the content of the static text resource.";

/// What a list holds, by the member that names its entries.
pub(crate) async fn listed(client: &Client, method: &str, key: &str) -> Vec<String> {
    let result = client.ask(method, json!({})).await.response["result"].take();
    let entries = result.as_object().unwrap().values().find_map(Value::as_array).unwrap();
    entries.iter().map(|entry| entry[key].as_str().unwrap().to_owned()).collect()
}

/// A gateway before the fixture servers `names`, each with a journal, and `more` in each table.
struct Road {
    gateway: Gateway,
    client: Client,
}

impl Road {
    async fn new(names: &[&str], more: &str) -> Self {
        Self::with(names, &[], more).await
    }

    /// The same, with more arguments for each server.
    async fn with(names: &[&str], args: &[&str], more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let table = |name: &&str| {
            let journal = dir.path().join(format!("{name}.jsonl"));
            let args = [args, &["--journal", journal.to_str().unwrap()]].concat();
            stdio_server(name, &args) + more
        };
        let tables: String = names.iter().map(table).collect();
        let gateway = Gateway::start_in(dir, &tables);
        let client = Client::http(Kind::ModernHttp, gateway.port).await;
        Self { gateway, client }
    }

    /// What reached a server by this method.
    fn reached(&self, server: &str, method: &str) -> usize {
        let events = journal(&self.gateway.dir.path().join(format!("{server}.jsonl")));
        events.iter().filter(|event| event["method"] == method).count()
    }

    fn cancelled(&self, server: &str) -> bool {
        let events = journal(&self.gateway.dir.path().join(format!("{server}.jsonl")));
        events.iter().any(|event| event["event"] == "cancelled")
    }

    async fn read(&self, uri: &str) -> Value {
        self.client.ask("resources/read", json!({ "uri": uri })).await.response
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stop_ends_a_reading_in_flight_and_lets_nothing_begin() {
    let road = Road::new(&["up"], "").await;
    let params = json!({ "uri": "test://slow/600000" });
    let reading = road.client.begin_request("resources/read", params).await;
    let arrived = || (road.reached("up", "resources/read") == 1).then_some(());
    wait_until("the reading", arrived, || road.gateway.log());
    road.gateway.signal("USR1");
    let stopped = reading.finish().await.response;
    assert_eq!(stopped["error"]["code"], -31001, "{stopped}");
    assert_eq!(stopped["error"]["data"]["sent"], "yes");

    let target = json!({ "type": "ref/prompt", "name": "up__test_prompt_with_arguments" });
    for (method, params) in [
        ("resources/read", json!({ "uri": "test://static-text" })),
        ("resources/read", json!({ "uri": "other://nobody" })),
        ("prompts/get", json!({ "name": "up__test_simple_prompt" })),
        ("prompts/get", json!({ "name": "up__no_such" })),
        ("completion/complete", json!({ "ref": target, "argument": { "name": "a", "value": "" } })),
    ] {
        let refused = road.client.ask(method, params).await.response;
        assert_eq!(refused["error"]["code"], -31001, "{method}: {refused}");
        assert_eq!(refused["error"]["data"]["sent"], "no");
    }
    assert_eq!(road.reached("up", "resources/read"), 1);
    assert_eq!(road.reached("up", "prompts/get") + road.reached("up", "completion/complete"), 0);
    let denied = |record: &Value| record["kind"] == "denied" && record["reason"] == "stopped";
    let record = road.gateway.wait_audit("a denial", |record| {
        denied(record) && record["prompt"] == "test_simple_prompt"
    });
    assert_eq!(record["server"], "up");
    assert!(road.gateway.cli(&["audit", "verify"]).status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_has_a_deadline_and_takes_a_place_of_its_server() {
    let road = Road::new(&["up"], "tool_timeout_sec = 0.5\nin_flight = 1\nqueue = 0\n").await;
    let params = json!({ "uri": "test://slow/60000" });
    let reading = road.client.begin_request("resources/read", params).await;
    let arrived = || (road.reached("up", "resources/read") == 1).then_some(());
    wait_until("the reading", arrived, || road.gateway.log());
    let full = road.read("test://static-text").await;
    assert_eq!(full["error"]["code"], -31003, "{full}");
    let late = reading.finish().await.response;
    assert_eq!(late["error"]["code"], -31004, "{late}");
    assert_eq!(late["error"]["data"]["sent"], "yes");
    let cancelled = || road.cancelled("up").then_some(());
    wait_until("the cancellation", cancelled, || road.gateway.log());
    assert_eq!(road.reached("up", "resources/read"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reading_that_nobody_waits_for_is_called_back() {
    let road = Road::new(&["up"], "").await;
    let params = json!({ "uri": "test://slow/600000" });
    let reading = road.client.begin_request("resources/read", params).await;
    let arrived = || (road.reached("up", "resources/read") == 1).then_some(());
    wait_until("the reading", arrived, || road.gateway.log());
    road.client.cancel(reading).await;
    let cancelled = || road.cancelled("up").then_some(());
    wait_until("the cancellation", cancelled, || road.gateway.log());
    let outcome = road.gateway.wait_audit("the outcome", |record| record["kind"] == "outcome");
    assert_eq!(outcome["error"], "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_name_prompts_and_resources_too() {
    let road = Road::new(&["up"], "").await;
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    for (method, key, right, wrong) in [
        ("prompts/get", "name", "up__test_simple_prompt", "up__test_prompt_with_image"),
        ("resources/read", "uri", "test://static-text", "test://static-binary"),
    ] {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method,
            "params": { key: right, "_meta": meta } });
        for (shown, status) in [
            (Some(wrong), StatusCode::BAD_REQUEST),
            (None, StatusCode::BAD_REQUEST),
            (Some(right), StatusCode::OK),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("mcp-protocol-version", MODERN.parse().unwrap());
            headers.insert("mcp-method", method.parse().unwrap());
            shown.map(|shown| headers.insert("mcp-name", shown.parse().unwrap()));
            let response = post(road.gateway.port, &body, headers).await;
            assert_eq!(response.status(), status, "{method} {shown:?}");
        }
        assert_eq!(road.reached("up", method), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_clients_hear_of_the_lists_that_changed_and_of_no_other() {
    let cell = Cell::new(Kind::LegacyStdio, Server::LegacyStdio).await;
    let client = &cell.client;
    let prompts = || client.unasked().iter().filter(|m| m.contains("/prompts/")).count();
    let before = client.unasked();
    client.text("up__test_trigger_prompt_change", json!({})).await;
    wait_until("the notification", || (prompts() == 1).then_some(()), || cell.describe());
    let listed_now = listed(client, "prompts/list", "name").await;
    assert!(listed_now.contains(&"up__test_dynamic_prompt".to_owned()), "{listed_now:?}");

    // The server says that its resources changed, but they are the same to see.
    client.text("up__test_trigger_resource_change", json!({})).await;
    client.text("up__test_trigger_prompt_change", json!({})).await;
    wait_until("the second one", || (prompts() == 2).then_some(()), || cell.describe());
    let heard = client.unasked();
    let since: Vec<&String> = heard.iter().skip(before.len()).collect();
    assert_eq!(since, ["notifications/prompts/list_changed"; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_get_stream_carries_changes_of_prompts() {
    let gateway = Gateway::start(&stdio_server("up", &["--era", "legacy"]));
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": LEGACY, "capabilities": {}, "clientInfo": { "name": "it" } } });
    let opened = post(gateway.port, &body, HeaderMap::new()).await;
    let session = opened.headers()["mcp-session-id"].clone();
    let answer = opened.into_body().collect().await.unwrap().to_bytes();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let capabilities = &answer["result"]["capabilities"];
    assert_eq!(capabilities["prompts"], json!({ "listChanged": true }));
    assert_eq!(capabilities["resources"], json!({ "subscribe": true, "listChanged": true }));
    assert_eq!(capabilities["completions"], json!({}));
    let mut headers = HeaderMap::new();
    headers.insert("mcp-session-id", session);
    headers.insert("accept", "text/event-stream".parse().unwrap());
    let mut stream = send(gateway.port, "GET", String::new(), headers).await;
    let client = Client::http(Kind::LegacyHttp, gateway.port).await;
    client.text("up__test_trigger_prompt_change", json!({})).await;
    let mut text = String::new();
    while !text.contains("notifications/prompts/list_changed") {
        let frame = within("an event", stream.body_mut().frame()).await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    assert!(!text.contains("notifications/tools/list_changed"), "{text}");
}
