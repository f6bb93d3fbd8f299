//! Questions that a server has before it can answer: `input_required` results and their answers.
//!
//! In the inner form a server never calls its client: it answers with what it wants to know, and
//! the same request comes again with the answers. What a client can be asked is what it declared,
//! and of that only what we know how to relay. Asks nobody and keeps nothing.

mod forms;
mod pages;

use bytes::Bytes;

pub use pages::{encode_visited, input_required, question_key};

use super::{Version, tasks::TaskNews};
use crate::{
    domain::Asking,
    wire::{
        WireError,
        json::{Frame, Object, Text, quote},
    },
};

#[cfg(test)]
mod tests;

pub(super) const REQUESTS: &str = "inputRequests";
pub(super) const RESPONSES: &str = "inputResponses";
pub(super) const STATE: &str = "requestState";
const RESULT_TYPE: &str = "resultType";
const ELICITATION_ID: &str = "elicitationId";

/// What a client can do for a server, as far as we relay it.
const RELAYED: [&str; 3] = ["elicitation", "sampling", "roots"];

const LIST_CHANGED: &str = "listChanged";

/// A result that is no answer yet.
#[derive(Clone, Debug)]
pub struct InputRequired {
    result: Object,
    pub questions: Vec<Question>,
}

/// One thing that a server wants to know.
#[derive(Clone, Debug)]
pub struct Question {
    /// Under which the answer must come back.
    pub key: String,
    pub method: Asking,
    pub params: Option<Object>,
}

/// The kinds of results.
#[derive(Clone, Debug)]
pub enum Progressed {
    /// An answer.
    Complete,
    Asks(InputRequired),
    /// The answer will be had from a task.
    Task(TaskNews),
}

impl InputRequired {
    /// Tells an answer from questions, and from a task. What is none of them, or asks what cannot
    /// be asked, is refused.
    pub fn read(result: &Object) -> Result<Progressed, WireError> {
        let refuse = |rule| Err(WireError::Params { rule });
        match result.peek(RESULT_TYPE) {
            None | Some(b"\"complete\"") => return Ok(Progressed::Complete),
            Some(b"\"input_required\"") => {}
            Some(b"\"task\"") => return TaskNews::read(result).map(Progressed::Task),
            Some(_) => return refuse("`resultType` is none that we know"),
        }
        let questions = questions_of(result)?;
        let has_state = match (result.str(STATE), result.contains(STATE)) {
            (None, true) => return refuse("`requestState` must be a string"),
            (state, _) => state.is_some(),
        };
        if questions.is_empty() && !has_state {
            return refuse("`input_required` asks nothing and has no state");
        }
        Ok(Progressed::Asks(Self { result: result.clone(), questions }))
    }

    /// What the server wants to see again.
    pub fn state(&self) -> Option<Text> {
        self.result.str(STATE)
    }

    /// The same questions under another state.
    pub fn with_state(self, state: &str) -> Result<Self, WireError> {
        let restated = self.result.edit().set(STATE, quote(state)).finish();
        Ok(Self { result: Object::parse(restated.into_bytes())?, ..self })
    }

    /// The bytes of the questions.
    pub fn text(&self) -> Bytes {
        self.result.get(REQUESTS).unwrap_or_default()
    }

    pub fn result(&self) -> &Object {
        &self.result
    }

    /// Whether a client of this revision has a form for every question.
    pub fn is_known_to(&self, version: Version) -> bool {
        let is_known = |it: &Question| it.method.is_known_to(it.params.as_ref(), version);
        self.questions.iter().all(is_known)
    }

    /// Whether every question is one that a client of these capabilities can be asked.
    pub fn fits(&self, capabilities: Option<&Object>) -> bool {
        fits(&self.questions, capabilities)
    }
}

pub(super) fn fits(questions: &[Question], capabilities: Option<&Object>) -> bool {
    let can = |question: &Question| capabilities.is_some_and(|can| question.method.is_in(can));
    questions.iter().all(can)
}

/// What a result asks; nothing, if it has no such member.
pub(super) fn questions_of(result: &Object) -> Result<Vec<Question>, WireError> {
    match (result.object(REQUESTS), result.contains(REQUESTS)) {
        (Some(asked), _) => questions(&asked),
        (None, false) => Ok(Vec::new()),
        (None, true) => Err(WireError::Params { rule: "`inputRequests` must be an object" }),
    }
}

fn questions(asked: &Object) -> Result<Vec<Question>, WireError> {
    let refuse = |rule| WireError::Params { rule };
    let question = |(key, value): (std::borrow::Cow<'_, str>, Bytes)| {
        let value = Object::parse(value).map_err(|_| refuse("a question must be an object"))?;
        let params = value.object("params");
        let method = value.text("method").ok_or(refuse("a question must name its `method`"))?;
        let method = Asking::parse(&method, params.as_ref())
            .ok_or(refuse("a question is of a kind that no client can be asked"))?;
        Ok(Question { key: key.into_owned(), method, params })
    };
    asked.members().map(question).collect()
}

