//! Sessions of servers that belong to one caller: who gets which, and who is asked through them.

mod level;
mod parked;
mod roots;
mod visits;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    client::{Client, Kind},
    eras::{Cell, Server},
    harness::{Gateway, HttpFixture, journal, stdio_server, wait_until},
    questions::{able, answer},
};

const LEGACY: [Server; 2] = [Server::LegacyStdio, Server::LegacyHttp];

/// A gateway with one server, `up`, for any number of clients.
struct Asking {
    gateway: Gateway,
    journal: PathBuf,
    _server: Option<HttpFixture>,
}

impl Asking {
    fn start(server: Server, isolation: &str) -> Self {
        Self::with(server, isolation, &[])
    }

    /// The same, with more arguments for the server.
    fn with(server: Server, isolation: &str, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("journal.jsonl");
        let era = match server {
            Server::LegacyHttp | Server::LegacyStdio => "legacy",
            Server::ModernHttp | Server::ModernStdio => "modern",
        };
        let args = [&["--era", era, "--journal", journal.to_str().unwrap()], args].concat();
        let (tables, fixture) = match server {
            Server::LegacyHttp | Server::ModernHttp => {
                let fixture = HttpFixture::start(&args);
                (format!("[servers.up]\nurl = {:?}\n", fixture.url), Some(fixture))
            }
            Server::LegacyStdio | Server::ModernStdio => (stdio_server("up", &args), None),
        };
        let tables = format!("{tables}protocol = {era:?}\nisolation = {isolation:?}\n");
        Self { gateway: Gateway::start_in(dir, &tables), journal, _server: fixture }
    }

    fn journal(&self) -> Vec<Value> {
        journal(&self.journal)
    }

    fn wait(&self, what: &str, seen: impl Fn() -> bool) {
        wait_until(what, || seen().then_some(()), || format!("{:#?}", self.journal()));
    }

    async fn client(&self, kind: Kind) -> Client {
        Client::able_http(kind, self.gateway.port, able()).await
    }
}

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

