//! API keys: what they open, what they never open, and what becomes of it when they are revoked.

use std::fs;

use http::StatusCode;
use serde_json::json;

use super::{KEYS, add_key, call, headers, in_session, modern, session, tools};
use crate::{
    client::{Events, post, send, send_to},
    harness::{Gateway, journal, stdio_server, wait_until, within},
};

/// A gateway that takes keys only; its server keeps a journal.
fn gateway(policies: &[(&str, &str)], more: &str) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    for (name, text) in policies {
        fs::create_dir_all(dir.path().join("policies")).unwrap();
        fs::write(dir.path().join("policies").join(name), text).unwrap();
    }
    let up = stdio_server("up", &["--journal", path.to_str().unwrap()]);
    Gateway::start_in(dir, &format!("{more}{KEYS}{up}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_key_nothing_is_answered_and_nothing_reaches_the_server() {
    let gateway = gateway(&[], "");
    let (_, key) = add_key(&gateway, &["ann"]);
    let last = if key.ends_with('0') { "1" } else { "0" };
    let other = format!("{}{last}", key.strip_suffix(|_| true).unwrap());
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "up__echo", "arguments": { "text": "x" } } });
    let before = journal(&gateway.dir.path().join("journal.jsonl")).len();
    let (good, bad, basic) =
        (format!("Bearer {key}"), format!("Bearer {other}"), format!("Basic {key}"));
    for shown in [
        &[][..],
        &[("authorization", bad.as_str())],
        &[("authorization", basic.as_str())],
        &[("authorization", "Bearer ")],
        &[("authorization", key.as_str())],
        &[("x-api-key", key.as_str())],
    ] {
        for method in ["POST", "GET", "DELETE", "PUT"] {
            let response = send(gateway.port, method, body.to_string(), headers(shown)).await;
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{method} {shown:?}");
            let challenge = response.headers()["www-authenticate"].to_str().unwrap();
            assert!(challenge.starts_with("Bearer"), "{challenge}");
        }
    }
    // Who is foreign is told so first.
    let foreign = headers(&[("authorization", &good), ("host", "evil.example")]);
    let response = send(gateway.port, "POST", body.to_string(), foreign).await;
    assert_eq!(response.status(), StatusCode::FORBIDDEN);
    assert!(gateway.get("/health").starts_with("HTTP/1.1 200"), "this needs no key");
    assert_eq!(journal(&gateway.dir.path().join("journal.jsonl")).len(), before);

    let told = call(gateway.port, &key, "up__echo", json!({ "text": "x" })).await;
    assert_eq!(told["result"]["content"][0]["text"], "x", "{told}");
    let intent = gateway.wait_audit("the intent", |record| record["kind"] == "intent");
    assert_eq!(intent["principal"], "key:ann");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_revoked_ends_all_that_was_opened_with_it_at_once() {
    let gateway = gateway(&[], "");
    let (id, key) = add_key(&gateway, &["ann"]);
    let (_, second) = add_key(&gateway, &["ann"]);
    let port = gateway.port;
    let anns = session(port, &key).await;
    let (stays, bearer) = (session(port, &second).await, format!("Bearer {key}"));
    // A stream of the old era, a listen and a call of the new one, and a call in a session.
    let unasked = send(port, "GET", "", in_session(&key, &anns)).await;
    let filter = json!({ "notifications": { "toolsListChanged": true } });
    let listen = modern(port, &key, "subscriptions/listen", filter).await;
    assert_eq!((unasked.status(), listen.status()), (StatusCode::OK, StatusCode::OK));
    let (mut unasked, mut listen) = (Events::of(unasked), Events::of(listen));
    let acknowledged = within("the acknowledgement", listen.next()).await;
    assert!(acknowledged.is_some());
    let ping = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
        "name": "up__sleep", "arguments": { "ms": 600_000, "text": "late" } } });
    let waiting = tokio::spawn(async move { post(port, &ping, in_session(&key, &anns)).await });
    let asleep = {
        let key = bearer.trim_start_matches("Bearer ").to_owned();
        tokio::spawn(async move {
            let params =
                json!({ "name": "up__sleep", "arguments": { "ms": 600_000, "text": "late" } });
            modern(port, &key, "tools/call", params).await
        })
    };
    let are_there = || {
        let intents = gateway.audit().into_iter().filter(|record| record["kind"] == "intent");
        (intents.count() == 2).then_some(())
    };
    wait_until("both calls to be under way", are_there, || format!("{:#?}", gateway.audit()));

    let revoked = gateway.cli(&["keys", "revoke", &id]);
    assert!(String::from_utf8_lossy(&revoked.stdout).contains("good for nothing"), "{revoked:?}");
    within("the end of the stream", async { while unasked.next().await.is_some() {} }).await;
    within("the end of the listen", async { while listen.next().await.is_some() {} }).await;
    let answer = within("an answer", asleep).await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    // It may have begun as a stream already.
    let answer = within("an answer", waiting).await.unwrap();
    assert!(answer.status() == StatusCode::UNAUTHORIZED || answer.status() == StatusCode::OK);
    let ended = || {
        let ended = |record: &&serde_json::Value| {
            record["kind"] == "outcome" && record["error"] == "cancelled"
        };
        (gateway.audit().iter().filter(ended).count() == 2).then_some(())
    };
    wait_until("both calls to be withdrawn", ended, || format!("{:#?}", gateway.audit()));
    let again = post(port, &json!({}), headers(&[("authorization", &bearer)])).await;
    assert_eq!(again.status(), StatusCode::UNAUTHORIZED);
    // The same person's other key is as good as before, and so is what it has opened.
    let ping = json!({ "jsonrpc": "2.0", "id": 3, "method": "ping" });
    assert_eq!(post(port, &ping, in_session(&second, &stays)).await.status(), StatusCode::OK);
    let old = send(port, "GET", "", in_session(&second, &stays)).await;
    assert_eq!(old.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_over_opens_nothing_and_ends_what_it_opened() {
    let gateway = gateway(&[], "");
    let (_, key) = add_key(&gateway, &["ann", "--expires", "5s"]);
    let id = session(gateway.port, &key).await;
    let stream = send(gateway.port, "GET", "", in_session(&key, &id)).await;
    let mut events = Events::of(stream);
    within("the end of the stream", async { while events.next().await.is_some() {} }).await;
    let ping = json!({ "jsonrpc": "2.0", "id": 3, "method": "ping" });
    let late = post(gateway.port, &ping, in_session(&key, &id)).await;
    assert_eq!(late.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn session_of_another_principal_is_404() {
    let gateway = gateway(&[], "");
    let ((_, ann), (_, bob)) = (add_key(&gateway, &["ann"]), add_key(&gateway, &["bob"]));
    let id = session(gateway.port, &ann).await;
    let ping = json!({ "jsonrpc": "2.0", "id": 3, "method": "ping" });
    let stolen = post(gateway.port, &ping, in_session(&bob, &id)).await;
    assert_eq!(stolen.status(), StatusCode::NOT_FOUND);
    for method in ["GET", "DELETE"] {
        let stolen = send(gateway.port, method, "", in_session(&bob, &id)).await;
        assert_eq!(stolen.status(), StatusCode::NOT_FOUND, "{method}");
    }
    assert_eq!(post(gateway.port, &ping, in_session(&ann, &id)).await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_key_sees_and_calls_what_its_groups_and_scopes_allow() {
    let gateway = gateway(
        &[
            ("groups.toml", "[groups]\nreaders = []\n"),
            (
                "a.cedar",
                "permit(principal in Gw::Group::\"readers\", action == Gw::Action::\"up/echo\", resource);\n\
             permit(principal in Gw::Group::\"scope:count\", action == Gw::Action::\"up/count\", resource);\n",
            ),
        ],
        "",
    );
    let port = gateway.port;
    let (_, reader) = add_key(&gateway, &["ann", "--group", "readers"]);
    let (_, both) = add_key(&gateway, &["ann", "--group", "readers", "--scope", "count"]);
    let (_, none) = add_key(&gateway, &["bob", "--group", "scope:count"]);
    // The same person with more and with less, in either order.
    for _ in 0..2 {
        assert_eq!(tools(port, &both).await, ["up__count", "up__echo"]);
        assert_eq!(tools(port, &reader).await, ["up__echo"]);
        assert_eq!(tools(port, &none).await, [""; 0]);
    }
    let count =
        |key: String| async move { call(port, &key, "up__count", json!({ "key": "k" })).await };
    assert_eq!(count(both.clone()).await["result"]["content"][0]["text"], "1");
    assert_eq!(count(reader.clone()).await["error"]["code"], -32602);
    assert_eq!(count(none).await["error"]["code"], -32602);
}

/// Whoever holds the narrower one, or the one that is revoked later, has nothing of the other's.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_key_has_opened_does_not_exist_for_another_of_the_same_owner() {
    let gateway = gateway(&[("groups.toml", "[groups]\nreaders = []\n")], "");
    let port = gateway.port;
    let (_, wide) = add_key(&gateway, &["ann", "--group", "readers"]);
    let (_, narrow) = add_key(&gateway, &["ann"]);
    let (_, same) = add_key(&gateway, &["ann", "--group", "readers"]);
    let id = session(port, &wide).await;
    let sleep = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
        "name": "up__sleep", "arguments": { "ms": 600_000, "text": "late" } } });
    for other in [&narrow, &same] {
        for method in ["GET", "DELETE"] {
            let stolen = send(port, method, "", in_session(other, &id)).await;
            assert_eq!(stolen.status(), StatusCode::NOT_FOUND, "{method}");
        }
        // It would run on in a session that the end of its own key does not end.
        let called = within("an answer", post(port, &sleep, in_session(other, &id))).await;
        assert_eq!(called.status(), StatusCode::NOT_FOUND);
    }
    let intents = gateway.audit().into_iter().filter(|record| record["kind"] == "intent");
    assert_eq!(intents.count(), 0);
    let ping = json!({ "jsonrpc": "2.0", "id": 3, "method": "ping" });
    assert_eq!(post(port, &ping, in_session(&wide, &id)).await.status(), StatusCode::OK);
}

/// The same by the transport of 2024-11-05.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_the_old_transport_takes_nothing_of_another_key_of_its_owner() {
    let gateway = gateway(&[], "[gateway]\nlegacy_sse = true\n");
    let (_, first) = add_key(&gateway, &["ann"]);
    let (_, second) = add_key(&gateway, &["ann"]);
    let bearer = |key: &str| headers(&[("authorization", &format!("Bearer {key}"))]);
    let stream = send_to(gateway.port, ("GET", "/sse"), "", bearer(&first)).await;
    let mut events = Events::of(stream);
    let endpoint = within("the endpoint", events.next()).await.unwrap().data;
    let say = async |key: &str| {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
            "protocolVersion": "2024-11-05", "capabilities": {},
            "clientInfo": { "name": "it", "version": "1" } } });
        let to = ("POST", endpoint.as_str());
        send_to(gateway.port, to, body.to_string(), bearer(key)).await.status()
    };
    assert_eq!(say(&second).await, StatusCode::NOT_FOUND);
    assert_eq!(say(&first).await, StatusCode::ACCEPTED);
}

