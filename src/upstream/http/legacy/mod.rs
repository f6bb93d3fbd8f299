//! The GET stream of a legacy HTTP session, and the notices of calls that come with it.
//!
//! It is listened to where a server offers it, at once in every session that is opened anew: list
//! changes come there, questions, and with some servers the progress of calls, which finds its
//! caller by the number of the call, and log messages, which find theirs where it is the only one
//! they can be meant for. Does not renew a session: a call does. `old` has the transport
//! of 2024-11-05, where all answers come on such a stream.

mod old;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub(super) use old::Old;

use http::{HeaderValue, Method, Response as HttpResponse, StatusCode, header::ACCEPT};
use hyper::body::Incoming;
use tokio::time::sleep;

use super::{
    answer::{is_stream, next_piece},
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
        inbound::{Asked, Heard, Question, understand},
        pace::Tab,
        talk::Ear,
    },
    wire::{Notice, SseEvent, SseReader, Version, decode, headers::LAST_EVENT_ID},
};

/// Where goes what does not come with its call's own answer. A call in which nobody hears has its
/// place here, too: something may be about it.
#[derive(Debug, Default)]
pub(super) struct Routes(Mutex<HashMap<u64, Option<Ear>>>);

/// Closes the route when the call is over.
#[derive(Debug)]
pub(super) struct Route<'a> {
    routes: &'a Routes,
    id: u64,
}

impl Routes {
    pub(super) fn open(&self, id: u64, ear: Option<Ear>) -> Route<'_> {
        self.table().insert(id, ear);
        Route { routes: self, id }
    }

    /// The same for a call that is carried by a task, until it is closed.
    pub(super) fn put(&self, id: u64, ear: Option<&Ear>) {
        self.table().insert(id, ear.cloned());
    }

    pub(super) fn close(&self, id: u64) {
        self.table().remove(&id);
    }

    fn get(&self, id: u64) -> Option<NoticeSender> {
        self.table().get(&id)?.as_ref().map(|ear| ear.notices.clone())
    }

    /// Who hears what names no call.
    fn only(&self) -> Option<NoticeSender> {
        Ear::only(self.table().values().map(Option::as_ref)).cloned()
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Option<Ear>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Route<'_> {
    fn drop(&mut self) {
        self.routes.close(self.id);
    }
}

impl Core {
    /// Opens a GET stream in that session, after the event `last_id` if there is one.
    pub(super) async fn open_stream(
        &self,
        slot: &mut Slot,
        version: Version,
        session: Option<&HeaderValue>,
        last_id: Option<&str>,
    ) -> Result<HttpResponse<Incoming>, CallError> {
        let headers = || {
            let mut headers = self.headers.clone();
            headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
            put_version(&mut headers, Some(version), session);
            if let Some(last_id) = last_id.and_then(|id| HeaderValue::from_str(id).ok()) {
                headers.insert(LAST_EVENT_ID, last_id);
            }
            headers
        };
        let (method, headers) = (Method::GET, &headers);
        self.send(slot, &Outbound { method, headers, frame: None, epoch: None }).await
    }

    /// Listens on the GET stream for as long as the server offers one, of each session in turn.
    pub(super) async fn listen(self: Arc<Self>, version: Version) {
        let mut listener = Listener { core: &self, version, last_id: None, retry: SSE_RETRY };
        let mut n_last = 0;
        loop {
            let (n, session) = self.conversation.numbered();
            if n > n_last {
                // Event ids are those of one session.
                (listener.last_id, n_last) = (None, n);
            }
            let renewed = self.conversation.next(n);
            let stream = tokio::select! {
                stream = listener.listen(n, session.as_ref()) => stream,
                // What is said from now on is said in the new one.
                () = renewed => continue,
            };
            let renewed = self.conversation.next(n);
            match stream {
                Stream::Ended => tokio::select! {
                    () = sleep(listener.retry) => {}
                    () = renewed => {}
                },
                Stream::NotOffered => return self.conversation.is_never_listened(),
                // Somebody's call will find that out, too, and open a new one.
                Stream::SessionGone => renewed.await,
            }
        }
    }