impl Question {
    /// What a legacy client of this version is asked by its request of this number. It knows a
    /// page by an id, which modern servers do not give. An error for what has no form there.
    pub fn legacy_params(&self, to: Version, number: u64) -> Result<Option<Bytes>, WireError> {
        let Some(params) = &self.params else { return Ok(None) };
        let asked = match self.method {
            Asking::Form if to < Version::V2025_11_25 => forms::for_older_clients(params)?,
            Asking::Url if !params.contains(ELICITATION_ID) => {
                let known = params.edit().set(ELICITATION_ID, quote(&number.to_string()));
                return Ok(Some(known.finish().into_bytes()));
            }
            Asking::Form | Asking::Url | Asking::Sampling | Asking::Roots => None,
        };
        Ok(Some(asked.as_ref().unwrap_or(params).raw().clone()))
    }
}

/// What of it the wire knows.
impl Asking {
    pub fn parse(method: &str, params: Option<&Object>) -> Option<Self> {
        match method {
            "elicitation/create" => match params?.peek("mode") {
                Some(b"\"url\"") => Some(Self::Url),
                None | Some(b"\"form\"") => Some(Self::Form),
                Some(_) => None,
            },
            "sampling/createMessage" => params.map(|_| Self::Sampling),
            "roots/list" => Some(Self::Roots),
            _ => None,
        }
    }

    pub fn method(self) -> &'static str {
        match self {
            Self::Form | Self::Url => "elicitation/create",
            Self::Sampling => "sampling/createMessage",
            Self::Roots => "roots/list",
        }
    }

    /// Whether a server that was told of these capabilities may use the method at all.
    pub fn is_declared(method: &str, capabilities: &Object) -> bool {
        match method {
            "elicitation/create" => capabilities.contains("elicitation"),
            "sampling/createMessage" => Self::Sampling.is_in(capabilities),
            "roots/list" => Self::Roots.is_in(capabilities),
            _ => false,
        }
    }

    /// Whether a client of this revision has a form for a question with these parameters.
    pub fn is_known_to(self, params: Option<&Object>, version: Version) -> bool {
        let is_same = self != Self::Form || version >= Version::V2025_11_25;
        is_same || params.is_none_or(|params| forms::for_older_clients(params).is_ok())
    }

    pub fn is_in(self, capabilities: &Object) -> bool {
        let elicitation = || capabilities.object("elicitation");
        match self {
            // An empty object has meant forms since there are forms.
            Self::Form => elicitation().is_some_and(|can| can.is_empty() || can.contains("form")),
            Self::Url => elicitation().is_some_and(|can| can.contains("url")),
            Self::Sampling => capabilities.contains("sampling"),
            Self::Roots => capabilities.contains("roots"),
        }
    }
}

/// All of it, as a client would declare it.
pub const RELAYABLE: &str =
    r#"{"elicitation":{"form":{},"url":{}},"sampling":{"context":{},"tools":{}},"roots":{}}"#;

/// The capabilities that a server is told of: the client's own, and of those only what we relay.
pub(in crate::wire) fn relayable(capabilities: Option<&Object>) -> Bytes {
    let told = relayable_in_session(capabilities);
    let Some(roots) = capabilities.and_then(|all| all.object("roots")) else { return told };
    if !roots.contains(LIST_CHANGED) {
        return told;
    }
    let Ok(told) = Object::parse(told) else { return Bytes::from_static(b"{}") };
    told.edit().set_edited("roots", roots.edit().remove(LIST_CHANGED)).finish().into_bytes()
}

/// The same of a client that has a session, and there says when its roots are others.
pub fn relayable_in_session(capabilities: Option<&Object>) -> Bytes {
    let known = |key: &str| RELAYED.contains(&key);
    match capabilities {
        None => Bytes::from_static(b"{}"),
        Some(all) if all.keys().all(|key| known(&key)) => all.raw().clone(),
        Some(all) => object(all.members().filter(|(key, _)| known(key))),
    }
}

/// Whether these capabilities say that it will be told when the roots are others.
pub fn tells_of_roots(capabilities: &Object) -> bool {
    let roots = capabilities.object("roots");
    roots.is_some_and(|roots| roots.peek(LIST_CHANGED) == Some(b"true"))
}

/// The answers to questions, by their keys: the text of `inputResponses`.
pub fn input_responses<'a>(answers: impl IntoIterator<Item = (&'a str, Bytes)>) -> Bytes {
    object(answers.into_iter().map(|(key, value)| (key.into(), value)))
}

fn object<'a>(members: impl Iterator<Item = (std::borrow::Cow<'a, str>, Bytes)>) -> Bytes {
    let mut edit = Object::empty().edit();
    for (key, value) in members {
        edit = edit.set(key.into_owned(), value);
    }
    let frame: Frame = edit.finish();
    frame.into_bytes()
}
