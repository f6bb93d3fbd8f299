//! Tasks of modern servers for modern clients: whose they are, and what reaches a server.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    client::{Client, Kind},
    eras::{Cell, Server},
    harness::{Gateway, HttpFixture, audit_in, journal, stdio_server, wait_until},
    questions::{self, text},
};

mod driven;
mod news;

pub(crate) const METHODS: [&str; 3] = ["tasks/get", "tasks/update", "tasks/cancel"];
const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// The capabilities of a client that takes tasks and answers questions.
pub(crate) fn able() -> Value {
    json!({ "elicitation": {}, "extensions": { EXTENSION: {} } })
}

/// Calls a tool that answers with a task: the task's id.
pub(crate) async fn begin(client: &Client, tool: &str, arguments: Value) -> String {
    let answer = client.call(tool, arguments).await.response;
    assert_eq!(answer["result"]["resultType"], "task", "{answer}");
    answer["result"]["taskId"].as_str().unwrap().to_owned()
}

/// The requests about tasks that reached a server.
pub(crate) fn reached(path: &Path) -> Vec<Value> {
    let all = journal(path).into_iter();
    all.filter(|event| METHODS.iter().any(|method| event["method"] == *method)).collect()
}

async fn get(client: &Client, id: &str) -> Value {
    client.ask("tasks/get", json!({ "taskId": id })).await.response
}

