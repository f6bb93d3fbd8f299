//! What crosses the gateway, in either direction.
//!
//! A call goes to a server, with the answers that its caller gives to questions. The questions go
//! the other way: they belong to the call that brought them up. A wish to watch
//! something brings its URI or id to a server. Whatever crosses is one of the kinds of `Matter`,
//! and each is judged and recorded before it does.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Call, CallId, Caller, Generation, NameError, ResourceUri, ServerName, Subject, Task, TaskStep,
};

/// One thing that is to cross.
#[derive(Clone, Copy, Debug)]
pub enum Matter<'a> {
    Call(&'a Call),
    Questions(&'a Questions),
    Wish(&'a Wish),
}

impl<'a> Matter<'a> {
    /// Whose affair it is.
    pub fn caller(self) -> &'a Caller {
        match self {
            Self::Call(call) => &call.caller,
            Self::Questions(questions) => &questions.caller,
            Self::Wish(wish) => &wish.caller,
        }
    }
}

/// That a caller hears when something changes. Its server is told the URI, which the caller may
/// have chosen freely where a template allows it, or its own id of a task.
#[derive(Clone, Debug)]
pub struct Wish {
    pub id: CallId,
    pub caller: Arc<Caller>,
    pub server: ServerName,
    pub topic: Topic,
    pub generation: Generation,
}

/// What a server can be asked to tell of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    Resource(ResourceUri),
    Task(Arc<Task>),
}

impl Topic {
    /// What a call would be aimed at that asked how it stands: who may not call it hears nothing.
    pub fn subject(&self) -> Subject {
        match self {
            Self::Resource(uri) => Subject::Resource(uri.clone()),
            Self::Task(task) => Subject::Task(TaskStep::Get, task.clone()),
        }
    }

    /// The other way round; there is more to ask for than to tell of.
    pub fn of(subject: Subject) -> Option<Self> {
        match subject {
            Subject::Resource(uri) => Some(Self::Resource(uri)),
            Subject::Task(_, task) => Some(Self::Task(task)),
            Subject::Tool(_)
            | Subject::Prompt(_)
            | Subject::PromptArgument(_)
            | Subject::TemplateArgument(_) => None,
        }
    }

    /// The same by the name that its client gave it, where that can be another.
    pub fn known_as(&self, name: &str) -> Result<Self, NameError> {
        Ok(match self {
            Self::Resource(_) => Self::Resource(ResourceUri::parse(name)?),
            Self::Task(task) => Self::Task(task.clone()),
        })
    }

    /// Its URI, if it is a resource.
    pub fn into_uri(self) -> Option<ResourceUri> {
        match self {
            Self::Resource(uri) => Some(uri),
            Self::Task(_) => None,
        }
    }
}

/// What a server wants to know of a caller before it answers its call.
#[derive(Clone, Debug)]
pub struct Questions {
    pub call: CallId,
    /// Who is asked.
    pub caller: Arc<Caller>,
    /// Who asks.
    pub server: ServerName,
    pub asks: Vec<Asking>,
    /// The bytes of all of them, as the server wrote them and as they are handed on.
    pub text: Bytes,
}

/// What a server may ask a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asking {
    Form,
    Url,
    Sampling,
    Roots,
}

impl Asking {
    /// The word used in the audit.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Url => "url",
            Self::Sampling => "sampling",
            Self::Roots => "roots",
        }
    }
}
