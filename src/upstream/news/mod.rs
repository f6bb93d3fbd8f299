//! Watching resources, tasks and lists at a server: one `subscriptions/listen`, or legacy
//! subscriptions.
//!
//! Only the asking is here. What is wanted, and who is told, the fleet knows. News come on one
//! bounded channel a session; whoever reads it too slowly is told that some were lost. The URIs
//! were admitted when they were wished for; here they are sent in an epoch that lasts.

mod level;

use std::collections::BTreeSet;

use serde_json::json;
use tokio::sync::broadcast;

pub(super) use level::Told;

use super::{Line, Own, Session, handshake::modern_params};
use crate::{
    domain::{
        CallError, Era, Topic,
        limits::{UPSTREAM_LISTEN_MAX, WATCH_ASK_TIMEOUT},
    },
    gate::Epoch,
    wire::{Body, Filter, List, Object, Tasks, acknowledged, task_told},
};

/// What a server says about what we watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    Updated(String),
    /// A task stands otherwise, by the server's own id. How, is not taken from here.
    Task(String),
    /// Somebody has visited a page, by the server's own id.
    Visited(String),
    /// The listen with our number is honoured as far as this.
    Acknowledged {
        id: u64,
        honoured: Honoured,
    },
}

/// What of a listen a server has agreed to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Honoured(Filter);

impl Honoured {
    pub fn grants(&self, topic: &Topic) -> bool {
        let (granted, name) = match topic {
            Topic::Resource(uri) => (&self.0.uris, uri.as_str()),
            Topic::Task(task) => (&self.0.tasks, task.id.as_str()),
        };
        granted.iter().any(|one| one == name)
    }
}

/// How a listen ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenEnd {
    /// The stream is gone; another may be opened.
    Over,
    /// The server has no such thing.
    NotOffered,
}

impl News {
    pub(super) fn read(method: &str, params: Option<&Object>) -> Option<Self> {
        if method == "notifications/resources/updated" {
            return params?.text("uri").map(Self::Updated);
        }
        if method == "notifications/elicitation/complete" {
            return params?.text("elicitationId").map(Self::Visited);
        }
        if let Some(id) = task_told(method, params) {
            return Some(Self::Task(id));
        }
        let (id, honoured) = acknowledged(method, params)?;
        Some(Self::Acknowledged { id, honoured: Honoured(honoured) })
    }
}

impl Session {
    pub fn news(&self) -> broadcast::Receiver<News> {
        match &self.line {
            Line::Stdio(line) => line.news(),
            Line::Http(line) => line.news(),
        }
    }

    /// Whether the server says that its resources can be watched.
    pub fn lets_watch(&self) -> bool {
        let declared = self.capabilities().and_then(|all| all.object("resources"));
        declared.is_some_and(|resources| resources.peek("subscribe") == Some(b"true"))
    }

    /// Whether there is anything to listen for at a modern server.
    pub fn lets_listen(&self) -> bool {
        let tells = |list: List| {
            let declared = self.capabilities().and_then(|all| all.object(list.capability()));
            declared.is_some_and(|one| one.peek("listChanged") == Some(b"true"))
        };
        let changes = [List::Tools, List::Prompts, List::Resources].into_iter().any(tells);
        changes || self.lets_watch() || self.tasks() == Tasks::Kept
    }

    /// News may have been missed: every list is to be asked for again.
    pub fn lists_may_differ(&self) {
        match &self.line {
            Line::Stdio(line) => line.lists_may_differ(),
            Line::Http(line) => line.lists_may_differ(),
        }
    }

    /// A number for what the server remembers of us; with another it remembers nothing.
    pub fn memory(&self) -> u64 {
        match &self.line {
            Line::Stdio(_) => 0,
            Line::Http(line) => line.conversation(),
        }
    }

    /// Waits until the server's memory has another number than `n`.
    pub async fn next_memory(&self, n: u64) {
        match &self.line {
            Line::Stdio(_) => std::future::pending().await,
            Line::Http(line) => line.next_conversation(n).await,
        }
    }

    /// At a legacy server, while the epoch lasts; whether it agreed.
    pub async fn subscribe(&self, uri: &str, epoch: Epoch) -> Result<bool, CallError> {
        self.say_of("resources/subscribe", uri, epoch).await
    }

    pub async fn unsubscribe(&self, uri: &str, epoch: Epoch) -> Result<bool, CallError> {
        self.say_of("resources/unsubscribe", uri, epoch).await
    }

    async fn say_of(
        &self,
        method: &'static str,
        uri: &str,
        epoch: Epoch,
    ) -> Result<bool, CallError> {
        let params = json!({ "uri": uri }).to_string();
        let asking = self.ask_own(Own {
            id: self.draw_own_id(),
            method,
            params: params.as_bytes(),
            epoch: Some(epoch),
            wait: WATCH_ASK_TIMEOUT,
        });
        let response = asking.await?;
        Ok(matches!(response.body, Body::Result(_)))
    }

    /// Opens a listen at a modern server under our number, which the caller drew; the future is the
    /// listen, and dropping it closes it, as does the end of the epoch. Every list change is asked
    /// for, and of the topics those that the server can tell of.
    pub async fn listen(&self, id: u64, topics: BTreeSet<Topic>, epoch: Epoch) -> ListenEnd {
        let mut filter = Filter::every_list();
        for topic in topics {
            match topic {
                Topic::Resource(uri) if self.lets_watch() => filter.uris.push(uri.to_string()),
                Topic::Task(task) if self.tasks() == Tasks::Kept => {
                    filter.tasks.push(task.id.to_string());
                }
                Topic::Resource(_) | Topic::Task(_) => {}
            }
        }
        let more = format!(r#""notifications":{}"#, filter.to_json());
        // Whoever watches a task has said that it takes tasks.
        let params = match filter.tasks.is_empty() {
            true => modern_params(&self.face, more.as_bytes()),
            false => modern_params(&self.face.taking_tasks(), more.as_bytes()),
        };
        let ended = self.ask_own(Own {
            id,
            method: "subscriptions/listen",
            params: &params,
            epoch: Some(epoch),
            wait: UPSTREAM_LISTEN_MAX,
        });
        let ended = ended.await;
        match ended.map(|answer| answer.body) {
            Ok(Body::Error(error)) if error.integer("code") == Some(-32601) => {
                ListenEnd::NotOffered
            }
            Ok(_) | Err(_) => ListenEnd::Over,
        }
    }

    pub fn draw_own_id(&self) -> u64 {
        match &self.line {
            Line::Stdio(line) => line.draw_id(),
            Line::Http(line) => line.draw_id(),
        }
    }

    pub fn is_modern(&self) -> bool {
        self.version().era() == Era::Modern
    }
}
