//! Refusals that come in floods: the first of a kind is on record at once, the others are counted.
//!
//! What is turned away before anything of it could be a call is here; calls of which there are too
//! many are in `calls`.
//!
//! With each turn of the notary (a heartbeat at the latest) one record a kind says how many there
//! were since, so that a flood leaves two records a minute and kind. Promises that no refusal is
//! uncounted: what the queue does not take stays counted, and at the end the rest is written.
//! Whoever tells of one waits for no disk. Knows nothing of HTTP.

mod calls;

use std::{
    collections::HashMap,
    fmt, mem,
    sync::{Arc, Mutex, PoisonError},
};

pub use calls::Repeat;

use super::{Record, shared::Shared};
use crate::{
    domain::{
        Call, CallId, Caller, DenyReason, Kind, Principal,
        limits::{AUDIT_QUEUE_MAX, AUDIT_REFUSAL_KINDS_MAX},
    },
    sys,
};

/// Where and why a request was turned away. Only words of ours, so that there are few kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TurnedAway {
    /// `main`, `admin`, `stop`, `stdio`.
    pub door: &'static str,
    /// A path that is served, or `other`.
    pub at: &'static str,
    /// Of HTTP, 0 where there is none.
    pub status: u16,
    pub reason: &'static str,
}

/// Takes refusals from those who make them. Cheap to clone.
#[derive(Clone)]
pub struct Refusals(pub(super) Arc<Shared>);

impl Refusals {
    /// Puts one on record, or counts it for the record that is to come. Never waits.
    pub fn note(&self, what: TurnedAway, who: Option<&Principal>) {
        self.0.refused.note(&self.0, what, who);
    }

    /// Whether a refused call is to have a record of its own. If not, it is counted.
    pub fn is_told(&self, call: &Call, reason: DenyReason) -> bool {
        let what = Repeat::of_call(call, reason);
        what.is_none_or(|what| self.0.refused.repeats.is_first(what, call.id))
    }

    /// The same of what never became a call.
    pub fn is_asked_told(
        &self,
        id: CallId,
        (caller, about): (&Caller, Kind),
        reason: DenyReason,
    ) -> bool {
        let what = Repeat::of_asked(caller, about, reason);
        what.is_none_or(|what| self.0.refused.repeats.is_first(what, id))
    }
}

impl fmt::Debug for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Refusals").field(&self.0.refused).finish()
    }
}

/// What was turned away since the last turn, by kind.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    doors: Mutex<HashMap<TurnedAway, Tally>>,
    repeats: calls::Repeats,
}

#[derive(Debug)]
struct Tally {
    /// That are on no record yet.
    count: u64,
    /// When the first of them was.
    since: u64,
    /// The last who is known.
    who: Option<Principal>,
}

/// What does not fit into the kinds that are told apart.
const OTHERS: TurnedAway = TurnedAway { door: "any", at: "other", status: 0, reason: "others" };

impl Tallies {
    fn note(&self, shared: &Shared, what: TurnedAway, who: Option<&Principal>) {
        let now = sys::unix_micros();
        let mut tallies = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !tallies.contains_key(&what);
        let what = if is_new && tallies.len() >= AUDIT_REFUSAL_KINDS_MAX { OTHERS } else { what };
        let is_first = !tallies.contains_key(&what);
        let empty = || Tally { count: 0, since: now, who: None };
        let tally = tallies.entry(what).or_insert_with(empty);
        tally.add(Tally { count: 1, since: now, who: who.cloned() });
        if is_first && shared.later(&tally.record(&what), AUDIT_QUEUE_MAX).is_ok() {
            *tally = empty();
        }
    }

    /// Puts the counts on record; the next of each kind is a first one again.
    pub(super) fn settle(&self, shared: &Shared) {
        self.repeats.settle(shared);
        let counted = mem::take(&mut *self.doors.lock().unwrap_or_else(PoisonError::into_inner));
        for (what, tally) in counted.into_iter().filter(|(_, tally)| tally.count > 0) {
            // They are few: the bound of the queue is for what is many.
            if shared.later(&tally.record(&what), usize::MAX).is_err() {
                let mut tallies = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
                let empty = || Tally { count: 0, since: tally.since, who: None };
                tallies.entry(what).or_insert_with(empty).add(tally);
            }
        }
    }
}

impl Tally {
    fn add(&mut self, more: Self) {
        self.since = if self.count == 0 { more.since } else { self.since.min(more.since) };
        self.count = self.count.saturating_add(more.count);
        self.who = more.who.or(self.who.take());
    }

    fn record<'a>(&'a self, what: &'a TurnedAway) -> Record<'a> {
        let who = self.who.as_ref().map(Principal::as_str);
        Record::TurnedAway { what, who, count: self.count, since: self.since }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path, thread, time::Duration};

