//! Somebody who was let in: who it is, until when, and to whom belongs what he opens.
//!
//! Promises that only this room makes a proof or a bond. Decides nothing about anybody.

use std::{future::pending, sync::Arc};

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::domain::{Principal, Rights, Transport};

/// Somebody who was let in.
#[derive(Clone, Debug)]
pub(in crate::front) struct Visitor {
    pub(in crate::front) principal: Principal,
    pub(in crate::front) transport: Transport,
    pub(in crate::front) proof: Proof,
}

/// That somebody was let in, and until when. Nobody else can make one.
#[derive(Clone, Debug)]
pub(in crate::front) struct Proof {
    /// Of what can be taken back.
    pub(super) term: Option<CancellationToken>,
    /// Of what is over by itself. What was opened with it can be gone on with by another.
    pub(super) until: Option<Instant>,
    /// By which key: another one of the same owner ends at another time.
    pub(super) key: Option<Arc<str>>,
}

/// Whose something is that was opened, and for whom alone it exists: one principal, with the same
/// rights, and by the same key if it came by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::front) struct Bond {
    rights: Rights,
    key: Option<Arc<str>>,
}

impl Visitor {
    /// What a thing that this visitor opens is bound to.
    pub(in crate::front) fn bond(&self) -> Bond {
        Bond { rights: self.principal.rights(), key: self.proof.key.clone() }
    }

    /// For tests of what comes after it.
    #[cfg(test)]
    pub(in crate::front) fn of_a_test(principal: Principal) -> Self {
        let proof = Proof { term: None, until: None, key: None };
        Self { principal, transport: Transport::Http, proof }
    }
}

impl Proof {
    /// Whether what it has opened is over.
    pub(in crate::front) fn is_over(&self) -> bool {
        self.term.as_ref().is_some_and(CancellationToken::is_cancelled)
    }

    /// Whether it can end at all.
    pub(in crate::front) fn can_end(&self) -> bool {
        self.term.is_some() || self.until.is_some()
    }

    /// Returns when it is good no more.
    pub(in crate::front) async fn over(self) {
        let taken_back = async {
            match self.term {
                Some(term) => term.cancelled_owned().await,
                None => pending().await,
            }
        };
        let by_itself = async {
            match self.until {
                Some(until) => sleep_until(until).await,
                None => pending().await,
            }
        };
        tokio::select! {
            () = taken_back => {}
            () = by_itself => {}
        }
    }
}
