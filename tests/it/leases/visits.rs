//! Pages of legacy servers: who is told that one was visited.

use std::fs;

use serde_json::{Value, json};

use super::{Asking, LEGACY};
use crate::{
    client::{Client, Ear, Kind},
    eras::{Cell, Server},
};

const COMPLETE: &str = "notifications/elicitation/complete";

fn able() -> Value {
    json!({ "elicitation": { "url": {} } })
}

/// A call that is refused until the file `visited` is there.
async fn refused(client: &Client, id: &str, visited: &std::path::Path) {
    let arguments = json!({ "id": id, "visited": visited });
    let got = client.call("up__test_page_required", arguments).await.response;
    assert_eq!(got["error"]["code"], -32042, "{got}");
}

async fn next_visited(ear: &mut Ear) -> String {
    let told = ear.next(COMPLETE).await;
    told["params"]["elicitationId"].as_str().unwrap_or_else(|| panic!("{told}")).to_owned()
}

/// Bob was shown a page of the same name on a session of his own, Eve none on the same session.
#[tokio::test(flavor = "multi_thread")]
async fn a_visit_is_told_to_whom_the_page_was_shown_and_to_nobody_else() {
    for server in LEGACY {
        for (isolation, other_is_shown) in [("per-session", true), ("per-principal", false)] {
            let asking = Asking::start(server, isolation);
            let file = |name: &str| asking.journal.with_file_name(name);
            let open = || Client::able_http(Kind::LegacyHttp, asking.gateway.port, able());
            let (ann, other) = (open().await, open().await);
            let ((mut ann_hears, _), (mut other_hears, _)) =
                (ann.hear(&[]).await, other.hear(&[]).await);
            refused(&ann, "page", &file("ann")).await;
            if other_is_shown {
                refused(&other, "page", &file("other")).await;
            }
            refused(&other, "page of the other", &file("last")).await;
            fs::write(file("ann"), "").unwrap();
            assert_eq!(next_visited(&mut ann_hears).await, "page");
            fs::write(file("last"), "").unwrap();
            let first = next_visited(&mut other_hears).await;
            assert_eq!(first, "page of the other", "{server:?} {isolation}");
            if other_is_shown {
                fs::write(file("other"), "").unwrap();
                assert_eq!(next_visited(&mut other_hears).await, "page");
            }
        }
    }
}

/// It has no stream for what nobody asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_visit_within_a_call_is_told_on_its_stream() {
    for server in LEGACY {
        let asking = Asking::start(server, "per-session");
        let client = Client::able_http(Kind::LegacyHttp, asking.gateway.port, able()).await;
        let stay = asking.journal.with_file_name("stay");
        let arguments = json!({ "stay_until": stay });
        let mut call = client.begin("up__test_elicitation_url", arguments, None).await;
        let question = client.question(&mut call).await;
        client.respond(&question, json!({ "action": "accept" })).await;
        let told = call.next().await.unwrap();
        assert_eq!(told["method"], COMPLETE, "{server:?} {told}");
        assert_eq!(told["params"], json!({ "elicitationId": "sign-in" }), "{server:?}");
        fs::write(stay, "").unwrap();
        let got = call.finish().await.response;
        assert!(got["result"].is_object(), "{server:?} {got}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visit_is_told_on_the_pipe_of_a_desktop_client() {
    for server in [Server::LegacyStdio, Server::LegacyHttp] {
        let isolation = "isolation = \"per-session\"\n";
        let cell = Cell::with(Kind::LegacyStdio, server, able(), isolation).await;
        let (mut ear, _) = cell.client.hear(&[]).await;
        let visited = cell.journal.with_file_name("visited");
        refused(&cell.client, "page", &visited).await;
        fs::write(visited, "").unwrap();
        assert_eq!(next_visited(&mut ear).await, "page");
    }
}
