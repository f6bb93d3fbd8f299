//! A session over Streamable HTTP, modern or legacy.
//!
//! A call runs in its caller's task, on a connection that it holds alone until the answer is read;
//! deadline, stop and withdrawal end it there, and closing the connection is part of each. What
//! has no caller (cancellations, refusals, the legacy GET stream) runs in tasks that end with the
//! last handle, and so does a call whose caller can be asked (`host`). Inbound headers of a caller
//! never get here.

mod answer;
mod conversation;
mod core;
mod errand;
mod host;
mod legacy;
mod line;
mod open;
mod socket;
mod tasks;
#[cfg(test)]
pub(super) mod tests;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::{HeaderName, HeaderValue};
use tokio::{
    select,
    sync::{broadcast, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::DropGuard;

use self::{core::Core, line::Slot};
use super::{
    NoticeSender,
    news::News,
    pace::Counts,
    talk::{Ear, Hears, Talking},
};
use crate::{
    domain::{
        CallError, Era, Sent,
        limits::{TOOL_TIMEOUT, UPSTREAM_ERRAND_TIMEOUT},
    },
    gate::{Epoch, Latch},
    wire::{Frame, RequestId, Response, Version, encode_cancelled},
};

pub use errand::{get, post};
pub(super) use open::open;

/// The handle to one HTTP session.
#[derive(Clone, Debug)]
pub(super) struct Http(Arc<Leash>);

#[derive(Debug)]
struct Leash {
    core: Arc<Core>,
    /// Ends the tasks with the last handle.
    _end: DropGuard,
}

/// One request.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    pub(super) id: u64,
    pub(super) frame: Frame,
    pub(super) about: About<'a>,
    pub(super) wait: Duration,
    /// The latch epoch it was admitted in; our own requests have none.
    pub(super) epoch: Option<Epoch>,
    pub(super) notices: Option<&'a NoticeSender>,
    pub(super) progress: Progress,
    pub(super) hears: Hears,
    pub(super) talk: Option<Talking>,
}

/// Whether the request carries its id as a progress token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Wanted,
    Unwanted,
}

/// What the headers say of a message.
#[derive(Clone, Debug)]
pub(super) struct About<'a> {
    /// None before a version was agreed on.
    pub(super) version: Option<Version>,
    pub(super) method: &'static str,
    pub(super) name: Option<&'a str>,
    pub(super) param_headers: Vec<(HeaderName, HeaderValue)>,
}

impl<'a> Asked<'a> {
    /// A request of our own.
    pub(super) fn own(id: u64, frame: Frame, about: About<'a>) -> Self {
        Self {
            id,
            frame,
            about,
            wait: TOOL_TIMEOUT,
            epoch: None,
            notices: None,
            progress: Progress::Unwanted,
            hears: Hears::Named,
            talk: None,
        }
    }

    /// Who hears what comes on other streams than that of the answer.
    fn ear(&self) -> Option<Ear> {
        Some(Ear { notices: self.notices?.clone(), hears: self.hears })
    }

    /// The same for a legacy server, with nothing borrowed: what is said before the answer finds
    /// its way by the number of the call.
    fn without_caller(self) -> Asked<'static> {
        let Self { id, frame, about, wait, epoch, .. } = self;
        let about = About::own(about.version, about.method);
        Asked { wait, epoch, ..Asked::own(id, frame, about) }
    }
}

impl About<'_> {
    /// A message of our own.
    pub(super) fn own(version: Option<Version>, method: &'static str) -> Self {
        Self { version, method, name: None, param_headers: Vec::new() }
    }
}

/// How a conversation came to its end.
enum End<T> {
    Answered(Result<Response, CallError>),
    Stopped,
    /// Something else came before the answer.
    Left(T),
}

impl Core {
    /// Sends a request and reads its answer, unless the stop or `other` comes first.
    async fn carry<T>(
        self: &Arc<Self>,
        slot: &mut Slot,
        asked: &Asked<'_>,
        other: impl Future<Output = T>,
    ) -> End<T> {
        select! {
            // The stop first: what is left of a request must not be written after it.
            biased;
            () = stopped(&self.latch, asked.epoch) => End::Stopped,
            answered = self.converse(slot, asked) => End::Answered(answered),
            other = other => End::Left(other),
        }
    }
}

