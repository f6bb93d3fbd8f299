//! The HTTP endpoint's own rules: who may come in, sessions, limits, streams, draining.

use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    client::{Client, Kind, LEGACY, MODERN, post, send},
    harness::{Gateway, journal, stdio_server, wait_until, within},
};

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect()
}

fn initialize(version: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": version, "capabilities": {},
        "clientInfo": { "name": "it", "version": "1" },
    }})
}

async fn json_of(response: http::Response<hyper::body::Incoming>) -> Value {
    let bytes = within("a body", response.into_body().collect()).await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("not JSON: {bytes:?}"))
}

async fn session(gateway: &Gateway, version: &str) -> String {
    let response = post(gateway.port, &initialize(version), HeaderMap::new()).await;
    let id = response.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    assert_eq!(json_of(response).await["result"]["protocolVersion"], version);
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn every_legacy_version_gets_the_version_it_asked_for() {
    let gateway = Gateway::start("");
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        session(&gateway, version).await;
    }
    let response = post(gateway.port, &initialize("1999-01-01"), HeaderMap::new()).await;
    assert_eq!(json_of(response).await["result"]["protocolVersion"], LEGACY);
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_hosts_and_origins_are_turned_away() {
    let gateway = Gateway::start(
        "[gateway]\nhosts = [\"gate.example\"]\norigins = [\"https://app.example\"]\n",
    );
    let cases = [
        (&[("host", "evil.example")][..], StatusCode::FORBIDDEN),
        (&[("origin", "http://evil.example")], StatusCode::FORBIDDEN),
        (&[("origin", "null")], StatusCode::FORBIDDEN),
        // What a page sends whose name has come to mean this machine: DNS rebinding.
        (
            &[("host", "evil.example:7411"), ("origin", "http://evil.example:7411")],
            StatusCode::FORBIDDEN,
        ),
        (&[("host", "gate.example")], StatusCode::OK),
        (&[("origin", "https://app.example")], StatusCode::OK),
        (&[("origin", "http://localhost:6274")], StatusCode::OK),
    ];
    for (pairs, want) in cases {
        let response = post(gateway.port, &initialize(LEGACY), headers(pairs)).await;
        assert_eq!(response.status(), want, "{pairs:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_delete_and_is_needed_until_then() {
    let gateway = Gateway::start("");
    let ping = json!({ "jsonrpc": "2.0", "id": 2, "method": "ping" });
    let without = post(gateway.port, &ping, headers(&[("mcp-protocol-version", LEGACY)])).await;
    assert_eq!(without.status(), StatusCode::BAD_REQUEST);
    let unknown = post(gateway.port, &ping, headers(&[("mcp-session-id", "nobody")])).await;
    assert_eq!(unknown.status(), StatusCode::NOT_FOUND);

    let id = session(&gateway, LEGACY).await;
    let of_session = || headers(&[("mcp-session-id", &id), ("mcp-protocol-version", LEGACY)]);
    let answer = json_of(post(gateway.port, &ping, of_session()).await).await;
    assert_eq!(answer["result"], json!({}));
    let odd = headers(&[("mcp-session-id", &id), ("mcp-protocol-version", "1999-01-01")]);
    assert_eq!(post(gateway.port, &ping, odd).await.status(), StatusCode::BAD_REQUEST);

    // Without a session both methods are those of no client we know.
    for method in ["GET", "DELETE"] {
        let modern = headers(&[("mcp-protocol-version", MODERN)]);
        let refused = send(gateway.port, method, String::new(), modern).await;
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
    let ended = send(gateway.port, "DELETE", String::new(), of_session()).await;
    assert_eq!(ended.status(), StatusCode::OK);
    assert_eq!(post(gateway.port, &ping, of_session()).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_get_stream_opens_at_once_and_tells_of_changed_lists() {
    let dir = tempfile::tempdir().unwrap();
    // Slow to start, so that its tools arrive while the stream is open.
    let tables = stdio_server("up", &["--start-delay-ms", "700"]);
    let gateway = Gateway::launch(dir, &tables);
    let id = session(&gateway, LEGACY).await;
    let of_session = headers(&[("mcp-session-id", &id), ("accept", "text/event-stream")]);
    let mut stream = send(gateway.port, "GET", String::new(), of_session).await;
    assert_eq!(stream.status(), StatusCode::OK);
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    let mut text = String::new();
    while !text.contains("notifications/tools/list_changed") {
        let frame = within("an event", stream.body_mut().frame()).await.unwrap().unwrap();
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn modern_requests_are_checked_in_the_order_of_the_specification() {
    let gateway = Gateway::start("");
    let body = |method: &str, meta: Value| json!({ "jsonrpc": "2.0", "id": 9, "method": method, "params": { "_meta": meta } });
    let whole = |version: &str| {
        json!({
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": {},
        })
    };
    let said = |method: &'static str, version: &'static str| {
        headers(&[("mcp-method", method), ("mcp-protocol-version", version)])
    };
    let modern = |method: &'static str| said(method, MODERN);
    let mut loud = whole(MODERN);
    loud["io.modelcontextprotocol/logLevel"] = json!("loud");
    let cases = [
        (body("no/such", json!({})), modern("server/discover"), 404, -32601),
        (body("initialize", whole(MODERN)), modern("initialize"), 404, -32601),
        (body("server/discover", json!({})), modern("tools/list"), 400, -32602),
        (body("server/discover", whole(MODERN)), modern("tools/list"), 400, -32020),
        (body("server/discover", whole("2031-01-01")), modern("server/discover"), 400, -32020),
        (
            body("server/discover", whole("2031-01-01")),
            said("server/discover", "2031-01-01"),
            400,
            -32022,
        ),
        (body("tools/list", loud), modern("tools/list"), 400, -32602),
    ];
    for (body, headers, status, code) in cases {
        let response = post(gateway.port, &body, headers).await;
        assert_eq!(response.status().as_u16(), status, "{body}");
        let answer = json_of(response).await;
        assert_eq!(answer["error"]["code"], code, "{body} {answer}");
        assert_eq!(answer["id"], 9);
    }
    let fine = body("server/discover", whole(MODERN));
    let answer = json_of(post(gateway.port, &fine, modern("server/discover")).await).await;
    assert_eq!(answer["result"]["resultType"], "complete");
    assert_eq!(answer["result"]["supportedVersions"], json!([MODERN]));
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_are_answered_for_their_version_only() {
    let gateway = Gateway::start(&stdio_server("up", &[]));
    let batch = json!([
        { "jsonrpc": "2.0", "id": 1, "method": "ping" },
        { "jsonrpc": "2.0", "method": "notifications/initialized" },
        { "jsonrpc": "2.0", "id": "two", "method": "tools/call",
          "params": { "name": "up__echo", "arguments": { "text": "b" } } },
        { "jsonrpc": "2.0", "id": 3, "method": "no/such" },
    ]);
    let old = session(&gateway, "2025-03-26").await;
    let answer =
        json_of(post(gateway.port, &batch, headers(&[("mcp-session-id", &old)])).await).await;
    let mut ids: Vec<String> =
        answer.as_array().unwrap().iter().map(|one| one["id"].to_string()).collect();
    ids.sort();
    assert_eq!(ids, ["\"two\"", "1", "3"]);

    let new = session(&gateway, LEGACY).await;
    let refused = post(gateway.port, &batch, headers(&[("mcp-session-id", &new)])).await;
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_on_body_sessions_and_calls_refuse_with_a_reason() {
    let tables = "[limits]\nbody_bytes = 4096\nsessions = 1\nin_flight = 1\n";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let server = stdio_server("up", &["--journal", path.to_str().unwrap()]);
    let gateway = Gateway::start_in(dir, &format!("{tables}{server}"));

    let large =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "ping", "params": { "x": "y".repeat(5000) } });
    let refused = post(gateway.port, &large, HeaderMap::new()).await;
    assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);

    session(&gateway, LEGACY).await;
    let second = post(gateway.port, &initialize(LEGACY), HeaderMap::new()).await;
    assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);

    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let sleeping = client.begin("up__sleep", json!({ "ms": 600_000, "text": "z" }), None).await;
    let arrived = || journal(&path).iter().any(|e| e["tool"] == "sleep").then_some(());
    wait_until("the call", arrived, || gateway.log());
    let refused = client.call("up__echo", json!({ "text": "x" })).await.response;
    assert_eq!(refused["error"]["code"], -31003, "{refused}");
    assert_eq!(refused["error"]["data"]["reason"], "overloaded");
    drop(sleeping);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_over_the_limit_are_told_so_and_health_is_answered_all_the_same() {
    let gateway = Gateway::start("[limits]\nconnections = 1\n");
    let ask = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // Until whoever asked if it is ready has gone for good, this is a spare one, for one request.
    let kept = async || loop {
        let mut stream = TcpStream::connect(("127.0.0.1", gateway.port)).await.unwrap();
        let mut buffer = [0_u8; 1024];
        let mut n_answers = 0;
        while n_answers < 2 && stream.write_all(ask).await.is_ok() {
            match stream.read(&mut buffer).await {
                Ok(n) if n > 0 => n_answers += 1,
                Ok(_) | Err(_) => break,
            }
        }
        if n_answers == 2 {
            return stream;
        }
    };
    let first = within("a connection that is kept", kept()).await;
    let refused = gateway.get("/mcp");
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(refused.contains("retry-after: 1") && refused.contains("connections"), "{refused}");
    assert!(gateway.get("/ready").starts_with("HTTP/1.1 200"));

    // One request each, and not forever to make it: whoever comes after those waits a little.
    let mut idle = Vec::new();
    for _ in 0..16 {
        idle.push(TcpStream::connect(("127.0.0.1", gateway.port)).await.unwrap());
    }
    let mut next = TcpStream::connect(("127.0.0.1", gateway.port)).await.unwrap();
    next.write_all(ask).await.unwrap();
    let mut answer = String::new();
    within("the end of a spare one", next.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    drop(first);
    let room = || (!gateway.get("/mcp").starts_with("HTTP/1.1 503")).then_some(());
    wait_until("room again", room, || gateway.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_dribbles_in_is_cut_off() {
    let gateway = Gateway::start("");
    let mut slow = TcpStream::connect(("127.0.0.1", gateway.port)).await.unwrap();
    slow.write_all(b"POST /mcp HTTP/1.1\r\nHost: local").await.unwrap();
    let mut rest = Vec::new();
    // The connection ends by itself; `within` is far longer than the header timeout.
    within("the cut", slow.read_to_end(&mut rest)).await.unwrap_or_default();
    assert!(gateway.get("/health").starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn draining_lets_a_call_finish_and_takes_no_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let tables = stdio_server("up", &["--journal", path.to_str().unwrap()]);
    let mut gateway = Gateway::start_in(dir, &tables);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let sleeping = client.begin("up__sleep", json!({ "ms": 1500, "text": "done" }), None).await;
    let arrived = || journal(&path).iter().any(|e| e["tool"] == "sleep").then_some(());
    wait_until("the call", arrived, || gateway.log());
    gateway.signal("TERM");
    let refused =
        || std::net::TcpStream::connect(("127.0.0.1", gateway.port)).is_err().then_some(());
    wait_until("the listener to close", refused, || gateway.log());
    let answer = sleeping.finish().await.response;
    assert_eq!(answer["result"]["content"][0]["text"], "done", "{answer}");
    assert!(gateway.wait_exit().success());
    let records = gateway.audit();
    assert_eq!(records.last().unwrap()["kind"], "stopped");
}
