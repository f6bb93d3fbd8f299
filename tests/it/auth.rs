//! Who is let in, as whom, and for how long: whole paths with real keys.

mod far;
mod floods;
mod keys;
mod roles;
pub(crate) mod tls;
mod tokens;

use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::{
    client::{LEGACY, MODERN, post},
    harness::{Gateway, within},
};

const KEYS: &str = "[auth]\nmodes = [\"keys\"]\n";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect()
}

/// Makes a key; gives its id and text.
fn add_key(gateway: &Gateway, words: &[&str]) -> (String, String) {
    let words = [&["keys", "add", "--json"], words].concat();
    let output = gateway.cli(&words);
    assert!(output.status.success(), "{output:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["running"], true, "{told}");
    let text = |key: &str| told[key].as_str().unwrap().to_owned();
    (text("id"), text("key"))
}

/// A modern request by whoever has that token.
async fn modern(port: u16, token: &str, method: &str, mut params: Value) -> Response<Incoming> {
    let meta = params.as_object_mut().unwrap().entry("_meta").or_insert(json!({}));
    meta["io.modelcontextprotocol/protocolVersion"] = MODERN.into();
    meta["io.modelcontextprotocol/clientCapabilities"] = json!({});
    let name = params["name"].as_str().unwrap_or_default().to_owned();
    let bearer = format!("Bearer {token}");
    let mut sent = headers(&[
        ("authorization", &bearer),
        ("mcp-protocol-version", MODERN),
        ("mcp-method", method),
    ]);
    if !name.is_empty() {
        sent.insert("mcp-name", name.parse().unwrap());
    }
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    post(port, &body, sent).await
}

async fn call(port: u16, token: &str, tool: &str, arguments: Value) -> Value {
    let params = json!({ "name": tool, "arguments": arguments });
    json_of(modern(port, token, "tools/call", params).await).await
}

async fn tools(port: u16, token: &str) -> Vec<String> {
    let list = json_of(modern(port, token, "tools/list", json!({})).await).await;
    let tools = list["result"]["tools"].as_array().unwrap_or_else(|| panic!("{list}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

async fn json_of(response: Response<Incoming>) -> Value {
    let bytes = within("a body", response.into_body().collect()).await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("not JSON: {bytes:?}"))
}

/// The headers of a legacy request in a session, by whoever has that token.
fn in_session(token: &str, id: &str) -> HeaderMap {
    let bearer = format!("Bearer {token}");
    headers(&[("authorization", &bearer), ("mcp-protocol-version", LEGACY), ("mcp-session-id", id)])
}

/// Opens a legacy session; gives its id.
async fn session(port: u16, token: &str) -> String {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": LEGACY, "capabilities": {},
        "clientInfo": { "name": "it", "version": "1" },
    }});
    let bearer = format!("Bearer {token}");
    let response = post(port, &body, headers(&[("authorization", &bearer)])).await;
    assert_eq!(response.status(), StatusCode::OK);
    response.headers()["mcp-session-id"].to_str().unwrap().to_owned()
}
