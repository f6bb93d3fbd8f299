//! Rows of what a client hears without having asked: changed lists, updates, log messages.

use serde_json::{Value, json};

use crate::{
    eras::Cell,
    subscriptions::{STAMP, UPDATED, WATCHED},
};

const LOGGING: &str = "up__test_tool_with_logging";

#[track_caller]
fn check_stamp(cell: &Cell, heard: &Value) {
    let is_stamped = heard.pointer(STAMP).is_some_and(Value::is_u64);
    assert_eq!(is_stamped, cell.kind.is_modern(), "{heard}");
}

pub(super) async fn lists(cell: Cell) {
    let (mut ear, _) = cell.client.hear(&[]).await;
    for (tool, list) in [
        ("up__test_trigger_tool_change", "tools"),
        ("up__test_trigger_prompt_change", "prompts"),
        ("up__test_toggle_resource", "resources"),
    ] {
        cell.client.call(tool, json!({})).await;
        check_stamp(&cell, &ear.next(&format!("notifications/{list}/list_changed")).await);
        let listed = cell.client.ask(&format!("{list}/list"), json!({})).await.response;
        assert!(listed["result"][list].to_string().contains("dynamic"), "{listed}");
    }
}

pub(super) async fn updates(cell: Cell) {
    let (mut ear, honoured) = cell.client.hear(&[WATCHED, "test://nowhere/at/all"]).await;
    assert!(honoured.contains(&WATCHED.to_owned()), "{}", cell.describe());
    cell.client.call("up__test_trigger_resource_update", json!({})).await;
    let heard = ear.next(UPDATED).await;
    assert_eq!(heard["params"]["uri"], WATCHED);
    check_stamp(&cell, &heard);
}

/// How many log messages a call brings of a server that logs at the level `said`, when its client
/// wants to hear from this level on.
async fn heard(cell: &Cell, level: Option<&str>, said: &str) -> usize {
    // Who wants to hear of progress still hears no messages of others.
    let meta = json!({ "progressToken": "p" });
    let mut params = json!({ "name": LOGGING, "arguments": { "level": said }, "_meta": meta });
    if let Some(level) = level {
        if cell.kind.is_modern() {
            params["_meta"]["io.modelcontextprotocol/logLevel"] = level.into();
        } else {
            let set = cell.client.ask("logging/setLevel", json!({ "level": level })).await;
            assert_eq!(set.response["result"], json!({}));
        }
    }
    let before = cell.client.n_unasked();
    let answer = cell.client.ask("tools/call", params).await;
    assert!(answer.response["result"].is_object(), "{answer:?}");
    assert!(answer.notices.iter().all(|one| one["method"] == "notifications/message"));
    answer.notices.len() + cell.client.n_unasked() - before
}

pub(super) async fn logs(cell: Cell) {
    // Of itself, a legacy one logs from info on.
    for (level, said, n) in [
        (None, "info", 0),
        (Some("info"), "info", 3),
        (Some("error"), "info", 0),
        (Some("debug"), "debug", 3),
        (Some("error"), "warning", 0),
        (Some("error"), "error", 3),
    ] {
        assert_eq!(heard(&cell, level, said).await, n, "{level:?} {said}");
    }
    if !cell.kind.is_modern() {
        let wrong = cell.client.ask("logging/setLevel", json!({ "level": "loud" })).await;
        assert_eq!(wrong.response["error"]["code"], -32602);
    }
}

/// Behind HTTP a message comes with the answer to its call; on the pipe of a child nobody can tell.
pub(super) async fn logs_of_calls(cell: Cell) {
    let n = if cell.server.is_child() { 0 } else { 3 };
    assert_eq!(heard(&cell, Some("debug"), "info").await, n);
}
