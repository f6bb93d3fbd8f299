//! The legacy side of an HTTP session: its session id, its renewal, its GET stream, its end.
//!
//! A session that the server has forgotten (404) is opened anew once, by one caller while the
//! others wait. The GET stream is listened to where a server offers it: list changes come there,
//! and with some servers the progress of calls.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{HeaderValue, Method, Response as HttpResponse, StatusCode, header::ACCEPT};
use hyper::body::Incoming;
use tokio::{sync::watch, time::sleep};

use super::{
    About, Asked,
    answer::{self, is_stream, next_piece, read_off},
    core::{Core, Outbound, put_version},
    line::Slot,
};
use crate::{
    domain::{
        CallError,
        limits::{SSE_RETRY, SSE_RETRY_MAX, SSE_RETRY_MIN, UPSTREAM_MESSAGE_BYTES_MAX},
    },
    upstream::{
        NoticeSender,
        handshake::{Greeting, Refused, initialize_params, initialized},
        inbound::{Heard, Question, understand},
    },
    wire::{
        Body, Notice, Object, RequestId, Response, SseEvent, SseReader, Version, decode,
        encode_notification, encode_request,
        headers::{LAST_EVENT_ID, MCP_SESSION_ID},
    },
};

/// The session at the server, as it stands. Modern servers have none.
#[derive(Debug, Default)]
pub(super) struct Conversation {
    now: watch::Sender<Standing>,
    /// Held by the one who renews.
    renewing: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    /// Grows with every session opened.
    n: u64,
    id: Option<HeaderValue>,
    version: Option<Version>,
}

/// Where progress goes that does not come with its call's own answer.
#[derive(Debug, Default)]
pub(super) struct Routes(Mutex<HashMap<u64, NoticeSender>>);

/// Closes the route when the call is over.
#[derive(Debug)]
pub(super) struct Route<'a> {
    routes: &'a Routes,
    id: u64,
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
        self.now.borrow().id.clone()
    }
}

impl Routes {
    pub(super) fn open(&self, id: u64, notices: Option<&NoticeSender>) -> Option<Route<'_>> {
        self.table().insert(id, notices?.clone());
        Some(Route { routes: self, id })
    }

    fn get(&self, id: u64) -> Option<NoticeSender> {
        self.table().get(&id).cloned()
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<u64, NoticeSender>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Route<'_> {
    fn drop(&mut self) {
        self.routes.table().remove(&self.id);
    }
}

impl Core {
    /// Sends a request and reads its answer. A server that has forgotten the session has not
    /// executed the request, so it is sent again, once, in a new one.
    pub(super) async fn converse(
        self: &Arc<Self>,
        slot: &mut Slot,
        asked: &Asked<'_>,
    ) -> Result<Response, CallError> {
        let standing = self.conversation.now.borrow().clone();
        let session = standing.id.as_ref();
        let head = self.post(slot, asked, session).await?;
        let status = head.status();
        let answer = answer::read(self, slot, head, asked).await;
        if session.is_none() || !is_forgotten(status, &answer) {
            return answer;
        }
        *slot = Slot::default();
        let renewed = self.renew(standing.n).await?;
        let session = renewed.id.as_ref();
        let head = self.post(slot, asked, session).await?;
        answer::read(self, slot, head, asked).await
    }

    async fn renew(self: &Arc<Self>, known: u64) -> Result<Standing, CallError> {
        let _turn = self.conversation.renewing.lock().await;
        let standing = self.conversation.now.borrow().clone();
        if standing.n != known {
            return Ok(standing);
        }
        tracing::info!(server.id = %self.server, "Server forgot the session; opening a new one");
        let greeting = self.initialize().await.map_err(|failed| {
            tracing::warn!(server.id = %self.server, ?failed, "New session was not opened");
            self.end("the server ended the session and opened no new one");
            CallError::Unavailable { sent: crate::domain::Sent::Yes }
        })?;
        if Some(greeting.version) != standing.version {
            self.end("the server changed its protocol version");
        }
        Ok(self.conversation.now.borrow().clone())
    }

    /// The legacy handshake. What was agreed on stands in the conversation afterwards.
    pub(super) async fn initialize(self: &Arc<Self>) -> Result<Greeting, NotOpened> {
        let id = self.next_id.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let params = initialize_params(&self.face);
        let frame = encode_request(&RequestId::from_u64(id), "initialize", Some(&params));
        let asked = Asked::own(id, frame, About::own(None, "initialize"));
        let mut slot = Slot::default();
        let head = self.post(&mut slot, &asked, None).await;
        let head = head.map_err(NotOpened::Call)?;
        let (status, session) = (head.status(), head.headers().get(MCP_SESSION_ID).cloned());
        let answer = answer::read(self, &mut slot, head, &asked).await;
        let answer = answer.map_err(|error| match status.is_success() {
            true => NotOpened::Call(error),
            false => NotOpened::Status(status),
        })?;
        let greeting = initialized(&answer).map_err(NotOpened::Refused)?;
        self.conversation.now.send_modify(|standing| {
            standing.n += 1;
            standing.id = session;
            standing.version = Some(greeting.version);
        });
        let ready = encode_notification("notifications/initialized", None);
        self.tell(ready, greeting.version).await.map_err(NotOpened::Call)?;
        Ok(greeting)
    }

