//! The requests that are judged and forwarded: their parameters as they came in, and as they go
//! out.
//!
//! Which member names the target is the one thing that differs between the methods, and it stands
//! here once. The bytes of the arguments are the same in both: they are judged once and never
//! written anew. Name, progress token and the sender's part of `_meta` are ours to replace; every
//! other member passes as it stands, also those that no revision knows.

use std::time::Duration;

use bytes::Bytes;

mod encode;
#[cfg(test)]
mod tests;

pub use encode::encode_call;

use super::{
    Version,
    input::{RESPONSES, STATE, relayable, relayable_in_session},
    meta::{Meta, Onward, PROGRESS_TOKEN, optional},
    notice::Level,
    tasks::TASK_ID,
};
use crate::{
    domain::{Kind, TaskStep, TraceParent},
    wire::{
        WireError,
        json::{Object, Text, quote},
        rpc::{ProgressToken, RequestId},
    },
};

/// The methods whose requests go to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallMethod {
    ToolsCall,
    PromptsGet,
    ResourcesRead,
    Complete,
    Tasks(TaskStep),
}

/// The parameters of one such request.
#[derive(Clone, Debug)]
pub struct CallParams {
    raw: Object,
    kind: Kind,
    name: Text,
    arguments: Bytes,
    meta: Meta,
    /// What its session knows of the sender, where the request does not say it.
    sender: Option<Sender>,
    /// What the server wants to see again.
    state: Option<Text>,
    /// The server is to carry it out as a task of the legacy kind: how, as a JSON text.
    task: Option<Bytes>,
}

/// What a legacy client said of itself once, for all its requests.
#[derive(Clone, Debug)]
pub struct Sender {
    pub version: Version,
    pub capabilities: Option<Object>,
    pub log_level: Option<Level>,
}

/// What we say upstream in place of what the client said to us.
#[derive(Clone, Debug)]
pub struct CallForm<'a> {
    pub version: Version,
    pub id: &'a RequestId,
    /// The server's own name for the target.
    pub name: &'a str,
    pub progress_token: Option<&'a ProgressToken>,
    pub client: &'a ClientFace,
    pub tasks: Tasks,
    pub trace: Onward<'a>,
}

/// Which tasks a server has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tasks {
    /// Those of the extension.
    Kept,
    /// Those of its own era: its tools may run as such.
    Legacy,
    #[default]
    Unknown,
}

/// Who we say we are: JSON texts of two objects.
#[derive(Clone, Debug)]
pub struct ClientFace {
    pub info: Bytes,
    pub capabilities: Bytes,
}

impl CallMethod {
    pub const ALL: [Self; 7] = [
        Self::ToolsCall,
        Self::PromptsGet,
        Self::ResourcesRead,
        Self::Complete,
        Self::Tasks(TaskStep::Get),
        Self::Tasks(TaskStep::Update),
        Self::Tasks(TaskStep::Cancel),
    ];

    pub fn parse(method: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == method)
    }

    /// The method that reaches a subject of that kind.
    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Tool => Self::ToolsCall,
            Kind::Prompt => Self::PromptsGet,
            Kind::Resource => Self::ResourcesRead,
            Kind::PromptArgument | Kind::TemplateArgument => Self::Complete,
            Kind::Task(step) => Self::Tasks(step),
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::ToolsCall => "tools/call",
            Self::PromptsGet => "prompts/get",
            Self::ResourcesRead => "resources/read",
            Self::Complete => "completion/complete",
            Self::Tasks(TaskStep::Get) => "tasks/get",
            Self::Tasks(TaskStep::Update) => "tasks/update",
            Self::Tasks(TaskStep::Cancel) => "tasks/cancel",
        }
    }

    /// The member of the parameters that `Mcp-Name` repeats, in both directions.
    pub fn named_by(self) -> Option<&'static str> {
        match self {
            Self::ToolsCall | Self::PromptsGet => Some("name"),
            Self::ResourcesRead => Some("uri"),
            Self::Tasks(_) => Some(TASK_ID),
            Self::Complete => None,
        }
    }
}

