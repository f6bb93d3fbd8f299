//! Whatever crosses besides calls: what servers ask and what clients answer passes the gate, is on
//! record before it leaves, and obeys the stop.

use std::{fs, path::Path};

use portcullis::audit::{Records, commitments};
use serde_json::{Value, json};

use crate::{
    audit_down::{assert_unrecorded, bounded},
    client::{Client, InFlight, Kind},
    eras::{Cell, Server},
    harness::{Gateway, HttpFixture, audit_in, journal, stdio_server, wait_until, write_config},
    questions::{able, answer, text},
    subscriptions::{UPDATED, WATCHED, asked},
};

const TOOL: &str = "up__test_elicitation";

/// Waits until what a record commits to can be shown to be `content`.
fn assert_committed(audit: &Path, commit: &Value, content: &Value) {
    let commit = commit.as_str().expect("a commitment");
    let shown = || {
        let mut records = Records::all(audit).unwrap();
        while let Some(line) = records.read().unwrap() {
            if commitments(line).iter().any(|(_, found)| found == commit) {
                let kept = records.kept(commit).unwrap()?;
                return Some(kept.is_of(content.to_string().as_bytes()));
            }
        }
        None
    };
    assert!(wait_until("the salt", shown, String::new), "{content}");
}

fn of_kind(records: Vec<Value>, kind: &str) -> Vec<Value> {
    records.into_iter().filter(|record| record["kind"] == kind).collect()
}

/// How many calls of the tool reached the server.
fn reached(path: &Path) -> usize {
    journal(path).iter().filter(|event| event["tool"] == "test_elicitation").count()
}

