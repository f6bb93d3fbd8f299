//! One session with one server: a child over stdio, or Streamable HTTP, of either era.
//!
//! Promises: a call is written only while the latch's epoch of its permit holds; it ends in exactly
//! one answer, with the exact `sent`; many run at once and none delays another; a hostile or dead
//! server fails its own calls and nothing else. Ids and progress tokens upstream are ours, nothing
//! of a caller's connection is passed on. Does not choose servers, restart or retry: the fleet
//! does.

mod connect;
mod drive;
mod error;
mod handshake;
mod http;
mod inbound;
mod listing;
mod news;
mod outgoing;
mod pace;
mod probe;
mod stdio;
mod talk;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};

use crate::{
    domain::{CallError, Era, Kind, Sent, ServerName, Subject},
    gate::{Epoch, Latch, Marks, Permit},
    wire::{
        Body, CallMethod, ClientFace, Item, List, Notice, Object, RequestId, Response, Tasks,
        Version, code, declares_tasks, encode_notification, encode_request, runs_legacy_tasks,
        tells_of_roots,
    },
};

pub use connect::{Connector, Steps};
pub use error::ConnectError;
pub use http::{get, post};
pub use news::{Honoured, ListenEnd, News};
pub use outgoing::{Draft, Manner, Outgoing, Runs};
pub use pace::Oddities;
pub use stdio::Tail;

#[cfg(test)]
pub(crate) use tests::{FakeChild, session};

use handshake::Greeting;
use news::Told;
use outgoing::shown_name;
use pace::Counts;

/// Where the notices of one call go. Bounded by whoever makes it; full means dropped and counted.
pub type NoticeSender = mpsc::Sender<Notice>;

/// A session that is open. Clones share it; with the last one it ends, and its child is killed.
#[derive(Clone, Debug)]
pub struct Session {
    server: ServerName,
    line: Line,
    greeting: Arc<Greeting>,
    face: Arc<ClientFace>,
    /// What the server was told that its callers can be asked.
    declared: Object,
    tasks: Tasks,
    whose: Whose,
    /// From which level on it logs.
    told: Arc<Told>,
    latch: Latch,
}

/// Who calls on a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Everybodys,
    OneCallers,
}

#[derive(Clone, Debug)]
enum Line {
    Stdio(stdio::Stdio),
    Http(http::Http),
}

impl Session {
    fn new(
        server: ServerName,
        line: Line,
        greeting: Greeting,
        (whose, face): (Whose, Arc<ClientFace>),
        latch: Latch,
    ) -> Self {
        let has = greeting.capabilities.as_ref();
        let tasks = match greeting.version.era() {
            Era::Modern if declares_tasks(has) => Tasks::Kept,
            Era::Legacy if runs_legacy_tasks(has) => Tasks::Legacy,
            Era::Modern | Era::Legacy => Tasks::Unknown,
        };
        let declared = handshake::declared(&face);
        let (greeting, told) = (Arc::new(greeting), Arc::default());
        Self { server, line, greeting, face, declared, tasks, whose, told, latch }
    }

    pub fn version(&self) -> Version {
        self.greeting.version
    }

    pub fn server_info(&self) -> Option<&Object> {
        self.greeting.server_info.as_ref()
    }

    pub fn capabilities(&self) -> Option<&Object> {
        self.greeting.capabilities.as_ref()
    }

    pub fn instructions(&self) -> Option<&str> {
        self.greeting.instructions.as_deref()
    }

    /// Whether the server says that it has this. One that told us nothing may have anything.
    pub fn declares(&self, capability: &str) -> bool {
        self.capabilities().is_none_or(|declared| declared.contains(capability))
    }

    /// Which tasks the server has; only one that says so, has any.
    pub fn tasks(&self) -> Tasks {
        self.tasks
    }

    /// Every entry of one of the server's lists, over all pages.
    pub async fn list(&self, list: List) -> Result<Vec<Item>, CallError> {
        listing::list(self, list).await
    }

