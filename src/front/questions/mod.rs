//! Questions of servers on their way to clients, and the answers on their way back.
//!
//! A modern client is handed the questions and asks again with the answers. A legacy client is sent
//! requests, on the stream of the call that they belong to; this room waits for its responses.
//! Promises that a question ends with its call, that a client is asked only what it declared, and
//! that a server's state goes through a client's hands sealed. Judges nothing: what
//! is handed out here the gate has let through.

mod approval;
mod crossing;
mod seal;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

pub(super) use approval::GoesOn;
pub(super) use seal::{Binding, FOREVER, Sealer, answerable_until};

use super::{Front, exchange::Lines};

use crate::{
    domain::{
        CallError, DenyReason, Kind, Questions, Sent,
        limits::{
            CLIENT_CAPABILITIES_BYTES_MAX, QUESTION_RETRY_PAUSE, QUESTION_WAIT_MAX, QUESTIONS_MAX,
        },
    },
    fleet::Parked,
    gate::Permit,
    wire::{
        Body, CallParams, Frame, InputRequired, Level, Object, Progressed, Question, RequestId,
        Response, Sender, TaskNews, Version, encode_cancelled, encode_request, input_responses,
        relayable_in_session,
    },
};

/// Requests to one client that wait for its response.
#[derive(Debug, Default)]
struct Open {
    last: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<Body>>>,
}

/// Questions that may be handed out.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) asks: InputRequired,
    pub(super) permit: Permit<Questions>,
    /// The call that waits at its server meanwhile, if that is how it asks.
    pub(super) parked: Option<Parked>,
}

impl Asked {
    /// The questions on their way to a client that comes back by itself, or never.
    pub(super) fn hand_out(self) -> InputRequired {
        if let Some(parked) = self.parked {
            parked.keep();
        }
        self.asks
    }
}

/// What a legacy client has said of itself, and what it is being asked.
#[derive(Debug, Default)]
pub(super) struct Acquaintance {
    capabilities: Option<Object>,
    level: Mutex<Option<Level>>,
    open: Arc<Open>,
}

/// Where requests to a client go: the stream of the call that they belong to.
pub(super) type Voice = mpsc::Sender<Frame>;

/// Why a client's answers did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unanswered {
    /// It is gone.
    Gone,
    /// It answered with an error, or with what is no answer.
    Declined,
    /// Its revision of MCP has no form for it; nothing was asked.
    Unsayable,
}

impl Acquaintance {
    /// From the parameters of its `initialize`.
    pub(super) fn new(params: Option<&Object>) -> Self {
        let declared = params.and_then(|params| params.object("capabilities"));
        let kept = declared.filter(|can| can.raw().len() <= CLIENT_CAPABILITIES_BYTES_MAX);
        let capabilities = kept.and_then(|can| can.detached().ok());
        Self { capabilities, ..Self::default() }
    }

    /// Its part in every request. Without a stream to ask on, it cannot be asked anything.
    pub(super) fn sender(&self, version: Version, voice: Option<&Voice>) -> Sender {
        let capabilities = voice.and_then(|_| self.capabilities.clone());
        Sender { version, capabilities, log_level: self.level() }
    }

    /// What the sessions that are its own are opened with.
    pub(super) fn declared(&self) -> Bytes {
        relayable_in_session(self.capabilities.as_ref())
    }

    /// Whether it may be asked anything at all.
    pub(super) fn answers(&self) -> bool {
        self.capabilities.as_ref().is_some_and(|can| !can.is_empty())
    }

