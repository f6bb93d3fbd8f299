//! The book of approvals: what waits, what somebody said of it, and how far it was used.
//!
//! Pure. Promises that an approval lets through what it is bound to and nothing else, once, before
//! it expires and in the epoch in which it was asked for; that who asked is not who approves; and
//! that the book stays within its bounds.

use super::{Decision, DecisionError, Ended, Remembered, Request, State};
use crate::{
    domain::{
        ApprovalId, Use,
        limits::{APPROVALS_MAX, APPROVALS_OF_PRINCIPAL_MAX, REMEMBERED_APPROVALS_MAX},
    },
    gate::Epoch,
};

#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Book {
    pub(super) requests: Vec<Request>,
    pub(super) remembered: Vec<Remembered>,
}

/// What the book says of a call that is held.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::gate) enum Found {
    /// It may go through, this once.
    Approved(Use),
    /// Its errand is remembered.
    Remembered(ApprovalId),
    /// It waits for somebody.
    Waits(ApprovalId),
    /// Somebody said no.
    Refused(ApprovalId),
    /// What it has asked for is over: nobody has answered in time, or it was used.
    Over(ApprovalId),
    /// Too many wait already.
    Full,
}

impl Book {
    /// What there is for this call. `asked` is entered if there is nothing.
    pub(super) fn present(
        &mut self,
        (asked, before): (Request, Option<Use>),
        now_ms: u64,
        holds: &dyn Fn(Epoch) -> bool,
    ) -> Found {
        let mut same = self.requests.iter_mut().filter(|one| {
            // What was used was for one call: for another it is as if it were not there.
            let is_open = match (one.state, before) {
                (State::Used { round }, Some(before)) => before == Use { approval: one.id, round },
                (State::Used { .. }, None) => false,
                (State::Waiting | State::Allowed | State::Refused, _) => true,
            };
            is_open && one.bound == asked.bound && one.lasts(now_ms, holds)
        });
        if let Some(one) = same.next() {
            return match one.state {
                State::Waiting => Found::Waits(one.id),
                State::Refused => Found::Refused(one.id),
                State::Allowed => Found::Approved(one.used(1)),
                State::Used { round } => Found::Approved(one.used(round.saturating_add(1))),
            };
        }
        let knows = |one: &&Remembered| one.errand == asked.errand && one.until_ms > now_ms;
        if let Some(one) = self.remembered.iter().find(knows) {
            return Found::Remembered(one.id);
        }
        if let Some(Use { approval, round: 0 }) = before {
            return Found::Over(approval);
        }
        let whose = |one: &&Request| one.about.principal == asked.about.principal;
        let of_principal = self.requests.iter().filter(whose).count();
        if self.requests.len() >= APPROVALS_MAX || of_principal >= APPROVALS_OF_PRINCIPAL_MAX {
            return Found::Full;
        }
        let id = asked.id;
        self.requests.push(asked);
        Found::Waits(id)
    }

    /// What somebody says of a call that waits.
    pub(super) fn decide(
        &mut self,
        (id, who): (ApprovalId, &str),
        decision: Decision,
        now_ms: u64,
        holds: &dyn Fn(Epoch) -> bool,
    ) -> Result<Request, DecisionError> {
        let lasts = |one: &&mut Request| one.id == id && one.lasts(now_ms, holds);
        let one = self.requests.iter_mut().find(lasts).ok_or(DecisionError::Unknown)?;
        if one.state != State::Waiting {
            return Err(DecisionError::Decided);
        }
        if decision == Decision::Refuse {
            one.state = State::Refused;
            return Ok(one.clone());
        }
        if who == one.about.principal {
            return Err(DecisionError::Own);
        }
        if decision == Decision::Remember {
            let until_ms = match one.remember_ms {
                0 => return Err(DecisionError::NotRemembered),
                ms => now_ms.saturating_add(ms),
            };
            if one.errand.places.is_empty() {
                return Err(DecisionError::Placeless);
            }
            self.remembered.retain(|old| old.errand != one.errand && old.until_ms > now_ms);
            if self.remembered.len() >= REMEMBERED_APPROVALS_MAX {
                return Err(DecisionError::Full);
            }
            let (about, errand) = (one.about.clone(), one.errand.clone());
            self.remembered.push(Remembered { id, errand, about, until_ms });
        }
        one.state = State::Allowed;
        Ok(one.clone())
    }

    /// Whoever asked does not want it any more.
    pub(super) fn withdraw(&mut self, id: ApprovalId) -> Option<Request> {
        let is_it = |one: &Request| one.id == id && one.state == State::Waiting;
        let at = self.requests.iter().position(is_it)?;
        Some(self.requests.remove(at))
    }

    /// Takes out what is over; tells what nobody has answered or used.
    pub(super) fn sweep(
        &mut self,
        now_ms: u64,
        holds: &dyn Fn(Epoch) -> bool,
    ) -> Vec<(Request, Ended)> {
        self.remembered.retain(|one| one.until_ms > now_ms);
        let (kept, over) =
            self.requests.drain(..).partition(|one: &Request| one.lasts(now_ms, holds));
        self.requests = kept;
        let told = |one: Request| match one.state {
            State::Waiting | State::Allowed => {
                let why = if one.holds(holds) { Ended::Expired } else { Ended::Stopped };
                Some((one, why))
            }
            State::Refused | State::Used { .. } => None,
        };
        over.into_iter().filter_map(told).collect()
    }

    /// Takes back what is remembered.
    pub(super) fn forget(&mut self, id: ApprovalId) -> Option<Remembered> {
        let at = self.remembered.iter().position(|one| one.id == id)?;
        Some(self.remembered.remove(at))
    }

    /// When the next thing is over.
    pub(super) fn next_end_ms(&self) -> Option<u64> {
        let requests = self.requests.iter().map(|one| one.expires_ms);
        requests.chain(self.remembered.iter().map(|one| one.until_ms)).min()
    }
}

impl Request {
    fn used(&mut self, round: u32) -> Use {
        self.state = State::Used { round };
        Use { approval: self.id, round }
    }

    fn lasts(&self, now_ms: u64, holds: &dyn Fn(Epoch) -> bool) -> bool {
        now_ms < self.expires_ms && self.holds(holds)
    }

    fn holds(&self, holds: &dyn Fn(Epoch) -> bool) -> bool {
        self.epoch.is_some_and(holds)
    }
}
