//! Whatever is turned away is on record: one by one where it is a call, counted where it is none.

use std::{
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Command, Stdio},
};

use http::HeaderMap;
use serde_json::{Value, json};

use crate::{
    client::{Client, Kind, LEGACY, MODERN, post, send, send_to},
    harness::{Gateway, PORTCULLIS, records_in, stdio_server, wait_until, within, write_config},
};

/// Method, path, body and headers, and where, with which status and why it is refused.
type Case<'a> = (&'a str, &'a str, &'a str, &'a [(&'static str, &'a str)], (&'a str, u64, &'a str));

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(k, v)| (k.parse().unwrap(), v.parse().unwrap())).collect()
}

fn turned_away(dir: &Path) -> Vec<Value> {
    let records = records_in(&dir.join("state/audit")).into_iter();
    records.filter(|record| record["kind"] == "turned_away").collect()
}

/// How many of that kind are on record.
fn count(dir: &Path, (door, at, status, reason): (&str, &str, u64, &str)) -> u64 {
    let of = |r: &&Value| {
        let has_status = r.get("status").and_then(Value::as_u64).unwrap_or(0) == status;
        r["door"] == door && r["at"] == at && has_status && r["reason"] == reason
    };
    let counts = turned_away(dir);
    counts.iter().filter(of).map(|record| record["count"].as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_over_http_is_on_record_with_where_and_why() {
    let gateway = Gateway::start("[limits]\nbody_bytes = 4096\nsessions = 1\n");
    let port = gateway.port;
    let rpc = |method: &str| json!({ "jsonrpc": "2.0", "id": 1, "method": method }).to_string();
    let (ping, large) = (rpc("ping"), " ".repeat(5000));
    let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": LEGACY, "capabilities": {},
        "clientInfo": { "name": "it", "version": "1" },
    }});
    let opened = post(port, &hello, HeaderMap::new()).await;
    let session = opened.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let modern = json!({ "jsonrpc": "2.0", "id": 1, "method": "no/such", "params": { "_meta": {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientCapabilities": {},
    }}});
    let (modern, hello) = (modern.to_string(), hello.to_string());
    let of_modern = [("mcp-protocol-version", MODERN), ("mcp-method", "no/such")];
    let cases: [Case<'_>; 13] = [
        ("POST", "/mcp", &ping, &[("host", "evil.example")], ("/mcp", 403, "host")),
        ("POST", "/mcp", &ping, &[("origin", "http://evil.example")], ("/mcp", 403, "origin")),
        ("GET", "/secret", "", &[], ("other", 404, "Not Found")),
        ("PUT", "/mcp", "", &[], ("/mcp", 405, "Method Not Allowed")),
        ("POST", "/health", "", &[], ("/health", 405, "Method Not Allowed")),
        ("POST", "/mcp", &ping, &[("accept", "image/png")], ("/mcp", 406, "Not Acceptable")),
        ("POST", "/mcp", &large, &[], ("/mcp", 413, "Payload Too Large")),
        (
            "POST",
            "/mcp",
            &ping,
            &[("content-type", "a/b")],
            ("/mcp", 415, "Unsupported Media Type"),
        ),
        ("POST", "/mcp", "{", &[], ("/mcp", 400, "parse_error")),
        ("POST", "/mcp", &ping, &[("mcp-session-id", "nobody")], ("/mcp", 404, "Not Found")),
        ("POST", "/mcp", &hello, &[], ("/mcp", 503, "Service Unavailable")),
        ("POST", "/mcp", &modern, &of_modern, ("/mcp", 404, "method_not_found")),
        // No HTTP status says that it is refused.
        (
            "POST",
            "/mcp",
            &rpc("no/such"),
            &[("mcp-session-id", &session)],
            ("message", 0, "method_not_found"),
        ),
    ];
    for (method, path, body, pairs, (_, status, _)) in &cases {
        for _ in 0..3 {
            let to = (*method, *path);
            let answer = send_to(port, to, (*body).to_owned(), headers(pairs)).await;
            let want = if *status == 0 { 200 } else { *status };
            assert_eq!(u64::from(answer.status().as_u16()), want, "{method} {path} {pairs:?}");
        }
    }
    let mut odd = TcpStream::connect(("127.0.0.1", port)).unwrap();
    odd.write_all(b"this is no request\r\n\r\n").unwrap();
    odd.read_to_end(&mut Vec::new()).unwrap_or_default();
    let first = |at, reason| {
        let found = |r: &Value| r["at"] == at && r["reason"] == reason;
        let look = || turned_away(gateway.dir.path()).into_iter().find(|r| found(r));
        wait_until(reason, look, || gateway.log())
    };
    // The first of a kind is there at once.
    assert_eq!(first("head", "no request")["status"], 400);
    assert_eq!(first("/mcp", "origin")["principal"], "local");
    let (status, dir) = gateway.end();
    assert!(status.success());
    for (method, path, _, _, (at, status, reason)) in cases {
        let told = count(dir.path(), ("main", at, status, reason));
        assert_eq!(told, 3, "{method} {path} {status} {reason}: {:#?}", turned_away(dir.path()));
    }
    // What is no refusal is none.
    assert_eq!(count(dir.path(), ("main", "/ready", 503, "Service Unavailable")), 0);
    let records = records_in(&dir.path().join("state/audit"));
    assert_eq!(records.last().unwrap()["kind"], "stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_refusals_leaves_a_few_records_and_calls_go_on() {
    const FLOOD: u64 = 5000;
    let gateway = Gateway::start(&stdio_server("up", &[]));
    let before = records_in(&gateway.dir.path().join("state/audit")).len();
    let port = gateway.port;
    let flood = std::thread::spawn(move || {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut answers = stream.try_clone().unwrap();
        let read = std::thread::spawn(move || {
            let (mut all, mut chunk) = (0, [0_u8; 65536]);
            let mut tail = Vec::new();
            while all < FLOOD {
                let n = answers.read(&mut chunk).unwrap();
                assert!(n > 0, "it hung up after {all}");
                tail.extend_from_slice(&chunk[..n]);
                all += tail.windows(12).filter(|w| w == b"HTTP/1.1 403").count() as u64;
                tail.drain(..tail.len().saturating_sub(11));
            }
        });
        for _ in 0..FLOOD {
            stream.write_all(b"GET /mcp HTTP/1.1\r\nHost: evil.example\r\n\r\n").unwrap();
        }
        read.join().unwrap();
    });
    let client = Client::http(Kind::ModernHttp, port).await;
    for _ in 0..20 {
        let answer = within("a call", client.call("up__echo", json!({ "text": "x" }))).await;
        assert_eq!(answer.response["result"]["content"][0]["text"], "x");
    }
    tokio::task::spawn_blocking(move || flood.join().unwrap()).await.unwrap();
    let (_, dir) = gateway.end();
    assert_eq!(count(dir.path(), ("main", "/mcp", 403, "host")), FLOOD);
    let records = turned_away(dir.path());
    // Two a minute; the slowest machine is not that slow.
    assert!(records.len() <= 20, "{} records, {before} before", records.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_doors_have_their_refusals_on_record_too() {
    let gateway = Gateway::start("");
    let ask = |socket: &str, request: &str| {
        let path = gateway.dir.path().join(socket);
        let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let close = "Host: localhost\r\nConnection: close\r\n\r\n";
    let told = ask("admin.sock", &format!("GET /admin/none HTTP/1.1\r\n{close}"));
    assert!(told.starts_with("HTTP/1.1 404"), "{told}");
    let told = ask("admin.sock", &format!("DELETE /admin/status HTTP/1.1\r\n{close}"));
    assert!(told.starts_with("HTTP/1.1 405"), "{told}");
    let told = ask("state/estop/door.sock", &format!("GET /other HTTP/1.1\r\n{close}"));
    assert!(told.starts_with("HTTP/1.1 404"), "{told}");
    let client = send(gateway.port, "GET", "", headers(&[("mcp-session-id", "x")])).await;
    assert_eq!(client.status(), 404);
    let (_, dir) = gateway.end();
    for what in [
        ("admin", "other", 404, "Not Found"),
        ("admin", "/admin/status", 405, "Method Not Allowed"),
        ("stop", "stop", 404, "Not Found"),
        ("main", "/mcp", 404, "Not Found"),
    ] {
        assert_eq!(count(dir.path(), what), 1, "{what:?} {:#?}", turned_away(dir.path()));
    }
}

#[test]
fn refusals_on_a_pipe_are_on_record() {
    let dir = tempfile::tempdir().unwrap();
    let config = write_config(dir.path(), "");
    let mut command = Command::new(PORTCULLIS);
    command.args(["serve", "--stdio", "--config"]).arg(config).env("PORTCULLIS_LOG", "error");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut lines = "no json\n".repeat(3);
    lines.push_str("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"no/such\"}\n");
    input.write_all(lines.as_bytes()).unwrap();
    drop(input);
    assert!(child.wait_with_output().unwrap().status.success());
    assert_eq!(count(dir.path(), ("stdio", "message", 0, "parse_error")), 3);
    assert_eq!(count(dir.path(), ("stdio", "message", 0, "method_not_found")), 1);
    assert_eq!(turned_away(dir.path())[0]["principal"], "stdio");
}