async fn wait_status(client: &Client, id: &str, status: &str) -> Value {
    let mut seen = Value::Null;
    for _ in 0..2000 {
        seen = get(client, id).await;
        if seen["result"]["status"] == status {
            return seen;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the task never was {status}: {seen}")
}

async fn answer(client: &Client, id: &str, told: &Value) -> Value {
    let asked = told["result"]["inputRequests"].as_object().unwrap_or_else(|| panic!("{told}"));
    let given = asked.keys().map(|key| (key.clone(), questions::answer("elicitation/create")));
    let given = Value::Object(given.collect());
    client.ask("tasks/update", json!({ "taskId": id, "inputResponses": given })).await.response
}

/// Road and ends of one task, between one kind of client and one kind of server.
async fn check(kind: Kind, server: Server) {
    let cell = Cell::able(kind, server, able()).await;
    let id = begin(&cell.client, "up__confirm_delete", json!({ "filename": "f" })).await;
    assert_ne!(id, "task-1", "the server's own id stays here");
    let asks = wait_status(&cell.client, &id, "input_required").await;
    assert_eq!(
        (&asks["result"]["taskId"], &asks["result"]["resultType"]),
        (&json!(id), &json!("complete"))
    );
    let taken = answer(&cell.client, &id, &asks).await;
    assert_eq!(taken["result"]["resultType"], "complete", "{taken}");
    let done = wait_status(&cell.client, &id, "completed").await;
    assert!(done["result"]["result"]["content"][0]["text"].as_str().unwrap().contains("accept"));
    let long = json!({ "seconds": 600, "label": "x" });
    let other = begin(&cell.client, "up__slow_compute", long).await;
    let cancelled = cell.client.ask("tasks/cancel", json!({ "taskId": other })).await.response;
    assert_eq!(cancelled["result"]["resultType"], "complete", "{cancelled}");
    wait_status(&cell.client, &other, "cancelled").await;

    for event in reached(&cell.journal) {
        let params: Value = serde_json::from_str(event["params"].as_str().unwrap()).unwrap();
        let own = params["taskId"].as_str().unwrap().to_owned();
        assert!(own == "task-1" || own == "task-2", "{event}");
        if server == Server::ModernHttp {
            assert_eq!(event["headers"]["mcp-name"], own);
        }
    }
    let audit = audit_in(&cell.audit);
    let crossed = audit.iter().filter(|record| record["kind"] == "questions");
    assert!(crossed.count() >= 1, "its question is on record");
    let begun = audit.iter().filter(|record| record["outcome"] == "task_begun");
    let begun: Vec<&Value> = begun.map(|record| &record["call"]).collect();
    assert_eq!(begun.len(), 2, "{}", cell.describe());
    for (key, task, by) in [
        ("task_get", "task-1", begun[0]),
        ("task_update", "task-1", begun[0]),
        ("task_cancel", "task-2", begun[1]),
    ] {
        let intent = audit.iter().find(|r| r["kind"] == "intent" && r[key] == task);
        let intent = intent.unwrap_or_else(|| panic!("{key}"));
        assert_eq!(intent["begun_by"], *by);
        assert_eq!(intent["answers_bytes"].is_u64(), key == "task_update", "{intent}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_an_http_server_is_relayed_to_both_kinds_of_modern_client() {
    check(Kind::ModernHttp, Server::ModernHttp).await;
    check(Kind::ModernStdio, Server::ModernHttp).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_a_child_is_relayed_to_both_kinds_of_modern_client() {
    check(Kind::ModernHttp, Server::ModernStdio).await;
    check(Kind::ModernStdio, Server::ModernStdio).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_id_never_reaches_a_server() {
    let cell = Cell::able(Kind::ModernHttp, Server::ModernHttp, able()).await;
    let elsewhere = Cell::able(Kind::ModernHttp, Server::ModernHttp, able()).await;
    let long = || json!({ "seconds": 600, "label": "x" });
    let id = begin(&cell.client, "up__slow_compute", long()).await;
    let of_another = begin(&elsewhere.client, "up__slow_compute", long()).await;
    let touched = id.replacen(|c: char| c.is_ascii_lowercase(), "A", 1);
    for method in METHODS {
        for forged in ["task-1", "", of_another.as_str(), &touched, &format!("AAAA{id}")] {
            let params = json!({ "taskId": forged, "inputResponses": {} });
            let refused = cell.client.ask(method, params).await.response;
            assert_eq!(refused["error"]["code"], -32602, "{method} {forged}: {refused}");
        }
    }
    assert_eq!(reached(&cell.journal), [] as [Value; 0]);
    let refused = audit_in(&cell.audit).into_iter().filter(|record| record["kind"] == "refused");
    assert_eq!(refused.filter(|record| record["reason"] == "unknown").count(), 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stop_refuses_every_request_about_a_task() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let server = stdio_server("up", &["--journal", path.to_str().unwrap()]);
    let gateway = Gateway::start_in(dir, &server);
    let client = Client::able_http(Kind::ModernHttp, gateway.port, able()).await;
    let id = begin(&client, "up__confirm_delete", json!({ "filename": "f" })).await;
    let asks = wait_status(&client, &id, "input_required").await;
    gateway.signal("USR1");
    gateway.wait_audit("the stop", |record| record["kind"] == "latch_engaged");
    let before = reached(&path).len();
    for refused in [
        answer(&client, &id, &asks).await,
        get(&client, &id).await,
        client.ask("tasks/cancel", json!({ "taskId": id })).await.response,
    ] {
        assert_eq!(refused["error"]["code"], -31001, "{refused}");
    }
    assert_eq!(reached(&path).len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_of_two_servers_under_one_id_are_two() {
    let (one, two) = (HttpFixture::start(&[]), HttpFixture::start(&[]));
    let table =
        |name: &str, server: &HttpFixture| format!("[servers.{name}]\nurl = {:?}\n", server.url);
    let gateway = Gateway::start(&(table("one", &one) + &table("two", &two)));
    let client = Client::able_http(Kind::ModernHttp, gateway.port, able()).await;
    let long = || json!({ "seconds": 600, "label": "x" });
    let first = begin(&client, "one__slow_compute", long()).await;
    let second = begin(&client, "two__slow_compute", long()).await;
    client.ask("tasks/cancel", json!({ "taskId": first })).await;
    wait_status(&client, &first, "cancelled").await;
    assert_eq!(get(&client, &second).await["result"]["status"], "working");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_the_extension_gets_no_task() {
    for kind in questions::KINDS {
        let is_modern = matches!(kind, Kind::ModernHttp | Kind::ModernStdio);
        // For a legacy client there is no such extension, whatever it says.
        let can = if is_modern { json!({ "elicitation": {} }) } else { able() };
        let cell = Cell::able(kind, Server::ModernHttp, can).await;
        let arguments = json!({ "seconds": 0, "label": "x" });
        let plain = cell.client.call("up__slow_compute", arguments).await.response;
        assert_eq!(text(&plain), "computed x", "{kind:?}");
        let refused = cell.client.call("up__failing_job", json!({})).await.response;
        assert_eq!(refused["error"]["code"], -32021, "{kind:?} {refused}");
        let needs = &refused["error"]["data"]["requiredCapabilities"]["extensions"];
        assert!(needs[EXTENSION].is_object(), "{refused}");
        for method in METHODS {
            let params = json!({ "taskId": "task-1", "inputResponses": {} });
            let refused = cell.client.ask(method, params).await.response;
            let code = if is_modern { -32021 } else { -32601 };
            assert_eq!(refused["error"]["code"], code, "{kind:?} {method} {refused}");
        }
        assert_eq!(reached(&cell.journal), [] as [Value; 0]);
        let calls = journal(&cell.journal).into_iter().filter(|e| e["method"] == "tools/call");
        assert!(calls.map(|e| e["params"].to_string()).all(|params| !params.contains(EXTENSION)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_nobody_can_take_is_a_breach_of_protocol() {
    let gateway = Gateway::start(&stdio_server("up", &["--hostile", "task-for-all"]));
    for (can, begins) in [(json!({}), false), (able(), true)] {
        let client = Client::able_http(Kind::ModernHttp, gateway.port, can).await;
        let answer = client.call("up__echo", json!({ "text": "x" })).await.response;
        assert_eq!(answer["result"]["resultType"] == "task", begins, "{answer}");
        assert_eq!(answer["error"]["code"] == -31006, !begins, "{answer}");
    }
    let outcome = gateway.wait_audit("the breach", |record| record["error"] == "protocol");
    assert_eq!(outcome["what"], "it begins a task for a client that takes none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_asks_only_what_whoever_looks_at_it_can_be_asked() {
    let gateway = Gateway::start(&stdio_server("up", &[]));
    let client = Client::able_http(Kind::ModernHttp, gateway.port, able()).await;
    let id = begin(&client, "up__confirm_delete", json!({ "filename": "f" })).await;
    wait_status(&client, &id, "input_required").await;
    let can = json!({ "extensions": { EXTENSION: {} } });
    let silent = Client::able_http(Kind::ModernHttp, gateway.port, can).await;
    let refused = get(&silent, &id).await;
    assert_eq!(refused["error"]["code"], -31006, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_extension_is_announced_only_if_a_server_has_it() {
    for (era, announced) in [("modern", true), ("legacy", false)] {
        let gateway = Gateway::start(&stdio_server("up", &["--era", era]));
        let client = Client::http(Kind::ModernHttp, gateway.port).await;
        let discovered = client.ask("server/discover", json!({})).await.response;
        let extensions = &discovered["result"]["capabilities"]["extensions"];
        assert_eq!(extensions[EXTENSION].is_object(), announced, "{discovered}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_started_anew_says_that_it_does_not_know_the_task() {
    let gateway = Gateway::start(&stdio_server("up", &["--era", "modern"]));
    let client = Client::able_http(Kind::ModernHttp, gateway.port, able()).await;
    let long = json!({ "seconds": 600, "label": "x" });
    let id = begin(&client, "up__slow_compute", long).await;
    client.call("up__crash", json!({})).await;
    let is_back = || (gateway.status()["servers"][0]["restarts"] == 1).then_some(());
    wait_until("the server to be back", is_back, || gateway.status().to_string());
    let mut answer = get(&client, &id).await;
    for _ in 0..2000 {
        if answer["error"]["code"] != -31002 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        answer = get(&client, &id).await;
    }
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    assert_eq!(answer["error"]["message"], "Task not found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_legacy_server_is_asked_for_no_task_that_it_could_do_without() {
    for kind in questions::KINDS {
        let cell = Cell::able(kind, Server::LegacyStdio, able()).await;
        let listed = cell.client.ask("tools/list", json!({})).await.response;
        let listed = listed["result"]["tools"].to_string();
        assert!(listed.contains("up__slow_compute"), "{listed}");
        let params = json!({
            "name": "up__slow_compute", "arguments": { "seconds": 0, "label": "x" },
            "task": { "ttl": 60_000 },
        });
        let plain = cell.client.ask("tools/call", params).await.response;
        assert_eq!(text(&plain), "computed x", "{kind:?}");
        let calls = journal(&cell.journal).into_iter().filter(|e| e["method"] == "tools/call");
        let sent: Vec<String> = calls.map(|event| event["params"].to_string()).collect();
        assert_eq!(sent.len(), 1, "{sent:?}");
        assert!(!sent[0].contains("ttl"), "{sent:?}");
    }
}
