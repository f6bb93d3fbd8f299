//! Questions of servers: whose answers count, and when nobody is asked any more.

use std::fs;

use serde_json::{Value, json};

use crate::{
    client::{Client, Kind},
    eras::{Cell, Server},
    harness::{Gateway, HttpFixture, audit_in, journal, wait_until},
};

pub(crate) const KINDS: [Kind; 4] =
    [Kind::ModernHttp, Kind::LegacyHttp, Kind::ModernStdio, Kind::LegacyStdio];

pub(crate) fn able() -> Value {
    json!({ "elicitation": { "form": {} }, "sampling": {}, "roots": {} })
}

pub(crate) fn answer(method: &str) -> Value {
    match method {
        "elicitation/create" => json!({
            "action": "accept",
            "content": { "username": "ann", "email": "a@b", "name": "ann", "ok": true, "color": "red" },
        }),
        "sampling/createMessage" => json!({
            "role": "assistant", "model": "m", "content": { "type": "text", "text": "Paris" },
        }),
        "roots/list" => json!({ "roots": [{ "uri": "file:///r" }] }),
        other => panic!("nobody may ask {other}"),
    }
}

pub(crate) fn text(response: &Value) -> &str {
    let text = response.pointer("/result/content/0/text").and_then(Value::as_str);
    text.unwrap_or_else(|| panic!("no text in {response}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_was_given_out_for_another_request_never_reaches_the_server() {
    let cell = Cell::able(Kind::ModernHttp, Server::ModernHttp, able()).await;
    let tool = "up__test_input_required_result_request_state";
    let first = cell.client.call(tool, json!({})).await.response;
    let state = first["result"]["requestState"].as_str().unwrap_or_else(|| panic!("{first}"));
    let before = journal(&cell.journal).len();
    let again = |name: &str, arguments: Value, state: &str| {
        json!({ "name": name, "arguments": arguments, "requestState": state,
                "inputResponses": { "confirm": answer("elicitation/create") } })
    };
    let tampered = format!("AAAA{state}");
    for params in [
        again(tool, json!({ "x": 1 }), state),
        again("up__test_input_required_result_tampered_state", json!({}), state),
        again(tool, json!({}), &tampered),
        again(tool, json!({}), "no such state"),
    ] {
        let refused = cell.client.ask("tools/call", params).await.response;
        assert_eq!(refused["error"]["code"], -32602, "{refused}");
        assert_eq!(refused["error"]["data"]["reason"], "state", "{refused}");
    }
    assert_eq!(journal(&cell.journal).len(), before);
    let refusals =
        audit_in(&cell.audit).into_iter().filter(|record| record["reason"] == "state").count();
    assert_eq!(refusals, 4);
    let done = cell.client.ask("tools/call", again(tool, json!({}), state)).await.response;
    assert!(text(&done).starts_with("state-ok"), "{done}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stop_and_a_withdrawal_end_a_call_that_waits_for_an_answer() {
    let server = HttpFixture::start(&[]);
    let gateway = Gateway::start(&format!("[servers.up]\nurl = {:?}\n", server.url));
    let client = Client::able_http(Kind::LegacyHttp, gateway.port, able()).await;
    let tool = "up__test_elicitation";

    let mut call = client.begin(tool, json!({ "message": "?" }), None).await;
    let question = client.question(&mut call).await;
    let params = json!({ "requestId": call.id });
    client.tell("notifications/cancelled", params).await;
    let taken_back = call.next().await.unwrap();
    assert_eq!(taken_back["method"], "notifications/cancelled", "{taken_back}");
    assert_eq!(taken_back["params"]["requestId"], question["id"]);
    assert_eq!(call.next().await, None, "a withdrawn call has no answer");

    let mut call = client.begin(tool, json!({ "message": "?" }), None).await;
    let question = client.question(&mut call).await;
    gateway.signal("USR1");
    let taken_back = call.next().await.unwrap();
    assert_eq!(taken_back["params"]["requestId"], question["id"], "{taken_back}");
    let stopped = call.finish().await.response;
    assert_eq!(stopped["error"]["code"], -31001, "{stopped}");
    // It comes too late for anybody.
    client.respond(&question, answer("elicitation/create")).await;
    gateway.wait_audit("the engagement", |record| record["kind"] == "latch_engaged");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_counts_only_in_the_session_that_was_asked() {
    let server = HttpFixture::start(&[]);
    let gateway = Gateway::start(&format!("[servers.up]\nurl = {:?}\n", server.url));
    let asked = Client::able_http(Kind::LegacyHttp, gateway.port, able()).await;
    let other = Client::able_http(Kind::LegacyHttp, gateway.port, able()).await;
    let mut call = asked.begin("up__test_elicitation", json!({ "message": "?" }), None).await;
    let question = asked.question(&mut call).await;
    let forged = json!({ "action": "accept", "content": { "username": "eve", "email": "e" } });
    other.respond(&question, forged).await;
    asked.respond(&question, answer("elicitation/create")).await;
    let got = call.finish().await.response;
    assert!(text(&got).contains("ann") && !text(&got).contains("eve"), "{got}");
}

/// Servers of both eras ask as they would ask a client of 2025-11-25.
#[tokio::test(flavor = "multi_thread")]
async fn an_old_client_is_asked_in_the_words_of_its_revision_or_not_at_all() {
    let tool = "up__test_elicitation_sep1330_enums";
    for (server, keys) in [
        (Server::ModernHttp, ""),
        (Server::LegacyHttp, "isolation = \"per-session\"\n"),
        (Server::LegacyStdio, "isolation = \"per-session\"\n"),
    ] {
        let cell = Cell::with(Kind::OldHttp, server, able(), keys).await;
        let mut call = cell.client.begin(tool, json!({ "only": "titledSingle" }), None).await;
        let asked = cell.client.question(&mut call).await;
        let choice = json!({
            "type": "string", "enum": ["value1", "value2", "value3"],
            "enumNames": ["First Option", "Second Option", "Third Option"],
        });
        assert_eq!(asked["params"]["requestedSchema"]["properties"]["titledSingle"], choice);
        let chosen = json!({ "action": "accept", "content": { "titledSingle": "value2" } });
        cell.client.respond(&asked, chosen).await;
        let done = call.finish().await.response;
        assert!(text(&done).contains("value2"), "{done}");

        let of_kind =
            |kind: &str| audit_in(&cell.audit).iter().filter(|one| one["kind"] == kind).count();
        let n_asked = of_kind("questions");
        let (got, n) = cell.client.call_answering(tool, json!({}), answer).await;
        assert_eq!(n, 0, "{server:?} {got}");
        assert_eq!(of_kind("questions"), n_asked, "what nobody is asked is no question");
        if server.is_modern() {
            assert_eq!(got["error"]["code"], -32603, "{got}");
            assert_eq!(got["error"]["data"]["reason"], "schema", "{got}");
        } else {
            // It is told no at once, and makes of that what it can.
            assert!(got.to_string().contains("words that its caller knows"), "{server:?} {got}");
        }
    }
}

const TWICE: &str = "up__test_two_questions";
const LEGACY: [Server; 2] = [Server::LegacyStdio, Server::LegacyHttp];

/// A client of this kind that has a session of the legacy server to itself.
async fn own_session(kind: Kind, server: Server) -> Cell {
    Cell::with(kind, server, able(), "isolation = \"per-session\"\n").await
}

impl Cell {
    fn second_after(&self) -> Value {
        json!({ "second_after": self.journal.with_file_name("go") })
    }

    /// The server asks its second question, and the gateway has read it.
    fn ask_second(&self) {
        fs::write(self.journal.with_file_name("go"), "").unwrap();
        let is_asked = |event: &Value| event["event"] == "asked";
        let asked = || journal(&self.journal).into_iter().find(is_asked);
        wait_until("the second question", asked, || self.describe());
    }

    /// Each question was handed out as often as this, and its answer came to the server once.
    fn assert_told_once(&self, n_handed_out: [usize; 2]) {
        let rounds = audit_in(&self.audit).into_iter().filter(|one| one["kind"] == "questions");
        let rounds: Vec<String> =
            rounds.map(|round| round["asks"].as_str().unwrap().to_owned()).collect();
        let n = |what: &str| {
            rounds.iter().flat_map(|round| round.split(',')).filter(|one| *one == what).count()
        };
        assert_eq!([n("sampling"), n("form")], n_handed_out, "{rounds:?}");
        let heard = journal(&self.journal).into_iter().filter(|one| one["event"] == "response");
        // And one to its ping.
        assert_eq!(heard.count(), 3, "{}", self.describe());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_comes_while_another_is_answered_is_put_alone() {
    let kinds = [Kind::LegacyHttp, Kind::LegacyStdio];
    for (kind, server) in kinds.into_iter().flat_map(|kind| LEGACY.map(|it| (kind, it))) {
        let cell = own_session(kind, server).await;
        let mut call = cell.client.begin(TWICE, cell.second_after(), None).await;
        let first = cell.client.question(&mut call).await;
        assert_eq!(first["method"], "sampling/createMessage", "{kind:?} {server:?}");
        cell.ask_second();
        cell.client.respond(&first, answer("sampling/createMessage")).await;
        let second = cell.client.question(&mut call).await;
        assert_eq!(second["method"], "elicitation/create", "{kind:?} {server:?} {second}");
        cell.client.respond(&second, answer("elicitation/create")).await;
        let got = call.finish().await.response;
        assert!(text(&got).contains("Paris") && text(&got).contains("ann"), "{got}");
        cell.assert_told_once([1, 1]);
    }
}

/// It may come back without an answer, and bring one that it has given already.
#[tokio::test(flavor = "multi_thread")]
async fn a_parked_caller_is_asked_again_only_what_it_has_not_answered() {
    let kinds = [Kind::ModernHttp, Kind::ModernStdio];
    for (kind, server) in kinds.into_iter().flat_map(|kind| LEGACY.map(|it| (kind, it))) {
        let cell = own_session(kind, server).await;
        let mut params = json!({ "name": TWICE, "arguments": cell.second_after() });
        let sample = json!({ "q0": answer("sampling/createMessage") });
        let both = json!({ "q0": { "late": true }, "q1": answer("elicitation/create") });
        for (responses, want) in [
            (None, vec!["q0"]),
            (Some(json!({})), vec!["q0", "q1"]),
            (Some(sample.clone()), vec!["q1"]),
            (Some(sample), vec!["q1"]),
        ] {
            if let Some(given) = responses {
                params["inputResponses"] = given;
            }
            let asks = cell.client.ask("tools/call", params.clone()).await.response;
            let asked = asks["result"]["inputRequests"].as_object();
            let asked: Vec<&String> = asked.unwrap_or_else(|| panic!("{asks}")).keys().collect();
            assert_eq!(asked, want, "{kind:?} {server:?} {asks}");
            params["requestState"] = asks["result"]["requestState"].clone();
            cell.ask_second();
        }
        params["inputResponses"] = both;
        let got = cell.client.ask("tools/call", params).await.response;
        assert!(text(&got).contains("Paris") && text(&got).contains("ann"), "{got}");
        cell.assert_told_once([2, 3]);
    }
}