    /// Ends the session at the server.
    pub(super) async fn say_goodbye(&self) {
        let standing = self.conversation.now.borrow().clone();
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

    /// Opens a GET stream, after the event `last_id` if there is one.
    pub(super) async fn open_stream(
        &self,
        slot: &mut Slot,
        version: Version,
        last_id: Option<&str>,
    ) -> Result<HttpResponse<Incoming>, CallError> {
        let session = self.conversation.session();
        let headers = || {
            let mut headers = self.headers.clone();
            headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
            put_version(&mut headers, Some(version), session.as_ref());
            if let Some(last_id) = last_id.and_then(|id| HeaderValue::from_str(id).ok()) {
                headers.insert(LAST_EVENT_ID, last_id);
            }
            headers
        };
        let (method, headers) = (Method::GET, &headers);
        self.send(slot, &Outbound { method, headers, frame: None, epoch: None }).await
    }

    /// Listens on the GET stream for as long as the server offers one.
    pub(super) async fn listen(self: Arc<Self>, version: Version) {
        let mut ear = Ear { core: &self, version, last_id: None, retry: SSE_RETRY };
        loop {
            let mut sessions = self.conversation.now.subscribe();
            let heard = ear.listen().await;
            match heard {
                Stream::Ended => sleep(ear.retry).await,
                Stream::NotOffered => return,
                // Somebody's call will find that out, too, and open a new one.
                Stream::SessionGone => {
                    ear.last_id = None;
                    if sessions.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Progress that did not come with its call's answer.
    pub(super) fn route(&self, id: Option<u64>, notice: Notice) {
        let notices = id.and_then(|id| self.routes.get(id));
        self.forward(notices.as_ref(), notice);
    }
}

/// Whether the server says that it does not know the session. The specification's word for it is
/// 404; servers built after a widely copied example say 400 and mention the session.
fn is_forgotten(status: StatusCode, answer: &Result<Response, CallError>) -> bool {
    let mentions_session = |error: &Object| {
        error.text("message").is_some_and(|text| text.to_ascii_lowercase().contains("session"))
    };
    match (status, answer) {
        (StatusCode::NOT_FOUND, _) => true,
        (StatusCode::BAD_REQUEST, Ok(Response { body: Body::Error(error), .. })) => {
            mentions_session(error)
        }
        _ => false,
    }
}

/// How a GET stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    Ended,
    NotOffered,
    SessionGone,
}

/// The one who listens.
struct Ear<'a> {
    core: &'a Arc<Core>,
    version: Version,
    last_id: Option<String>,
    retry: Duration,
}

impl Ear<'_> {
    async fn listen(&mut self) -> Stream {
        let mut slot = Slot::default();
        let opened = self.core.open_stream(&mut slot, self.version, self.last_id.as_deref()).await;
        let Ok(head) = opened else {
            return Stream::Ended;
        };
        match head.status() {
            StatusCode::NOT_FOUND if self.core.conversation.session().is_some() => {
                return Stream::SessionGone;
            }
            status if status.is_success() && is_stream(head.headers()) => {}
            status if status.is_server_error() => return Stream::Ended,
            _ => return Stream::NotOffered,
        }
        let mut body = head.into_body();
        let mut reader = SseReader::new(UPSTREAM_MESSAGE_BYTES_MAX);
        let Some(line) = slot.line.as_mut() else {
            return Stream::Ended;
        };
        while let Some(Ok(piece)) = next_piece(line, &mut body).await {
            reader.push(&piece);
            for event in reader.by_ref() {
                match event {
                    Ok(event) => self.take(event),
                    Err(_) => self.core.counts.noise(),
                }
            }
        }
        Stream::Ended
    }

    fn take(&mut self, event: SseEvent) {
        self.retry = event.retry.unwrap_or(self.retry).clamp(SSE_RETRY_MIN, SSE_RETRY_MAX);
        self.last_id = event.id.or_else(|| self.last_id.take());
        if event.data.is_empty() || event.event.is_some_and(|kind| kind != "message") {
            return;
        }
        let Ok(message) = decode(event.data, UPSTREAM_MESSAGE_BYTES_MAX) else {
            self.core.counts.noise();
            return;
        };
        match understand(message) {
            Heard::Answer { .. } => self.core.counts.stray(),
            Heard::Progress { id, notice } => self.core.route(id, notice),
            // Nobody can tell which call a log message belongs to.
            Heard::Log(_) | Heard::Other => {}
            Heard::ListChanged => self.core.list_changed.send_modify(|n| *n += 1),
            Heard::Asked { reply, kind } => {
                if kind == Question::Refused {
                    self.core.counts.question();
                }
                self.core.errand(reply, self.version);
            }
        }
    }
}
