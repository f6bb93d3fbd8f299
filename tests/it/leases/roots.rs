//! Which sessions of legacy servers hear that a client's roots are others.

use serde_json::{Value, json};

use super::{Asking, LEGACY};
use crate::client::{Client, Kind};

const CHANGED: &str = "notifications/roots/list_changed";

async fn echo(client: &Client) {
    assert_eq!(client.text("up__echo", json!({ "text": "hi" })).await, "hi");
}

/// Where each of these messages came from: a process, and over HTTP a session.
fn origins(asking: &Asking, is_meant: impl Fn(&Value) -> bool) -> Vec<(Value, Value)> {
    let found = asking.journal().into_iter().filter(is_meant);
    found.map(|one| (one["pid"].clone(), one["headers"]["mcp-session-id"].clone())).collect()
}

/// Not the sessions of others, not those of a client that did not say so, not while stopped.
#[tokio::test(flavor = "multi_thread")]
async fn roots_that_changed_are_told_to_the_sessions_of_who_says_so() {
    for server in LEGACY {
        let asking = Asking::start(server, "per-session");
        let can = json!({ "roots": { "listChanged": true } });
        let says = Client::able_http(Kind::LegacyHttp, asking.gateway.port, can.clone()).await;
        let other = Client::able_http(Kind::LegacyHttp, asking.gateway.port, can).await;
        let never_said = asking.client(Kind::LegacyHttp).await;
        for client in [&says, &other, &never_said] {
            echo(client).await;
        }
        never_said.tell(CHANGED, json!({})).await;

        says.tell(CHANGED, json!({})).await;
        let told = || origins(&asking, |one| one["method"] == CHANGED);
        asking.wait("the notification", || !told().is_empty());
        for client in [&says, &other, &never_said] {
            echo(client).await;
        }
        let called = origins(&asking, |one| one["method"] == "tools/call");
        assert_eq!(told(), called[..1], "{server:?}");

        asking.gateway.signal("USR1");
        asking.wait("the stop", || asking.gateway.status()["stop"]["id"].is_string());
        says.tell(CHANGED, json!({})).await;
        asking.gateway.reset();
        echo(&says).await;
        assert_eq!(told().len(), 1, "{server:?}");
    }
}
