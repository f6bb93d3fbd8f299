//! Rows of what a client asks: calls with their progress and their end, prompts, resources,
//! completions, tasks.

use serde_json::{Value, json};

use crate::{
    client::Kind,
    eras::{Cell, Server},
    harness::{audit_in, journal, wait_until},
    questions::text,
    relay::{TEXT, listed},
    tasks,
};

pub(super) async fn answered(cell: Cell) {
    let said = "plain ✓ \"quoted\" \\ \u{1F600}";
    let got = cell.client.call("up__echo", json!({ "text": said })).await.response;
    assert_eq!(text(&got), said);
    let kind = got["result"].get("resultType");
    assert_eq!(kind.is_some(), cell.kind.is_modern(), "{got}");
    let got = cell.client.call("up__fail", json!({})).await.response;
    assert_eq!(got["result"]["isError"], true, "{got}");
    let got = cell.client.call("up__rpc_error", json!({ "x": 1 })).await.response;
    assert_eq!(got["error"]["code"], -4711, "{got}");
    assert_eq!(got["error"]["data"]["arguments"], json!({ "x": 1 }), "{got}");
}

/// The definition and the result of a tool in forms that only modern revisions know.
async fn rows(cell: &Cell) -> [Value; 4] {
    let listed = cell.client.ask("tools/list", json!({})).await.response;
    let tools = listed["result"]["tools"].as_array().unwrap();
    let rows = tools.iter().find(|tool| tool["name"] == "up__rows").unwrap();
    let got = cell.client.call("up__rows", json!({})).await.response;
    [
        rows["outputSchema"].clone(),
        rows["inputSchema"]["properties"]["any"].clone(),
        got["result"]["structuredContent"].clone(),
        got["result"]["content"].clone(),
    ]
}

pub(super) async fn passes_any_form(cell: Cell) {
    let schema = json!({ "type": "array", "items": { "type": "integer" } });
    assert_eq!(rows(&cell).await, [schema, json!(true), json!([1, 2]), json!([])]);
}

pub(super) async fn says_it_in_older_forms(cell: Cell) {
    let text = json!([{ "type": "text", "text": "[1,2]" }]);
    assert_eq!(rows(&cell).await, [Value::Null, json!({}), Value::Null, text]);
}

pub(super) async fn progress(cell: Cell) {
    let arguments = json!({ "steps": 3, "ms": 5 });
    let answer = cell.client.begin("up__progress", arguments, Some("mine-1")).await.finish().await;
    assert_eq!(answer.notices.len(), 3, "{answer:?}");
    for (n, notice) in answer.notices.iter().enumerate() {
        assert_eq!(notice["method"], "notifications/progress");
        assert_eq!(notice["params"]["progressToken"], "mine-1");
        assert_eq!(notice["params"]["progress"].as_f64(), Some((n + 1) as f64));
    }
    assert_eq!(text(&answer.response), "progressed");
}

pub(super) async fn withdrawn(cell: Cell) {
    let long = json!({ "ms": 600_000, "text": "z" });
    let sleeping = cell.client.begin("up__sleep", long, None).await;
    wait_until("the call to begin", || cell.begun("sleep").then_some(()), || cell.describe());
    cell.client.cancel(sleeping).await;
    wait_until("the cancellation", || cell.cancelled().then_some(()), || cell.describe());
    let outcome = || {
        let mut records = audit_in(&cell.audit).into_iter();
        records.find(|record| record["kind"] == "outcome")
    };
    let outcome = wait_until("the outcome", outcome, || cell.describe());
    assert_eq!((&outcome["outcome"], &outcome["error"]), (&json!("failed"), &json!("cancelled")));
    // The line is as good as before.
    assert_eq!(cell.client.text("up__echo", json!({ "text": "after" })).await, "after");
}

pub(super) async fn begins_a_task(cell: Cell) {
    let arguments = json!({ "seconds": 0, "label": "x" });
    tasks::begin(&cell.client, "up__slow_compute", arguments).await;
}

pub(super) async fn runs_plainly(cell: Cell) {
    let arguments = json!({ "seconds": 0, "label": "x" });
    assert_eq!(cell.client.text("up__slow_compute", arguments).await, "computed x");
}

/// The hints are there for modern clients, and for them only.
#[track_caller]
fn check_hints(kind: Kind, result: &Value) {
    let said = (&result["resultType"], result["ttlMs"].is_u64(), result["cacheScope"].is_string());
    match kind.is_modern() {
        true => assert_eq!(said, (&json!("complete"), true, true), "{result}"),
        false => assert_eq!(said, (&Value::Null, false, false), "{result}"),
    }
}

