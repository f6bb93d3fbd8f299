//! Rows of what a server asks its client, and of when it may not.

use std::fs;

use serde_json::{Value, json};

use crate::{
    eras::Cell,
    harness::{audit_in, journal, wait_until},
    questions::{answer, text},
};

const PAGE: &str = "up__test_elicitation_url";
const PAGE_FIRST: &str = "up__test_page_required";

fn round(name: &str) -> String {
    format!("up__test_input_required_result_{name}")
}

async fn call(cell: &Cell, tool: &str, arguments: Value) -> (Value, usize) {
    cell.client.call_answering(tool, arguments, answer).await
}

async fn call_form(cell: &Cell) -> (Value, usize) {
    call(cell, "up__test_elicitation", json!({ "message": "who?" })).await
}

pub(super) async fn form(cell: Cell) {
    let (got, n) = call_form(&cell).await;
    assert!(text(&got).contains("accept") && text(&got).contains("ann"), "{got}");
    assert_eq!(n, 1);
}

pub(super) async fn page(cell: Cell) {
    let went = |method: &str| {
        assert_eq!(method, "elicitation/create");
        json!({ "action": "accept" })
    };
    let (got, n) = cell.client.call_answering(PAGE, json!({}), went).await;
    assert!(text(&got).contains("action=\"accept\"") && n == 1, "{got}");
}

pub(super) async fn sample(cell: Cell) {
    let (got, n) = call(&cell, "up__test_sampling", json!({ "prompt": "capital?" })).await;
    assert_eq!((text(&got), n), ("LLM response: Paris", 1));
}

pub(super) async fn roots(cell: Cell) {
    let (got, n) = call(&cell, &round("list_roots"), json!({})).await;
    assert!(text(&got).contains("file:///r") && n == 1, "{got}");
}

pub(super) async fn several(cell: Cell) {
    let (got, n) = call(&cell, &round("multiple_inputs"), json!({})).await;
    assert_eq!(n, 3, "{got}");
    for want in ["ann", "Paris", "file:///r"] {
        assert!(text(&got).contains(want), "no {want} in {got}");
    }
    let (got, n) = call(&cell, &round("multi_round"), json!({})).await;
    assert!(text(&got).contains("red") && n == 2, "{got}");
}

/// A modern server refuses the call, and asks only for the rest where it can do with that.
pub(super) async fn lacks_forms(cell: Cell) {
    let (got, n) = call_form(&cell).await;
    assert_eq!((&got["error"]["code"], n), (&json!(-32021), 0), "{got}");
    let (got, n) = call(&cell, &round("capabilities"), json!({})).await;
    assert_eq!(n, 1, "only the sample: {got}");
}

/// A legacy server hears that its client cannot be asked.
pub(super) async fn refused(cell: Cell) {
    let (got, n) = call_form(&cell).await;
    assert_eq!(n, 0, "{got}");
    assert!(text(&got).contains("did not declare"), "{got}");
}

pub(super) async fn breaks_protocol(cell: Cell) {
    let (got, n) = call(&cell, PAGE, json!({})).await;
    assert_eq!((&got["error"]["code"], n), (&json!(-31006), 0), "{got}");
}

pub(super) async fn page_first(cell: Cell) {
    visits(&cell).await;
}

/// The call succeeds after a visit, about which the client is asked once.
async fn visits(cell: &Cell) {
    let visited = cell.journal.with_file_name("visited");
    let visit = |method: &str| {
        assert_eq!(method, "elicitation/create");
        fs::write(&visited, "").unwrap();
        json!({ "action": "accept", "content": { "secret": "of the client" } })
    };
    let arguments = json!({ "visited": visited });
    let (got, n) = cell.client.call_answering(PAGE_FIRST, arguments, visit).await;
    assert!(got["result"].is_object() && n == 1, "{got}");
    wait_until("the question on record", || asked_on_record(cell), || cell.describe());
}

/// The error of a legacy server is a question to a modern client, whose answer nobody else needs.
pub(super) async fn refers(cell: Cell) {
    let arguments = json!({ "pages": 17 });
    let got = cell.client.call(PAGE_FIRST, arguments).await.response;
    assert_eq!(got["error"]["code"], -32603, "too many to ask for: {got}");
    assert_eq!(got["error"]["message"], "sign in first", "{got}");
    let got = cell.client.call(PAGE_FIRST, json!({ "pages": 2 })).await.response;
    let asked = &got["result"]["inputRequests"];
    assert_eq!(asked["q1"]["params"]["url"], "https://example.org/sign-in", "{got}");
    visits(&cell).await;
    let arrived = journal(&cell.journal);
    let calls = arrived.iter().filter(|one| one["method"] == "tools/call");
    assert_eq!(calls.count(), 4);
    assert!(!format!("{arrived:?}").contains("of the client"), "{arrived:#?}");
}

