//! List changes and watched resources: who is told of what, and what servers are asked for.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    client::{Client, Kind},
    eras::{Cell, Server},
    harness::{Gateway, journal, stdio_server, wait_until},
};

pub(crate) const WATCHED: &str = "test://watched-resource";
pub(crate) const UPDATED: &str = "notifications/resources/updated";
const TOOLS: &str = "notifications/tools/list_changed";
pub(crate) const STAMP: &str = "/params/_meta/io.modelcontextprotocol~1subscriptionId";

/// The methods about subscriptions that reached a server, in order.
pub(crate) fn asked(path: &Path) -> Vec<String> {
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
async fn a_list_that_changed_before_anybody_listened_is_asked_for_again() {
    let args = ["--era", "modern", "--change-unheard"];
    let gateway = Gateway::start(&stdio_server("up", &args));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let listed = async || client.ask("tools/list", json!({})).await.response.to_string();
    let (mut ear, _) = client.hear(&[]).await;
    while !listed().await.contains("up__test_dynamic_tool") {
        ear.next(TOOLS).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_watched_is_watched_again_after_a_restart() {
    for era in ["legacy", "modern"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let args = ["--era", era, "--journal", path.to_str().unwrap()];
        let gateway = Gateway::start(&stdio_server("up", &args));
        let client = Client::http(Kind::ModernHttp, gateway.port).await;
        let (mut ear, honoured) = client.hear(&[WATCHED]).await;
        assert_eq!(honoured, [WATCHED], "{era}");
        client.call("up__crash", json!({})).await;
        // What may have been missed meanwhile counts as an update.
        ear.next(UPDATED).await;
        let mut triggered = false;
        while !triggered {
            let answer = client.call("up__test_trigger_resource_update", json!({})).await;
            triggered = answer.response["result"].is_object();
        }
        ear.next(UPDATED).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_lets_nobody_watch_is_not_asked() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a.txt"), "a").unwrap();
    let root = dir.path().to_str().unwrap();
    let args = ["provide", "files", "--root", root];
    let gateway =
        Gateway::start(&format!("[servers.files]\ncommand = \"@self\"\nargs = {args:?}\n"));
    let modern = Client::http(Kind::ModernHttp, gateway.port).await;
    let listed = modern.ask("resources/list", json!({})).await.response;
    let uri =
        listed["result"]["resources"][0]["uri"].as_str().unwrap_or_else(|| panic!("{listed}"));
    let (_ear, honoured) = modern.hear(&[uri]).await;
    assert_eq!(honoured, Vec::<String>::new());
    let legacy = Client::http(Kind::LegacyHttp, gateway.port).await;
    let answer = legacy.ask("resources/subscribe", json!({ "uri": uri })).await.response;
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    assert!(answer["error"]["message"].to_string().contains("lets nobody watch"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawn_listen_on_a_pipe_hears_nothing_and_a_drain_ends_the_others() {
    let Cell { client, .. } = &Cell::new(Kind::ModernStdio, Server::ModernStdio).await;
    let mut withdrawn = client.begin_listen(&[]).await;
    withdrawn.next().await.unwrap();
    client.tell("notifications/cancelled", json!({ "requestId": withdrawn.id })).await;
    let mut other = client.begin_listen(&[]).await;
    other.next().await.unwrap();
    client.call("up__test_trigger_tool_change", json!({})).await;
    assert_eq!(other.next().await.unwrap()["method"], TOOLS);
    client.terminate();
    let ended = other.finish().await.response;
    assert_eq!(ended["result"]["resultType"], "complete", "{ended}");
    assert_eq!(withdrawn.next().await, None, "neither news nor a result");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_clients_cannot_see_is_not_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let server = stdio_server("up", &["--journal", path.to_str().unwrap()]);
    let gateway = Gateway::start(&(server + "disabled_tools = [\"test_dynamic_tool\"]\n"));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let filter = json!({ "toolsListChanged": true, "promptsListChanged": true });
    let params = json!({ "notifications": filter });
    let mut listen = client.begin_request("subscriptions/listen", params).await;
    listen.next().await.unwrap();
    let listed = || journal(&path).iter().filter(|one| one["method"] == "prompts/list").count();
    let n_before = listed();
    client.call("up__test_trigger_tool_change", json!({})).await;
    let again = || (listed() > n_before).then_some(());
    wait_until("the lists to be renewed", again, || gateway.log());
    client.call("up__test_trigger_prompt_change", json!({})).await;
    assert_eq!(listen.next().await.unwrap()["method"], "notifications/prompts/list_changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_resource_that_hangs_delays_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let server = stdio_server("up", &["--era", "legacy", "--journal", path.to_str().unwrap()]);
    let gateway = Gateway::start(&server);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let hanging = client.begin_listen(&["test://template/never/data"]).await;
    let is_asked = || (asked(&path).len() == 1).then_some(());
    wait_until("the server to be asked", is_asked, || gateway.log());
    let (_ear, honoured) = client.hear(&[WATCHED]).await;
    assert_eq!(honoured, [WATCHED]);
    assert_eq!(asked(&path), ["resources/subscribe"; 2], "side by side: neither was given up");
    // What was given up is taken back, because the server may have agreed after all.
    let is_ended = || (asked(&path).last()? == "resources/unsubscribe").then_some(());
    drop(hanging);
    wait_until("the end of it", is_ended, || format!("{:?}", asked(&path)));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_newest_stream_of_a_session_hears_of_a_change() {
    let gateway = Gateway::start(&stdio_server("up", &["--era", "legacy"]));
    let client = Client::http(Kind::LegacyHttp, gateway.port).await;
    let (mut old, _) = client.hear(&[WATCHED]).await;
    let mut new = client.get_stream().await;
    // Each of them: of one it may be chance who hears it.
    for _ in 0..10 {
        client.call("up__test_trigger_resource_update", json!({})).await;
        assert_eq!(new.next().await.unwrap()["method"], UPDATED);
    }
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
    let lists = ["toolsListChanged", "promptsListChanged", "resourcesListChanged"];
    let want: Value = lists.into_iter().map(|list| (list.to_owned(), json!(true))).collect();
    assert_eq!(first["params"]["notifications"], want, "unknown keys are not acknowledged");
    gateway.signal("TERM");
    let answer = listen.finish().await;
    assert_eq!(answer.response["result"]["resultType"], "complete", "{answer:?}");
}
