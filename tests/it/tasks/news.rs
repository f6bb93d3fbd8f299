//! News of tasks: who hears them, what they say, and what reaches a server for them.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde_json::{Value, json};

use super::{METHODS, able, answer, begin, reached};
use crate::{
    client::{Client, Ear, Kind},
    eras::{Cell, Server},
    harness::{Gateway, HttpFixture, audit_in, journal, stdio_server, wait_until},
    replicas::wait_replicas,
};

const TOLD: &str = "notifications/tasks";
const STAMP: &str = "/params/_meta/io.modelcontextprotocol~1subscriptionId";

/// Listens for these tasks; returns when that has been agreed, and which of them are watched.
async fn listen(client: &Client, ids: &[&str]) -> (Ear, Value) {
    let wish = json!({ "notifications": { "toolsListChanged": true, "taskIds": ids } });
    let mut listen = client.begin_request("subscriptions/listen", wish).await;
    let first = listen.next().await.unwrap();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged", "{first}");
    (Ear::Stream(listen), first["params"]["notifications"]["taskIds"].clone())
}

/// What is told of a task once it stands like this.
async fn hear(ear: &mut Ear, status: &str) -> Value {
    loop {
        let told = ear.next(TOLD).await;
        if told["params"]["status"] == status {
            return told;
        }
    }
}

/// The filters of the listens that reached a server, in order.
fn filters(cell: &Cell) -> Vec<Value> {
    let listens = journal(&cell.journal)
        .into_iter()
        .filter(|event| event["method"] == "subscriptions/listen");
    let params = listens.map(|event| event["params"].as_str().unwrap().to_owned());
    params.map(|params| serde_json::from_str(&params).unwrap()).collect()
}

/// A task that ends once the file `go` is there.
struct Held {
    gateway: Gateway,
    path: PathBuf,
    go: PathBuf,
    client: Client,
    id: String,
    /// Reached by URL: a child would not outlive a stop.
    _fixture: HttpFixture,
}

impl Held {
    async fn begin() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (path, go) = (dir.path().join("journal.jsonl"), dir.path().join("go"));
        let args = ["--era", "modern", "--journal", path.to_str().unwrap()];
        let fixture = HttpFixture::start(&args);
        let gateway = Gateway::start_in(dir, &format!("[servers.up]\nurl = {:?}\n", fixture.url));
        let client = Client::able_http(Kind::ModernHttp, gateway.port, able()).await;
        let held = json!({ "seconds": 0, "label": "x", "hold_until": go });
        let id = begin(&client, "up__slow_compute", held).await;
        Self { gateway, path, go, client, id, _fixture: fixture }
    }
}

