//! List changes and watched resources, for every kind of client and server.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    client::{Client, Kind},
    eras::{Cell, Server},
    harness::{Gateway, journal, stdio_server, wait_until},
};

const WATCHED: &str = "test://watched-resource";
const UPDATED: &str = "notifications/resources/updated";
const TOOLS: &str = "notifications/tools/list_changed";
const STAMP: &str = "/params/_meta/io.modelcontextprotocol~1subscriptionId";

/// Both kinds of news, at one client of one server.
async fn check(kind: Kind, server: Server) {
    let cell = Cell::new(kind, server).await;
    let (mut ear, honoured) = cell.client.hear(&[WATCHED, "test://nowhere/at/all"]).await;
    assert!(honoured.contains(&WATCHED.to_owned()), "{kind:?} {server:?} {}", cell.describe());
    cell.client.call("up__test_trigger_resource_update", json!({})).await;
    let heard = ear.next(UPDATED).await;
    assert_eq!(heard["params"]["uri"], WATCHED);
    let is_modern = matches!(kind, Kind::ModernHttp | Kind::ModernStdio);
    assert_eq!(heard.pointer(STAMP).is_some_and(Value::is_u64), is_modern, "{heard}");
    cell.client.call("up__test_trigger_tool_change", json!({})).await;
    let heard = ear.next(TOOLS).await;
    assert_eq!(heard.pointer(STAMP).is_some_and(Value::is_u64), is_modern, "{heard}");
}

async fn check_all(kind: Kind) {
    for server in [Server::ModernHttp, Server::LegacyHttp, Server::ModernStdio, Server::LegacyStdio]
    {
        check(kind, server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn modern_http_clients_hear_of_changes() {
    check_all(Kind::ModernHttp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_http_clients_hear_of_changes() {
    check_all(Kind::LegacyHttp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn modern_stdio_clients_hear_of_changes() {
    check_all(Kind::ModernStdio).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_stdio_clients_hear_of_changes() {
    check_all(Kind::LegacyStdio).await;
}

/// The methods about subscriptions that reached a server, in order.
fn asked(path: &Path) -> Vec<String> {
    let events = journal(path).into_iter();
    let methods = events.filter_map(|event| Some(event["method"].as_str()?.to_owned()));
    methods
        .filter(|method| method.starts_with("resources/") && method.ends_with("subscribe"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_subscribers_share_one_subscription_and_the_last_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let server = stdio_server("up", &["--era", "legacy", "--journal", path.to_str().unwrap()]);
    let gateway = Gateway::start(&server);
    let first = Client::http(Kind::LegacyHttp, gateway.port).await;
    let second = Client::http(Kind::ModernHttp, gateway.port).await;
    let uri = json!({ "uri": WATCHED });
    let (mut one, _) = first.hear(&[WATCHED]).await;
    let (mut two, _) = second.hear(&[WATCHED]).await;
    assert_eq!(asked(&path), ["resources/subscribe"]);
    first.call("up__test_trigger_resource_update", json!({})).await;
    one.next(UPDATED).await;
    two.next(UPDATED).await;
    first.ask("resources/unsubscribe", uri).await;
    assert_eq!(asked(&path), ["resources/subscribe"], "somebody is watching still");
    // The listener still hears, the other hears nothing: the list change comes next to it.
    first.call("up__test_trigger_resource_update", json!({})).await;
    two.next(UPDATED).await;
    first.call("up__test_trigger_tool_change", json!({})).await;
    let crate::client::Ear::Stream(stream) = &mut one else { panic!("a stream") };
    assert_eq!(stream.next().await.unwrap()["method"], TOOLS);
    drop(two);
    let ended = || (asked(&path).last()? == "resources/unsubscribe").then_some(());
    wait_until("the last to end it", ended, || format!("{:?}", asked(&path)));
    assert_eq!(asked(&path).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_newest_stream_of_a_session_hears_of_a_change() {
    let gateway = Gateway::start(&stdio_server("up", &["--era", "legacy"]));
    let client = Client::http(Kind::LegacyHttp, gateway.port).await;
    let (mut old, _) = client.hear(&[WATCHED]).await;
    let mut new = client.get_stream().await;
    client.call("up__test_trigger_resource_update", json!({})).await;
    assert_eq!(new.next().await.unwrap()["method"], UPDATED);
    // When the newest is gone, the old one takes over; and what it hears is the first it hears.
    drop(new);
    client.call("up__test_trigger_tool_change", json!({})).await;
    let crate::client::Ear::Stream(stream) = &mut old else { panic!("a stream") };
    assert_eq!(stream.next().await.unwrap()["method"], TOOLS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_that_is_unknown_cannot_be_watched() {
    let tables = [stdio_server("up", &["--era", "modern"]), stdio_server("b", &[])].concat();
    let gateway = Gateway::start(&tables);
    let modern = Client::http(Kind::ModernHttp, gateway.port).await;
    let (_ear, honoured) = modern.hear(&["nobody://has/this"]).await;
    assert_eq!(honoured, Vec::<String>::new());
    let legacy = Client::http(Kind::LegacyHttp, gateway.port).await;
    let answer = legacy.ask("resources/subscribe", json!({ "uri": "nobody://has/this" })).await;
    assert_eq!(answer.response["error"]["code"], -32002, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_a_listen_with_its_result() {
    let gateway = Gateway::start(&stdio_server("up", &[]));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let mut listen = client.begin_listen(&[]).await;
    let first = listen.next().await.unwrap();
    let want = json!({ "toolsListChanged": true });
    assert_eq!(first["params"]["notifications"], want, "unknown keys are not acknowledged");
    gateway.signal("TERM");
    let answer = listen.finish().await;
    assert_eq!(answer.response["result"]["resultType"], "complete", "{answer:?}");
}