    pub(super) fn level(&self) -> Option<Level> {
        *self.level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_level(&self, level: Level) {
        *self.level.lock().unwrap_or_else(PoisonError::into_inner) = Some(level);
    }

    /// A response of the client. One that nobody waits for is dropped.
    pub(super) fn hear(&self, response: Response) {
        let id = response.id.as_ref().and_then(RequestId::as_u64);
        let waiting = id.and_then(|id| self.open.lock().remove(&id));
        if let Some(waiting) = waiting {
            // Whoever waited may be gone by now.
            waiting.send(response.body).ok();
        }
    }

    /// Puts all questions of a round to the client and waits for all answers: the text of
    /// `inputResponses`. Dropped before its end, it tells the client that nobody waits any more.
    async fn ask(
        &self,
        to: Version,
        asks: &InputRequired,
        voice: &Voice,
    ) -> Result<Bytes, Unanswered> {
        let prepared = asks.questions.iter().map(|question| self.prepare(to, question));
        // All, before the first is put: a round is asked as a whole or not at all.
        let mut prepared = prepared.collect::<Result<Vec<_>, _>>()?;
        for (pending, frame) in &mut prepared {
            voice.send(std::mem::take(frame)).await.map_err(|_| Unanswered::Gone)?;
            pending.voice = Some(voice.clone());
        }
        let mut answers = Vec::with_capacity(prepared.len());
        for (question, (mut pending, _)) in asks.questions.iter().zip(prepared) {
            let body = (&mut pending.answer).await.map_err(|_| Unanswered::Gone)?;
            pending.voice = None;
            match body {
                Body::Result(result) => answers.push((question.key.as_str(), result.raw().clone())),
                Body::Error(_) => return Err(Unanswered::Declined),
            }
        }
        Ok(input_responses(answers))
    }

    fn prepare(&self, to: Version, question: &Question) -> Result<(Pending, Frame), Unanswered> {
        let id = self.open.last.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let params = question.legacy_params(to, id).map_err(|_| Unanswered::Unsayable)?;
        let method = question.method.method();
        let frame = encode_request(&RequestId::from_u64(id), method, params.as_deref());
        let (waiting, answer) = oneshot::channel();
        self.open.lock().insert(id, waiting);
        Ok((Pending { open: self.open.clone(), id, answer, voice: None }, frame))
    }
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Body>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One question without an answer; forgets itself when dropped.
struct Pending {
    open: Arc<Open>,
    id: u64,
    answer: oneshot::Receiver<Body>,
    /// Where to say that the answer is not wanted any more, while the client owes it.
    voice: Option<Voice>,
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.open.lock().remove(&self.id);
        if let Some(voice) = &self.voice {
            // A client that takes nothing does not hear of it.
            voice.try_send(encode_cancelled(&RequestId::from_u64(self.id), "nobody waits")).ok();
        }
    }
}

/// Completions are answered or refused, never asked about; a task asks in its own way.
fn may_ask(kind: Kind) -> bool {
    match kind {
        Kind::Tool | Kind::Prompt | Kind::Resource => true,
        Kind::PromptArgument | Kind::TemplateArgument | Kind::Task(_) => false,
    }
}

/// What a server's result means for the client whose request this was.
pub(super) fn read(result: &Object, params: &CallParams) -> Result<Progressed, &'static str> {
    let progressed = match matches!(params.kind(), Kind::Task(_)) {
        true => TaskNews::read(result).map(Progressed::Task),
        false => InputRequired::read(result),
    };
    let progressed = progressed.map_err(|_| "its questions, or its task, are malformed")?;
    match &progressed {
        Progressed::Asks(_) if !may_ask(params.kind()) => Err("it asks where it must answer"),
        Progressed::Asks(asks) if asks.questions.len() > QUESTIONS_MAX => {
            Err("it asks too much at once")
        }
        Progressed::Asks(asks) if !asks.fits(params.capabilities()) => {
            Err("it asks what its client cannot be asked")
        }
        Progressed::Asks(_) | Progressed::Task(_) | Progressed::Complete => Ok(progressed),
    }
}

/// The pages that are to be visited first, if that is what this error of a server says.
pub(super) fn pages(error: &Object, params: &CallParams) -> Option<InputRequired> {
    InputRequired::of_error(error, QUESTIONS_MAX).filter(|_| may_ask(params.kind()))
}

/// Puts a round of questions to a legacy client: the text of `inputResponses`, or none if nothing
/// was asked. Ends with the stop, with the service, and when the client takes too long.
pub(super) async fn inquire(
    front: &Front,
    client: &Acquaintance,
    to: Version,
    asked: &Asked,
    lines: &Lines,
) -> Result<Option<Bytes>, CallError> {
    let sent = Sent::Yes;
    let Asked { asks, permit, .. } = asked;
    let asked = async {
        let Some(voice) = lines.voice.as_ref().filter(|_| !asks.questions.is_empty()) else {
            tokio::time::sleep(QUESTION_RETRY_PAUSE).await;
            return Ok(None);
        };
        client.ask(to, asks, voice).await.map(Some)
    };
    tokio::select! {
        biased;
        // First, so that nothing is asked under an epoch that is past.
        () = front.gate.latch().passed(permit.epoch()) => Err(CallError::Stopped { sent }),
        () = front.abandon.cancelled() => Err(CallError::Unavailable { sent }),
        asked = asked => asked.map_err(|unanswered| match unanswered {
            Unanswered::Gone | Unanswered::Declined => CallError::Cancelled { sent },
            Unanswered::Unsayable => CallError::Withheld { reason: DenyReason::Schema },
        }),
        () = tokio::time::sleep(QUESTION_WAIT_MAX) => Err(CallError::Deadline { sent }),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::Acquaintance;
    use crate::{domain::limits::CLIENT_CAPABILITIES_BYTES_MAX, wire::Object};

    #[test]
    fn a_session_keeps_what_its_client_can_but_not_the_request_that_said_so() {
        let message = Bytes::from(r#"{"capabilities":{"roots":{}},"more":1}"#.to_owned());
        let params = Object::parse(message.clone()).unwrap();
        let known = Acquaintance::new(Some(&params));
        drop(params);
        assert!(known.answers() && message.is_unique());
    }

    #[test]
    fn of_too_many_capabilities_none_is_kept() {
        let filler = "x".repeat(CLIENT_CAPABILITIES_BYTES_MAX);
        let message = format!(r#"{{"capabilities":{{"roots":{{}},"x":"{filler}"}}}}"#);
        let params = Object::parse(message.into()).unwrap();
        assert!(!Acquaintance::new(Some(&params)).answers());
    }
}