pub(super) async fn relayed(cell: Cell) {
    let kind = cell.kind;
    let client = &cell.client;
    let ask = async |method: &str, params: Value| client.ask(method, params).await.response;

    let prompts = listed(client, "prompts/list", "name").await;
    assert!(prompts.contains(&"up__test_simple_prompt".to_owned()), "{prompts:?}");
    assert!(prompts.is_sorted());
    let resources = listed(client, "resources/list", "uri").await;
    let all = ["test://static-binary", "test://static-text", "test://watched-resource"];
    assert_eq!(resources, all);
    let templates = listed(client, "resources/templates/list", "uriTemplate").await;
    assert_eq!(templates, ["test://template/{id}/data"]);
    for method in ["prompts/list", "resources/list", "resources/templates/list"] {
        check_hints(kind, &ask(method, json!({})).await["result"]);
    }

    let arguments = json!({ "arg1": "ü", "arg2": "\"" });
    let params = json!({ "name": "up__test_prompt_with_arguments", "arguments": arguments });
    let prompt = ask("prompts/get", params).await;
    let text = &prompt["result"]["messages"][0]["content"]["text"];
    assert_eq!(text, "Prompt with arguments: arg1='ü', arg2='\"'", "{prompt}");
    assert_eq!(prompt["result"].get("resultType").is_some(), kind.is_modern(), "{prompt}");

    let read = ask("resources/read", json!({ "uri": "test://static-text" })).await;
    assert_eq!(read["result"]["contents"][0]["text"], TEXT, "{read}");
    check_hints(kind, &read["result"]);
    let read = ask("resources/read", json!({ "uri": "test://template/7/data" })).await;
    let text = read["result"]["contents"][0]["text"].as_str().unwrap();
    assert!(text.contains("Data for ID: 7"), "{read}");
    let missing = ask("resources/read", json!({ "uri": "test://missing" })).await;
    let code = if kind.is_modern() { -32602 } else { -32002 };
    assert_eq!(missing["error"]["code"], code, "{missing}");
    assert_eq!(missing["error"]["data"]["uri"], "test://missing");

    for target in [
        json!({ "type": "ref/prompt", "name": "up__test_prompt_with_arguments" }),
        json!({ "type": "ref/resource", "uri": "test://template/{id}/data" }),
    ] {
        let params = json!({ "ref": target, "argument": { "name": "arg1", "value": "par" } });
        let completed = ask("completion/complete", params).await;
        let values = &completed["result"]["completion"]["values"];
        assert_eq!(*values, json!(["paris", "park", "party"]), "{completed}");
    }
    check_what_arrived(&cell);
}

/// Under the server's own names, in the headers too, and each on record.
fn check_what_arrived(cell: &Cell) {
    let arrived = journal(&cell.journal);
    let params = |method: &str| {
        let messages = arrived.iter().filter(|line| line["method"] == method);
        let read = |line: &Value| serde_json::from_str::<Value>(line["params"].as_str().unwrap());
        messages.map(|line| read(line).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(params("prompts/get")[0]["name"], "test_prompt_with_arguments");
    assert_eq!(params("completion/complete")[0]["ref"]["name"], "test_prompt_with_arguments");
    let uris: Vec<Value> = params("resources/read").iter().map(|p| p["uri"].clone()).collect();
    assert_eq!(uris, ["test://static-text", "test://template/7/data", "test://missing"]);
    if cell.server == Server::ModernHttp {
        let shown = |method: &str| {
            let line = arrived.iter().find(|line| line["method"] == method).unwrap();
            (line["headers"]["mcp-method"].clone(), line["headers"]["mcp-name"].clone())
        };
        let name = json!("test_prompt_with_arguments");
        assert_eq!(shown("prompts/get"), (json!("prompts/get"), name));
        assert_eq!(shown("resources/read").1, "test://static-text");
        assert_eq!(shown("completion/complete").1, Value::Null);
    }
    let records = || audit_in(&cell.audit);
    let done = || {
        let outcomes = records().iter().filter(|record| record["kind"] == "outcome").count();
        (outcomes == 6).then_some(())
    };
    wait_until("six outcomes", done, || format!("{:#?}", records()));
    let records = records();
    let intents: Vec<&Value> = records.iter().filter(|record| record["kind"] == "intent").collect();
    let of = |key: &str| intents.iter().filter_map(|record| record.get(key)).collect::<Vec<_>>();
    assert_eq!(of("prompt"), ["test_prompt_with_arguments"]);
    assert_eq!(of("resource"), ["test://static-text", "test://template/7/data", "test://missing"]);
    assert_eq!(of("prompt_argument"), ["test_prompt_with_arguments"]);
    assert_eq!(of("template_argument"), ["test://template/{id}/data"]);
    assert!(intents.iter().all(|record| record["server"] == "up"));
}
