//! What clients do besides asking: answer the questions of a legacy server, and retry with the
//! answers to those of a modern one.

use std::process::Command;

use http::StatusCode;
use serde_json::{Value, json};

use super::{Client, InFlight, Line, bare, post};
use crate::harness::within;

/// More than any tool of the fixture asks in one call, and more rounds.
const QUESTIONS_MAX: usize = 8;

impl Client {
    /// Any notification of the client.
    pub(crate) async fn tell(&self, method: &str, params: Value) {
        self.notify(method, params).await;
    }

    /// How many notifications a stdio client got so far that belong to no request by their token.
    pub(crate) fn n_unasked(&self) -> usize {
        match &self.line {
            Line::Http { .. } => 0,
            Line::Stdio(pipes) => pipes.unasked.lock().unwrap().len(),
        }
    }

    /// The next request of the server within a call, put aside from its notifications.
    pub(crate) async fn question(&self, call: &mut InFlight) -> Value {
        match &self.line {
            Line::Http { .. } => loop {
                let message = call.next().await.expect("a question before the end");
                if message.get("method").is_some() && message.get("id").is_some() {
                    return message;
                }
                assert!(message.get("id").is_none(), "an answer instead of a question: {message}");
            },
            Line::Stdio(pipes) => {
                within("a question", pipes.questions.lock().await.recv()).await.unwrap()
            }
        }
    }

    /// A response of a legacy client.
    pub(crate) async fn respond(&self, question: &Value, result: Value) {
        let body = json!({ "jsonrpc": "2.0", "id": question["id"], "result": result });
        self.send_response(&body).await;
    }

    async fn send_response(&self, body: &Value) {
        match &self.line {
            Line::Http { port, session } => {
                let headers = self.headers("", None, session.as_deref());
                let response = post(*port, body, headers).await;
                assert_eq!(response.status(), StatusCode::ACCEPTED);
            }
            Line::Stdio(pipes) => pipes.write(body),
        }
    }

    /// Says that it will not answer.
    pub(crate) async fn decline(&self, question: &Value) {
        let error = json!({ "code": -1, "message": "no" });
        let body = json!({ "jsonrpc": "2.0", "id": question["id"], "error": error });
        self.send_response(&body).await;
    }

    /// Calls a tool and answers every question with what `answer` makes of its method, in the way
    /// of the client's kind. Gives the last answer and how many questions there were.
    pub(crate) async fn call_answering(
        &self,
        tool: &str,
        arguments: Value,
        answer: impl Fn(&str) -> Value,
    ) -> (Value, usize) {
        if self.is_modern() {
            return self.retry_answering(tool, arguments, answer).await;
        }
        let mut call = self.begin(tool, arguments, None).await;
        let mut n_questions = 0;
        loop {
            let message = match &self.line {
                Line::Http { .. } => call.next().await,
                Line::Stdio(pipes) => tokio::select! {
                    message = call.next() => message,
                    Some(question) = async { pipes.questions.lock().await.recv().await } => {
                        Some(question)
                    }
                },
            };
            let message = message.expect("an answer before the end");
            match message["method"].as_str() {
                Some(method) if message.get("id").is_some() => {
                    n_questions += 1;
                    assert!(n_questions <= QUESTIONS_MAX, "it asks without end: {message}");
                    let is_page = message["params"]["mode"] == "url";
                    let has_id = message["params"]["elicitationId"].is_string();
                    assert_eq!(is_page, has_id, "a legacy page has an id: {message}");
                    self.respond(&message, answer(method)).await;
                }
                Some(_) => {}
                None => {
                    assert_eq!(bare(&message["id"]), call.id.to_string());
                    return (message, n_questions);
                }
            }
        }
    }

    async fn retry_answering(
        &self,
        tool: &str,
        arguments: Value,
        answer: impl Fn(&str) -> Value,
    ) -> (Value, usize) {
        let mut params = json!({ "name": tool, "arguments": arguments });
        let mut n_questions = 0;
        for _round in 0..=QUESTIONS_MAX {
            let response = self.ask("tools/call", params.clone()).await.response;
            if response["result"]["resultType"] != "input_required" {
                return (response, n_questions);
            }
            let asked = response["result"]["inputRequests"].as_object().unwrap();
            n_questions += asked.len();
            let given = asked
                .iter()
                .map(|(key, asked)| (key.clone(), answer(asked["method"].as_str().unwrap())));
            params["inputResponses"] = Value::Object(given.collect());
            match response["result"].get("requestState") {
                Some(state) => params["requestState"] = state.clone(),
                None => drop(params.as_object_mut().unwrap().remove("requestState")),
            }
        }
        panic!("{tool} asks without end");
    }

    /// The notifications that a stdio client got so far without a request, in order.
    pub(crate) fn unasked(&self) -> Vec<String> {
        let Line::Stdio(pipes) = &self.line else { panic!("only pipes carry what is unasked") };
        let heard = pipes.unasked.lock().unwrap();
        heard.iter().map(|message| message["method"].as_str().unwrap().to_owned()).collect()
    }

    /// SIGTERM to the gateway that a stdio client started.
    pub(crate) fn terminate(&self) {
        if let Line::Stdio(pipes) = &self.line {
            let words = ["-TERM".to_owned(), pipes.child.id().to_string()];
            assert!(Command::new("kill").args(words).status().unwrap().success());
        }
    }
}
