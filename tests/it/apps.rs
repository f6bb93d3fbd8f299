//! User interfaces of tools (MCP Apps): to us a member of a definition, and a resource.

use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::{
    client::{Client, Kind, MODERN, post},
    harness::{Gateway, journal, stdio_server},
};

const VIEW: &str = "ui://fixture/view";

/// The body of the answer to a modern request, as it came.
async fn raw(gateway: &Gateway, method: &str, name: Option<&str>, params: Value) -> String {
    let mut params = params;
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let shown =
        [("mcp-protocol-version", Some(MODERN)), ("mcp-method", Some(method)), ("mcp-name", name)];
    let shown = shown
        .into_iter()
        .filter_map(|(key, value)| Some((key.parse().ok()?, value?.parse().ok()?)));
    let response = post(gateway.port, &body, shown.collect()).await;
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_and_its_link_pass_byte_true_and_the_read_is_gated() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let view = stdio_server("up", &["--journal", path.to_str().unwrap()]);
    let gateway = Gateway::start_in(dir, &view);
    let reads = || journal(&path).iter().filter(|e| e["method"] == "resources/read").count();
    let listed = raw(&gateway, "tools/list", None, json!({})).await;
    let link = r#""_meta":{"ui":{"resourceUri":"ui://fixture/view","visibility":["model","app"]}}"#;
    assert!(listed.contains(link), "{listed}");
    let read = raw(&gateway, "resources/read", Some(VIEW), json!({ "uri": VIEW })).await;
    let content = r#"{"uri":"ui://fixture/view","mimeType":"text/html;profile=mcp-app", "text":"\u003cp>\u00e9<\/p>","_meta":{"ui":{"csp":{"z":1.50,"a":1E2}}}}"#;
    assert!(read.contains(content), "{read}");
    let intent = gateway.wait_audit("the intent", |record| record["kind"] == "intent");
    assert_eq!((&intent["resource"], reads()), (&json!(VIEW), 1));

    gateway.signal("USR1");
    gateway.wait_audit("the stop", |record| record["kind"] == "latch_engaged");
    let stopped = raw(&gateway, "resources/read", Some(VIEW), json!({ "uri": VIEW })).await;
    assert!(stopped.contains("-31001"), "{stopped}");
    assert_eq!(reads(), 1);
}

/// Where two servers could have it and neither lists it, it is nobody's.
#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_no_server_owns_is_read_from_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let args = ["--journal", path.to_str().unwrap()];
    let tables = stdio_server("a", &args) + &stdio_server("b", &args);
    let gateway = Gateway::start_in(dir, &tables);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    for uri in [VIEW, "skill://fixture/SKILL.md"] {
        let refused = client.ask("resources/read", json!({ "uri": uri })).await.response;
        assert_eq!(refused["error"]["code"], -32602, "{refused}");
    }
    assert!(!journal(&path).iter().any(|event| event["method"] == "resources/read"));
}