impl CallParams {
    pub fn parse(method: CallMethod, params: &Object) -> Result<Self, WireError> {
        let refuse = |rule| WireError::Params { rule };
        let name = || params.str("name").ok_or(refuse("`name` must be a string"));
        let (kind, name, arguments) = match method {
            CallMethod::ToolsCall => (Kind::Tool, name()?, arguments(params)?),
            CallMethod::PromptsGet => (Kind::Prompt, name()?, arguments(params)?),
            CallMethod::ResourcesRead => {
                let uri = params.str("uri").ok_or(refuse("`uri` must be a string"))?;
                (Kind::Resource, uri, params.get("uri").unwrap_or_default())
            }
            CallMethod::Complete => {
                let (kind, name) = reference(params)?;
                let argument = params.get("argument").filter(is_object);
                (kind, name, argument.ok_or(refuse("`argument` must be an object"))?)
            }
            CallMethod::Tasks(step) => {
                let id = params.str(TASK_ID).ok_or(refuse("`taskId` must be a string"))?;
                if step == TaskStep::Update && !params.contains(RESPONSES) {
                    return Err(refuse("`inputResponses` must be an object"));
                }
                (Kind::Task(step), id, Bytes::from_static(b"{}"))
            }
        };
        let meta = Meta::parse(Some(params))?;
        let state = optional(Some(params), STATE, Object::str)
            .map_err(|()| refuse("`requestState` must be a string"))?;
        optional(Some(params), RESPONSES, Object::object)
            .map_err(|()| refuse("`inputResponses` must be an object"))?;
        // A task has no state of its own: its id says it all.
        let state = state.filter(|_| !matches!(kind, Kind::Task(_)));
        Ok(Self {
            raw: params.clone(),
            kind,
            name,
            arguments,
            meta,
            sender: None,
            state,
            task: None,
        })
    }

    /// A request how a task stands, of whoever sent the parameters `sent` with another one.
    pub fn about_task(id: &str, sent: &Object) -> Result<Self, WireError> {
        let meta = sent.object("_meta").unwrap_or_else(Object::empty);
        let meta = meta.edit().remove(PROGRESS_TOKEN);
        let raw = Object::empty().edit().set(TASK_ID, quote(id)).set_edited("_meta", meta);
        let raw = Object::parse(raw.finish().into_bytes())?;
        Self::parse(CallMethod::Tasks(TaskStep::Get), &raw)
    }

    /// What the request is aimed at.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The target's name or URI, as the caller knows it.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// What the caller chose freely; `{}` for a tool or prompt that is given nothing.
    pub fn arguments(&self) -> Bytes {
        self.arguments.clone()
    }

    pub fn progress_token(&self) -> Option<&ProgressToken> {
        // It would go on behind the answer that begins a task.
        self.meta.progress_token().filter(|_| self.task.is_none())
    }

    /// The sender's span, if the request is part of a trace.
    pub fn trace_parent(&self) -> Option<TraceParent> {
        self.meta.trace_parent()
    }

    /// What the sender can be asked.
    pub fn capabilities(&self) -> Option<&Object> {
        match &self.sender {
            Some(sender) => sender.capabilities.as_ref(),
            None => self.meta.capabilities(),
        }
    }

    /// In which revision it is asked.
    pub fn speaks(&self) -> Version {
        self.sender.as_ref().map_or(Version::MODERN, |sender| sender.version)
    }

    /// What a session that is the sender's own is opened with.
    pub fn declared(&self) -> Bytes {
        match &self.sender {
            Some(sender) => relayable_in_session(sender.capabilities.as_ref()),
            None => relayable(self.meta.capabilities()),
        }
    }

    /// Whether the answer may be a task. Legacy sessions know none of ours.
    pub fn takes_tasks(&self) -> bool {
        let may_be = matches!(self.kind, Kind::Tool | Kind::Task(_));
        may_be && self.sender.is_none() && self.meta.takes_tasks()
    }