    /// Sends an admitted call and waits for its answer. Dropping the future withdraws the call and
    /// tells the server so. The answer carries our id, not the caller's.
    pub async fn call(
        &self,
        permit: &Permit,
        call: &Outgoing,
        notices: Option<&NoticeSender>,
    ) -> Result<Response, CallError> {
        let draft = self.draft(permit.call(), call);
        self.send(permit, (draft, call), notices).await
    }

    /// Sends what was drafted on this session, and does what `call` does.
    pub async fn send(
        &self,
        permit: &Permit,
        (draft, call): (Draft, &Outgoing),
        notices: Option<&NoticeSender>,
    ) -> Result<Response, CallError> {
        self.check(permit, &draft, call)?;
        let subject = &permit.call().subject;
        if matches!(subject, Subject::Task(..)) && self.tasks() != Tasks::Kept {
            // It was another server, or another version of it, that began the task.
            return Err(CallError::Unavailable { sent: Sent::No });
        }
        match (call.manner.runs, self.tasks()) {
            // In a box: it is rare, and every call would carry it.
            (Runs::AsTask, Tasks::Legacy) => Box::pin(drive::drive(self, permit, call)).await,
            (Runs::Plainly | Runs::AsTask, _) => {
                if let Some(level) = self.wanted_level(call, notices) {
                    // So is this.
                    Box::pin(self.log_from(level, permit.epoch())).await;
                }
                self.write(permit, (draft, call), (notices, self.talking(call))).await
            }
        }
    }

    async fn write(
        &self,
        permit: &Permit,
        (draft, call): (Draft, &Outgoing),
        (notices, talk): (Option<&NoticeSender>, Option<talk::Talking>),
    ) -> Result<Response, CallError> {
        let Draft { id, frame, .. } = draft;
        let subject = &permit.call().subject;
        match &self.line {
            Line::Stdio(line) => {
                line.ask(stdio::Ask {
                    id,
                    frame,
                    epoch: Some(permit.epoch()),
                    wait: call.deadline,
                    ear: self.ear(call, notices),
                    talk,
                })
                .await
            }
            Line::Http(line) => {
                let asked = http::Asked {
                    id,
                    frame,
                    about: http::About {
                        version: Some(self.version()),
                        method: CallMethod::of(subject.kind()).as_str(),
                        name: shown_name(subject),
                        param_headers: self.param_headers(call),
                    },
                    wait: call.deadline,
                    epoch: Some(permit.epoch()),
                    notices,
                    progress: match call.params.progress_token() {
                        Some(_) => http::Progress::Wanted,
                        None => http::Progress::Unwanted,
                    },
                    hears: self.hears(),
                    talk,
                };
                let answered = line.ask(asked).await;
                if answered.as_ref().is_ok_and(misses_a_header) {
                    // The definition that we went by is not the server's any more.
                    line.lists_may_differ();
                }
                answered
            }
        }
    }

    /// Sends a request of our own and waits for its answer.
    async fn ask_own(&self, own: Own<'_>) -> Result<Response, CallError> {
        let Own { id, method, params, epoch, wait } = own;
        let frame = encode_request(&RequestId::from_u64(id), method, Some(params));
        match &self.line {
            Line::Stdio(line) => {
                line.ask(stdio::Ask { id, frame, epoch, wait, ear: None, talk: None }).await
            }
            Line::Http(line) => {
                let about = http::About::own(Some(self.version()), method);
                line.ask(http::Asked { wait, epoch, ..http::Asked::own(id, frame, about) }).await
            }
        }
    }

    /// Says that the roots of the session's caller are others now, if it was told that it would
    /// hear of that. Only a legacy server is.
    pub fn roots_changed(&self, epoch: Epoch) {
        if self.is_modern() || !tells_of_roots(&self.declared) {
            return;
        }
        let frame = encode_notification("notifications/roots/list_changed", None);
        match &self.line {
            Line::Stdio(line) => line.relay(frame, epoch),
            Line::Http(line) => line.relay(frame, self.version(), epoch),
        }
    }

