//! The way of a caller to the task that owns its session's calls, and its way out.
//!
//! Full means `Busy`, at once. Who leaves before the answer says so; if there is no room even for
//! that, a flag makes the task look for itself.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::{mpsc, oneshot};

use super::Reply;
use crate::{
    domain::{CallError, Sent, limits::SESSION_INBOX_MAX},
    wire::Response,
};

/// The callers' end of an inbox.
#[derive(Debug)]
pub(in crate::upstream) struct Door<E> {
    pub(in crate::upstream) inbox: mpsc::Sender<E>,
    uncounted: Uncounted,
}

/// Somebody was dropped while the inbox was full: look who.
#[derive(Clone, Debug, Default)]
pub(in crate::upstream) struct Uncounted(Arc<AtomicBool>);

/// Somebody does not wait any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Left {
    /// The caller of this number.
    Withdrawn(u64),
    /// Callers whose number found no room in the inbox.
    Uncounted,
    /// The caller of the parked call with this token, who will not come back.
    Parked(String),
}

impl<E: From<Left>> Door<E> {
    pub(in crate::upstream) fn new() -> (Self, mpsc::Receiver<E>, Uncounted) {
        let (inbox, events) = mpsc::channel(SESSION_INBOX_MAX);
        let uncounted = Uncounted::default();
        (Self { inbox, uncounted: uncounted.clone() }, events, uncounted)
    }

    /// Hands a request over and waits for its answer. Dropping the future withdraws the request.
    pub(in crate::upstream) async fn ask(
        &self,
        id: u64,
        asked: impl FnOnce(Reply) -> E,
    ) -> Result<Response, CallError> {
        let (reply, answer) = oneshot::channel();
        self.inbox.try_send(asked(reply)).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => CallError::Busy,
            mpsc::error::TrySendError::Closed(_) => CallError::Unavailable { sent: Sent::No },
        })?;
        let mut withdrawal = Withdrawal { door: self, id: Some(id) };
        let answered = answer.await;
        withdrawal.id = None;
        answered.unwrap_or(Err(CallError::Unavailable { sent: Sent::Unknown }))
    }
}

impl<E: From<Left>> Door<E> {
    /// Gives a parked call up. If there is no room to say so, its time runs out.
    pub(in crate::upstream) fn abandon(&self, token: &str) {
        self.inbox.try_send(Left::Parked(token.to_owned()).into()).ok();
    }
}

impl Uncounted {
    /// Whether there may be some since the last time.
    pub(in crate::upstream) fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}

/// Takes a request back unless it was answered.
struct Withdrawal<'a, E: From<Left>> {
    door: &'a Door<E>,
    id: Option<u64>,
}

impl<E: From<Left>> Drop for Withdrawal<'_, E> {
    fn drop(&mut self) {
        let Some(id) = self.id else {
            return;
        };
        let Door { inbox, uncounted } = self.door;
        if let Err(mpsc::error::TrySendError::Full(_)) = inbox.try_send(Left::Withdrawn(id).into())
        {
            // The flag is set first. Then either the event finds room, or there are other events
            // to come, after which the task looks at the flag.
            uncounted.0.store(true, Ordering::Release);
            inbox.try_send(Left::Uncounted.into()).ok();
        }
    }
}