/// The key is in no file, no log, no journal of a server, and nothing that a server is told.
#[tokio::test(flavor = "multi_thread")]
async fn the_text_of_a_key_is_nowhere_but_with_its_owner() {
    let gateway = gateway(&[], "");
    let (_, key) = add_key(&gateway, &["ann"]);
    let secret = key.rsplit('_').next().unwrap();
    let told = call(gateway.port, &key, "up__echo", json!({ "text": "x" })).await;
    assert_eq!(told["result"]["content"][0]["text"], "x");
    gateway.wait_audit("the outcome", |record| record["kind"] == "outcome");
    let mut dirs = vec![gateway.dir.path().to_owned()];
    let mut n_files = 0;
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.is_file() {
                let bytes = fs::read(&path).unwrap();
                n_files += 1;
                let text = String::from_utf8_lossy(&bytes);
                assert!(!text.contains(secret), "{}", path.display());
            }
        }
    }
    assert!(n_files > 5 && !gateway.log().contains(secret));
    let list = gateway.cli(&["keys", "list", "--json"]);
    assert!(!String::from_utf8_lossy(&list.stdout).contains(secret));
}

#[test]
fn a_command_without_a_key_is_told_where_to_put_one() {
    let gateway = Gateway::start(&format!("{KEYS}{}", stdio_server("good", &[])));
    let output = gateway.cli(&["tools"]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("PORTCULLIS_KEY") && told.contains("portcullis keys add"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_makes_and_revokes_keys_is_on_record_and_so_is_what_became_while_nobody_ran() {
    let gateway = gateway(&[], "");
    let words =
        ["ann", "--group", "readers", "--scope", "count", "--role", "viewer", "--expires", "1h"];
    let (anns_id, anns) = add_key(&gateway, &words);
    let (bobs_id, bobs) = add_key(&gateway, &["bob"]);
    // It is there before the first call by it could be.
    let of = |kind: &str, id: &str| {
        let of = |record: &serde_json::Value| record["kind"] == kind && record["key"] == id;
        gateway.audit().into_iter().find(of).unwrap_or_else(|| panic!("{:#?}", gateway.audit()))
    };
    let uid = format!("uid:{}", rustix::process::geteuid().as_raw());
    let added = of("key_added", &anns_id);
    for (key, value) in
        [("who", uid.as_str()), ("name", "ann"), ("groups", "readers"), ("scopes", "count")]
    {
        assert_eq!(added[key], value, "{added}");
    }
    assert_eq!(added["role"], "viewer", "{added}");
    assert!(added["expires_ms"].as_u64().unwrap() > added["ts"].as_u64().unwrap() / 1000);
    assert!(gateway.cli(&["keys", "revoke", &anns_id]).status.success());
    let removed = of("key_removed", &anns_id);
    assert_eq!((&removed["who"], &removed["why"]), (&json!(uid), &json!("revoked")), "{removed}");
    let kept = fs::read_to_string(gateway.dir.path().join("state/keys.json")).unwrap();
    let (status, dir) = gateway.end();
    assert!(status.success());

    let offline = |words: &[&str]| {
        let config = dir.path().join("servers.toml");
        let mut command = std::process::Command::new(crate::harness::PORTCULLIS);
        command.args(words).arg("--config").arg(config).arg("--json").output().unwrap()
    };
    let made = offline(&["keys", "add", "eve"]);
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    assert!(offline(&["keys", "revoke", &bobs_id]).status.success());
    let tables = fs::read_to_string(dir.path().join("servers.toml")).unwrap();
    let config = crate::harness::write_config(dir.path(), KEYS);
    fs::write(config, tables).unwrap();
    let mut command = std::process::Command::new(crate::harness::PORTCULLIS);
    command.args(["serve", "--config"]).arg(dir.path().join("servers.toml"));
    let gateway = Gateway::spawn(dir, command);
    let told = |kind: &str| {
        let told = |r: &serde_json::Value| r["kind"] == kind && r["who"] == "start";
        gateway.wait_audit(kind, told)
    };
    assert_eq!(told("key_added")["key"], made["id"]);
    assert_eq!(told("key_removed")["key"], bobs_id.as_str());
    let log = fs::read_to_string(gateway.dir.path().join("state/audit/current/seg/000001.jsonl"));
    let log = log.unwrap();
    for text in [&anns, &bobs, made["key"].as_str().unwrap()] {
        assert!(!log.contains(text.rsplit('_').next().unwrap()));
    }
    let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
    assert!(!log.contains(kept["keys"][0]["sha256"].as_str().unwrap()));
}

#[test]
fn whoever_has_no_key_hears_whether_we_are_ready_and_nothing_of_servers() {
    let gateway = Gateway::start(&format!("{KEYS}{}", stdio_server("good", &[])));
    let told = gateway.get("/ready");
    assert!(told.starts_with("HTTP/1.1 200") && told.ends_with("{\"ready\":true}\n"), "{told}");
}
