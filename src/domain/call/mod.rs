//! One call, who asks for it, what it is aimed at, and what came of it.
//!
//! `Call` is the one thing that is judged, recorded and sent: a tool call, a prompt, a resource, a
//! completion, or something about a task. It carries the argument bytes themselves, so that what
//! was judged is what is forwarded.

mod principal;
mod task;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    CallId, DenyReason, Era, Generation, NameError, PromptName, ReplicaNo, ResourceUri, ServerName,
    ToolName, TraceParent, Use, limits::CLIENT_NAME_BYTES_MAX,
};

pub use principal::{Principal, Rights};
pub use task::{Task, TaskStep};

/// Who asks: principal, client program (as it calls itself, untrusted) and conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    pub principal: Principal,
    pub client: Arc<str>,
    pub conversation: Option<Arc<str>>,
    pub era: Era,
    pub transport: Transport,
}

/// How a caller reaches us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Http,
    Unix,
    /// It has started us.
    Stdio,
}

impl Transport {
    /// The word in policies.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Unix => "unix",
            Self::Stdio => "stdio",
        }
    }
}

impl Caller {
    /// What is kept of the name that a client gives itself: a hint, and a short one.
    pub fn client_of(name: Option<&str>) -> Arc<str> {
        let name = name.unwrap_or_default();
        let end = (0..=CLIENT_NAME_BYTES_MAX).rev().find(|at| name.is_char_boundary(*at));
        name.get(..end.unwrap_or_default()).unwrap_or(name).into()
    }
}

/// One judged request.
#[derive(Clone, Debug)]
pub struct Call {
    pub id: CallId,
    pub caller: Arc<Caller>,
    pub server: ServerName,
    pub subject: Subject,
    /// The bytes of what the caller chose freely, as they will be sent: the arguments of a tool
    /// or prompt (`{}` when the caller gave none), the text of a resource's URI, the `argument`
    /// that is to be completed.
    pub arguments: Bytes,
    /// The bytes of the answers that it brings to what the server asked before. In a box: few
    /// calls bring any, and all would carry them.
    pub answers: Option<Box<Bytes>>,
    pub generation: Generation,
    /// Our own step in the caller's trace, if the caller has one.
    pub trace: Option<TraceParent>,
    /// The replica that began what this goes on with.
    pub at: Option<ReplicaNo>,
    /// Under which approval; until it is admitted, the use that it goes on from.
    pub under: Option<Box<Use>>,
}

/// What a call is aimed at, by the name that its server gave it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    Tool(ToolName),
    Prompt(PromptName),
    Resource(ResourceUri),
    /// The completion of an argument of a prompt.
    PromptArgument(PromptName),
    /// The completion of a variable of a resource template.
    TemplateArgument(ResourceUri),
    /// Something about a task that an earlier call began.
    Task(TaskStep, Arc<Task>),
}

/// The kinds of things that a call can be aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Tool,
    Prompt,
    Resource,
    PromptArgument,
    TemplateArgument,
    Task(TaskStep),
}

impl Subject {
    /// Takes a name of that kind, as the server spells it. A task is more than its name.
    pub fn parse(kind: Kind, name: &str) -> Result<Self, NameError> {
        Ok(match kind {
            Kind::Tool => Self::Tool(ToolName::parse(name)?),
            Kind::Prompt => Self::Prompt(PromptName::parse(name)?),
            Kind::Resource => Self::Resource(ResourceUri::parse(name)?),
            Kind::PromptArgument => Self::PromptArgument(PromptName::parse(name)?),
            Kind::TemplateArgument => Self::TemplateArgument(ResourceUri::parse(name)?),
            Kind::Task(_) => {
                let (kind, rule) = (kind.as_str(), "says not whose it is");
                return Err(NameError::Shape { kind, name: name.to_owned(), rule });
            }
        })
    }

    pub fn kind(&self) -> Kind {
        match self {
            Self::Tool(_) => Kind::Tool,
            Self::Prompt(_) => Kind::Prompt,
            Self::Resource(_) => Kind::Resource,
            Self::PromptArgument(_) => Kind::PromptArgument,
            Self::TemplateArgument(_) => Kind::TemplateArgument,
            Self::Task(step, _) => Kind::Task(*step),
        }
    }

