//! Sessions of servers that belong to one caller: who gets which, and who is asked through them.

use serde_json::{Value, json};

use crate::{
    client::{Client, Kind},
    eras::{Cell, Server},
    harness::{Gateway, journal, stdio_server},
    questions::{KINDS, able, answer, asks_for_a_name_and_a_completion},
};

const LEGACY: [Server; 2] = [Server::LegacyStdio, Server::LegacyHttp];

/// How many sessions a legacy child's command was asked for when two conversations have called.
async fn sessions_of_two_conversations(isolation: &str) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let args = ["--era", "legacy", "--journal", path.to_str().unwrap()];
    let mut tables = stdio_server("up", &args);
    tables += &format!("protocol = \"legacy\"\nisolation = {isolation:?}\n");
    let gateway = Gateway::start_in(dir, &tables);
    for text in ["one", "two"] {
        let client = Client::able_http(Kind::LegacyHttp, gateway.port, json!({})).await;
        for _ in 0..2 {
            assert_eq!(client.text("up__echo", json!({ "text": text })).await, text);
        }
    }
    journal(&path).iter().filter(|event| event["method"] == "initialize").count()
}

/// One session is everybody's: the lists are asked for there.
#[tokio::test(flavor = "multi_thread")]
async fn isolation_decides_who_shares_a_session() {
    for (isolation, want) in [("shared", 1), ("per-principal", 2), ("per-session", 3)] {
        assert_eq!(sessions_of_two_conversations(isolation).await, want, "{isolation}");
    }
}

async fn every_kind_is_asked_by(server: Server) {
    for kind in KINDS {
        let keys = "isolation = \"per-session\"\n";
        let cell = Cell::with(kind, server, able(), keys).await;
        asks_for_a_name_and_a_completion(&cell, kind).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_stdio_server_asks_every_kind_of_client() {
    every_kind_is_asked_by(Server::LegacyStdio).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_http_server_asks_every_kind_of_client() {
    every_kind_is_asked_by(Server::LegacyHttp).await;
}

/// What each session of the server was told that its client can be asked.
fn declared(cell: &Cell) -> Vec<Value> {
    let opened = journal(&cell.journal).into_iter().filter(|event| event["method"] == "initialize");
    let params = |event: Value| serde_json::from_str(event["params"].as_str().unwrap()).unwrap();
    opened.map(params).map(|params: Value| params["capabilities"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_server_is_never_told_of_capabilities() {
    for server in LEGACY {
        let cell = Cell::able(Kind::LegacyHttp, server, able()).await;
        let arguments = json!({ "message": "who?" });
        let (got, n) = cell.client.call_answering("up__test_elicitation", arguments, answer).await;
        assert_eq!(n, 0, "{server:?} {got}");
        let is_refused = got["result"]["isError"] == true || got["error"].is_object();
        assert!(is_refused, "{server:?} {got}");
        assert_eq!(declared(&cell), [json!({})], "{server:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_told_of_no_more_than_its_caller_has() {
    for server in LEGACY {
        for kind in [Kind::ModernHttp, Kind::LegacyHttp] {
            let can = json!({ "sampling": {}, "experimental": { "x": {} } });
            let cell = Cell::with(kind, server, can, "isolation = \"per-principal\"\n").await;
            let arguments = json!({ "message": "who?" });
            let call = cell.client.call_answering("up__test_elicitation", arguments, answer);
            let (got, n) = call.await;
            assert_eq!(n, 0, "{kind:?} {server:?} {got}");
            let told = declared(&cell);
            assert_eq!(told, [json!({}), json!({ "sampling": {} })], "{kind:?} {server:?}");
        }
    }
}
