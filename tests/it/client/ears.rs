//! How each kind of client hears what nobody asked for: a listen, a GET stream, or its pipe.

use std::sync::{Arc, Mutex};

use http::HeaderMap;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Client, InFlight, LEGACY, Line, read, send};
use crate::harness::wait_until;

/// The way to one client's ear.
pub(crate) enum Ear {
    Stream(InFlight),
    Pipe(Arc<Mutex<Vec<Value>>>),
}

impl Client {
    /// Listens for list changes and watches these resources; returns when that has been agreed,
    /// and which of the resources are watched.
    pub(crate) async fn hear(&self, uris: &[&str]) -> (Ear, Vec<String>) {
        if self.is_modern() {
            let mut listen = self.begin_listen(uris).await;
            let first = listen.next().await.unwrap();
            assert_eq!(first["method"], "notifications/subscriptions/acknowledged", "{first}");
            let honoured = first.pointer("/params/notifications/resourceSubscriptions");
            let honoured = honoured.cloned().unwrap_or(json!([]));
            return (Ear::Stream(listen), serde_json::from_value(honoured).unwrap());
        }
        let ear = match &self.line {
            Line::Http { .. } => Ear::Stream(self.get_stream().await),
            Line::Stdio(pipes) => Ear::Pipe(pipes.unasked.clone()),
        };
        let mut honoured = Vec::new();
        for uri in uris {
            let answer = self.ask("resources/subscribe", json!({ "uri": uri })).await;
            if answer.response.get("result").is_some() {
                honoured.push((*uri).to_owned());
            }
        }
        (ear, honoured)
    }

    pub(crate) async fn begin_listen(&self, uris: &[&str]) -> InFlight {
        let filter = json!({
            "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true,
            "unheardOf": true, "resourceSubscriptions": uris,
        });
        self.begin_request("subscriptions/listen", json!({ "notifications": filter })).await
    }

    /// The stream of a legacy session.
    pub(crate) async fn get_stream(&self) -> InFlight {
        let Line::Http { port, session } = &self.line else { panic!("not over HTTP") };
        let mut headers = HeaderMap::new();
        headers.insert("mcp-session-id", session.as_deref().unwrap().parse().unwrap());
        headers.insert("mcp-protocol-version", LEGACY.parse().unwrap());
        headers.insert("accept", "text/event-stream".parse().unwrap());
        let response = send(*port, "GET", String::new(), headers).await;
        assert_eq!(response.status(), 200);
        let (sender, messages) = mpsc::unbounded_channel();
        let reader = tokio::spawn(read(response, sender));
        InFlight { id: 0, messages, reader: Some(reader) }
    }
}

impl Ear {
    /// The next notification of this method; others are passed over.
    pub(crate) async fn next(&mut self, method: &str) -> Value {
        match self {
            Self::Stream(stream) => loop {
                let message = stream.next().await.expect("a notification before the end");
                if message["method"] == method {
                    return message;
                }
            },
            Self::Pipe(heard) => {
                let look = || {
                    let mut heard = heard.lock().unwrap();
                    let found = heard.iter().position(|message| message["method"] == method)?;
                    Some(heard.remove(found))
                };
                wait_until(method, look, || format!("{:?}", heard.lock().unwrap()))
            }
        }
    }
}