/// A legacy client gets the error as it is; that it asks is on record.
pub(super) async fn refused_for_a_page(cell: Cell) {
    let visited = cell.journal.with_file_name("visited");
    let arguments = json!({ "visited": visited });
    let (got, n) = call(&cell, PAGE_FIRST, arguments.clone()).await;
    let page = json!({
        "mode": "url", "message": "Please sign in", "url": "https://example.org/sign-in",
        "elicitationId": "sign-in",
    });
    let data = json!({ "elicitations": [page], "more": [] });
    let error = json!({ "code": -32042, "message": "sign in first", "data": data });
    assert_eq!((&got["error"], n), (&error, 0));
    wait_until("the question on record", || asked_on_record(&cell), || cell.describe());
    fs::write(visited, "").unwrap();
    let (got, _) = call(&cell, PAGE_FIRST, arguments).await;
    assert_eq!(text(&got), "visited");
}

pub(super) async fn lacks_pages(cell: Cell) {
    let got = cell.client.call(PAGE_FIRST, json!({})).await.response;
    assert_eq!(got["error"]["code"], -32021, "{got}");
    let required = json!({ "elicitation": { "url": {} } });
    assert_eq!(got["error"]["data"]["requiredCapabilities"], required);
    assert_eq!(asked_on_record(&cell), None, "nobody was asked");
}

pub(super) async fn breaks_protocol_first(cell: Cell) {
    let got = cell.client.call(PAGE_FIRST, json!({})).await.response;
    assert_eq!(got["error"]["code"], -31006, "{got}");
}

fn asked_on_record(cell: &Cell) -> Option<Value> {
    audit_in(&cell.audit).into_iter().find(|record| record["kind"] == "questions")
}

pub(super) async fn refused_a_page(cell: Cell) {
    let (got, n) = call(&cell, PAGE, json!({})).await;
    assert!(got["error"]["message"].to_string().contains("the client refused"), "{got}");
    assert_eq!(n, 0, "{got}");
    refusal(&cell);
}

/// Modern revisions have no requests of servers.
pub(super) async fn cannot_ask(cell: Cell) {
    let got = cell.client.call("up__test_question_later", json!({})).await.response;
    assert_eq!(got["error"]["code"], -32602, "not among its tools: {got}");
}

pub(super) async fn refused_later(cell: Cell) {
    let go = cell.journal.with_file_name("go");
    let (got, n) = call(&cell, "up__test_question_later", json!({ "ask_after": go })).await;
    assert_eq!((text(&got), n), ("test_question_later done", 0));
    fs::write(go, "").unwrap();
    refusal(&cell);
    assert_eq!(cell.client.text("up__echo", json!({ "text": "after" })).await, "after");
}

fn completion() -> Value {
    let target = json!({ "type": "ref/prompt", "name": "up__test_prompt_with_arguments" });
    json!({ "ref": target, "argument": { "name": "arg1", "value": "ask" } })
}

pub(super) async fn completes(cell: Cell) {
    let got = cell.client.ask("completion/complete", completion()).await.response;
    assert_eq!(got["result"]["completion"]["values"], json!([]), "{got}");
}

pub(super) async fn refused_completing(cell: Cell) {
    let got = cell.client.ask("completion/complete", completion()).await.response;
    assert!(got["error"]["message"].to_string().contains("the client refused"), "{got}");
    refusal(&cell);
}

/// The server was told no, and no client was asked anything: what it is asked is on record before.
/// The code is that of what was declared; a session that is everybody's has declared nothing.
fn refusal(cell: &Cell) {
    let is_refused = |one: &Value| one["error"].to_string().contains("-32602");
    let refused = || journal(&cell.journal).into_iter().find(is_refused);
    wait_until("the refusal", refused, || cell.describe());
    assert_eq!(asked_on_record(cell), None);
}

const CHANGED: &str = "notifications/roots/list_changed";

/// The server hears nothing of roots that changed, nor that it would.
pub(super) async fn roots_dropped(cell: Cell) {
    cell.client.text("up__echo", json!({ "text": "before" })).await;
    cell.client.tell(CHANGED, json!({})).await;
    assert_eq!(cell.client.text("up__echo", json!({ "text": "after" })).await, "after");
    let arrived = journal(&cell.journal);
    let told = arrived.iter().any(|one| {
        let promised =
            one["method"] != "server/discover" && one.to_string().contains("listChanged");
        one["method"] == CHANGED || promised
    });
    assert!(!told, "{arrived:#?}");
}

/// The server's session is opened by the first call.
pub(super) async fn roots_told(cell: Cell) {
    cell.client.text("up__echo", json!({ "text": "before" })).await;
    cell.client.tell(CHANGED, json!({ "_meta": { "x": "not for the server" } })).await;
    let told = || journal(&cell.journal).into_iter().find(|one| one["method"] == CHANGED);
    let told = wait_until("the roots to change", told, || cell.describe());
    assert_eq!(told.get("params"), None, "{told}");
}
