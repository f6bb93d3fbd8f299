//! What each era of client gets, and what is refused by code.

use std::io::Write;

use serde_json::{Value, json};

use super::{Client, Tree, text, triple};

#[test]
fn a_modern_client_discovers_lists_and_calls_without_a_handshake() {
    let tree = Tree::new();
    let mut client = Client::modern(&tree);
    let found = client.request("server/discover", json!({}))["result"].clone();
    assert_eq!(found["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!(found["resultType"], "complete");
    assert_eq!(found["cacheScope"], "public");
    assert!(found["ttlMs"].is_u64() && found["capabilities"]["tools"].is_object());
    assert_eq!(found["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "portcullis-files");
    let tools = client.request("tools/list", json!({}))["result"]["tools"].clone();
    let names = tools.as_array().unwrap().iter().map(|tool| &tool["name"]).collect::<Vec<_>>();
    assert_eq!(names, ["file_info", "list_directory", "read_file", "search_files"]);
    let read = client.call("read_file", json!({ "path": "hello.md" }));
    assert_eq!(read["content"], json!([{ "type": "text", "text": "# Hello\nsecond line\n" }]));
    assert_eq!(read["resultType"], "complete");
}

#[test]
fn every_legacy_version_gets_its_own_answer_and_no_modern_members() {
    let tree = Tree::new();
    for (asked, want) in [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("1999-01-01", "2025-11-25"),
    ] {
        let mut client = Client::raw(&tree);
        let answer = client.request("initialize", json!({ "protocolVersion": asked }));
        assert_eq!(answer["result"]["protocolVersion"], want);
        assert!(answer["result"]["serverInfo"]["version"].is_string());
        assert_eq!(client.request("ping", json!({}))["result"], json!({}));
        let listed = client.request("tools/list", json!({}))["result"].clone();
        assert_eq!(listed.as_object().unwrap().keys().collect::<Vec<_>>(), ["tools"]);
        let read = client.call("read_file", json!({ "path": "sub/inner.txt" }));
        assert_eq!(read, json!({ "content": [{ "type": "text", "text": "inner text\n" }] }));
        let again = client.request("initialize", json!({ "protocolVersion": asked }));
        assert_eq!(again["error"]["code"], -32600);
    }
}

#[test]
fn a_modern_request_without_its_meta_is_refused_by_name() {
    let tree = Tree::new();
    let mut client = Client::raw(&tree);
    let code = |client: &mut Client, method: &str, meta: Value| {
        client.request(method, json!({ "_meta": meta }))["error"]["code"].clone()
    };
    let mut lame = triple("2026-07-28");
    lame.as_object_mut().unwrap().remove("io.modelcontextprotocol/clientCapabilities");
    assert_eq!(code(&mut client, "tools/list", json!({})), -32602);
    assert_eq!(code(&mut client, "tools/list", lame), -32602);
    assert_eq!(code(&mut client, "tasks/result", json!({})), -32601);
    let future = json!({ "_meta": triple("2027-01-01") });
    let refused = client.request("server/discover", future)["error"].clone();
    assert_eq!(refused["code"], -32022);
    assert_eq!(refused["data"], json!({ "supported": ["2026-07-28"], "requested": "2027-01-01" }));
    // Nothing of this has fixed the era.
    let greeting = client.request("initialize", json!({ "protocolVersion": "2025-06-18" }));
    assert_eq!(greeting["result"]["protocolVersion"], "2025-06-18");
}

#[test]
fn the_first_accepted_message_fixes_the_era() {
    let tree = Tree::new();
    let mut modern = Client::modern(&tree);
    modern.request("server/discover", json!({}));
    let late = modern.request("initialize", json!({ "protocolVersion": "2025-11-25" }));
    assert_eq!(late["error"]["code"], -32022);
    assert_eq!(modern.request("ping", json!({}))["error"]["code"], -32601);
    let mut legacy = Client::legacy(&tree, "2025-11-25");
    assert_eq!(legacy.request("server/discover", json!({}))["error"]["code"], -32601);
}

#[test]
fn what_is_not_known_is_told_by_code() {
    let tree = Tree::new();
    let mut client = Client::modern(&tree);
    let mut code = |method: &str, params: Value| client.request(method, params)["error"].clone();
    assert_eq!(code("tools/call", json!({ "name": "rm", "arguments": {} }))["code"], -32602);
    assert_eq!(code("tools/call", json!({ "arguments": {} }))["code"], -32602);
    assert_eq!(code("prompts/list", json!({}))["code"], -32601);
    assert_eq!(code("resources/list", json!({ "cursor": "forged" }))["code"], -32602);
    assert_eq!(code("resources/read", json!({}))["code"], -32602);
    let missing = code("resources/read", json!({ "uri": "file:///nope" }));
    assert_eq!(missing["code"], -32602);
    assert_eq!(missing["data"]["uri"], "file:///nope");
    let mut legacy = Client::legacy(&tree, "2025-06-18");
    let missing = legacy.request("resources/read", json!({ "uri": "file:///nope" }));
    assert_eq!(missing["error"]["code"], -32002);
}

#[test]
fn garbage_is_answered_and_the_next_line_served() {
    let tree = Tree::new();
    let mut client = Client::modern(&tree);
    for (line, code) in [
        (b"not json\n".to_vec(), -32700),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"x\"}\n".to_vec(), -32600),
        (b"[]\n".to_vec(), -32600),
        (b"\xff\n".to_vec(), -32700),
        ([vec![b' '; 5 * 1024 * 1024], vec![b'\n']].concat(), -32700),
    ] {
        client.lines.get_mut().write_all(&line).unwrap();
        let answer = client.receive();
        assert_eq!(answer["error"]["code"], code, "{answer}");
        assert_eq!(answer["id"], Value::Null);
    }
    client.call("read_file", json!({ "path": "hello.md" }));
}

#[test]
fn a_2025_03_26_batch_is_answered_as_a_batch_and_no_other_version_takes_one() {
    let tree = Tree::new();
    let batch = json!([
        { "jsonrpc": "2.0", "id": "a", "method": "ping" },
        { "jsonrpc": "2.0", "method": "notifications/initialized" },
        { "jsonrpc": "2.0", "id": "b", "method": "tools/call",
          "params": { "name": "read_file", "arguments": { "path": "hello.md" } } },
        { "jsonrpc": "2.0", "id": "c", "method": "nope" },
    ]);
    let mut client = Client::legacy(&tree, "2025-03-26");
    client.send(&batch);
    let answers = client.receive();
    let ids = answers.as_array().unwrap().iter().map(|one| &one["id"]).collect::<Vec<_>>();
    assert_eq!(ids, ["a", "b", "c"]);
    assert_eq!(text(&answers[1]["result"]), "# Hello\nsecond line\n");
    let mut client = Client::legacy(&tree, "2025-06-18");
    client.send(&batch);
    assert_eq!(client.receive()["error"]["code"], -32600);
}