/// News of one task on its way between one kind of client and one kind of server.
async fn check(kind: Kind, server: Server) {
    let cell = Cell::able(kind, server, able()).await;
    let id = begin(&cell.client, "up__multi_input", json!({})).await;
    let (mut ear, honoured) = listen(&cell.client, &[&id]).await;
    assert_eq!(honoured, json!([id]), "{kind:?} {server:?} {}", cell.describe());
    // One answer of two: it stands as before, and asks less.
    let open = json!({ "result": { "inputRequests": { "first": {} } } });
    answer(&cell.client, &id, &open).await;
    let asks = hear(&mut ear, "input_required").await;
    let requests = asks["params"]["inputRequests"].as_object().unwrap();
    assert_eq!(requests.keys().collect::<Vec<_>>(), ["second"], "{asks}");
    answer(&cell.client, &id, &json!({ "result": asks["params"] })).await;
    let done = hear(&mut ear, "completed").await;
    let params = &done["params"];
    assert_eq!((&params["taskId"], params.get("resultType")), (&json!(id), None), "{done}");
    assert!(params["result"]["content"][0]["text"].as_str().unwrap().contains("second"), "{done}");
    assert!(done.pointer(STAMP).is_some_and(Value::is_u64), "{done}");
    let asked = filters(&cell)
        .into_iter()
        .find(|params| params["notifications"]["taskIds"] == json!(["task-1"]));
    let asked = asked.unwrap_or_else(|| panic!("its own id: {}", cell.describe()));
    let able = &asked["_meta"]["io.modelcontextprotocol/clientCapabilities"];
    assert!(able["extensions"]["io.modelcontextprotocol/tasks"].is_object(), "{asked}");
    assert_eq!(able.get("elicitation"), None, "no more than it is for: {asked}");
    for record in ["questions", "watch"] {
        let n = audit_in(&cell.audit).iter().filter(|one| one["kind"] == record).count();
        assert!(n >= 1, "no {record} on record: {}", cell.describe());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn how_a_task_of_an_http_server_stands_is_told_to_both_kinds_of_modern_client() {
    check(Kind::ModernHttp, Server::ModernHttp).await;
    check(Kind::ModernStdio, Server::ModernHttp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn how_a_task_of_a_child_stands_is_told_to_both_kinds_of_modern_client() {
    check(Kind::ModernHttp, Server::ModernStdio).await;
    check(Kind::ModernStdio, Server::ModernStdio).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_id_is_not_watched_and_reaches_no_server() {
    let cell = Cell::able(Kind::ModernHttp, Server::ModernHttp, able()).await;
    let elsewhere = Cell::able(Kind::ModernHttp, Server::ModernHttp, able()).await;
    let long = || json!({ "seconds": 600, "label": "x" });
    let id = begin(&cell.client, "up__slow_compute", long()).await;
    let of_another = begin(&elsewhere.client, "up__slow_compute", long()).await;
    let forged = format!("AAAA{id}");
    let asked = ["task-1", "", of_another.as_str(), &forged, &id, &id];
    let (_ear, honoured) = listen(&cell.client, &asked).await;
    assert_eq!(honoured, json!([id]), "the others are unknown, whosever they are");
    let all: Vec<Value> = filters(&cell)
        .into_iter()
        .map(|params| params["notifications"]["taskIds"].clone())
        .collect();
    assert_eq!(all.last(), Some(&json!(["task-1"])), "{all:?}");
    let records = audit_in(&cell.audit);
    let of_kind = |kind: &str| records.iter().filter(|one| one["kind"] == kind).collect::<Vec<_>>();
    assert_eq!(of_kind("refused").len(), 4, "{records:#?}");
    assert!(of_kind("refused").iter().all(|one| one["reason"] == "unknown"));
    let [watch] = &of_kind("watch")[..] else { panic!("one task, one record: {records:#?}") };
    assert_eq!((&watch["task"], &watch["server"]), (&json!("task-1"), &json!("up")));
    assert!(watch["begun_by"].is_string(), "{watch}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_client_that_takes_tasks_listens_for_them() {
    let gateway = Gateway::start(&stdio_server("up", &[]));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let wish = json!({ "notifications": { "toolsListChanged": true, "taskIds": ["x"] } });
    let refused = client.ask("subscriptions/listen", wish).await.response;
    assert_eq!(refused["error"]["code"], -32021, "{refused}");
    let needs = &refused["error"]["data"]["requiredCapabilities"]["extensions"];
    assert!(needs["io.modelcontextprotocol/tasks"].is_object(), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_nobody_listens_for_any_more_is_not_asked_for() {
    let cell = Cell::able(Kind::ModernHttp, Server::ModernHttp, able()).await;
    let long = json!({ "seconds": 600, "label": "x" });
    let id = begin(&cell.client, "up__slow_compute", long).await;
    let (one, _) = listen(&cell.client, &[&id]).await;
    let (other, _) = listen(&cell.client, &[&id]).await;
    let named = || {
        let last = filters(&cell).pop().unwrap();
        last["notifications"].get("taskIds").is_some()
    };
    let n_listens = filters(&cell).len();
    drop(one);
    assert!(named(), "somebody listens still");
    assert_eq!(filters(&cell).len(), n_listens, "two listeners are one wish");
    drop(other);
    wait_until("its end", || (!named()).then_some(()), || cell.describe());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_a_session_of_ones_own_is_polled() {
    for isolation in ["per-principal", "per-session"] {
        let keys = format!("isolation = {isolation:?}\n");
        let cell = Cell::with(Kind::ModernHttp, Server::ModernStdio, able(), &keys).await;
        let long = json!({ "seconds": 600, "label": "x" });
        let id = begin(&cell.client, "up__slow_compute", long).await;
        let (_ear, honoured) = listen(&cell.client, &[&id]).await;
        assert_eq!(honoured, Value::Null, "{isolation}");
        let of_tasks = filters(&cell).into_iter().filter(|one| one.to_string().contains("taskIds"));
        assert_eq!(of_tasks.count(), 0, "another process has a task-1 of its own");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_stopped_nothing_is_told_and_afterwards_how_it_stands_then() {
    let Held { gateway, path, go, client, id, _fixture } = Held::begin().await;
    let (mut ear, honoured) = listen(&client, &[&id]).await;
    assert_eq!(honoured, json!([id]));
    gateway.signal("USR1");
    gateway.wait_audit("the stop", |record| record["kind"] == "latch_engaged");
    let (_late, honoured) = listen(&client, &[&id]).await;
    assert_eq!(honoured, Value::Null, "no wish is granted");
    let before = reached(&path);
    std::fs::write(&go, "").unwrap();
    let over = || journal(&path).into_iter().find(|one| one["detail"]["status"] == "completed");
    wait_until("the end of the task", over, || gateway.log());
    assert_eq!(reached(&path), before, "nobody asks while stopped");
    gateway.reset();
    let told = hear(&mut ear, "completed").await;
    assert_eq!(told["params"]["taskId"], json!(id));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_look_at_a_task_is_a_call_on_record() {
    let Held { gateway, path, go, client, id, _fixture } = Held::begin().await;
    let (mut ear, _) = listen(&client, &[&id]).await;
    assert_eq!(reached(&path), [] as [Value; 0], "{METHODS:?}");
    std::fs::write(&go, "").unwrap();
    hear(&mut ear, "completed").await;
    let n_looks = reached(&path).len();
    let records = gateway.audit();
    let intents: Vec<&Value> = records.iter().filter(|one| one["task_get"] == "task-1").collect();
    assert_eq!((intents.len(), n_looks), (1, 1), "{records:#?}");
    let is_outcome = |one: &Value| one["kind"] == "outcome" && one["call"] == intents[0]["call"];
    assert_eq!(gateway.wait_audit("its outcome", is_outcome)["outcome"], "answered");
    assert!(gateway.cli(&["audit", "verify"]).status.success());
}

/// Each replica numbers its tasks alike, and knows of no other's.
#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_several_replicas_are_listened_to_where_they_run() {
    let dir = tempfile::tempdir().unwrap();
    let (path, go) = (dir.path().join("journal.jsonl"), dir.path().join("go"));
    let args = ["--era", "modern", "--journal", path.to_str().unwrap()];
    let server = format!("{}replicas = 3\n", stdio_server("up", &args));
    let gateway = Gateway::start_in(dir, &server);
    wait_replicas(&gateway, "three replicas", |all| all.iter().all(|one| one["state"] == "ready"));
    let client = Client::able_http(Kind::ModernHttp, gateway.port, able()).await;
    let mut ids = Vec::new();
    let of_pid = |method: &str| {
        let mut found = BTreeMap::<u64, Vec<Value>>::new();
        for one in journal(&path).into_iter().filter(|one| one["method"] == method) {
            found.entry(one["pid"].as_u64().unwrap()).or_default().push(one);
        }
        found
    };
    while of_pid("tools/call").len() < 3 {
        assert!(ids.len() < 100, "calls are not shared out");
        let held = json!({ "seconds": 0, "label": "x", "hold_until": go });
        ids.push(begin(&client, "up__slow_compute", held).await);
    }
    let asked: Vec<&str> = ids.iter().map(String::as_str).collect();
    let (mut ear, honoured) = listen(&client, &asked).await;
    let all: BTreeSet<&str> = asked.iter().copied().collect();
    let listened = honoured.as_array().unwrap().iter().map(|id| id.as_str().unwrap());
    assert_eq!(listened.collect::<BTreeSet<_>>(), all, "{}", gateway.log());
    let listens = of_pid("subscriptions/listen");
    for (pid, begun) in of_pid("tools/call") {
        let last: Value =
            serde_json::from_str(listens[&pid].last().unwrap()["params"].as_str().unwrap())
                .unwrap();
        let own = (1..=begun.len()).map(|n| format!("task-{n}")).collect::<BTreeSet<_>>();
        let named = last["notifications"]["taskIds"].as_array().unwrap().iter();
        let named = named.map(|id| id.as_str().unwrap().to_owned());
        assert_eq!(named.collect::<BTreeSet<_>>(), own, "{pid}");
    }
    std::fs::write(&go, "").unwrap();
    let mut over = BTreeSet::new();
    while over.len() < ids.len() {
        let told = hear(&mut ear, "completed").await;
        over.insert(told["params"]["taskId"].as_str().unwrap().to_owned());
    }
    assert_eq!(over, ids.iter().cloned().collect());
}