impl Http {
    fn new(core: Arc<Core>) -> Self {
        let end = core.tasks.leash();
        Self(Arc::new(Leash { core, _end: end }))
    }

    pub(super) fn draw_id(&self) -> u64 {
        self.0.core.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a request and waits for its answer. Dropping the future withdraws the request.
    pub(super) async fn ask(&self, asked: Asked<'_>) -> Result<Response, CallError> {
        let core = &self.0.core;
        if asked.talk.is_some() {
            // Without a host nobody was ever asked: what this takes up is not known here.
            let host = core.host.get().ok_or(CallError::Unavailable { sent: Sent::Unknown })?;
            return host.ask(asked).await;
        }
        let legacy = asked.about.version.filter(|version| version.era() == Era::Legacy);
        let _route = match (legacy, asked.progress, asked.hears) {
            (Some(_), Progress::Wanted, _) | (Some(_), _, Hears::Everything) => {
                Some(core.routes.open(asked.id, asked.ear()))
            }
            (Some(_), Progress::Unwanted, Hears::Named) | (None, _, _) => None,
        };
        let mut recall = Recall { core, id: asked.id, version: legacy, slot: Slot::default() };
        let end = core.carry(&mut recall.slot, &asked, sleep(asked.wait)).await;
        // Its connection is closed before we return: nothing more of it leaves us.
        let sent = recall.slot.sent();
        match end {
            End::Answered(answered) => {
                recall.version = None;
                answered
            }
            End::Stopped => Err(CallError::Stopped { sent }),
            End::Left(()) => Err(CallError::Deadline { sent }),
        }
    }

    /// Posts a message of ours, whose answer nobody waits for, if it is a request.
    pub(super) fn send_off(&self, frame: Frame, version: Version) {
        self.0.core.errand(frame, version, None);
    }

    /// Posts a caller's notification while its epoch lasts.
    pub(super) fn relay(&self, frame: Frame, version: Version, epoch: Epoch) {
        self.0.core.errand(frame, version, Some(epoch));
    }

    pub(super) fn abandon(&self, token: &str) {
        if let Some(host) = self.0.core.host.get() {
            host.abandon(token);
        }
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.0.core.counts
    }

    pub(super) fn list_changed(&self) -> watch::Receiver<u64> {
        self.0.core.list_changed.subscribe()
    }

    pub(super) fn lists_may_differ(&self) {
        self.0.core.list_changed.send_modify(|n| *n += 1);
    }

    pub(super) fn news(&self) -> broadcast::Receiver<News> {
        self.0.core.news.subscribe()
    }

    /// The number of the legacy session; a renewed one has forgotten what it was told.
    pub(super) fn conversation(&self) -> u64 {
        self.0.core.conversation.n()
    }

    pub(super) async fn next_conversation(&self, n: u64) {
        self.0.core.conversation.next(n).await;
    }

    /// Waits until the session is over, and says why.
    pub(super) async fn closed(&self) -> String {
        self.0.core.over.closed().await
    }

    /// Ends a legacy session at the server, then everything here.
    pub(super) async fn close(&self) {
        let core = &self.0.core;
        // Whether the server heard it changes nothing for us.
        timeout(UPSTREAM_ERRAND_TIMEOUT, core.say_goodbye()).await.ok();
        core.end("the gateway closed the session");
        core.tasks.end().await;
        core.pool.clear();
    }
}

/// Returns when the latch no longer holds for `epoch`; never for a request without one.
async fn stopped(latch: &Latch, epoch: Option<Epoch>) {
    let Some(epoch) = epoch else {
        return std::future::pending().await;
    };
    latch.passed(epoch).await;
}

/// Tells a legacy server that nobody waits any more, unless the request was answered. A modern
/// one is told by the closed connection.
struct Recall<'a> {
    core: &'a Arc<Core>,
    id: u64,
    version: Option<Version>,
    slot: Slot,
}

impl Drop for Recall<'_> {
    fn drop(&mut self) {
        let known = self.slot.may_be_known();
        self.slot.line = None;
        if let Some(version) = self.version.filter(|_| known) {
            let frame = encode_cancelled(&RequestId::from_u64(self.id), "nobody waits any more");
            self.core.errand(frame, version, None);
        }
    }
}
