//! Tools that a legacy server runs only as tasks: what their callers see, and what is left behind.

use std::path::Path;

use serde_json::{Value, json};

use crate::{
    client::{Client, Kind},
    eras::{Cell, Server},
    harness::{Gateway, HttpFixture, audit_in, journal, stdio_server, wait_until},
    questions::{self, text},
};

const SERVERS: [Server; 2] = [Server::LegacyStdio, Server::LegacyHttp];
const TOOL: &str = "up__task_only";

/// The methods that reached a server about its tool and tasks, in order.
fn asked(path: &Path) -> Vec<String> {
    let events = journal(path).into_iter();
    let methods = events.filter_map(|event| Some(event["method"].as_str()?.to_owned()));
    methods.filter(|method| method == "tools/call" || method.starts_with("tasks/")).collect()
}

fn n_asked(path: &Path, method: &str) -> usize {
    asked(path).iter().filter(|one| *one == method).count()
}

fn wait_asked(path: &Path, method: &str) {
    let is_asked = || (n_asked(path, method) >= 1).then_some(());
    wait_until(method, is_asked, || format!("{:#?}", journal(path)));
}

/// The one outcome of the one call on record.
fn outcome(audit: &Path) -> Value {
    let of_kind = |kind: &str| {
        let records = audit_in(audit).into_iter();
        records.filter(|record| record["kind"] == kind).collect::<Vec<_>>()
    };
    let look = || of_kind("outcome").pop();
    let outcome = wait_until("the outcome", look, || format!("{:#?}", audit_in(audit)));
    assert_eq!((of_kind("intent").len(), of_kind("outcome").len()), (1, 1));
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn its_caller_gets_the_plain_result() {
    for server in SERVERS {
        for kind in questions::KINDS {
            let cell = Cell::new(kind, server).await;
            let listed = cell.client.ask("tools/list", json!({})).await.response;
            let tools = listed["result"]["tools"].as_array().unwrap();
            let tool = tools.iter().find(|tool| tool["name"] == TOOL).unwrap();
            assert_eq!(tool.get("execution"), None, "for its caller it runs plainly");
            let answer = cell.client.begin(TOOL, json!({ "label": "x" }), Some("p")).await;
            let answer = answer.finish().await.response;
            assert_eq!(text(&answer), "computed x", "{kind:?} {server:?}");
            assert!(!answer.to_string().contains("task-1"), "{answer}");
            let asked = asked(&cell.journal);
            assert_eq!(asked.first().map(String::as_str), Some("tools/call"), "{asked:?}");
            assert_eq!(asked.last().map(String::as_str), Some("tasks/result"), "{asked:?}");
            assert!(asked.contains(&"tasks/get".to_owned()), "{asked:?}");
            let begun =
                journal(&cell.journal).into_iter().find(|one| one["method"] == "tools/call");
            let params: Value =
                serde_json::from_str(begun.unwrap()["params"].as_str().unwrap()).unwrap();
            assert_eq!(params["task"], json!({ "ttl": 60_000 }), "as long as the call may take");
            assert_eq!(params.pointer("/_meta/progressToken"), None, "{params}");
            assert_eq!(outcome(&cell.audit)["outcome"], "answered");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_at_the_server_fails_in_its_words() {
    for server in SERVERS {
        let cell = Cell::new(Kind::ModernHttp, server).await;
        let failed = cell.client.call(TOOL, json!({ "how": "fail" })).await.response;
        assert_eq!(failed["result"]["isError"], true, "{server:?} {failed}");
        assert_eq!(text(&failed), "the job failed");
        assert_eq!(outcome(&cell.audit)["outcome"], "server_error");
        let cell = Cell::new(Kind::ModernHttp, server).await;
        let broke = cell.client.call(TOOL, json!({ "how": "error" })).await.response;
        assert_eq!(broke["error"]["message"], "the job broke down", "{server:?} {broke}");
        assert_eq!(outcome(&cell.audit)["outcome"], "server_error");
        assert_eq!(n_asked(&cell.journal, "tasks/cancel"), 0, "it is over");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_withdrawn_cancels_its_task() {
    for server in SERVERS {
        for kind in questions::KINDS {
            let cell = Cell::new(kind, server).await;
            let call = cell.client.begin(TOOL, json!({ "hold_until": "/nowhere" }), None).await;
            wait_asked(&cell.journal, "tasks/get");
            cell.client.cancel(call).await;
            wait_asked(&cell.journal, "tasks/cancel");
            let outcome = outcome(&cell.audit);
            assert_eq!(outcome["error"], "cancelled", "{kind:?} {server:?} {outcome}");
            assert_ne!(outcome["sent"], "no", "{outcome}");
            assert_eq!(cell.client.text("up__echo", json!({ "text": "on" })).await, "on");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_never_ends_ends_with_the_calls_deadline() {
    for server in SERVERS {
        let keys = "tool_timeout_sec = 1\n";
        let cell = Cell::with(Kind::ModernHttp, server, json!({}), keys).await;
        let late = cell.client.call(TOOL, json!({ "hold_until": "/nowhere" })).await.response;
        assert_eq!(late["error"]["code"], -31004, "{server:?} {late}");
        assert_eq!(late["error"]["data"]["sent"], "yes", "{late}");
        wait_asked(&cell.journal, "tasks/cancel");
        assert_eq!(outcome(&cell.audit)["error"], "deadline");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stop_ends_the_call_and_cancels_its_task() {
    for server in SERVERS {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.jsonl");
        let args = ["--era", "legacy", "--journal", path.to_str().unwrap()];
        let (table, _fixture) = match server {
            Server::LegacyHttp | Server::ModernHttp => {
                let fixture = HttpFixture::start(&args);
                (format!("[servers.up]\nurl = {:?}\n", fixture.url), Some(fixture))
            }
            Server::LegacyStdio | Server::ModernStdio => (stdio_server("up", &args), None),
        };
        let gateway = Gateway::start_in(dir, &table);
        let client = Client::http(Kind::ModernHttp, gateway.port).await;
        let call = client.begin(TOOL, json!({ "hold_until": "/nowhere" }), None).await;
        wait_asked(&path, "tasks/get");
        // The other kind kills the server before it could hear anything.
        assert!(gateway.cli(&["stop", "--category", "1"]).status.success());
        let stopped = call.finish().await.response;
        assert_eq!(stopped["error"]["code"], -31001, "{server:?} {stopped}");
        assert_eq!(stopped["error"]["data"]["sent"], "yes", "{stopped}");
        wait_asked(&path, "tasks/cancel");
        assert_eq!(asked(&path).last().map(String::as_str), Some("tasks/cancel"));
        assert_eq!(outcome(&gateway.dir.path().join("state/audit"))["error"], "stopped");
        let refused = client.call(TOOL, json!({ "label": "x" })).await.response;
        assert_eq!(refused["error"]["code"], -31001, "{refused}");
        assert_eq!(n_asked(&path, "tools/call"), 1, "nothing more is begun");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_forgets_its_task_broke_the_protocol() {
    for server in SERVERS {
        let cell = Cell::new(Kind::ModernHttp, server).await;
        let lost = cell.client.call(TOOL, json!({ "how": "forget" })).await.response;
        assert_eq!(lost["error"]["code"], -31006, "{server:?} {lost}");
        assert_eq!(outcome(&cell.audit)["what"], "it does not know the task that it began");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_asks_is_cancelled_and_nobody_is_asked() {
    for server in SERVERS {
        let keys = "isolation = \"per-session\"\n";
        let cell = Cell::with(Kind::LegacyHttp, server, questions::able(), keys).await;
        let asks = cell.client.call(TOOL, json!({ "how": "ask" })).await;
        assert_eq!(asks.notices, Vec::<Value>::new());
        assert_eq!(asks.response["error"]["code"], -31006, "{server:?} {asks:?}");
        wait_asked(&cell.journal, "tasks/cancel");
        assert_eq!(outcome(&cell.audit)["what"], "its task asks, and none can be answered");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_do_not_meet() {
    for server in SERVERS {
        let cell = Cell::new(Kind::ModernHttp, server).await;
        let dir = tempfile::tempdir().unwrap();
        let held = |label: &str| json!({ "label": label, "hold_until": dir.path().join(label) });
        let one = cell.client.begin(TOOL, held("one"), None).await;
        let two = cell.client.begin(TOOL, held("two"), None).await;
        std::fs::write(dir.path().join("two"), "").unwrap();
        assert_eq!(text(&two.finish().await.response), "computed two", "{server:?}");
        std::fs::write(dir.path().join("one"), "").unwrap();
        assert_eq!(text(&one.finish().await.response), "computed one", "{server:?}");
        assert_eq!(n_asked(&cell.journal, "tasks/cancel"), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_denied_begins_no_task() {
    for server in SERVERS {
        let keys = "disabled_tools = [\"task_only\"]\n";
        let cell = Cell::with(Kind::ModernHttp, server, json!({}), keys).await;
        let unknown = cell.client.call(TOOL, json!({ "label": "x" })).await.response;
        assert_eq!(unknown["error"]["code"], -32602, "{server:?} {unknown}");
        assert_eq!(asked(&cell.journal), Vec::<String>::new());
    }
}
