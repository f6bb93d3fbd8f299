//! The road of one call: what is refused, where it ends, and what the audit says of it.

use std::path::PathBuf;

use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::{
    client::{Client, Kind, MODERN, post, send},
    harness::{Gateway, journal, stdio_server, wait_until},
};

/// A gateway before one journalling fixture server, with `more` keys in its table.
struct Road {
    gateway: Gateway,
    client: Client,
    journal: PathBuf,
}

impl Road {
    async fn new(fixture_args: &[&str], more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("journal.jsonl");
        let args = [&["--journal", journal.to_str().unwrap()], fixture_args].concat();
        let gateway = Gateway::start_in(dir, &format!("{}{more}", stdio_server("up", &args)));
        let client = Client::http(Kind::ModernHttp, gateway.port).await;
        Self { gateway, client, journal }
    }

    fn reached(&self, tool: &str) -> Vec<Value> {
        let calls = journal(&self.journal).into_iter();
        calls.filter(|e| e["method"] == "tools/call" && e["tool"] == tool).collect()
    }

    async fn listed(&self) -> Vec<String> {
        let answer = self.client.ask("tools/list", json!({})).await;
        let tools = answer.response["result"]["tools"].as_array().unwrap().clone();
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    /// A modern call with a body written by hand.
    async fn raw_call(&self, tool: &str, params_rest: &str) -> (StatusCode, String) {
        let meta = format!(
            r#""_meta":{{"io.modelcontextprotocol/protocolVersion":"{MODERN}","io.modelcontextprotocol/clientCapabilities":{{}}}}"#
        );
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":"raw","method":"tools/call","params":{{"name":"{tool}",{params_rest},{meta}}}}}"#
        );
        let response = send(self.gateway.port, "POST", body, modern_headers(tool)).await;
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }
}

fn modern_headers(tool: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("mcp-protocol-version", MODERN.parse().unwrap());
    headers.insert("mcp-method", "tools/call".parse().unwrap());
    headers.insert("mcp-name", tool.parse().unwrap());
    headers
}

