//! From which level on a legacy server is told to log, and who hears what it says aside.

use std::fs;

use http::HeaderMap;
use serde_json::{Value, json};

use super::{Asking, LEGACY};
use crate::{
    client::{Client, InFlight, Kind, send_to},
    eras::Server,
};

const TOOL: &str = "up__test_tool_with_logging";
const LEVEL: &str = "io.modelcontextprotocol/logLevel";

/// Begins a call; a modern client wants to hear from `level` on.
async fn begin(client: &Client, level: &str, arguments: Value) -> InFlight {
    let params = json!({ "name": TOOL, "arguments": arguments, "_meta": { LEVEL: level } });
    client.begin_request("tools/call", params).await
}

/// How many messages a call hears.
async fn heard(client: &Client, level: &str, said: &str) -> usize {
    let answer = begin(client, level, json!({ "level": said })).await.finish().await;
    assert!(answer.response["result"].is_object(), "{answer:?}");
    answer.notices.len()
}

/// Every level that the server was told, in order.
fn told(asking: &Asking) -> Vec<String> {
    let is_level = |event: &Value| event["method"] == "logging/setLevel";
    let told = asking.journal().into_iter().filter(is_level);
    told.map(|event| event["params"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_told_to_log_more_and_never_less() {
    for server in LEGACY {
        let asking = Asking::start(server, "per-principal");
        let (one, other) =
            (asking.client(Kind::ModernHttp).await, asking.client(Kind::ModernHttp).await);
        assert_eq!(heard(&one, "warning", "info").await, 0);
        assert_eq!(heard(&other, "debug", "debug").await, 3);
        assert_eq!(heard(&one, "warning", "debug").await, 0);
        assert_eq!(heard(&one, "info", "info").await, 3);
        let want = [r#"{"level":"warning"}"#, r#"{"level":"debug"}"#];
        assert_eq!(told(&asking), want, "{server:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_server_is_never_told_from_which_level_on_to_log() {
    for server in LEGACY {
        let asking = Asking::start(server, "shared");
        let client = asking.client(Kind::ModernHttp).await;
        assert_eq!(heard(&client, "debug", "debug").await, 0);
        assert_eq!(told(&asking), Vec::<String>::new(), "{server:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_forgot_the_session_is_told_the_level_again() {
    let asking = Asking::start(Server::LegacyHttp, "per-principal");
    let client = asking.client(Kind::ModernHttp).await;
    assert_eq!(heard(&client, "debug", "debug").await, 3);
    let called = asking.journal().into_iter().find(|event| event["tool"].is_string()).unwrap();
    let mut headers = HeaderMap::new();
    let session = called["headers"]["mcp-session-id"].as_str().unwrap();
    headers.insert("mcp-session-id", session.parse().unwrap());
    let url: http::Uri = asking._server.as_ref().unwrap().url.parse().unwrap();
    let port = url.port_u16().unwrap();
    assert_eq!(send_to(port, ("DELETE", "/mcp"), String::new(), headers).await.status(), 204);
    // One call finds out, and the next may come before it is known that the session is another.
    for _ in 0..2 {
        begin(&client, "debug", json!({})).await.finish().await;
    }
    assert_eq!(heard(&client, "debug", "debug").await, 3);
    assert_eq!(told(&asking), [r#"{"level":"debug"}"#; 2]);
}

/// What comes on the GET stream of a caller's own session is about the one call that runs there.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_logs_aside_is_heard_by_the_only_call_of_its_session() {
    for server in LEGACY {
        for kind in [Kind::ModernHttp, Kind::LegacyHttp] {
            let asking = Asking::start(server, "per-principal");
            let client = asking.client(kind).await;
            if kind == Kind::LegacyHttp {
                client.ask("logging/setLevel", json!({ "level": "debug" })).await;
            }
            let go = asking.journal.with_file_name("go");
            let arguments = json!({ "level": "debug", "aside_until": go });
            let mut call = begin(&client, "debug", arguments).await;
            let said = call.next().await.unwrap();
            assert_eq!(
                said["params"]["data"], "Tool said this aside",
                "{kind:?} {server:?} {said}"
            );
            fs::write(go, "").unwrap();
            assert!(call.finish().await.notices.is_empty());
        }
    }
}
