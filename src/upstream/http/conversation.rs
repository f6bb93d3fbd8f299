//! The legacy session at the server: what was agreed on, how it is renewed, its end.
//!
//! A session is published only after the server has accepted `notifications/initialized`, so
//! nobody speaks in half a session. Renewing it is the work of a task of its own, one at a time:
//! callers only wait for it, and one that leaves disturbs nothing. Where callers can be asked, it
//! includes the GET stream, on which questions come. A session that cannot be renewed is over for
//! everybody. The one message that is written twice is here: ADR 0010.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode};
use tokio::{sync::watch, time::timeout};

use super::{
    About, Asked,
    answer::{self, read_off},
    core::{Core, Outbound, put_version},
    line::Slot,
};
use crate::{
    domain::{CallError, Sent, limits::UPSTREAM_STREAM_WAIT_MAX},
    upstream::handshake::{Greeting, Refused, initialize_params, initialized},
    wire::{
        Body, RequestId, Response, Version, encode_notification, encode_request,
        headers::MCP_SESSION_ID,
    },
};

/// The session at the server, as it stands. Modern servers have none.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    standing: watch::Sender<Standing>,
    /// The last session for whose GET stream the server has answered, whatever it said.
    listened: watch::Sender<u64>,
}

#[derive(Clone, Debug, Default)]
struct Standing {
    /// Grows with every session opened.
    n: u64,
    id: Option<HeaderValue>,
    version: Option<Version>,
    renewal: Renewal,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Renewal {
    #[default]
    None,
    UnderWay,
    /// There will be no other.
    Failed,
}

/// A session that both sides have agreed on, not yet published.
#[derive(Debug)]
struct Opened {
    greeting: Greeting,
    id: Option<HeaderValue>,
}

/// What came of a request.
struct Heard {
    status: StatusCode,
    /// The session that the server names.
    session: Option<HeaderValue>,
    answer: Result<Response, CallError>,
}

/// How an `initialize` failed.
#[derive(Debug)]
pub(super) enum NotOpened {
    Call(CallError),
    /// An HTTP status without a JSON-RPC answer.
    Status(StatusCode),
    Refused(Refused),
}

impl Conversation {
    pub(super) fn session(&self) -> Option<HeaderValue> {
        self.numbered().1
    }

    /// Which session it is; for `next`.
    pub(super) fn n(&self) -> u64 {
        self.numbered().0
    }

    /// Both, of one moment.
    pub(super) fn numbered(&self) -> (u64, Option<HeaderValue>) {
        let standing = self.standing.borrow();
        (standing.n, standing.id.clone())
    }

    /// Waits for the session that comes after the one with this number.
    pub(super) async fn next(&self, n: u64) {
        // The sender is ours, so it is not gone.
        self.standing.subscribe().wait_for(|standing| standing.n > n).await.ok();
    }

    /// The server has answered for the GET stream of the session with this number.
    pub(super) fn is_listened(&self, n: u64) {
        self.listened.send_modify(|last| *last = n.max(*last));
    }

    /// There is no GET stream, in this session or any later one.
    pub(super) fn is_never_listened(&self) {
        self.is_listened(u64::MAX);
    }

    /// Waits until the server has answered for the GET stream of the session as it stands, but not
    /// for ever: servers lose what they ask while there is none.
    pub(super) async fn listened(&self) {
        let n = self.n();
        let mut listened = self.listened.subscribe();
        timeout(UPSTREAM_STREAM_WAIT_MAX, listened.wait_for(|last| *last >= n)).await.ok();
    }

    /// The session as it stands, after a renewal that is under way; none if that has failed.
    async fn settled(&self) -> Option<Standing> {
        let standing = self.standing.borrow().clone();
        let standing = match standing.renewal {
            Renewal::None | Renewal::Failed => standing,
            Renewal::UnderWay => {
                let is_settled = |standing: &Standing| standing.renewal != Renewal::UnderWay;
                self.standing.subscribe().wait_for(is_settled).await.ok()?.clone()
            }
        };
        (standing.renewal == Renewal::None).then_some(standing)
    }

