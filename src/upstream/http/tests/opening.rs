//! Which era a server is taken for, and how we introduce ourselves.

use http::StatusCode;

use super::{DISCOVERED, Opening, Rig, soon};
use crate::{domain::Era, upstream::ConnectError, wire::Version};

#[tokio::test]
async fn a_modern_server_is_asked_as_the_protocol_demands() {
    let mut opening = Opening::begin(None).await;
    let seen = opening.server.next().await;
    assert_eq!(seen.method, "POST");
    assert_eq!(seen.header("mcp-protocol-version"), "2026-07-28");
    assert_eq!(seen.header("mcp-method"), "server/discover");
    assert_eq!(seen.header("mcp-name"), "");
    assert_eq!(seen.header("content-type"), "application/json");
    assert_eq!(seen.header("accept"), "application/json, text/event-stream");
    assert_eq!(seen.header("x-key"), "s3cret");
    assert_eq!(seen.header("host"), opening.server.address.to_string());
    assert!(seen.body.contains("io.modelcontextprotocol/clientCapabilities\":{}"));
    seen.json(200, DISCOVERED);
    let rig = opening.done().await;
    assert_eq!(rig.version, Version::MODERN);
}

#[tokio::test]
async fn a_legacy_server_gets_the_handshake_and_its_session_back() {
    let mut opening = Opening::begin(None).await;
    opening.server.next().await.json(400, "Bad Request: no session");
    opening.server.greet("session-1").await;
    let stream = opening.server.next().await;
    assert_eq!((stream.method.as_str(), stream.header("accept")), ("GET", "text/event-stream"));
    assert_eq!(stream.header("mcp-session-id"), "session-1");
    assert_eq!(stream.header("mcp-protocol-version"), "2025-11-25");
    stream.json(405, "");
    let mut rig = opening.done().await;
    assert_eq!(rig.version, Version::V2025_11_25);
    let (_, call) = rig.call();
    let seen = rig.server.next().await;
    assert_eq!(seen.header("mcp-session-id"), "session-1");
    assert_eq!(seen.header("mcp-protocol-version"), "2025-11-25");
    assert_eq!(seen.header("mcp-method"), "", "a legacy server knows no such header");
    seen.answer("{}");
    soon(call).await.unwrap().unwrap();
    rig.next_is_the_goodbye_to("session-1").await;
    assert_eq!(soon(rig.http.closed()).await, "the gateway closed the session");
}

/// What becomes of it when `server/discover` is answered so.
async fn check(status: u16, body: &str, want: &str) {
    let mut opening = Opening::begin(None).await;
    opening.server.next().await.json(status, body);
    let got = match opening.server.try_next(&mut opening.opened).await {
        Some(seen) if seen.body.contains("\"initialize\"") => "initialize".to_owned(),
        Some(seen) => format!("unexpected {}", seen.body),
        None => match soon(&mut opening.opened).await.unwrap() {
            Ok((_, greeting)) => format!("opened {}", greeting.version),
            Err(error) => format!("{error:?}").split(' ').next().unwrap().to_owned(),
        },
    };
    assert_eq!(got, want, "{status} {body}");
}

#[tokio::test]
async fn the_era_is_told_by_status_and_body_together() {
    let error = |code: i64| {
        format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{{\"code\":{code},\"message\":\"\"}}}}")
    };
    check(200, DISCOVERED, "opened 2026-07-28").await;
    check(400, &error(-32020), "opened 2026-07-28").await;
    check(400, &error(-32021), "opened 2026-07-28").await;
    check(200, &error(-32601), "initialize").await;
    check(404, &error(-32601), "initialize").await;
    check(400, &error(-32000), "initialize").await;
    check(400, "Bad Request", "initialize").await;
    check(404, "", "initialize").await;
    check(405, "", "initialize").await;
    check(406, "", "initialize").await;
    check(200, "<html>", "initialize").await;
    check(200, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, "initialize").await;
    check(401, "", "Unauthorized").await;
    check(403, &error(-32000), "Unauthorized").await;
    check(500, "", "NotReady").await;
    check(503, &error(-32601), "NotReady").await;
    check(429, "", "NotReady").await;
    check(
        200,
        r#"{"jsonrpc":"2.0","id":1,"result":{"supportedVersions":["2031-01-01"]}}"#,
        "NoCommonVersion",
    )
    .await;
}

#[tokio::test]
async fn an_address_that_speaks_no_mcp_is_named_as_such() {
    for status in [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED] {
        let mut opening = Opening::begin(None).await;
        // Both hellos, and the question for an event stream.
        for method in ["POST", "POST", "GET"] {
            let asked = opening.server.next().await;
            assert_eq!(asked.method, method);
            asked.json(status.as_u16(), "");
        }
        let failed = soon(opening.opened).await.unwrap().unwrap_err();
        let ConnectError::NotMcp { status: told, .. } = failed else { panic!("{failed:?}") };
        assert_eq!(told, status.as_u16());
    }
}

#[tokio::test]
async fn a_pinned_era_is_not_probed() {
    let mut opening = Opening::begin(Some(Era::Legacy)).await;
    opening.server.greet("s").await;
    let mut opening = Opening::begin(Some(Era::Modern)).await;
    opening.server.next().await.json(404, "");
    let failed = soon(opening.opened).await.unwrap().unwrap_err();
    assert!(matches!(failed, ConnectError::Protocol { .. }), "{failed:?}");
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_listener() {
    let mut opening = Opening::begin(Some(Era::Legacy)).await;
    opening.server.greet("s").await;
    let events = opening.server.next().await.stream();
    let Rig { http, server: _server, .. } = opening.done().await;
    drop(http);
    events.hung_up().await;
}
