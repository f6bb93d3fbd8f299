//! `x-mcp-header`: arguments that are repeated in `Mcp-Param-*` headers, towards us and from us.

use std::path::PathBuf;

use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::{
    client::{Client, Kind, MODERN, post},
    harness::{Gateway, HttpFixture, journal},
};

const TOOL: &str = "test_custom_header";

/// A gateway before a modern HTTP server, which itself refuses headers that contradict.
struct Road {
    gateway: Gateway,
    journal: PathBuf,
    _server: HttpFixture,
}

impl Road {
    fn new() -> Self {
        Self::with("")
    }

    /// With more keys in the server's table.
    fn with(more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("journal.jsonl");
        let server =
            HttpFixture::start(&["--era", "modern", "--journal", journal.to_str().unwrap()]);
        let table = format!("[servers.up]\nurl = {:?}\n{more}", server.url);
        let gateway = Gateway::start_in(dir, &table);
        Self { gateway, journal, _server: server }
    }

    /// What reached the server.
    fn calls(&self) -> Vec<Value> {
        let events = journal(&self.journal).into_iter();
        events.filter(|event| event["method"] == "tools/call").collect()
    }

    async fn modern(
        &self,
        arguments: Value,
        shown: &[(&'static str, &str)],
    ) -> (StatusCode, Value) {
        let name = format!("up__{TOOL}");
        let body = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {
            "name": name, "arguments": arguments, "_meta": {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        }});
        let mut headers = HeaderMap::new();
        headers.insert("mcp-protocol-version", MODERN.parse().unwrap());
        headers.insert("mcp-method", "tools/call".parse().unwrap());
        headers.insert("mcp-name", name.parse().unwrap());
        for (key, value) in shown {
            headers.insert(*key, value.parse().unwrap());
        }
        let response = post(self.gateway.port, &body, headers).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&bytes).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parameter_headers_that_contradict_the_arguments_never_reach_the_server() {
    let road = Road::new();
    let arguments = json!({ "region": "eu-1", "priority": 3, "verbose": true });
    let right =
        [("mcp-param-region", "eu-1"), ("mcp-param-priority", "3"), ("mcp-param-verbose", "true")];
    for (at, wrong) in [(0, "us-1"), (1, "4"), (2, "false")] {
        let mut shown = right;
        shown[at].1 = wrong;
        let (status, answer) = road.modern(arguments.clone(), &shown).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}: {answer}");
        assert_eq!(answer["error"]["code"], -32020, "{wrong}: {answer}");
        assert_eq!(answer["id"], 7);
    }
    // A header without its argument says something that the body does not.
    let (status, answer) = road.modern(json!({}), &right[..1]).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::BAD_REQUEST, &json!(-32020)));
    // An argument without its header is as wrong.
    let (status, answer) = road.modern(arguments.clone(), &right[..2]).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::BAD_REQUEST, &json!(-32020)));
    assert!(road.calls().is_empty());

    let (status, answer) = road.modern(arguments, &right).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["result"]["content"][0]["text"], "accepted", "{answer}");
    assert_eq!(road.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_client_repeats_nothing_and_the_gateway_repeats_it_for_him() {
    let road = Road::new();
    let client = Client::http(Kind::LegacyHttp, road.gateway.port).await;
    let arguments =
        json!({ "region": "Zürich\n", "priority": -42, "verbose": false, "query": "q" });
    assert_eq!(client.text(&format!("up__{TOOL}"), arguments).await, "accepted");
    let calls = road.calls();
    assert_eq!(calls.len(), 1);
    let headers = &calls[0]["headers"];
    assert_eq!(headers["mcp-name"], TOOL);
    assert_eq!(headers["mcp-method"], "tools/call");
    assert_eq!(headers["mcp-protocol-version"], MODERN);
    assert_eq!(headers["mcp-param-priority"], "-42");
    assert_eq!(headers["mcp-param-verbose"], "false");
    assert_eq!(headers["mcp-param-region"], "=?base64?WsO8cmljaAo=?=");
    // Not annotated, or not given: no header.
    assert!(headers.get("mcp-param-query").is_none(), "{headers}");
    assert_eq!(client.text(&format!("up__{TOOL}"), json!({ "query": "q" })).await, "accepted");
    let headers = &road.calls()[1]["headers"];
    let shown: Vec<&String> =
        headers.as_object().unwrap().keys().filter(|key| key.starts_with("mcp-param")).collect();
    assert!(shown.is_empty(), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_of_a_hidden_tool_tell_nothing_and_the_stop_comes_first() {
    let hidden = Road::with(&format!("disabled_tools = [\"{TOOL}\"]\n"));
    let stray = [("mcp-param-region", "eu-1")];
    let (status, answer) = hidden.modern(json!({}), &stray).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::OK, &json!(-32602)), "{answer}");
    hidden.gateway.wait_audit("the denial", |record| record["reason"] == "not_listed");

    let road = Road::new();
    let (_, answer) = road.modern(json!({}), &stray).await;
    assert_eq!(answer["error"]["code"], -32020, "{answer}");
    road.gateway.wait_audit("the refusal", |record| record["reason"] == "headers");
    assert!(road.gateway.cli(&["stop"]).status.success());
    let (_, answer) = road.modern(json!({}), &stray).await;
    assert_eq!(answer["error"]["code"], -31001, "{answer}");
}
