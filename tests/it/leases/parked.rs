//! Calls that wait for an answer: whose question is whose, and what the server hears when nobody
//! will answer.

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{Asking, LEGACY};
use crate::{
    client::{Client, InFlight, Kind},
    eras::Server,
    harness::Gateway,
    questions::{answer, text},
};

const TOOL: &str = "up__test_elicitation";

async fn asked(client: &Client, message: &str) -> (InFlight, Value) {
    let mut call = client.begin(TOOL, json!({ "message": message }), None).await;
    let question = client.question(&mut call).await;
    assert_eq!(question["params"]["message"], message, "{question}");
    (call, question)
}

fn named(name: &str) -> Value {
    json!({ "action": "accept", "content": { "username": name, "email": "a@b" } })
}

/// Both calls run before either asks, and the one that began later asks first.
/// A call that waits for its answer, and the request that brings it: the name that was asked for.
async fn parked(client: &Client, name: &str) -> Value {
    let mut params = json!({ "name": TOOL, "arguments": { "message": "?" } });
    let asks = client.ask("tools/call", params.clone()).await.response;
    params["requestState"] = asks["result"]["requestState"].clone();
    params["inputResponses"] = json!({ "q0": named(name) });
    params
}

#[tokio::test(flavor = "multi_thread")]
async fn two_conversations_asked_at_once_do_not_mix() {
    for server in LEGACY {
        let asking = Asking::start(server, "per-session");
        let mut held = Vec::new();
        for name in ["ann", "bob"] {
            let client = asking.client(Kind::LegacyHttp).await;
            let go = asking.journal.with_file_name(name);
            let arguments = json!({ "message": format!("{name}?"), "hold_until": go });
            let call = client.begin(TOOL, arguments, None).await;
            held.push((name, client, call, go));
            let n_calls = || asking.journal().iter().filter(|one| one["tool"].is_string()).count();
            asking.wait("the call", || n_calls() == held.len());
        }
        let mut open = Vec::new();
        for (name, client, mut call, go) in held.into_iter().rev() {
            fs::write(go, "").unwrap();
            let question = client.question(&mut call).await;
            assert_eq!(question["params"]["message"], format!("{name}?"), "{server:?} {question}");
            open.push((name, client, call, question));
        }
        for (name, client, _, question) in &open {
            client.respond(question, named(name)).await;
        }
        for (name, _client, call, _) in open {
            let got = call.finish().await.response;
            let other = if name == "ann" { "bob" } else { "ann" };
            assert!(text(&got).contains(name) && !text(&got).contains(other), "{server:?} {got}");
        }
    }
}

/// A withdrawal, an error instead of an answer, and the end of the session.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_does_not_wait_for_a_client_that_will_not_answer() {
    for server in LEGACY {
        let asking = Asking::start(server, "per-principal");
        let client = asking.client(Kind::LegacyHttp).await;
        for n in 1..=3 {
            let (call, question) = asked(&client, "?").await;
            assert_eq!(asking.n_cancelled(), n - 1, "{server:?}");
            match n {
                1 => client.tell("notifications/cancelled", json!({ "requestId": call.id })).await,
                2 => client.decline(&question).await,
                _ => drop(client.end_session().await),
            }
            asking.wait(&format!("withdrawal {n}"), || asking.n_cancelled() == n);
            drop(call);
        }
        // Others of the same principal still have the session.
        let other = asking.client(Kind::LegacyHttp).await;
        let (got, _) = other.call_answering(TOOL, json!({ "message": "?" }), answer).await;
        assert!(text(&got).contains("ann"), "{server:?} {got}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_ends_takes_its_session_with_it() {
    let asking = Asking::start(Server::LegacyHttp, "per-session");
    let client = asking.client(Kind::LegacyHttp).await;
    let _call = asked(&client, "?").await;
    client.end_session().await;
    asking.wait("the end of the session", || {
        asking.journal().iter().any(|event| event["event"] == "session-deleted")
    });

    let asking = Asking::start(Server::LegacyStdio, "per-session");
    let client = asking.client(Kind::LegacyHttp).await;
    let _call = asked(&client, "?").await;
    let mut calls = asking.journal().into_iter().filter(|event| event["method"] == "tools/call");
    let process = format!("/proc/{}", calls.next_back().unwrap()["pid"]);
    assert!(Path::new(&process).exists());
    client.end_session().await;
    asking.wait("the end of the process", || !Path::new(&process).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_after_a_stop_and_a_reset_reaches_nobody() {
    for server in LEGACY {
        let asking = Asking::start(server, "per-principal");
        let client = asking.client(Kind::ModernHttp).await;
        let params = parked(&client, "ghost").await;
        // So that the server lives to hear of it.
        assert!(asking.gateway.cli(&["stop", "--category", "1"]).status.success());
        asking.wait("the stop to reach the server", || asking.n_cancelled() == 1);
        let stopped = client.ask("tools/call", params.clone()).await.response;
        assert_eq!(stopped["error"]["code"], -31001, "{stopped}");
        asking.gateway.reset();
        let late = client.ask("tools/call", params).await.response;
        assert_eq!(late["error"]["code"], -31002, "{server:?} {late}");
        assert_eq!(late["error"]["data"]["sent"], "unknown", "{late}");
        let heard: Vec<Value> = asking.journal();
        assert!(!heard.iter().any(|event| event.to_string().contains("ghost")), "{heard:?}");
    }
}

/// A modern client that was handed the questions may have gone for good or for lunch.
#[tokio::test(flavor = "multi_thread")]
async fn a_modern_client_may_come_back_on_another_connection() {
    for server in LEGACY {
        let asking = Asking::start(server, "per-principal");
        let first = asking.client(Kind::ModernHttp).await;
        let params = parked(&first, "ann").await;
        drop(first);
        let again = asking.client(Kind::ModernHttp).await;
        let got = again.ask("tools/call", params).await.response;
        assert!(text(&got).contains("ann"), "{server:?} {got}");
        assert_eq!(asking.n_cancelled(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_call_does_not_outlive_its_gateway() {
    for server in LEGACY {
        let asking = Asking::start(server, "per-principal");
        let client = asking.client(Kind::ModernHttp).await;
        let params = parked(&client, "ghost").await;
        let Asking { gateway, journal, _server } = asking;
        let config = fs::read_to_string(gateway.config()).unwrap();
        let (_, server) = config.split_once("[servers.").unwrap();
        let (_, dir) = gateway.end();
        let gateway = Gateway::start_in(dir, &format!("[servers.{server}"));
        let asking = Asking { gateway, journal, _server };
        let client = asking.client(Kind::ModernHttp).await;
        let late = client.ask("tools/call", params).await.response;
        assert_eq!(late["error"]["code"], -32602, "{server:?} {late}");
        assert_eq!(late["error"]["data"]["reason"], "state", "{server:?} {late}");
        assert!(!asking.journal().iter().any(|event| event.to_string().contains("ghost")));
    }
}

impl Asking {
    fn n_cancelled(&self) -> usize {
        let is_meant = |event: &&Value| event["method"] == "notifications/cancelled";
        self.journal().iter().filter(is_meant).count()
    }
}