    /// The name, the URI, or the id.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Tool(name) => name.as_str(),
            Self::Prompt(name) | Self::PromptArgument(name) => name.as_str(),
            Self::Resource(uri) | Self::TemplateArgument(uri) => uri.as_str(),
            Self::Task(_, task) => task.id.as_str(),
        }
    }
}

impl Kind {
    /// The word used in the audit, where it is the key of the name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Resource => "resource",
            Self::PromptArgument => "prompt_argument",
            Self::TemplateArgument => "template_argument",
            Self::Task(TaskStep::Get) => "task_get",
            Self::Task(TaskStep::Update) => "task_update",
            Self::Task(TaskStep::Cancel) => "task_cancel",
        }
    }
}

/// How long an answer may take, from the moment of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(pub Duration);

/// Whether a server may have seen a call: the caller's licence to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// No byte of it left us.
    No,
    /// It was on its way when the line broke.
    Unknown,
    /// The server has it.
    Yes,
}

impl Sent {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Unknown => "unknown",
            Self::Yes => "yes",
        }
    }
}

/// Why an admitted call brought no answer. One row of the answers' table each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error("the emergency stop was engaged")]
    Stopped { sent: Sent },
    #[error("the server is not available")]
    Unavailable { sent: Sent },
    #[error("the server's queue is full")]
    Busy,
    #[error("the server has its share of all calls of the gateway already")]
    Crowded,
    #[error("the call waited too long for its turn at the server")]
    Queued,
    #[error("the server did not answer in time")]
    Deadline { sent: Sent },
    #[error("the server broke the protocol: {what}")]
    Protocol { what: &'static str },
    #[error("the server does not take our credentials")]
    Unauthorised,
    #[error("the caller withdrew the call")]
    Cancelled { sent: Sent },
    #[error("what the server asks could not be passed on")]
    Withheld { reason: DenyReason },
}

impl CallError {
    pub fn sent(self) -> Sent {
        match self {
            Self::Stopped { sent }
            | Self::Unavailable { sent }
            | Self::Deadline { sent }
            | Self::Cancelled { sent } => sent,
            Self::Busy | Self::Crowded | Self::Queued => Sent::No,
            Self::Unauthorised | Self::Protocol { .. } | Self::Withheld { .. } => Sent::Yes,
        }
    }

    /// The same of a call whose server has it already: something that came after it has failed.
    #[must_use]
    pub fn of_a_sent_call(self) -> Self {
        let sent = Sent::Yes;
        match self {
            Self::Stopped { .. } => Self::Stopped { sent },
            Self::Unavailable { .. } => Self::Unavailable { sent },
            Self::Deadline { .. } => Self::Deadline { sent },
            Self::Cancelled { .. } => Self::Cancelled { sent },
            Self::Busy
            | Self::Crowded
            | Self::Queued
            | Self::Unauthorised
            | Self::Protocol { .. }
            | Self::Withheld { .. } => self,
        }
    }

    /// The same of a call that was stopped meanwhile: what failed was ended by the stop.
    #[must_use]
    pub fn of_a_stopped_call(self) -> Self {
        match self {
            Self::Unavailable { sent } => Self::Stopped { sent },
            Self::Busy | Self::Crowded | Self::Queued => Self::Stopped { sent: Sent::No },
            Self::Stopped { .. }
            | Self::Deadline { .. }
            | Self::Cancelled { .. }
            | Self::Unauthorised
            | Self::Protocol { .. }
            | Self::Withheld { .. } => self,
        }
    }

    /// The stable word used in `data.reason`, metrics and the audit.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped { .. } => "stopped",
            Self::Unavailable { .. } => "unavailable",
            Self::Busy => "queue_full",
            Self::Crowded => "crowded",
            Self::Queued => "queue_timeout",
            Self::Deadline { .. } => "deadline",
            Self::Unauthorised => "upstream_unauthorised",
            Self::Protocol { .. } => "protocol",
            Self::Cancelled { .. } => "cancelled",
            Self::Withheld { reason } => reason.as_str(),
        }
    }
}

/// What came of an admitted call: the second record of the audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server answered with a result.
    Answered,
    /// The server answered that it goes on, as a task.
    TaskBegun,
    /// The server answered with a tool error or a JSON-RPC error.
    ServerError,
    /// No answer.
    Failed(CallError),
}
