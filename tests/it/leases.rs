//! Sessions of servers that belong to one caller: who gets which, and who is asked through them.

use serde_json::json;

use crate::{
    client::{Client, Kind},
    harness::{Gateway, journal, stdio_server},
};

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