    use super::{
        AUDIT_QUEUE_MAX, AUDIT_REFUSAL_KINDS_MAX, Arc, OTHERS, Refusals, Shared, TurnedAway,
    };
    use crate::{
        audit::{Audit, Durability, Pace, Record, Settings, log, verify},
        domain::Principal,
    };

    const FOREIGN: TurnedAway =
        TurnedAway { door: "main", at: "/mcp", status: 403, reason: "origin" };

    /// Reason and count of each record of refusals.
    fn counted<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<(String, u64)> {
        let read = |line| serde_json::from_str::<serde_json::Value>(line).unwrap();
        let records = lines.into_iter().map(read).filter(|r| r["kind"] == "turned_away");
        let told = |r: serde_json::Value| {
            assert!(r["since"].as_u64().unwrap() <= r["ts"].as_u64().unwrap(), "{r}");
            (r["reason"].as_str().unwrap().to_owned(), r["count"].as_u64().unwrap())
        };
        records.map(told).collect()
    }

    fn in_log(dir: &Path) -> Vec<(String, u64)> {
        let place = log::find(dir).unwrap().unwrap();
        counted(fs::read_to_string(place.segment(1)).unwrap().lines())
    }

    /// What waits for a writer that there is none of.
    fn waiting(shared: &Shared) -> Vec<(String, u64)> {
        let batch = shared.queue.take_waiting();
        let line = |entry: &crate::audit::queue::Entry| {
            let text = String::from_utf8(entry.rendered.bytes.clone()).unwrap();
            text.replace("\"seq\":", "\"seq\":0")
        };
        let lines: Vec<String> = batch.iter().map(line).collect();
        counted(lines.iter().map(String::as_str))
    }

    #[test]
    fn a_flood_leaves_two_records_and_every_one_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let (audit, thread) = Audit::open(dir.path(), Durability::Cached).unwrap();
        let who = Principal::new("uid:7");
        let flood = || (0..5000).for_each(|_| audit.refusals().note(FOREIGN, Some(&who)));
        thread::scope(|scope| {
            (0..4).for_each(|_| drop(scope.spawn(flood)));
        });
        audit.refusals().note(TurnedAway { reason: "host", ..FOREIGN }, None);
        thread.finish();
        let origin = "origin".to_owned();
        let host = ("host".to_owned(), 1);
        assert_eq!(in_log(dir.path()), [(origin.clone(), 1), host, (origin, 19_999)]);
        assert!(verify(dir.path(), &crate::audit::Wanted::default()).is_ok());
    }

    #[test]
    fn counts_are_on_record_with_each_heartbeat() {
        let dir = tempfile::tempdir().unwrap();
        let pace = Pace { heartbeat: Duration::from_millis(5), ..Pace::default() };
        let settings = Settings { pace, ..Durability::Cached.into() };
        let (audit, thread) = Audit::open(dir.path(), settings).unwrap();
        let n_records = || in_log(dir.path()).len();
        // Until a summary has come between two first ones, twice.
        let mut n_noted = 0;
        while n_records() < 6 {
            audit.refusals().note(FOREIGN, None);
            n_noted += 1;
            assert!(n_noted < 1_000_000, "no count is on record");
        }
        thread.finish();
        let told: u64 = in_log(dir.path()).iter().map(|(_, count)| count).sum();
        assert_eq!(told, n_noted);
    }

    #[test]
    fn what_the_queue_does_not_take_stays_counted() {
        let refusals = Refusals(Arc::new(Shared::new(Durability::Cached, 0)));
        let shared = refusals.0.clone();
        for _ in 0..AUDIT_QUEUE_MAX {
            shared.later(&Record::Stopped { why: "full" }, AUDIT_QUEUE_MAX).unwrap();
        }
        refusals.note(FOREIGN, None);
        refusals.note(FOREIGN, None);
        assert_eq!(waiting(&shared), []);
        shared.refused.settle(&shared);
        assert_eq!(waiting(&shared), [("origin".to_owned(), 2)]);
        // Nor what a closed one does not.
        refusals.note(FOREIGN, None);
        refusals.note(FOREIGN, None);
        shared.queue.close();
        shared.refused.settle(&shared);
        let tallies = shared.refused.doors.lock().unwrap();
        assert_eq!(tallies.get(&FOREIGN).map(|tally| tally.count), Some(1));
    }

    #[test]
    fn more_kinds_than_are_told_apart_are_counted_together() {
        let refusals = Refusals(Arc::new(Shared::new(Durability::Cached, 0)));
        let n_kinds = AUDIT_REFUSAL_KINDS_MAX + 10;
        for status in 0..u16::try_from(n_kinds).unwrap() {
            refusals.note(TurnedAway { status, ..FOREIGN }, None);
        }
        refusals.0.refused.settle(&refusals.0);
        let told = waiting(&refusals.0);
        let others = (OTHERS.reason.to_owned(), 9);
        assert_eq!(told.len(), AUDIT_REFUSAL_KINDS_MAX + 2);
        assert_eq!(told.last(), Some(&others));
    }
}
