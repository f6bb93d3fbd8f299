//! Rates: who calls more often than is allowed is refused, on record, and told when to come again.

use serde_json::json;

use crate::{
    client::{Client, Kind},
    harness::{Gateway, journal, records_in, stdio_server, write_config},
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

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_over_a_rate_leaves_a_count_and_why_says_so() {
    let rated = format!("{}rate = {{ tools = {{ echo = \"1/d\" }} }}\n", stdio_server("up", &[]));
    let gateway = Gateway::start(&rated);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    assert_eq!(client.text("up__echo", json!({ "text": "x" })).await, "x");
    let mut ids = Vec::new();
    for _ in 0..40 {
        let refused = client.call("up__echo", json!({ "text": "x" })).await.response;
        let data = &refused["error"]["data"];
        assert_eq!(data["reason"], "rate_limited", "{refused}");
        ids.push(data["callId"].as_str().unwrap().to_owned());
    }
    // What is refused for another reason is told each time.
    for _ in 0..3 {
        let refused = client.call("up__none", json!({})).await.response;
        assert_eq!(refused["error"]["code"], -32602, "{refused}");
    }
    let why = |id: &str| {
        let output = gateway.cli(&["why", id]);
        let (out, err) = (&output.stdout, &output.stderr);
        let told = format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err));
        (output.status.code(), told)
    };
    let (code, told) = why(&ids[0]);
    assert!(code == Some(0) && told.contains("rate_limited"), "{told}");
    let (code, told) = why(&ids[1]);
    assert!(code == Some(1) && told.contains("are counted with the next heartbeat"), "{told}");
    let config = gateway.config();
    let (status, dir) = gateway.end();
    assert!(status.success());

    let records = records_in(&dir.path().join("state/audit"));
    let of = |kind: &str| records.iter().filter(|r| r["kind"] == kind).collect::<Vec<_>>();
    assert_eq!((of("denied").len(), of("refused").len()), (1, 3), "{records:#?}");
    assert_eq!(of("denied")[0]["call"], ids[0]);
    let counts: u64 = of("repeated").iter().map(|r| r["count"].as_u64().unwrap()).sum();
    assert_eq!(counts, 39);
    let count = of("repeated")[0];
    assert_eq!((&count["call"], &count["tool"]), (&json!(ids[0]), &json!("echo")), "{count}");
    assert_eq!((&count["server"], &count["reason"]), (&json!("up"), &json!("rate_limited")));
    assert_eq!(count["principal"], "local");
    let run = |words: &[&str]| {
        let mut command = std::process::Command::new(crate::harness::PORTCULLIS);
        command.args(words).arg("--config").arg(&config).output().unwrap()
    };
    let told = run(&["why", &ids[39]]);
    let text = String::from_utf8(told.stdout).unwrap();
    assert_eq!(told.status.code(), Some(1), "{text}");
    assert!(text.contains("no record of its own") && text.contains(&ids[0]), "{text}");
    assert!(text.contains("39 more like"), "{text}");
    // The one that stands for them knows of them.
    let told = run(&["why", &ids[0], "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told["records"][1]["kind"], "repeated", "{told}");
    let told = run(&["policy", "replay", "--since", "1h", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert!(told["untold"].as_u64() >= Some(39), "{told}");
    assert!(run(&["audit", "verify"]).status.success());
}
