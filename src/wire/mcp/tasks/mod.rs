//! The tasks extension: answers that name a task instead of being one, and what is said of it.
//!
//! A client that can take tasks says so with each request, and only such a client is ever told of
//! one. A task's questions obey the same limits as those of a call. Its id is replaced where it
//! stands; all else stays the server's own bytes. Keeps nothing, and knows not whose a task is.

use bytes::Bytes;

use super::{
    ClientFace, Meta,
    input::{Question, REQUESTS, fits, questions_of},
};
use crate::{
    domain::limits::QUESTIONS_MAX,
    wire::{
        WireError,
        json::{Object, Text, quote},
        rpc::{ErrorObject, code},
    },
};

mod legacy;
#[cfg(test)]
mod tests;

pub use legacy::{
    LegacyStatus, LegacyTask, as_plain_answer, cancels_legacy_tasks, is_of_a_task,
    runs_legacy_tasks,
};

pub(super) const TASK_ID: &str = "taskId";
const EXTENSIONS: &str = "extensions";
const TASKS: &str = "io.modelcontextprotocol/tasks";

/// What a server says of one task.
#[derive(Clone, Debug)]
pub struct TaskNews {
    said: Object,
    id: Option<Text>,
    /// What it asks of its client now.
    pub questions: Vec<Question>,
}

impl TaskNews {
    pub fn read(said: &Object) -> Result<Self, WireError> {
        let id = said.str(TASK_ID);
        if id.is_none() && said.contains(TASK_ID) {
            return Err(WireError::Params { rule: "`taskId` must be a string" });
        }
        Ok(Self { said: said.clone(), id, questions: questions_of(said)? })
    }

    /// The server's own id; an acknowledgement has none.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The bytes of the questions.
    pub fn text(&self) -> Bytes {
        self.said.get(REQUESTS).unwrap_or_default()
    }

    /// Whether it asks only what a client of these capabilities can be asked, and not too much.
    pub fn fits(&self, capabilities: Option<&Object>) -> bool {
        self.questions.len() <= QUESTIONS_MAX && fits(&self.questions, capabilities)
    }

    /// The same under the id that the client knows.
    pub fn under(&self, id: &str, shape: TaskShape) -> Result<Object, WireError> {
        let edit = self.said.edit().set("resultType", Bytes::from_static(shape.result_type()));
        let edit = if self.id.is_some() { edit.set(TASK_ID, quote(id)) } else { edit };
        Object::parse(edit.finish().into_bytes())
    }
}

/// Whether a task will not stand otherwise any more, by what is told of it.
pub fn is_over(told: &Object) -> bool {
    matches!(told.peek("status"), Some(b"\"completed\"" | b"\"failed\"" | b"\"cancelled\""))
}

/// The two results that speak of a task. Drafts mixed up their types, and servers follow drafts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskShape {
    /// The answer to the call that began it.
    Begun,
    /// The answer to a request about it.
    Told,
}

impl TaskShape {
    fn result_type(self) -> &'static [u8] {
        match self {
            Self::Begun => b"\"task\"",
            Self::Told => b"\"complete\"",
        }
    }
}

/// Whether capabilities, of a client or a server, hold the extension.
pub fn declares_tasks(capabilities: Option<&Object>) -> bool {
    let extensions = capabilities.and_then(|all| all.object(EXTENSIONS));
    extensions.is_some_and(|all| all.object(TASKS).is_some())
}

/// `extensions` of one that has this extension and no other.
pub fn tasks_extension() -> (&'static str, Bytes) {
    (EXTENSIONS, Bytes::from(format!(r#"{{"{TASKS}":{{}}}}"#)))
}

/// Capabilities, and this extension.
pub(super) fn with_tasks(capabilities: Bytes) -> Bytes {
    let (key, value) = tasks_extension();
    // What is relayable is an object, or the client has none.
    let all = Object::parse(capabilities).unwrap_or_else(|_| Object::empty());
    all.edit().set(key, value).finish().into_bytes()
}

impl ClientFace {
    /// The same of a client that takes tasks.
    pub fn taking_tasks(&self) -> Self {
        Self { info: self.info.clone(), capabilities: with_tasks(self.capabilities.clone()) }
    }
}

impl Meta {
    /// Whether the sender takes tasks.
    pub fn takes_tasks(&self) -> bool {
        declares_tasks(self.capabilities())
    }
}

impl ErrorObject {
    /// -32021: what was asked for is there for clients with tasks only.
    pub fn tasks_not_declared() -> Self {
        let (key, value) = tasks_extension();
        let value = String::from_utf8_lossy(&value).into_owned();
        let data = format!(r#"{{"requiredCapabilities":{{"{key}":{value}}}}}"#);
        let message = format!("the request does not declare the extension `{TASKS}`");
        Self { code: code::MISSING_CAPABILITY, message, data: Some(data.into()) }
    }
}