    /// From which level on the sender wants to hear log messages; none at all by default.
    pub fn log_level(&self) -> Option<Level> {
        match &self.sender {
            Some(sender) => sender.log_level,
            None => self.meta.log_level(),
        }
    }

    /// What is handed back to the server, if it is a second try.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The answers to what the server asked, by the keys of its questions.
    pub fn responses(&self) -> Option<Object> {
        self.raw.object(RESPONSES)
    }

    /// The bytes of those answers.
    pub fn answers(&self) -> Option<Bytes> {
        self.raw.get(RESPONSES)
    }

    /// The reading of a resource under another URI; everything else is as it was.
    pub fn of_uri(&self, uri: &str) -> Result<Self, WireError> {
        let raw = Object::parse(self.raw.edit().set("uri", quote(uri)).finish().into_bytes())?;
        let name = raw.str("uri").ok_or(WireError::Params { rule: "`uri` must be a string" })?;
        let arguments = raw.get("uri").unwrap_or_default();
        Ok(Self { raw, name, arguments, ..self.clone() })
    }

    /// The same call as a task that a legacy server keeps for so long.
    pub fn as_task(&self, ttl: Duration) -> Self {
        let task = format!(r#"{{"ttl":{}}}"#, ttl.as_millis());
        Self { task: Some(task.into()), ..self.clone() }
    }

    pub fn with_state(self, state: Option<Text>) -> Self {
        Self { state, ..self }
    }

    /// The request of a client whose session speaks for it. Only modern clients answer by asking
    /// again: from others such members are nobody's answers.
    pub fn of_session(self, sender: Sender) -> Result<Self, WireError> {
        let bare = match self.raw.contains(STATE) || self.raw.contains(RESPONSES) {
            true => self.anew()?,
            false => self,
        };
        Ok(Self { sender: Some(sender), state: None, ..bare })
    }

    /// The request as it was first made.
    pub fn anew(&self) -> Result<Self, WireError> {
        let raw = self.raw.edit().remove(STATE).remove(RESPONSES).finish();
        Ok(Self { raw: Object::parse(raw.into_bytes())?, state: None, ..self.clone() })
    }

    /// The same request again, with the answers to what the server asked.
    pub fn again(&self, responses: Option<Bytes>, state: Option<Text>) -> Result<Self, WireError> {
        let raw = match responses {
            Some(text) => {
                Object::parse(self.raw.edit().set(RESPONSES, text).finish().into_bytes())?
            }
            None => self.raw.clone(),
        };
        Ok(Self { raw, state, ..self.clone() })
    }

    pub fn raw(&self) -> &Object {
        &self.raw
    }
}

fn arguments(params: &Object) -> Result<Bytes, WireError> {
    match params.get("arguments") {
        None => Ok(Bytes::from_static(b"{}")),
        Some(object) if is_object(&object) => Ok(object),
        Some(_) => Err(WireError::Params { rule: "`arguments` must be an object" }),
    }
}

/// What is to be completed.
fn reference(params: &Object) -> Result<(Kind, Text), WireError> {
    let refuse = |rule| WireError::Params { rule };
    let of = params.object("ref").ok_or(refuse("`ref` must be an object"))?;
    match of.text("type").as_deref() {
        Some("ref/prompt") => {
            let name = of.str("name").ok_or(refuse("`ref.name` must be a string"))?;
            Ok((Kind::PromptArgument, name))
        }
        Some("ref/resource") => {
            let uri = of.str("uri").ok_or(refuse("`ref.uri` must be a string"))?;
            Ok((Kind::TemplateArgument, uri))
        }
        Some(_) | None => Err(refuse("`ref.type` must be `ref/prompt` or `ref/resource`")),
    }
}

fn is_object(value: &Bytes) -> bool {
    value.first() == Some(&b'{')
}
