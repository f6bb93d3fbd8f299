//! Prompts, resources and completions: every kind of client against every kind of server, and the
//! same road as a tool call: on record, under the stop, within limits, withdrawn when asked.

use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::{
    client::{Client, Kind, LEGACY, MODERN, post, send},
    eras::{Cell, Server},
    harness::{Gateway, journal, stdio_server, wait_until, within},
};

mod owners;

const TEXT: &str = "This is the content of the static text resource.";

fn is_modern(kind: Kind) -> bool {
    matches!(kind, Kind::ModernHttp | Kind::ModernStdio)
}

/// What a list holds, by the member that names its entries.
async fn listed(client: &Client, method: &str, key: &str) -> Vec<String> {
    let result = client.ask(method, json!({})).await.response["result"].take();
    let entries = result.as_object().unwrap().values().find_map(Value::as_array).unwrap();
    entries.iter().map(|entry| entry[key].as_str().unwrap().to_owned()).collect()
}

/// The hints are there for modern clients, and for them only.
#[track_caller]
fn check_hints(kind: Kind, result: &Value) {
    let said = (&result["resultType"], result["ttlMs"].is_u64(), result["cacheScope"].is_string());
    match is_modern(kind) {
        true => assert_eq!(said, (&json!("complete"), true, true), "{result}"),
        false => assert_eq!(said, (&Value::Null, false, false), "{result}"),
    }
}

async fn read_get_and_complete_work(kind: Kind, server: Server) {
    let cell = Cell::new(kind, server).await;
    let client = &cell.client;
    let ask = async |method: &str, params: Value| client.ask(method, params).await.response;

    let prompts = listed(client, "prompts/list", "name").await;
    assert!(prompts.contains(&"up__test_simple_prompt".to_owned()), "{prompts:?}");
    assert!(prompts.is_sorted());
    let resources = listed(client, "resources/list", "uri").await;
    let all = ["test://static-binary", "test://static-text", "test://watched-resource"];
    assert_eq!(resources, all);
    let templates = listed(client, "resources/templates/list", "uriTemplate").await;
    assert_eq!(templates, ["test://template/{id}/data"]);
    for method in ["prompts/list", "resources/list", "resources/templates/list"] {
        check_hints(kind, &ask(method, json!({})).await["result"]);
    }

    let arguments = json!({ "arg1": "ü", "arg2": "\"" });
    let params = json!({ "name": "up__test_prompt_with_arguments", "arguments": arguments });
    let prompt = ask("prompts/get", params).await;
    let text = &prompt["result"]["messages"][0]["content"]["text"];
    assert_eq!(text, "Prompt with arguments: arg1='ü', arg2='\"'", "{prompt}");
    assert_eq!(prompt["result"].get("resultType").is_some(), is_modern(kind), "{prompt}");

    let read = ask("resources/read", json!({ "uri": "test://static-text" })).await;
    assert_eq!(read["result"]["contents"][0]["text"], TEXT, "{read}");
    check_hints(kind, &read["result"]);
    let read = ask("resources/read", json!({ "uri": "test://template/7/data" })).await;
    let text = read["result"]["contents"][0]["text"].as_str().unwrap();
    assert!(text.contains("Data for ID: 7"), "{read}");
    let missing = ask("resources/read", json!({ "uri": "test://missing" })).await;
    let code = if is_modern(kind) { -32602 } else { -32002 };
    assert_eq!(missing["error"]["code"], code, "{missing}");
    assert_eq!(missing["error"]["data"]["uri"], "test://missing");

    for target in [
        json!({ "type": "ref/prompt", "name": "up__test_prompt_with_arguments" }),
        json!({ "type": "ref/resource", "uri": "test://template/{id}/data" }),
    ] {
        let params = json!({ "ref": target, "argument": { "name": "arg1", "value": "par" } });
        let completed = ask("completion/complete", params).await;
        let values = &completed["result"]["completion"]["values"];
        assert_eq!(*values, json!(["paris", "park", "party"]), "{completed}");
    }
    check_what_arrived(&cell, server);
}

