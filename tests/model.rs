//! The word of the stop in every interleaving: a caller checks and then writes, while others engage
//! and lift.
//!
//! `loom` runs each model through all orders in which its threads can take their steps, and all
//! values that a weak memory may show them, up to three preemptions. It is the gateway's own file
//! that is compiled here, over loom's atomics and locks.

use std::sync::PoisonError as Poisoned;

use loom::{
    model::Builder,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// What `word` is made of.
mod sync {
    pub(super) use loom::sync::{
        RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    };

    pub(super) use super::Poisoned as PoisonError;
}

#[path = "../src/gate/latch/word.rs"]
#[expect(unreachable_pub, reason = "the gateway's latch hands some of it on")]
mod word;

use word::{Marks, Word};

const EVERYTHING: Marks = Marks { server: 0, tool: 0, principal: 0 };
const SERVER: Marks = Marks { server: 1, tool: 0, principal: 0 };
const OTHER: Marks = Marks { server: 2, tool: 0, principal: 0 };

/// A word, and how many stops of the scope in question are complete.
struct Latch {
    word: Word,
    n_stops: AtomicUsize,
}

impl Latch {
    fn new() -> Arc<Self> {
        Arc::new(Self { word: Word::new(), n_stops: AtomicUsize::new(0) })
    }

    fn engage(&self, scope: Marks) {
        self.word.close(scope);
        self.n_stops.fetch_add(1, Ordering::Release);
    }

    fn n_stops(&self) -> usize {
        self.n_stops.load(Ordering::Acquire)
    }

    /// As a call of `SERVER` does it. It may be written unless a stop was complete since it was
    /// permitted.
    fn call(&self) {
        let before = self.n_stops();
        let Ok(epoch) = self.word.epoch(SERVER) else { return };
        let permitted = self.n_stops();
        let complete = self.n_stops();
        let is_written = self.word.holds(epoch);
        assert!(!is_written || complete == permitted, "written after the stop: {before}");
    }
}

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

#[test]
fn what_was_permitted_before_a_stop_is_not_written_after_it() {
    for scope in [EVERYTHING, SERVER] {
        check(move || {
            let latch = Latch::new();
            let before = latch.word.epoch(SERVER).unwrap();
            let calling = latch.clone();
            let caller = thread::spawn(move || calling.call());
            latch.engage(scope);
            assert!(latch.word.epoch(SERVER).is_err() && !latch.word.holds(before));
            caller.join().unwrap();
        });
    }
}

#[test]
fn a_stop_that_was_lifted_meanwhile_ends_it_all_the_same() {
    for scope in [EVERYTHING, SERVER] {
        check(move || {
            let latch = Latch::new();
            let calling = latch.clone();
            let caller = thread::spawn(move || calling.call());
            latch.engage(scope);
            latch.word.open(scope);
            assert!(latch.word.epoch(SERVER).is_ok());
            caller.join().unwrap();
        });
    }
}

#[test]
fn two_stops_at_once_leave_both_in_force_and_others_alone() {
    check(|| {
        let latch = Latch::new();
        let before = [SERVER, OTHER].map(|of| latch.word.epoch(of).unwrap());
        let pressing = latch.clone();
        let presser = thread::spawn(move || pressing.engage(SERVER));
        latch.engage(EVERYTHING);
        presser.join().unwrap();
        assert!(latch.word.epoch(OTHER).is_err());
        latch.word.open(EVERYTHING);
        assert!(latch.word.epoch(SERVER).is_err() && latch.word.epoch(OTHER).is_ok());
        assert!(before.iter().all(|epoch| !latch.word.holds(*epoch)));
    });
}

#[test]
fn a_stop_of_one_server_ends_no_call_of_another() {
    check(|| {
        let latch = Latch::new();
        let other = latch.word.epoch(OTHER).unwrap();
        let pressing = latch.clone();
        let presser = thread::spawn(move || pressing.engage(SERVER));
        assert!(latch.word.holds(other));
        assert!(latch.word.epoch(OTHER).is_ok());
        presser.join().unwrap();
        assert!(latch.word.holds(other));
    });
}