/// A request of each kind that goes to a server.
fn requests() -> [(&'static str, Value); 4] {
    let reference = json!({ "type": "ref/prompt", "name": "up__test_prompt_with_arguments" });
    [
        ("tools/call", json!({ "name": "up__echo", "arguments": { "text": "x" } })),
        ("prompts/get", json!({ "name": "up__test_simple_prompt" })),
        ("resources/read", json!({ "uri": "test://static-text" })),
        (
            "completion/complete",
            json!({ "ref": reference, "argument": { "name": "arg1", "value": "t" } }),
        ),
    ]
}

/// A server, a gateway over it, and the file without which its tool does nothing.
struct House {
    gateway: Gateway,
    journal: std::path::PathBuf,
    go: std::path::PathBuf,
    _server: HttpFixture,
}

impl House {
    fn new(bounded_blocks: Option<u32>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (journal, go) = (dir.path().join("journal.jsonl"), dir.path().join("go"));
        let server = HttpFixture::start(&["--journal", journal.to_str().unwrap()]);
        let tables = format!("[servers.up]\nurl = {:?}\n", server.url);
        let gateway = match bounded_blocks {
            None => Gateway::launch(dir, &tables),
            Some(blocks) => {
                let mut command = bounded(blocks, "");
                command.arg(write_config(dir.path(), &tables));
                Gateway::spawn(dir, command)
            }
        };
        gateway.wait_ready();
        Self { gateway, journal, go, _server: server }
    }

    async fn client(&self, kind: Kind) -> Client {
        Client::able_http(kind, self.gateway.port, able()).await
    }

    fn held(&self) -> Value {
        json!({ "message": "?", "hold_until": self.go })
    }

    /// Calls the tool and returns once its server has the call, and does nothing.
    async fn hold(&self, client: &Client) -> InFlight {
        let n_before = reached(&self.journal);
        let call = client.begin(TOOL, self.held(), None).await;
        let arrived = || (reached(&self.journal) > n_before).then_some(());
        wait_until("the call to arrive", arrived, || self.gateway.log());
        call
    }

    /// No kind of request gets through; each is answered with this code.
    async fn refuses_all(&self, client: &Client, code: i64) {
        let arrived = |method: &str| {
            journal(&self.journal).iter().filter(|event| event["method"] == method).count()
        };
        for (method, params) in requests() {
            let n_before = arrived(method);
            let refused = client.ask(method, params).await.response;
            assert_eq!(refused["error"]["code"], code, "{method} {refused}");
            assert_eq!(refused["error"]["data"]["sent"], "no", "{method} {refused}");
            assert_eq!(arrived(method), n_before, "{method} reached the server");
        }
    }

    fn release(&self) {
        fs::write(&self.go, "").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_on_record_before_its_client_has_it() {
    for (server, keys) in
        [(Server::ModernHttp, ""), (Server::LegacyStdio, "isolation = \"per-session\"\n")]
    {
        for kind in [Kind::ModernHttp, Kind::LegacyHttp] {
            let cell = Cell::with(kind, server, able(), keys).await;
            let mut call = cell.client.begin(TOOL, json!({ "message": "secret?" }), None).await;
            let asked = match kind {
                kind if kind.is_modern() => call.next().await.unwrap(),
                _ => cell.client.question(&mut call).await,
            };
            let records = audit_in(&cell.audit);
            let context = || format!("{kind:?} {server:?} {asked} {}", cell.describe());
            let [question] = &of_kind(records.clone(), "questions")[..] else {
                panic!("one record: {}", context())
            };
            let [intent] = &of_kind(records, "intent")[..] else {
                panic!("one call: {}", context())
            };
            for key in ["call", "principal", "era", "server"] {
                assert_eq!(question[key], intent[key], "{}", context());
            }
            assert_eq!(question["asks"], "form", "{}", context());
            if let Some(requests) = asked.pointer("/result/inputRequests") {
                assert_committed(&cell.audit, &question["questions_commit"], requests);
            }
            let log = fs::read_to_string(cell.audit.join("current/seg/000001.jsonl")).unwrap();
            assert!(!log.contains("secret?"), "content is not recorded");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_record_of_a_round_names_all_that_is_asked() {
    let cell = Cell::able(Kind::ModernHttp, Server::ModernHttp, able()).await;
    let tool = "up__test_input_required_result_multiple_inputs";
    let asked = cell.client.call(tool, json!({})).await.response;
    let requests = &asked["result"]["inputRequests"];
    let records = of_kind(audit_in(&cell.audit), "questions");
    assert_eq!(records.len(), 1, "{asked}");
    assert_eq!(records[0]["asks"], "form,sampling,roots");
    assert_committed(&cell.audit, &records[0]["questions_commit"], requests);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_on_record_before_the_server_has_them() {
    let house = House::new(None);
    let client = house.client(Kind::ModernHttp).await;
    house.release();
    let asked = client.call(TOOL, house.held()).await.response;
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    fs::remove_file(&house.go).unwrap();
    let answers = json!({ "said": answer("elicitation/create") });
    let mut params = json!({ "name": TOOL, "arguments": house.held() });
    params["inputResponses"] = answers.clone();
    let again = client.begin_request("tools/call", params).await;
    let arrived = || (reached(&house.journal) == 2).then_some(());
    wait_until("the answers to arrive", arrived, || house.gateway.log());
    let intents = of_kind(house.gateway.audit(), "intent");
    let [first, second] = &intents[..] else { panic!("two calls: {intents:#?}") };
    assert_eq!(first["answers_commit"], Value::Null);
    let audit = house.gateway.dir.path().join("state/audit");
    assert_committed(&audit, &second["answers_commit"], &answers);
    assert_eq!(second["answers_bytes"], answers.to_string().len());
    house.release();
    let done = again.finish().await.response;
    assert!(text(&done).contains("ann"), "{done}");
    assert!(house.gateway.cli(&["audit", "verify"]).status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_crosses_without_a_record() {
    let house = House::new(Some(16));
    let modern = house.client(Kind::ModernHttp).await;
    let legacy = house.client(Kind::LegacyHttp).await;
    let asked = modern.call(TOOL, json!({ "message": "?" })).await.response;
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let held = [house.hold(&modern).await, house.hold(&legacy).await];
    let full = async || {
        for _ in 0..1000 {
            let refused = modern.call("up__count", json!({ "key": "a" })).await.response;
            if refused["error"].is_object() {
                return refused;
            }
        }
        panic!("the bound was never met");
    };
    assert_unrecorded(&full().await);
    let stopped = || (house.gateway.status()["stop"]["engaged"] == true).then_some(());
    wait_until("the stop of a failed audit", stopped, || house.gateway.log());
    let n_before = reached(&house.journal);
    house.release();
    for call in held {
        let told = call.finish().await;
        assert_eq!(told.notices, Vec::<Value>::new(), "nobody was asked");
        assert_eq!(told.response["error"]["code"], -31001, "{told:?}");
        assert_eq!(told.response["error"]["data"]["sent"], "yes", "{told:?}");
    }
    let params = json!({ "name": TOOL, "arguments": { "message": "?" },
                         "inputResponses": { "said": answer("elicitation/create") } });
    assert_unrecorded(&modern.ask("tools/call", params).await.response);
    assert_eq!(reached(&house.journal), n_before, "no answer reached the server");
    house.refuses_all(&modern, -31001).await;
    let (_ear, honoured) = modern.hear(&[WATCHED]).await;
    assert_eq!(honoured, Vec::<String>::new());
    assert!(!fs::read_to_string(&house.journal).unwrap().contains(WATCHED));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_crosses_while_stopped() {
    let house = House::new(None);
    let modern = house.client(Kind::ModernHttp).await;
    let legacy = house.client(Kind::LegacyHttp).await;
    let asked = modern.call(TOOL, json!({ "message": "?" })).await.response;
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let mut open = legacy.begin(TOOL, json!({ "message": "?" }), None).await;
    let question = legacy.question(&mut open).await;
    let held = house.hold(&legacy).await;
    house.gateway.signal("USR1");
    house.gateway.wait_audit("the engagement", |record| record["kind"] == "latch_engaged");
    let n_before = reached(&house.journal);
    house.release();
    legacy.respond(&question, answer("elicitation/create")).await;
    let told = held.finish().await;
    assert_eq!(told.notices, Vec::<Value>::new(), "nobody was asked");
    assert_eq!(told.response["error"]["code"], -31001, "{told:?}");
    let params = json!({ "name": TOOL, "arguments": { "message": "?" },
                         "inputResponses": { "said": answer("elicitation/create") } });
    let refused = modern.ask("tools/call", params).await.response;
    assert_eq!(refused["error"]["code"], -31001, "{refused}");
    assert_eq!(open.finish().await.response["error"]["code"], -31001);
    house.refuses_all(&modern, -31001).await;
    house.refuses_all(&legacy, -31001).await;
    assert_eq!(reached(&house.journal), n_before, "no answer reached the server");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wish_to_watch_is_on_record_before_the_server_hears_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let args = ["--era", "legacy", "--journal", path.to_str().unwrap()];
    let gateway = Gateway::start(&stdio_server("up", &args));
    let wishes = || of_kind(gateway.audit(), "watch");
    let modern = Client::http(Kind::ModernHttp, gateway.port).await;
    let (_quiet, _) = modern.hear(&[]).await;
    assert_eq!(wishes(), Vec::<Value>::new(), "no URI, no record");
    let listen = modern.begin_listen(&[WATCHED]).await;
    let heard = || (asked(&path) == ["resources/subscribe"]).then_some(());
    wait_until("the server to be asked", heard, || gateway.log());
    let [wish] = &wishes()[..] else { panic!("one wish: {:#?}", wishes()) };
    assert_eq!((&wish["server"], &wish["resource"]), (&"up".into(), &WATCHED.into()));
    let legacy = Client::http(Kind::LegacyHttp, gateway.port).await;
    legacy.hear(&[WATCHED]).await;
    assert_eq!(wishes().len(), 2, "whose wish it is matters");
    assert_eq!(asked(&path), ["resources/subscribe"], "the server is asked once");
    assert!(gateway.cli(&["audit", "verify"]).status.success());
    drop(listen);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_stopped_no_server_is_asked_for_news_and_afterwards_all_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let args = ["--era", "legacy", "--journal", path.to_str().unwrap()];
    let gateway = Gateway::start(&stdio_server("up", &args));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let (mut ear, honoured) = client.hear(&[WATCHED]).await;
    assert_eq!(honoured, [WATCHED]);
    gateway.signal("USR1");
    gateway.wait_audit("the engagement", |record| record["kind"] == "latch_engaged");
    let (_late, honoured) = client.hear(&["test://static-text"]).await;
    assert_eq!(honoured, Vec::<String>::new());
    let late = gateway.audit().into_iter().filter(|one| one["resource"] == "test://static-text");
    let late: Vec<Value> = late.map(|record| record["kind"].clone()).collect();
    assert_eq!(late, ["denied"], "it is refused, and not kept for later");
    let pid = journal(&path).last().unwrap()["pid"].to_string();
    let gone = || (!Path::new(&format!("/proc/{pid}")).exists()).then_some(());
    wait_until("the server to be gone", gone, || gateway.log());
    let listed = || journal(&path).iter().filter(|event| event["method"] == "tools/list").count();
    assert_eq!(asked(&path), ["resources/subscribe"]);
    assert_eq!(listed(), 1, "it is not started again");
    gateway.reset();
    ear.next(UPDATED).await;
    assert_eq!(asked(&path), ["resources/subscribe"; 2]);
}
