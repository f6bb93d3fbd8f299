//! What all requests of one HTTP session share: pool, headers, counters, tasks.
//!
//! `post` is the one place where a message leaves: it takes an idle connection or dials, asks the
//! latch, and hands over. A request that died with an idle connection before any byte of it was
//! written goes out once more on a fresh one; nothing else is ever sent twice here.

use std::{
    io,
    sync::{Arc, Mutex, OnceLock, atomic::AtomicU64},
    time::Duration,
};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response as HttpResponse, Uri,
    header::{ACCEPT, CONTENT_TYPE},
};
use hyper::body::Incoming;
use tokio::{
    sync::{broadcast, watch},
    time::{sleep, timeout},
};

use super::{
    About, Asked,
    answer::read_off,
    conversation::Conversation,
    host::Host,
    legacy::{Old, Routes},
    line::{Line, Parts, Pool, Slot},
    tasks::{Over, Tasks},
};
use crate::{
    domain::{
        CallError, Era, Sent, ServerName,
        limits::{REDIAL_PAUSE, UPSTREAM_ERRAND_TIMEOUT},
    },
    gate::{Epoch, Latch},
    upstream::{
        NoticeSender,
        news::News,
        pace::{Allowance, Counts},
    },
    wire::{
        ClientFace, Frame, Notice, Object, Version,
        headers::{MCP_METHOD, MCP_NAME, MCP_PROTOCOL_VERSION, MCP_SESSION_ID, encode_value},
    },
};

#[derive(Debug)]
pub(super) struct Core {
    pub(super) server: ServerName,
    pub(super) pool: Pool,
    pub(super) uri: Uri,
    /// The same with its origin.
    pub(super) url: Uri,
    /// Set when it speaks the transport of 2024-11-05.
    pub(super) old: OnceLock<Old>,
    /// Host and the configured headers; ours are written over them.
    pub(super) headers: HeaderMap,
    pub(super) face: Arc<ClientFace>,
    /// What the server is told that we can be asked.
    pub(super) declared: Object,
    pub(super) latch: Latch,
    pub(super) next_id: AtomicU64,
    pub(super) counts: Counts,
    /// Of what all streams together say unasked.
    pub(super) unasked: Mutex<Allowance>,
    pub(super) list_changed: watch::Sender<u64>,
    pub(super) news: broadcast::Sender<News>,
    pub(super) over: Over,
    /// How long opening a session may take.
    pub(super) handshake_timeout: Duration,
    pub(super) conversation: Conversation,
    pub(super) routes: Routes,
    /// Set once the session is known to be one whose callers can be asked.
    pub(super) host: OnceLock<Host>,
    pub(super) tasks: Tasks,
}

impl Core {
    /// Sends one message and returns the head of the answer.
    pub(super) async fn post(
        &self,
        slot: &mut Slot,
        asked: &Asked<'_>,
        session: Option<&HeaderValue>,
    ) -> Result<HttpResponse<Incoming>, CallError> {
        let headers = || self.post_headers(&asked.about, session);
        let (frame, epoch) = (Some(&asked.frame), asked.epoch);
        self.send(slot, &Outbound { method: Method::POST, headers: &headers, frame, epoch }).await
    }

    pub(super) async fn send(
        &self,
        slot: &mut Slot,
        outbound: &Outbound<'_>,
    ) -> Result<HttpResponse<Incoming>, CallError> {
        if let Some(line) = self.pool.idle().await {
            let line = slot.take_up(line);
            match self.hand_over(line, outbound).await? {
                Ok(head) => {
                    slot.answer_begins();
                    return Ok(head);
                }
                // It was closed while it was idle.
                Err(_) if line.sent() == Sent::No => {}
                Err(error) => return Err(self.broken(line, &error)),
            }
        }
        let line = slot.take_up(self.dial().await?);
        match self.hand_over(line, outbound).await? {
            Ok(head) => {
                slot.answer_begins();
                Ok(head)
            }
            Err(error) => Err(self.broken(line, &error)),
        }
    }

    /// The latch is asked here, and nothing comes in between this and the write.
    async fn hand_over(
        &self,
        line: &mut Line,
        outbound: &Outbound<'_>,
    ) -> Result<hyper::Result<HttpResponse<Incoming>>, CallError> {
        let request = outbound.request(self.target(&outbound.method));
        if outbound.epoch.is_some_and(|epoch| !self.latch.holds(epoch)) {
            return Err(CallError::Stopped { sent: Sent::No });
        }
        Ok(line.send(request).await)
    }