    /// Gives up a call that is parked under this token: its caller will not come back.
    pub fn abandon(&self, token: &str) {
        match &self.line {
            Line::Stdio(line) => line.abandon(token),
            Line::Http(line) => line.abandon(token),
        }
    }

    /// Waits until its server is not stopped, and gives the epoch that lasts then.
    pub async fn resumed(&self) -> Epoch {
        self.latch.resumed(Marks::of_server(&self.server)).await
    }

    /// Waits until the session is over, and says why.
    pub async fn closed(&self) -> String {
        match &self.line {
            Line::Stdio(line) => line.closed().await,
            Line::Http(line) => line.closed().await,
        }
    }

    /// Grows whenever the server says that one of its lists has changed.
    pub fn list_changed(&self) -> watch::Receiver<u64> {
        match &self.line {
            Line::Stdio(line) => line.list_changed(),
            Line::Http(line) => line.list_changed(),
        }
    }

    /// Ends the session in order: stdin, SIGTERM, SIGKILL; or the end of an HTTP session.
    pub async fn close(&self) {
        match &self.line {
            Line::Stdio(line) => line.close().await,
            Line::Http(line) => line.close().await,
        }
    }

    /// What the server did that it should not have done.
    pub fn oddities(&self) -> Oddities {
        self.counts().read()
    }

    fn counts(&self) -> &Counts {
        match &self.line {
            Line::Stdio(line) => line.counts(),
            Line::Http(line) => line.counts(),
        }
    }

    /// The process of a child.
    pub fn pid(&self) -> Option<u32> {
        match &self.line {
            Line::Stdio(line) => line.pid(),
            Line::Http(_) => None,
        }
    }

    /// What the caller hears of a child before the answer. Progress that it did not want is not
    /// asked for, and is dropped on its side.
    fn ear(&self, call: &Outgoing, notices: Option<&NoticeSender>) -> Option<talk::Ear> {
        let hears = self.hears();
        if hears == talk::Hears::Named && call.params.progress_token().is_none() {
            return None;
        }
        Some(talk::Ear { notices: notices?.clone(), hears })
    }

    /// What a caller hears on this session besides its answers.
    fn hears(&self) -> talk::Hears {
        match self.whose {
            Whose::OneCallers => talk::Hears::Everything,
            Whose::Everybodys => talk::Hears::Named,
        }
    }

    /// How the caller can be asked in the middle of this call: never on a shared session, and
    /// never while something is completed.
    fn talking(&self, call: &Outgoing) -> Option<talk::Talking> {
        let may_ask = match call.params.kind() {
            Kind::Tool | Kind::Prompt | Kind::Resource => self.version().era() == Era::Legacy,
            Kind::PromptArgument | Kind::TemplateArgument | Kind::Task(_) => false,
        };
        let can = match self.whose {
            Whose::Everybodys => Object::empty(),
            Whose::OneCallers => self.declared.clone(),
        };
        let token = call.params.state();
        if !may_ask || (can.is_empty() && token.is_none()) {
            return None;
        }
        let responses = call.params.responses();
        let resume = token.map(|token| talk::Resume { token: token.to_owned(), responses });
        let able = talk::Able { can, to: call.params.speaks() };
        Some(talk::Talking { able, resume })
    }
}

/// Whether a server finds other arguments repeated in headers than it wants to see there.
fn misses_a_header(response: &Response) -> bool {
    match &response.body {
        Body::Error(error) => error.integer("code") == Some(code::HEADER_MISMATCH),
        Body::Result(_) => false,
    }
}

/// A request of our own.
#[derive(Clone, Copy, Debug)]
struct Own<'a> {
    id: u64,
    method: &'static str,
    params: &'a [u8],
    epoch: Option<Epoch>,
    wait: Duration,
}