    /// From now on it is the session; calls wait until a renewal is over.
    fn publish(&self, opened: &Opened) {
        self.standing.send_modify(|standing| {
            standing.n += 1;
            standing.id.clone_from(&opened.id);
            standing.version = Some(opened.greeting.version);
        });
    }

    /// Ends a renewal that is under way.
    fn settle(&self, to: Renewal) {
        self.standing.send_if_modified(|standing| {
            let is_under_way = standing.renewal == Renewal::UnderWay;
            if is_under_way {
                standing.renewal = to;
            }
            is_under_way
        });
    }
}

impl Core {
    /// Sends a request and reads its answer. Where the protocol says that a server which has
    /// forgotten the session did not take the request, it is sent again, once, in a new one.
    pub(super) async fn converse(
        self: &Arc<Self>,
        slot: &mut Slot,
        asked: &Asked<'_>,
    ) -> Result<Response, CallError> {
        let unsent = CallError::Unavailable { sent: Sent::No };
        let standing = self.conversation.settled().await.ok_or(unsent)?;
        let session = standing.id.as_ref();
        let Heard { status, answer, .. } = self.exchange(slot, asked, session).await?;
        match meaning(status, &answer) {
            _ if session.is_none() => answer,
            Meaning::Answered => answer,
            Meaning::SessionInDoubt => {
                self.renew(standing.n);
                Err(CallError::Unavailable { sent: Sent::Yes })
            }
            Meaning::NotTaken => {
                slot.turn_down();
                self.renew(standing.n);
                // In a box, like everything rare: every call would carry it.
                let again = Box::pin(self.ask_once_more(slot, asked)).await;
                again.map_err(CallError::of_a_sent_call)
            }
        }
    }

    /// `post` asks the latch again, for the epoch of the same permit: a stop meanwhile ends it.
    async fn ask_once_more(
        self: &Arc<Self>,
        slot: &mut Slot,
        asked: &Asked<'_>,
    ) -> Result<Response, CallError> {
        let gone = CallError::Unavailable { sent: Sent::Yes };
        let renewed = self.conversation.settled().await.ok_or(gone)?;
        self.exchange(slot, asked, renewed.id.as_ref()).await?.answer
    }

    /// Sends a request and reads its answer, wherever the transport has that.
    async fn exchange(
        self: &Arc<Self>,
        slot: &mut Slot,
        asked: &Asked<'_>,
        session: Option<&HeaderValue>,
    ) -> Result<Heard, CallError> {
        // It may come before the POST is answered.
        let awaited = self.old.get().map(|old| old.expect(asked.id)).transpose()?;
        let head = self.post(slot, asked, session).await?;
        let (status, session) = (head.status(), head.headers().get(MCP_SESSION_ID).cloned());
        let answer = match awaited.filter(|_| status.is_success()) {
            Some(awaited) => {
                answer::park(self, slot, head.into_body());
                awaited.answer().await
            }
            None => answer::read(self, slot, head, asked).await,
        };
        Ok(Heard { status, session, answer })
    }

    /// Has session number `n` renewed, unless it has been, is being, or cannot be.
    fn renew(self: &Arc<Self>, n: u64) {
        let begins = self.conversation.standing.send_if_modified(|standing| {
            let begins = standing.n == n && standing.renewal == Renewal::None;
            if begins {
                standing.renewal = Renewal::UnderWay;
            }
            begins
        });
        if begins {
            let renewing = Renewing(Arc::clone(self));
            self.tasks.run(renewing.run());
        }
    }

    /// Opens the first session.
    pub(super) async fn initialize(self: &Arc<Self>) -> Result<Greeting, NotOpened> {
        let opened = self.agree().await?;
        self.conversation.publish(&opened);
        Ok(opened.greeting)
    }