    /// A request of the server, about a certain call if it came with that call's answer.
    pub(super) fn asked(self: &Arc<Self>, about: Option<u64>, asked: Asked, version: Version) {
        let Asked { reply, kind, request } = asked;
        let refusal = match (kind, self.host.get()) {
            (Question::Refused, Some(host)) => host.question(about, request, reply),
            (Question::Refused, None) | (Question::Ping | Question::OfTask, _) => Err(reply),
        };
        let Err(reply) = refusal else { return };
        if kind == Question::Refused {
            self.counts.question();
        }
        self.errand(reply, version, None);
    }

    /// Progress that did not come with its call's answer.
    pub(super) fn route(&self, id: Option<u64>, notice: Notice) {
        let notices = id.and_then(|id| self.routes.get(id));
        self.forward(notices.as_ref(), notice);
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
struct Listener<'a> {
    core: &'a Arc<Core>,
    version: Version,
    last_id: Option<String>,
    retry: Duration,
}

impl Listener<'_> {
    async fn listen(&mut self, n: u64, session: Option<&HeaderValue>) -> Stream {
        let (mut slot, last_id) = (Slot::default(), self.last_id.as_deref());
        let opened = self.core.open_stream(&mut slot, self.version, session, last_id).await;
        self.core.conversation.is_listened(n);
        let Ok(head) = opened else {
            return Stream::Ended;
        };
        match head.status() {
            StatusCode::NOT_FOUND if session.is_some() => {
                return Stream::SessionGone;
            }
            status if status.is_success() && is_stream(head.headers()) => {}
            status if status.is_server_error() => return Stream::Ended,
            _ => return Stream::NotOffered,
        }
        let reader = SseReader::new(UPSTREAM_MESSAGE_BYTES_MAX);
        self.hear(slot, reader, head.into_body()).await;
        Stream::Ended
    }

    /// Takes what is said on an open stream, until it ends.
    async fn hear(&mut self, mut slot: Slot, mut reader: SseReader, mut body: Incoming) {
        let Some(line) = slot.line.as_mut() else { return };
        let mut tab = Tab::default();
        loop {
            for event in reader.by_ref() {
                let n_bytes = event.as_ref().map_or(0, |event| event.data.len());
                let is_awaited = match event {
                    Ok(event) => self.take(event),
                    Err(_) => {
                        self.core.counts.noise();
                        false
                    }
                };
                tab.event(if is_awaited { n_bytes } else { 0 });
            }
            tab.pay(reader.n_waiting(), &self.core.unasked).await;
            let Some(Ok(piece)) = next_piece(line, &mut body).await else { return };
            reader.push(&piece);
            tab.came(piece.len());
        }
    }

    /// Whether it is what somebody waits for.
    fn take(&mut self, event: SseEvent) -> bool {
        self.retry = event.retry.unwrap_or(self.retry).clamp(SSE_RETRY_MIN, SSE_RETRY_MAX);
        self.last_id = event.id.or_else(|| self.last_id.take());
        if event.data.is_empty() || event.event.is_some_and(|kind| kind != "message") {
            return false;
        }
        let Ok(message) = decode(event.data, UPSTREAM_MESSAGE_BYTES_MAX) else {
            self.core.counts.noise();
            return false;
        };
        self.core.counts.hear();
        match understand(message, &self.core.declared) {
            Heard::Answer { id, response } => {
                if self.core.old.get().is_some_and(|old| old.answered(id, response)) {
                    return true;
                }
                self.core.counts.stray();
            }
            Heard::Progress { id, notice } => self.core.route(id, notice),
            // It does not say which call it belongs to.
            Heard::Log(notice) => {
                if let Some(notices) = self.core.routes.only() {
                    self.core.forward(Some(&notices), notice);
                }
            }
            Heard::Other => {}
            // Without anybody who attends nobody is told.
            Heard::News(news) => drop(self.core.news.send(news)),
            Heard::ListChanged => self.core.list_changed.send_modify(|n| *n += 1),
            // It does not say which call it is about.
            Heard::Asked(asked) => self.core.asked(None, asked, self.version),
        }
        false
    }
}