#[tokio::test(flavor = "multi_thread")]
async fn denied_call_never_reaches_the_child() {
    let road = Road::new(&[], "disabled_tools = [\"count\"]\n").await;
    let listed = road.listed().await;
    assert!(listed.contains(&"up__echo".to_owned()));
    assert!(!listed.contains(&"up__count".to_owned()));

    let hidden = road.client.call("up__count", json!({ "key": "a" })).await.response;
    assert_eq!(hidden["error"]["code"], -32602);
    let missing = road.client.call("up__no_such", json!({})).await.response;
    let said = |answer: &Value, name: &str| answer["error"].to_string().replace(name, "NAME");
    assert_eq!(said(&hidden, "up__count"), said(&missing, "up__no_such"), "existence is revealed");

    let denied = road.gateway.wait_audit("the denial", |record| record["kind"] == "denied");
    assert_eq!(denied["reason"], "not_listed");
    assert_eq!(road.client.text("up__echo", json!({ "text": "x" })).await, "x");
    assert!(road.reached("count").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn enabled_tools_hide_every_other_tool() {
    let road = Road::new(&[], "enabled_tools = [\"echo\"]\n").await;
    assert_eq!(road.listed().await, ["up__echo"]);
    let hidden = road.client.call("up__count", json!({ "key": "a" })).await.response;
    assert_eq!(hidden["error"]["code"], -32602);
    assert!(road.reached("count").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_that_do_not_fit_are_refused_before_the_server() {
    let road = Road::new(&[], "").await;
    let answer = road.client.call("up__echo", json!({ "text": 5 })).await.response;
    assert_eq!(answer["result"]["isError"], true, "{answer}");
    assert_eq!(answer["result"]["_meta"]["portcullis/reason"], "schema");
    let call_id = answer["result"]["_meta"]["portcullis/callId"].as_str().unwrap().to_owned();
    let denied = road.gateway.wait_audit("the denial", |record| record["kind"] == "denied");
    assert_eq!(denied["call"].as_str(), Some(call_id.as_str()), "{denied}");
    assert!(road.reached("echo").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn intent_is_on_record_before_the_server_sees_the_call() {
    let road = Road::new(&[], "").await;
    let sleeping = road.client.begin("up__sleep", json!({ "ms": 400, "text": "z" }), None).await;
    let arrived = || road.reached("sleep").pop();
    wait_until("the call to arrive", arrived, || road.gateway.log());
    let kinds = |records: Vec<Value>| -> Vec<String> {
        let of_calls = records.into_iter().filter(|record| record["call"].is_string());
        of_calls.map(|record| record["kind"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(kinds(road.gateway.audit()), ["intent"]);
    sleeping.finish().await;
    road.gateway.wait_audit("the outcome", |record| record["kind"] == "outcome");
    assert_eq!(kinds(road.gateway.audit()), ["intent", "outcome"]);
    let verified = road.gateway.cli(&["audit", "verify"]);
    assert!(verified.status.success(), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn arguments_pass_byte_true_in_both_directions() {
    let road = Road::new(&[], "").await;
    let arguments = r#"{"z":1.0e+2,"a":123456789012345678901234567890,"\u0062":"\u00e9\/","nested":{"y":[1,  2.50,-0],"x":null}}"#;
    let (status, text) =
        road.raw_call("up__raw_echo", &format!(r#""arguments":{arguments},"unknown":[ 1 ]"#)).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert!(text.contains(&format!(r#""structuredContent":{arguments}"#)), "{text}");
    assert!(text.contains(r#""id":"raw""#), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_two_readings_is_refused() {
    let road = Road::new(&[], "").await;
    for odd in [
        r#""arguments":{"key":"a","key":"b"}"#,
        r#""arguments":{"key":"a","k\u0065y":"b"}"#,
        r#""arguments":{"key":"a"},"Arguments":{}"#,
        r#""arguments":{"key":"a"},"argument\u017f":{}"#,
        r#""arguments":{"key":"a"},"name":"up__echo""#,
    ] {
        let (status, text) = road.raw_call("up__count", odd).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{odd}: {text}");
        assert!(text.contains("-32600"), "{odd}: {text}");
    }
    assert!(road.reached("count").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_that_contradict_the_body_are_refused() {
    let road = Road::new(&[], "").await;
    let body = |tool: &str| {
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
            "name": tool, "arguments": { "key": "a" }, "_meta": {
                "io.modelcontextprotocol/protocolVersion": MODERN,
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        }})
    };
    let mut wrong_name = modern_headers("up__echo");
    let mut no_method = modern_headers("up__count");
    no_method.remove("mcp-method");
    let mut old_version = modern_headers("up__count");
    old_version.insert("mcp-protocol-version", "2025-11-25".parse().unwrap());
    for headers in [&mut wrong_name, &mut no_method, &mut old_version] {
        let response = post(road.gateway.port, &body("up__count"), std::mem::take(headers)).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let answer: Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(answer["error"]["code"], -32020, "{answer}");
        assert_eq!(answer["id"], 1);
    }
    assert!(road.reached("count").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_is_told_recorded_and_cancels_at_the_server() {
    let road = Road::new(&[], "tool_timeout_sec = 0.2\n").await;
    let answer = road.client.call("up__sleep", json!({ "ms": 60_000, "text": "z" })).await.response;
    assert_eq!(answer["error"]["code"], -31004, "{answer}");
    assert_eq!(answer["error"]["data"]["reason"], "deadline");
    assert_eq!(answer["error"]["data"]["sent"], "yes");
    assert!(answer["error"]["data"]["callId"].is_string());
    let cancelled = || {
        let events = journal(&road.journal);
        events.into_iter().find(|event| event["event"] == "cancelled")
    };
    wait_until("the cancellation", cancelled, || road.gateway.log());
    let outcome = road.gateway.wait_audit("the outcome", |record| record["kind"] == "outcome");
    assert_eq!(outcome["error"], "deadline");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_the_call_is_told_and_the_server_comes_back() {
    let road = Road::new(&[], "").await;
    let answer = road.client.call("up__crash", json!({})).await.response;
    assert_eq!(answer["error"]["code"], -31002, "{answer}");
    assert_eq!(answer["error"]["data"]["sent"], "yes");
    let back = || {
        let status = road.gateway.status();
        let server = &status["servers"][0];
        (server["state"] == "ready" && server["restarts"] == 1).then_some(())
    };
    wait_until("the server to come back", back, || road.gateway.log());
    assert_eq!(road.client.text("up__echo", json!({ "text": "again" })).await, "again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_refuses_with_a_hint_and_sends_nothing() {
    let road = Road::new(&[], "in_flight = 1\nqueue = 0\n").await;
    let sleeping = road.client.begin("up__sleep", json!({ "ms": 500, "text": "z" }), None).await;
    wait_until("the call to arrive", || road.reached("sleep").pop(), || road.gateway.log());
    let answer = road.client.call("up__count", json!({ "key": "a" })).await.response;
    assert_eq!(answer["error"]["code"], -31003, "{answer}");
    assert_eq!(answer["error"]["data"]["sent"], "no");
    assert!(answer["error"]["data"]["retryAfterMs"].is_u64());
    sleeping.finish().await;
    assert!(road.reached("count").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_waits_for_its_turn_at_a_full_server_but_not_for_long() {
    let road = Road::new(&[], "in_flight = 1\n").await;
    let sleeping = road.client.begin("up__sleep", json!({ "ms": 300, "text": "z" }), None).await;
    wait_until("the call to arrive", || road.reached("sleep").pop(), || road.gateway.log());
    assert_eq!(road.client.text("up__echo", json!({ "text": "next" })).await, "next");
    sleeping.finish().await;

    let road = Road::new(&[], "in_flight = 1\nqueue_timeout_sec = 0.05\n").await;
    let sleeping = road.client.begin("up__sleep", json!({ "ms": 60_000, "text": "z" }), None).await;
    wait_until("the call to arrive", || road.reached("sleep").pop(), || road.gateway.log());
    let answer = road.client.call("up__echo", json!({ "text": "late" })).await.response;
    assert_eq!(answer["error"]["code"], -31003, "{answer}");
    assert_eq!(answer["error"]["data"]["reason"], "queue_timeout");
    assert!(road.reached("echo").is_empty());
    drop(sleeping);
}

#[tokio::test(flavor = "multi_thread")]
async fn server_errors_and_tool_errors_pass_through() {
    let road = Road::new(&[], "").await;
    let failed = road.client.call("up__fail", json!({})).await.response;
    assert_eq!(failed["result"]["isError"], true, "{failed}");
    let error = road.client.call("up__rpc_error", json!({})).await.response;
    assert!(error["error"]["code"].is_i64(), "{error}");
    assert!(error["error"]["data"].is_object() || error["error"]["data"].is_string(), "{error}");
}