/// Under the server's own names, in the headers too, and each on record.
fn check_what_arrived(cell: &Cell, server: Server) {
    let arrived = journal(&cell.journal);
    let params = |method: &str| {
        let messages = arrived.iter().filter(|line| line["method"] == method);
        let read = |line: &Value| serde_json::from_str::<Value>(line["params"].as_str().unwrap());
        messages.map(|line| read(line).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(params("prompts/get")[0]["name"], "test_prompt_with_arguments");
    assert_eq!(params("completion/complete")[0]["ref"]["name"], "test_prompt_with_arguments");
    let uris: Vec<Value> = params("resources/read").iter().map(|p| p["uri"].clone()).collect();
    assert_eq!(uris, ["test://static-text", "test://template/7/data", "test://missing"]);
    if server == Server::ModernHttp {
        let shown = |method: &str| {
            let line = arrived.iter().find(|line| line["method"] == method).unwrap();
            (line["headers"]["mcp-method"].clone(), line["headers"]["mcp-name"].clone())
        };
        let name = json!("test_prompt_with_arguments");
        assert_eq!(shown("prompts/get"), (json!("prompts/get"), name));
        assert_eq!(shown("resources/read").1, "test://static-text");
        assert_eq!(shown("completion/complete").1, Value::Null);
    }
    let records = || crate::harness::audit_in(&cell.audit);
    let done = || {
        let outcomes = records().iter().filter(|record| record["kind"] == "outcome").count();
        (outcomes == 6).then_some(())
    };
    wait_until("six outcomes", done, || format!("{:#?}", records()));
    let records = records();
    let intents: Vec<&Value> = records.iter().filter(|record| record["kind"] == "intent").collect();
    let of = |key: &str| intents.iter().filter_map(|record| record.get(key)).collect::<Vec<_>>();
    assert_eq!(of("prompt"), ["test_prompt_with_arguments"]);
    assert_eq!(of("resource"), ["test://static-text", "test://template/7/data", "test://missing"]);
    assert_eq!(of("prompt_argument"), ["test_prompt_with_arguments"]);
    assert_eq!(of("template_argument"), ["test://template/{id}/data"]);
    assert!(intents.iter().all(|record| record["server"] == "up"));
}

macro_rules! matrix {
    ($($name:ident: $client:ident x $server:ident;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                read_get_and_complete_work(Kind::$client, Server::$server).await;
            }
        )*
    };
}

matrix! {
    modern_http_to_modern_http: ModernHttp x ModernHttp;
    modern_http_to_legacy_http: ModernHttp x LegacyHttp;
    modern_http_to_modern_stdio: ModernHttp x ModernStdio;
    modern_http_to_legacy_stdio: ModernHttp x LegacyStdio;
    legacy_http_to_modern_http: LegacyHttp x ModernHttp;
    legacy_http_to_legacy_http: LegacyHttp x LegacyHttp;
    legacy_http_to_modern_stdio: LegacyHttp x ModernStdio;
    legacy_http_to_legacy_stdio: LegacyHttp x LegacyStdio;
    modern_stdio_to_modern_http: ModernStdio x ModernHttp;
    modern_stdio_to_legacy_http: ModernStdio x LegacyHttp;
    modern_stdio_to_modern_stdio: ModernStdio x ModernStdio;
    modern_stdio_to_legacy_stdio: ModernStdio x LegacyStdio;
    legacy_stdio_to_modern_http: LegacyStdio x ModernHttp;
    legacy_stdio_to_legacy_http: LegacyStdio x LegacyHttp;
    legacy_stdio_to_modern_stdio: LegacyStdio x ModernStdio;
    legacy_stdio_to_legacy_stdio: LegacyStdio x LegacyStdio;
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
    let road = Road::new(&["up"], "tool_timeout_sec = 0.5\nin_flight = 1\n").await;
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
