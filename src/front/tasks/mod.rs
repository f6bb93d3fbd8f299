//! Tasks of servers under ids of ours.
//!
//! The id that a client gets holds the server, its own id and who may use it, sealed: there is no
//! table, and nothing to be guessed. Promises that it opens only for the principal that it was
//! given to and while this process lives, and that a client is told of a task only what it could be
//! told of a call. Judges no request: `dispatch` does, as every other.

use std::sync::Arc;

use super::{
    Front,
    dispatch::Ask,
    questions::{Binding, FOREVER},
};
use crate::{
    domain::{
        CallError, CallId, Caller, Kind, ReplicaNo, Sent, ServerName, Subject, Task, TaskId,
        TaskStep, ToolName,
    },
    fleet::Resolved,
    gate::Definition,
    upstream::Manner,
    wire::{Object, TaskNews, TaskShape},
};

#[cfg(test)]
pub(super) mod tests;

/// A task and whose it is, as it stands in an id of ours.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    pub(super) server: ServerName,
    pub(super) task: Arc<Task>,
}

impl Handle {
    pub(super) fn resolved(&self, step: TaskStep) -> Resolved<'_> {
        Resolved {
            pin: None,
            server: &self.server,
            subject: Subject::Task(step, self.task.clone()),
            definition: Definition::Listed,
            manner: Manner::default(),
            meter: None,
        }
    }

    fn write(&self) -> String {
        let Task { tool, id, begun_by, at } = &*self.task;
        let begun_by = begun_by.to_string();
        let parts = (self.server.as_str(), tool.as_str(), begun_by, at.0, id.as_str());
        serde_json::json!(parts).to_string()
    }

    fn read(text: &str) -> Option<Self> {
        let (server, tool, begun_by, at, id): (String, String, String, u16, String) =
            serde_json::from_str(text).ok()?;
        let task = Task {
            tool: ToolName::parse(&tool).ok()?,
            id: TaskId::parse(&id).ok()?,
            begun_by: CallId::parse(&begun_by)?,
            at: ReplicaNo(at),
        };
        Some(Self { server: ServerName::parse(&server).ok()?, task: Arc::new(task) })
    }
}

impl Front {
    /// What a request about a task means by its id; nothing, unless the id was given to this very
    /// principal.
    pub(super) fn task_meant(&self, caller: &Caller, (kind, id): (Kind, &str)) -> Option<Handle> {
        let binding = match kind {
            Kind::Task(_) => Binding::of_tasks(caller),
            Kind::Tool
            | Kind::Prompt
            | Kind::Resource
            | Kind::PromptArgument
            | Kind::TemplateArgument => return None,
        };
        // It has no end of its own, so the time does not matter.
        Handle::read(&self.sealer.open(binding, 0, id)?)
    }

    /// What a server says of a task on its way to the caller: under an id that only this caller can
    /// use, and its questions past the gate.
    pub(super) async fn let_tell(
        &self,
        call: CallId,
        ask: &Ask,
        (server, at, subject): (ServerName, ReplicaNo, Subject),
        news: TaskNews,
    ) -> Result<Object, CallError> {
        let told = match &subject {
            Subject::Tool(tool) => self.begun(call, ask, (&server, at, tool), &news)?,
            Subject::Task(step, task) => told(*step, task, ask, &news)?,
            Subject::Prompt(_)
            | Subject::Resource(_)
            | Subject::PromptArgument(_)
            | Subject::TemplateArgument(_) => return Err(broken("only a tool may begin a task")),
        };
        if !news.fits(ask.params.capabilities()) {
            return Err(broken("its task asks what its client cannot be asked"));
        }
        if !news.questions.is_empty() {
            let asks = (news.questions.as_slice(), news.text());
            // It is handed out at once, so the permit has nothing more to say.
            drop(self.let_through(call, ask, server, asks).await?);
        }
        Ok(told)
    }

    fn begun(
        &self,
        call: CallId,
        ask: &Ask,
        (server, at, tool): (&ServerName, ReplicaNo, &ToolName),
        news: &TaskNews,
    ) -> Result<Object, CallError> {
        if !ask.params.takes_tasks() {
            return Err(broken("it begins a task for a client that takes none"));
        }
        let id = news.id().and_then(|id| TaskId::parse(id).ok());
        let id = id.ok_or(broken("its task has no usable id"))?;
        let task = Arc::new(Task { tool: tool.clone(), id, begun_by: call, at });
        let handle = Handle { server: server.clone(), task };
        let ours = self.sealer.seal(Binding::of_tasks(&ask.caller), FOREVER, &handle.write());
        let ours = ours.ok_or(CallError::Unavailable { sent: Sent::Yes })?;
        under(news, &ours, TaskShape::Begun)
    }
}

fn told(step: TaskStep, task: &Task, ask: &Ask, news: &TaskNews) -> Result<Object, CallError> {
    match news.id() {
        Some(id) if id != task.id.as_str() => return Err(broken("it answers for another task")),
        None if step == TaskStep::Get => return Err(broken("its task has no id")),
        Some(_) | None => {}
    }
    under(news, ask.params.name(), TaskShape::Told)
}

fn under(news: &TaskNews, id: &str, shape: TaskShape) -> Result<Object, CallError> {
    news.under(id, shape).map_err(|_| broken("its task cannot be named"))
}

fn broken(what: &'static str) -> CallError {
    CallError::Protocol { what }
}
