//! Calls that are refused because there are too many: the first of a kind has a record of its own,
//! the others are counted.
//!
//! A kind is who asked, for what, and why it was refused, so that a client that goes on asking
//! fills no disk. Promises that each is told once: by its own record, or in a count that names the
//! call whose record stands for it. Which reasons are counted is said here and nowhere else.

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, PoisonError},
};

use crate::{
    audit::{Record, shared::Shared},
    domain::{
        Call, CallId, Caller, DenyReason, Kind, Principal, ServerName, Subject,
        limits::AUDIT_REPEAT_KINDS_MAX,
    },
    sys,
};

/// Calls that are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Repeat {
    pub reason: DenyReason,
    /// Once there are too many kinds: nobody, and nothing of what follows.
    pub who: Option<Principal>,
    /// If the name was looked up.
    pub server: Option<ServerName>,
    pub about: Option<Kind>,
    /// Only a name that is listed: others are their caller's to choose.
    pub name: Option<Subject>,
}

/// How many there were since the last turn that have no record.
#[derive(Debug)]
struct Tally {
    count: u64,
    since: u64,
    /// Has a record.
    first: CallId,
}

#[derive(Debug, Default)]
pub(super) struct Repeats(Mutex<HashMap<Repeat, Tally>>);

/// There are too many calls, whatever they are: who asks so gets nowhere, and asks again.
fn is_counted(reason: DenyReason) -> bool {
    matches!(reason, DenyReason::Rate | DenyReason::Overloaded)
}

impl Repeat {
    /// None if each has to have its own record.
    pub(super) fn of_call(call: &Call, reason: DenyReason) -> Option<Self> {
        let name = match &call.subject {
            Subject::Tool(_) | Subject::Prompt(_) | Subject::PromptArgument(_) => {
                Some(&call.subject)
            }
            Subject::Resource(_) | Subject::TemplateArgument(_) | Subject::Task(..) => None,
        };
        let asked = Self::of_asked(&call.caller, call.subject.kind(), reason)?;
        Some(Self { server: Some(call.server.clone()), name: name.cloned(), ..asked })
    }

    pub(super) fn of_asked(caller: &Caller, about: Kind, reason: DenyReason) -> Option<Self> {
        let (who, about) = (Some(caller.principal.clone()), Some(about));
        is_counted(reason).then_some(Self { reason, who, server: None, about, name: None })
    }
}

impl Repeats {
    /// Whether this call is the first of its kind and has a record; otherwise it is counted.
    pub(super) fn is_first(&self, what: Repeat, call: CallId) -> bool {
        let mut tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !tallies.contains_key(&what);
        let what = match is_new && tallies.len() >= AUDIT_REPEAT_KINDS_MAX {
            true => Repeat { who: None, server: None, about: None, name: None, ..what },
            false => what,
        };
        let now = sys::unix_micros();
        let mut is_first = false;
        let tally = tallies.entry(what).or_insert_with(|| {
            is_first = true;
            Tally { count: 0, since: now, first: call }
        });
        if !is_first {
            tally.since = if tally.count == 0 { now } else { tally.since };
            tally.count = tally.count.saturating_add(1);
        }
        is_first
    }

