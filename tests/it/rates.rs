//! Rates: who calls more often than is allowed is refused, on record, and told when to come again.

use serde_json::json;

use crate::{
    client::{Client, Kind},
    harness::{Gateway, journal, stdio_server, write_config},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_its_rate_never_reaches_the_server_and_a_reload_gives_nothing_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let up = stdio_server("up", &["--journal", path.to_str().unwrap()]);
    let rated = format!("{up}rate = {{ tools = {{ echo = \"2/d\" }} }}\n");
    let gateway = Gateway::start_in(dir, &rated);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let calls = || journal(&path).iter().filter(|event| event["tool"] == "echo").count();
    for _ in 0..2 {
        assert_eq!(client.text("up__echo", json!({ "text": "x" })).await, "x");
    }
    let before = calls();
    let refused = client.call("up__echo", json!({ "text": "x" })).await.response;
    let (error, data) = (&refused["error"], &refused["error"]["data"]);
    assert_eq!((&error["code"], &data["reason"]), (&json!(-31003), &json!("rate_limited")));
    assert!(data["retryAfterMs"].as_u64().unwrap() > 60 * 60 * 1000, "{refused}");
    assert_eq!((&data["sent"], calls()), (&json!("no"), before));
    assert!(gateway.audit().iter().any(|r| r["kind"] == "denied" && r["reason"] == "rate_limited"));

    write_config(gateway.dir.path(), &format!("{rated}disabled_tools = [\"count\"]\n"));
    assert!(gateway.cli(&["reload"]).status.success());
    let refused = client.call("up__echo", json!({ "text": "x" })).await.response;
    assert_eq!(refused["error"]["data"]["reason"], "rate_limited", "{refused}");
    write_config(gateway.dir.path(), &up);
    assert!(gateway.cli(&["reload"]).status.success());
    assert_eq!(client.text("up__echo", json!({ "text": "x" })).await, "x");
}