/// What each session of the server was told that its client can be asked.
fn declared(path: &Path) -> Vec<Value> {
    let opened = journal(path).into_iter().filter(|event| event["method"] == "initialize");
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
        assert_eq!(declared(&cell.journal), [json!({})], "{server:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_told_of_no_more_than_its_caller_has() {
    for server in LEGACY {
        for kind in [Kind::ModernHttp, Kind::LegacyHttp] {
            let roots = json!({ "listChanged": true });
            let can = json!({ "sampling": {}, "roots": roots, "experimental": { "x": {} } });
            let cell = Cell::with(kind, server, can, "isolation = \"per-principal\"\n").await;
            let arguments = json!({ "message": "who?" });
            let call = cell.client.call_answering("up__test_elicitation", arguments, answer);
            let (got, n) = call.await;
            assert_eq!(n, 0, "{kind:?} {server:?} {got}");
            let told = declared(&cell.journal);
            // A modern client never says that its roots are others.
            let roots = if kind.is_modern() { json!({}) } else { roots };
            let want = json!({ "sampling": {}, "roots": roots });
            assert_eq!(told[1..], [want], "{kind:?} {server:?}");
        }
    }
}

/// Some servers list what asks only to clients that can be asked.
#[tokio::test(flavor = "multi_thread")]
async fn what_asks_is_listed_where_callers_can_be_asked_and_asks_no_other() {
    for server in LEGACY {
        for (isolation, is_listed) in [("shared", false), ("per-session", true)] {
            let asking = Asking::with(server, isolation, &["--lists-by-capability"]);
            let port = asking.gateway.port;
            let able = Client::able_http(Kind::LegacyHttp, port, able()).await;
            let listed = able.ask("tools/list", json!({})).await.response.to_string();
            assert_eq!(
                listed.contains(r#""up__test_elicitation""#),
                is_listed,
                "{server:?} {listed}"
            );
            if !is_listed {
                assert_eq!(declared(&asking.journal), [json!({})], "{server:?}");
                continue;
            }
            let arguments = json!({ "message": "who?" });
            let asked = able.call_answering("up__test_elicitation", arguments.clone(), answer);
            let (got, n) = asked.await;
            assert_eq!(n, 1, "{server:?} {got}");
            // Who cannot be asked is offered it, too, and the server knows better.
            let mute = Client::able_http(Kind::LegacyHttp, port, json!({})).await;
            let (got, n) = mute.call_answering("up__test_elicitation", arguments, answer).await;
            assert_eq!(n, 0, "{server:?} {got}");
            assert_eq!(declared(&asking.journal)[2], json!({}), "{server:?}");
        }
    }
}

/// Which process answered, or which connection.
async fn pids_of_two_conversations(server: Server) -> (Vec<String>, Value) {
    let asking = Asking::start(server, "per-session");
    let mut pids = Vec::new();
    for _ in 0..2 {
        let client = Client::http(Kind::LegacyHttp, asking.gateway.port).await;
        pids.push(client.text("up__pid", json!({})).await);
    }
    (pids, asking.gateway.status())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_modern_child_is_isolated_like_a_legacy_one() {
    let (pids, status) = pids_of_two_conversations(Server::ModernStdio).await;
    assert_ne!(pids[0], pids[1]);
    assert!(!status.to_string().contains("isolation"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn isolation_that_changes_nothing_is_told_to_the_operator() {
    let (pids, status) = pids_of_two_conversations(Server::ModernHttp).await;
    assert_eq!(pids[0], pids[1]);
    assert!(status.to_string().contains("`isolation` changes nothing here"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_does_not_open_is_not_tried_by_every_call() {
    let dir = tempfile::tempdir().unwrap();
    let (starts, broken) = (dir.path().join("starts"), dir.path().join("broken"));
    let script = format!(
        "echo x >> {}; test -e {} && exit 3; exec {} --transport stdio --era legacy",
        starts.display(),
        broken.display(),
        crate::harness::fixture().display(),
    );
    let tables = format!(
        "[servers.up]\ncommand = \"/bin/sh\"\nargs = [\"-c\", {script:?}]\n\
         protocol = \"legacy\"\nisolation = \"per-principal\"\n"
    );
    let n_starts = || fs::read_to_string(&starts).unwrap().lines().count();
    let gateway = Gateway::start_in(dir, &tables);
    assert_eq!(n_starts(), 1);
    fs::write(&broken, "").unwrap();
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    for _ in 0..60 {
        let refused = client.call("up__echo", json!({ "text": "x" })).await.response;
        assert_eq!(refused["error"]["code"], -31002, "{refused}");
        assert_eq!(refused["error"]["data"]["sent"], "no", "{refused}");
    }
    assert!(n_starts() < 20, "{} starts for 60 calls", n_starts());
    fs::remove_file(&broken).unwrap();
    // It comes back by itself, for whoever asks.
    let deadline = std::time::Instant::now() + crate::harness::SOON;
    while client.text("up__echo", json!({ "text": "back" })).await != "back" {
        assert!(std::time::Instant::now() < deadline, "{}", gateway.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_one_server_are_bounded_and_a_place_is_free_again() {
    const LEASES_MAX: usize = 64;
    let asking = Asking::start(Server::LegacyHttp, "per-session");
    let mut clients = Vec::new();
    for _ in 0..=LEASES_MAX {
        clients.push(Client::http(Kind::LegacyHttp, asking.gateway.port).await);
    }
    let last = clients.pop().unwrap();
    for client in &clients {
        assert_eq!(client.text("up__echo", json!({ "text": "in" })).await, "in");
    }
    let refused = last.call("up__echo", json!({ "text": "in" })).await.response;
    assert_eq!(refused["error"]["code"], -31003, "{refused}");
    clients.pop().unwrap().end_session().await;
    let opened = || {
        let deleted = asking.journal().iter().any(|event| event["event"] == "session-deleted");
        deleted.then_some(())
    };
    wait_until("the end of one session", opened, || asking.gateway.log());
    assert_eq!(last.text("up__echo", json!({ "text": "in" })).await, "in");
}