    /// The legacy handshake, up to where the server has accepted that it is over.
    async fn agree(self: &Arc<Self>) -> Result<Opened, NotOpened> {
        let id = self.next_id.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let params = initialize_params(&self.face);
        let frame = encode_request(&RequestId::from_u64(id), "initialize", Some(&params));
        let asked = Asked::own(id, frame, About::own(None, "initialize"));
        let mut slot = Slot::default();
        let heard = self.exchange(&mut slot, &asked, None).await;
        let Heard { status, session, answer } = heard.map_err(NotOpened::Call)?;
        let answer = answer.map_err(|error| match status.is_success() {
            true => NotOpened::Call(error),
            false => NotOpened::Status(status),
        })?;
        let greeting = initialized(&answer).map_err(NotOpened::Refused)?;
        let ready = encode_notification("notifications/initialized", None);
        let told = self.tell(ready, greeting.version, session.as_ref(), None).await;
        told.map_err(NotOpened::Call)?;
        Ok(Opened { greeting, id: session })
    }

    /// Ends the session at the server.
    pub(super) async fn say_goodbye(&self) {
        let standing = self.conversation.standing.borrow().clone();
        if standing.id.is_none() {
            return;
        }
        let headers = || {
            let mut headers = self.headers.clone();
            put_version(&mut headers, standing.version, standing.id.as_ref());
            headers
        };
        let mut slot = Slot::default();
        let (method, headers) = (Method::DELETE, &headers);
        let outbound = Outbound { method, headers, frame: None, epoch: None };
        if let Ok(head) = self.send(&mut slot, &outbound).await {
            read_off(self, slot, head.into_body()).await;
        }
    }
}

/// The one renewal under way. Whatever ends it, nobody waits for it any longer.
struct Renewing(Arc<Core>);

impl Renewing {
    async fn run(self) {
        let core = &self.0;
        tracing::info!(server.id = %core.server, "Server forgot the session; opening a new one");
        let before = core.conversation.standing.borrow().version;
        let failed = match timeout(core.handshake_timeout, core.agree()).await {
            Ok(Ok(opened)) if Some(opened.greeting.version) == before => {
                core.conversation.publish(&opened);
                if core.host.get().is_some() {
                    core.conversation.listened().await;
                }
                return core.conversation.settle(Renewal::None);
            }
            Ok(Ok(_)) => return core.end("the server changed its protocol version"),
            Ok(Err(failed)) => Some(failed),
            Err(_) => None,
        };
        tracing::warn!(server.id = %core.server, ?failed, "New session was not opened");
        core.end("the server ended the session and opened no new one");
    }
}

impl Drop for Renewing {
    fn drop(&mut self) {
        self.0.conversation.settle(Renewal::Failed);
    }
}

/// What an answer says of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// Nothing: it is the answer to the request.
    Answered,
    /// The session is unknown, so the request cannot have been taken.
    NotTaken,
    /// The session seems to be gone, but nothing says that the request was not taken.
    SessionInDoubt,
}

/// The specification's word for an unknown session is 404, and a 404 that answers our very request
/// is not that word. Servers built after a widely copied example say 400 and mention the session.
fn meaning(status: StatusCode, answer: &Result<Response, CallError>) -> Meaning {
    match (status, answer) {
        (StatusCode::NOT_FOUND, Err(error)) if *error == answer::NO_ANSWER => Meaning::NotTaken,
        (StatusCode::NOT_FOUND, Ok(Response { id: None, .. })) => Meaning::NotTaken,
        (StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST, Ok(answer))
            if mentions_session(answer) =>
        {
            Meaning::SessionInDoubt
        }
        _ => Meaning::Answered,
    }
}

fn mentions_session(answer: &Response) -> bool {
    let Body::Error(error) = &answer.body else { return false };
    error.text("message").is_some_and(|text| text.to_ascii_lowercase().contains("session"))
}