    /// Puts the counts on record; the next of each kind is a first one again.
    pub(super) fn settle(&self, shared: &Shared) {
        let counted = mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for (what, tally) in counted.into_iter().filter(|(_, tally)| tally.count > 0) {
            let Tally { count, since, first } = tally;
            let record = Record::Repeated { what: &what, first, count, since };
            // They are few: the bound of the queue is for what is many.
            if shared.later(&record, usize::MAX).is_err() {
                let mut tallies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                let kept = tallies.entry(what).or_insert(Tally { count: 0, since, first });
                kept.count = kept.count.saturating_add(count);
                kept.since = kept.since.min(since);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{AUDIT_REPEAT_KINDS_MAX, Repeat, Repeats, is_counted};
    use crate::{
        audit::{
            Audit, Durability, Record,
            refusals::Refusals,
            shared::Shared,
            tests::{call, denied, ids},
        },
        domain::{Caller, DenyReason, Grounds, Kind, Matter, Principal},
    };

    /// The records of counts that wait: who, count, the call that stands for them.
    fn waiting(shared: &Shared) -> Vec<(Option<String>, u64, String)> {
        let batch = shared.queue.take_waiting();
        let read = |entry: &crate::audit::queue::Entry| {
            let text = String::from_utf8(entry.rendered.bytes.clone()).unwrap();
            let text = text.replace("\"seq\":", "\"seq\":0");
            serde_json::from_str::<serde_json::Value>(&text).unwrap()
        };
        let records = batch.iter().map(read).filter(|record| record["kind"] == "repeated");
        let told = |r: serde_json::Value| {
            assert!(r["since"].as_u64().unwrap() <= r["ts"].as_u64().unwrap(), "{r}");
            let who = r["principal"].as_str().map(str::to_owned);
            (who, r["count"].as_u64().unwrap(), r["call"].as_str().unwrap().to_owned())
        };
        records.map(told).collect()
    }

    #[test]
    fn the_first_of_a_kind_has_a_record_and_the_others_a_count_that_names_it() {
        let refusals = Refusals(Arc::new(Shared::new(Durability::Cached, 0)));
        let (ids, rate) = (ids(), DenyReason::Rate);
        let first = call(&ids);
        assert!(refusals.is_told(&first, rate));
        for _ in 0..5000 {
            assert!(!refusals.is_told(&call(&ids), rate));
        }
        // Another caller, another reason, and what was not looked up, are kinds of their own.
        let bob = Caller { principal: Principal::new("bob"), ..(*first.caller).clone() };
        let bobs = crate::domain::Call { caller: Arc::new(bob.clone()), ..call(&ids) };
        let over = DenyReason::Overloaded;
        assert!(refusals.is_told(&bobs, rate) && refusals.is_told(&call(&ids), over));
        assert!(refusals.is_asked_told(ids.next(1), (&bob, Kind::Tool), over));
        assert!(!refusals.is_asked_told(ids.next(1), (&bob, Kind::Tool), over));
        let shared = &refusals.0;
        shared.refused.settle(shared);
        let mut told = waiting(shared);
        told.sort();
        let of = |told: &(Option<String>, u64, String)| (told.0.clone(), told.1);
        let (ann, bob) = (first.caller.principal.as_str().to_owned(), "bob".to_owned());
        let mut want = [(Some(ann.clone()), 5000), (Some(bob), 1)];
        want.sort();
        assert_eq!(told.iter().map(of).collect::<Vec<_>>(), want);
        let stands = told.iter().find(|told| told.0.as_ref() == Some(&ann)).unwrap();
        assert_eq!(stands.2, first.id.to_string());
        // The next is a first one again.
        assert!(refusals.is_told(&call(&ids), rate));
        shared.refused.settle(shared);
        // A queue is not asked while it is empty.
        shared.later(&Record::Stopped { why: "test" }, usize::MAX).unwrap();
        assert_eq!(waiting(shared), []);
    }

    #[test]
    fn what_the_queue_does_not_take_stays_counted() {
        let refusals = Refusals(Arc::new(Shared::new(Durability::Cached, 0)));
        let (ids, shared) = (ids(), &refusals.0);
        let n = (0..8).filter(|_| refusals.is_told(&call(&ids), DenyReason::Rate)).count();
        assert_eq!(n, 1);
        shared.queue.close();
        shared.refused.settle(shared);
        let tallies = shared.refused.repeats.0.lock().unwrap();
        assert_eq!(tallies.values().map(|tally| tally.count).collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn more_kinds_than_are_told_apart_are_counted_together() {
        let (repeats, ids) = (Repeats::default(), ids());
        let caller = call(&ids).caller;
        let mut n_told = 0;
        for n in 0..AUDIT_REPEAT_KINDS_MAX + 10 {
            let who = Principal::new(&format!("key:{n}"));
            let caller = Caller { principal: who, ..(*caller).clone() };
            let what = Repeat::of_asked(&caller, Kind::Tool, DenyReason::Overloaded).unwrap();
            n_told += usize::from(repeats.is_first(what, ids.next(1)));
        }
        assert_eq!(n_told, AUDIT_REPEAT_KINDS_MAX + 1);
        let shared = Shared::new(Durability::Cached, 0);
        repeats.settle(&shared);
        let told = waiting(&shared);
        assert_eq!(
            told.iter().map(|told| (told.0.clone(), told.1)).collect::<Vec<_>>(),
            [(None, 9)]
        );
    }

    /// Nobody gets rid of the record of what he was refused for by asking often.
    #[test]
    fn only_refusals_for_there_being_too_many_calls_are_counted() {
        let counted: Vec<_> = DenyReason::ALL.into_iter().filter(|one| is_counted(*one)).collect();
        assert_eq!(counted, [DenyReason::Rate, DenyReason::Overloaded]);
        let dir = tempfile::tempdir().unwrap();
        let (audit, thread) = Audit::open(dir.path(), Durability::Cached).unwrap();
        let (ids, refusals) = (ids(), audit.refusals());
        for _ in 0..3 {
            let call = call(&ids);
            assert!(refusals.is_told(&call, DenyReason::Policy));
            audit.append_later(denied(Matter::Call(&call), DenyReason::Policy, "no"));
        }
        let (grounds, call) = (Grounds::default(), call(&ids));
        let (matter, reason) = (Matter::Call(&call), DenyReason::Rate);
        audit.append_later(Record::Denied { matter, grounds: &grounds, reason, told: "no" });
        assert!(refusals.is_told(&call, reason) && !refusals.is_told(&call, reason));
        thread.finish();
        let text = std::fs::read_to_string(dir.path().join("current/seg/000001.jsonl")).unwrap();
        let of = |kind: &str| text.matches(&format!("\"kind\":\"{kind}\"")).count();
        assert_eq!((of("denied"), of("repeated")), (4, 1), "{text}");
    }
}
