//! Who waits for an answer of one server. Each is answered exactly once.
//!
//! Owns the table from our ids to those who asked, with their deadlines and where their progress
//! goes. Bounded: beyond `SESSION_PENDING_MAX` a call is refused, not queued. Does no IO.

use std::collections::HashMap;

use tokio::{sync::oneshot, time::Instant};

use super::Able;
use crate::{
    domain::{CallError, limits::SESSION_PENDING_MAX},
    gate::Epoch,
    upstream::NoticeSender,
    wire::{Response, Version},
};

pub(in crate::upstream) type Reply = oneshot::Sender<Result<Response, CallError>>;

#[derive(Debug)]
pub(in crate::upstream) struct Waiting {
    pub(in crate::upstream) reply: Reply,
    /// Where what is said about it goes, if its caller hears any of it.
    pub(in crate::upstream) ear: Option<Ear>,
    /// The latch epoch it was admitted in; our own requests have none.
    pub(in crate::upstream) epoch: Option<Epoch>,
    pub(in crate::upstream) deadline: Instant,
    /// What its caller can be asked, if anything.
    pub(in crate::upstream) able: Option<Able>,
    /// The number of the request that waits, where it resumed a call of another number.
    pub(in crate::upstream) asked_as: u64,
}

/// Who hears what a server says before it answers.
#[derive(Clone, Debug)]
pub(in crate::upstream) struct Ear {
    pub(in crate::upstream) notices: NoticeSender,
    pub(in crate::upstream) hears: Hears,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::upstream) enum Hears {
    /// What names its call.
    Named,
    /// Also what names no call: nobody else's session is this one.
    Everything,
}

impl Ear {
    /// Who hears what names no call: the one call that is under way, if the session is its
    /// caller's own.
    pub(in crate::upstream) fn only<'a>(
        mut calls: impl Iterator<Item = Option<&'a Self>>,
    ) -> Option<&'a NoticeSender> {
        let (Some(Some(ear)), None) = (calls.next(), calls.next()) else { return None };
        (ear.hears == Hears::Everything).then_some(&ear.notices)
    }
}

#[derive(Debug, Default)]
pub(super) struct Pending(HashMap<u64, Waiting>);

impl Pending {
    pub(super) fn is_full(&self, n_parked: usize) -> bool {
        self.0.len().saturating_add(n_parked) >= SESSION_PENDING_MAX
    }

    pub(super) fn insert(&mut self, id: u64, waiting: Waiting) {
        self.0.insert(id, waiting);
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Waiting> {
        self.0.remove(&id)
    }

    /// Answers and forgets. Whether anybody was there to be answered.
    pub(super) fn answer(&mut self, id: u64, answer: Result<Response, CallError>) -> bool {
        let Some(waiting) = self.0.remove(&id) else {
            return false;
        };
        // A caller that is gone withdraws by itself.
        waiting.reply.send(answer).ok();
        true
    }

    /// The call that a request of this number waits for.
    pub(super) fn waits_for(&self, asked_as: u64) -> Option<u64> {
        if self.0.contains_key(&asked_as) {
            return Some(asked_as);
        }
        self.0.iter().find(|(_, waiting)| waiting.asked_as == asked_as).map(|(id, _)| *id)
    }

    /// The oldest call whose caller can be asked, among those for which `is_out` holds.
    pub(super) fn oldest_able(&self, is_out: impl Fn(u64) -> bool) -> Option<u64> {
        let able = self.0.keys().copied().filter(|id| self.is_able(*id) && is_out(*id));
        able.min()
    }

    /// Whether its caller waits and can be asked.
    pub(super) fn is_able(&self, id: u64) -> bool {
        self.0.get(&id).is_some_and(|waiting| waiting.able.is_some())
    }

    /// In which revision its caller is asked, if it waits and can be.
    pub(super) fn speaks(&self, id: u64) -> Option<Version> {
        self.0.get(&id)?.able.as_ref().map(|able| able.to)
    }

    pub(super) fn ear(&self, id: u64) -> Option<&Ear> {
        self.0.get(&id)?.ear.as_ref()
    }

    /// Who hears what names no call.
    pub(super) fn only_ear(&self) -> Option<&NoticeSender> {
        Ear::only(self.0.values().map(|waiting| waiting.ear.as_ref()))
    }

    pub(super) fn earliest_deadline(&self) -> Option<Instant> {
        self.0.values().map(|waiting| waiting.deadline).min()
    }

    /// The ids for which `matches` holds, in the order in which they were asked.
    pub(super) fn ids(&self, matches: impl Fn(&Waiting) -> bool) -> Vec<u64> {
        let found = self.0.iter().filter(|(_, waiting)| matches(waiting));
        let mut ids: Vec<u64> = found.map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }
}
