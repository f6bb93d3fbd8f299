//! Legacy clients over HTTP lose connections, not answers: event ids, `Last-Event-ID`, `retry:`.

use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    client::{Client, Event, Events, Kind, is_stream},
    harness::{Gateway, HttpFixture, journal, stdio_server, wait_until, within},
};

/// Longer than a client waits for an answer before it gets a stream.
const LONG_MS: u64 = 600_000;
const STEPS: u64 = 5;
const WATCHED: &str = "test://watched-resource";

fn gateway() -> Gateway {
    Gateway::start(&stdio_server("up", &[]))
}

async fn next(events: &mut Events) -> Event {
    within("an event", events.next()).await.expect("an event before the end")
}

/// Everything that is still to come, until the stream ends.
async fn rest(events: &mut Events) -> Vec<Value> {
    let mut messages = Vec::new();
    while let Some(event) = within("an event", events.next()).await {
        messages.extend(event.message());
    }
    messages
}

async fn resumed(client: &Client, last_event: &str) -> Events {
    Events::of(client.resume(Some(last_event)).await)
}

/// A call that says nothing before its answer: the first event of its stream, which is cut then.
async fn cut(client: &Client, ms: u64) -> String {
    let mut events = Events::of(client.open("up__sleep", json!({ "ms": ms, "text": "z" })).await);
    let primer = next(&mut events).await;
    assert_eq!(primer.message(), None, "{primer:?}");
    assert_eq!(primer.retry.as_deref(), Some("1000"));
    primer.id.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_cut_the_rest_of_a_stream_arrives_and_the_call_ran_once() {
    let gateway = gateway();
    let client = Client::http(Kind::LegacyHttp, gateway.port).await;
    let call = client.open("up__progress", json!({ "steps": STEPS, "ms": 100 })).await;
    let mut events = Events::of(call);
    let mut ids = vec![next(&mut events).await.id.unwrap()];
    let first = next(&mut events).await;
    assert_eq!(first.message().unwrap()["params"]["progress"], 1);
    ids.extend(first.id);
    drop(events);
    gateway.wait_audit("the outcome", |record| record["kind"] == "outcome");

    // As often as one likes, from where one likes.
    for (n_heard, id) in ids.iter().enumerate() {
        let messages = rest(&mut resumed(&client, id).await).await;
        let (answer, progress) = messages.split_last().unwrap();
        let steps: Vec<u64> =
            progress.iter().map(|one| one["params"]["progress"].as_u64().unwrap()).collect();
        assert_eq!(steps, Vec::from_iter(1 + n_heard as u64..=STEPS));
        assert_eq!(answer["id"], "the call");
        assert_eq!(answer["result"]["content"][0]["text"], "progressed", "{answer}");
    }
    let kinds: Vec<Value> = gateway.audit().iter().map(|record| record["kind"].clone()).collect();
    let count = |kind: &str| kinds.iter().filter(|one| **one == kind).count();
    assert_eq!((count("intent"), count("outcome")), (1, 1), "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_takes_long_gets_a_stream_to_come_back_to() {
    let gateway = gateway();
    let client = Client::http(Kind::LegacyHttp, gateway.port).await;
    let id = cut(&client, 2000).await;
    let messages = rest(&mut resumed(&client, &id).await).await;
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0]["result"]["content"][0]["text"], "z");

    let quick = client.open("up__echo", json!({ "text": "x" })).await;
    assert!(!is_stream(&quick), "an answer that comes at once is JSON");
    // Modern clients know no such events, and have nothing to come back with.
    let modern = Client::http(Kind::ModernHttp, gateway.port).await;
    let long = modern.open("up__sleep", json!({ "ms": 1500, "text": "z" })).await;
    assert!(!is_stream(&long));
    let refused = modern.resume(Some(&id)).await;
    assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_modern_server_breaks_off_is_lost_and_not_sent_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let breaks = ["--era", "modern", "--hostile", "exit-mid-answer", "--journal"];
    let server = HttpFixture::start(&[&breaks[..], &[path.to_str().unwrap()]].concat());
    let gateway = Gateway::start(&format!("[servers.up]\nurl = {:?}\n", server.url));
    let client = Client::http(Kind::LegacyHttp, gateway.port).await;
    let call = client.begin("up__progress", json!({ "steps": 2, "ms": 5 }), Some("p")).await;
    let lost = call.finish().await.response;
    assert_eq!(lost["error"]["data"]["sent"], "yes", "{lost}");
    let calls = journal(&path).into_iter().filter(|one| one["method"] == "tools/call").count();
    assert_eq!(calls, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_id_means_nothing_in_another_session() {
    let gateway = gateway();
    let client = Client::http(Kind::LegacyHttp, gateway.port).await;
    let foreign = Client::http(Kind::LegacyHttp, gateway.port).await;
    let id = cut(&client, 1500).await;
    let theirs = cut(&foreign, LONG_MS).await;
    assert_ne!(id, theirs);
    for id in [id.as_str(), "1-1", ""] {
        assert_eq!(foreign.resume(Some(id)).await.status(), StatusCode::BAD_REQUEST, "{id}");
    }
    assert_eq!(rest(&mut resumed(&client, &id).await).await.len(), 1, "it is there for its own");
    assert_eq!(client.end_session().await.status(), StatusCode::OK);
    assert_eq!(client.resume(Some(&id)).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_call_is_cancelled_by_name_only_and_then_nothing_is_left_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let tables = stdio_server("up", &["--journal", path.to_str().unwrap()]);
    let gateway = Gateway::start_in(dir, &tables);
    let client = Client::http(Kind::LegacyHttp, gateway.port).await;
    let id = cut(&client, LONG_MS).await;
    assert_eq!(client.text("up__echo", json!({ "text": "x" })).await, "x");
    let cancelled = || journal(&path).iter().any(|one| one["method"] == "notifications/cancelled");
    assert!(!cancelled(), "the cut has cancelled it");
    client.tell("notifications/cancelled", json!({ "requestId": "the call" })).await;
    wait_until("the cancellation", || cancelled().then_some(()), || gateway.log());
    // Whoever reads it sees its end; afterwards it is gone.
    let mut status = client.resume(Some(&id)).await.status();
    while status == StatusCode::OK {
        status = client.resume(Some(&id)).await.status();
    }
    assert_eq!(status, StatusCode::GONE);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stop_is_told_to_whoever_comes_back() {
    let gateway = gateway();
    let client = Client::http(Kind::LegacyHttp, gateway.port).await;
    let id = cut(&client, LONG_MS).await;
    gateway.signal("USR1");
    gateway.wait_audit("the outcome", |record| record["kind"] == "outcome");
    let messages = rest(&mut resumed(&client, &id).await).await;
    assert_eq!(messages[0]["error"]["code"], -31001, "{messages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_back_takes_the_stream_over() {
    let gateway = gateway();
    let client = Client::http(Kind::LegacyHttp, gateway.port).await;
    let call = client.open("up__sleep", json!({ "ms": LONG_MS, "text": "z" })).await;
    let mut old = Events::of(call);
    let id = next(&mut old).await.id.unwrap();
    let mut new = resumed(&client, &id).await;
    assert_eq!(rest(&mut old).await, Vec::<Value>::new(), "one stream, one reader");
    gateway.signal("USR1");
    assert_eq!(rest(&mut new).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_stream_goes_on_with_what_was_missed() {
    let gateway = Gateway::start(&stdio_server("up", &["--era", "legacy"]));
    let client = Client::http(Kind::LegacyHttp, gateway.port).await;
    let subscribed = client.ask("resources/subscribe", json!({ "uri": WATCHED })).await;
    assert_eq!(subscribed.response["result"], json!({}), "{subscribed:?}");
    let mut stream = Events::of(client.resume(None).await);
    let primer = next(&mut stream).await;
    let method = |event: &Event| event.message().unwrap()["method"].as_str().unwrap().to_owned();
    client.call("up__test_trigger_resource_update", json!({})).await;
    let updated = next(&mut stream).await;
    assert_eq!(method(&updated), "notifications/resources/updated");
    drop(stream);
    client.call("up__test_trigger_tool_change", json!({})).await;
    let listed = || gateway.cli(&["tools"]).stdout;
    let has_new = || String::from_utf8(listed()).unwrap().contains("dynamic").then_some(());
    wait_until("the new tool", has_new, || gateway.log());

    let mut later = resumed(&client, updated.id.as_deref().unwrap()).await;
    assert_eq!(method(&next(&mut later).await), "notifications/tools/list_changed");
    drop(later);
    let mut all = resumed(&client, primer.id.as_deref().unwrap()).await;
    for want in ["notifications/resources/updated", "notifications/tools/list_changed"] {
        assert_eq!(method(&next(&mut all).await), want);
    }
}