    fn target(&self, method: &Method) -> &Uri {
        let endpoint = self.old.get().filter(|_| *method == Method::POST).map(Old::endpoint);
        endpoint.unwrap_or(&self.uri)
    }

    /// One failed dial says little: a full queue, a proxy that restarts. Nothing was written, so
    /// the caller tries once more, and only if that fails too is the session over for everybody.
    async fn dial(&self) -> Result<Box<Line>, CallError> {
        match self.pool.dial().await {
            Ok(line) => return Ok(line),
            Err(error) => tracing::debug!(server.id = %self.server, %error, "Dialling once more"),
        }
        sleep(REDIAL_PAUSE).await;
        self.pool.dial().await.map_err(|error: io::Error| {
            tracing::warn!(server.id = %self.server, %error, "Server could not be reached");
            self.end(&format!("the server could not be reached: {error}"));
            CallError::Unavailable { sent: Sent::No }
        })
    }

    fn broken(&self, line: &Line, error: &hyper::Error) -> CallError {
        tracing::debug!(server.id = %self.server, %error, "Connection broke before the answer");
        CallError::Unavailable { sent: line.sent() }
    }

    fn post_headers(&self, about: &About<'_>, session: Option<&HeaderValue>) -> HeaderMap {
        let mut headers = self.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        put_version(&mut headers, about.version, session);
        if about.version.is_some_and(|version| version.era() == Era::Modern) {
            headers.insert(MCP_METHOD, HeaderValue::from_static(about.method));
            if let Some(name) = about.name {
                headers.insert(MCP_NAME, encode_value(name));
            }
            headers.extend(about.param_headers.iter().cloned());
        }
        headers
    }

    /// Posts a message that nobody waits for: a cancellation, a refusal, or what a caller says,
    /// with its epoch.
    pub(super) fn errand(self: &Arc<Self>, frame: Frame, version: Version, epoch: Option<Epoch>) {
        let core = Arc::clone(self);
        let errand = async move { core.say(frame, version, epoch).await };
        if self.tasks.run_errand(errand).is_err() {
            self.counts.unsaid();
        }
    }

    /// The same, waiting for it.
    pub(super) async fn say(&self, frame: Frame, version: Version, epoch: Option<Epoch>) {
        let session = self.conversation.session();
        let told = self.tell(frame, version, session.as_ref(), epoch);
        let posted = timeout(UPSTREAM_ERRAND_TIMEOUT, told).await;
        if !matches!(posted, Ok(Ok(()))) {
            self.counts.unsaid();
        }
    }

    /// Posts a notification of ours, or an answer: of ours, or a caller's with its epoch.
    pub(super) async fn tell(
        &self,
        frame: Frame,
        version: Version,
        session: Option<&HeaderValue>,
        epoch: Option<Epoch>,
    ) -> Result<(), CallError> {
        let mut slot = Slot::default();
        let about = About::own(Some(version), "notifications");
        let told = Asked { epoch, ..Asked::own(0, frame, about) };
        let head = self.post(&mut slot, &told, session).await?;
        let status = head.status();
        read_off(self, slot, head.into_body()).await;
        if status.is_success() {
            return Ok(());
        }
        Err(CallError::Protocol { what: "a notification was refused" })
    }

    /// The session is of no more use to whoever comes next. The first reason stands.
    pub(super) fn end(&self, why: &str) {
        self.over.end(why);
    }

    pub(super) fn forward(&self, notices: Option<&NoticeSender>, notice: Notice) {
        if notices.is_none_or(|notices| notices.try_send(notice).is_err()) {
            self.counts.notice_dropped();
        }
    }
}

/// A request that can be built again.
pub(super) struct Outbound<'a> {
    pub(super) method: Method,
    pub(super) headers: &'a (dyn Fn() -> HeaderMap + Sync),
    pub(super) frame: Option<&'a Frame>,
    pub(super) epoch: Option<Epoch>,
}

impl Outbound<'_> {
    fn request(&self, uri: &Uri) -> Request<Parts> {
        let parts = self.frame.map(|frame| frame.parts().to_vec());
        let mut request = Request::new(Parts::new(parts.unwrap_or_default()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = (self.headers)();
        request
    }
}

pub(super) fn put_version(
    headers: &mut HeaderMap,
    version: Option<Version>,
    session: Option<&HeaderValue>,
) {
    if let Some(version) = version.filter(|version| *version >= Version::V2025_06_18) {
        headers.insert(MCP_PROTOCOL_VERSION, HeaderValue::from_static(version.as_str()));
    }
    if let Some(session) = session {
        headers.insert(MCP_SESSION_ID, session.clone());
    }
}
