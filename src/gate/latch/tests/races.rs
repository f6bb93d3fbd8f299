//! Threads that race the latch, for many steps of the real thing.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use super::{Cause, Engaged, Latch, LiftError, Scope, cause, memory_dir, reopened, scope, stops};

/// What is raced for: a stop of everything and one of a part.
const SCOPES: [&str; 2] = ["global", "server:a"];

/// A million calls look, wait, look again and write, while another thread stops and lifts. One
/// that is written in an epoch that a stop had ended would be a call let through.
#[test]
fn of_a_million_calls_none_is_written_after_its_stop() {
    const CALLS: u64 = 1_000_000;
    const STOPS_MIN: u64 = 50;
    for stopped in SCOPES.map(scope) {
        let dir = memory_dir();
        let latch = Latch::open(dir.path());
        let stops = AtomicU64::new(0);
        let done = AtomicBool::new(false);
        let (calls, let_through) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|threads| {
            for seed in 1..=3 {
                let (latch, stops) = (&latch, &stops);
                let (calls, let_through) = (&calls, &let_through);
                let mut dice = Dice(seed);
                let call = move || {
                    let wrong = is_let_through(latch, stops, &mut dice);
                    let_through.fetch_add(u64::from(wrong), Ordering::SeqCst);
                    calls.fetch_add(1, Ordering::SeqCst);
                };
                threads.spawn(|| until(&done, call));
            }
            while calls.load(Ordering::SeqCst) < CALLS || stops.load(Ordering::SeqCst) < STOPS_MIN {
                latch.engage(cause("race").of(stopped.clone()));
                stops.fetch_add(1, Ordering::SeqCst);
                assert!(latch.epoch(scope("server:a").marks()).is_err());
                stops.fetch_add(1, Ordering::SeqCst);
                latch.lift_all();
                thread::yield_now();
            }
            done.store(true, Ordering::Release);
        });
        assert_eq!(let_through.load(Ordering::SeqCst), 0, "{stopped}");
    }
}

fn until(done: &AtomicBool, mut call: impl FnMut()) {
    while !done.load(Ordering::Acquire) {
        call();
    }
}

/// As a call does: takes an epoch, is held up for a while, looks again, and writes. `stops` is odd
/// from the return of an `engage` to the beginning of its end.
fn is_let_through(latch: &Latch, stops: &AtomicU64, dice: &mut Dice) -> bool {
    let Ok(epoch) = latch.epoch(scope("server:a").marks()) else {
        thread::yield_now();
        return false;
    };
    let taken_at = stops.load(Ordering::SeqCst);
    match dice.roll() % 64 {
        0 => thread::yield_now(),
        n => (0..n).for_each(|_| std::hint::spin_loop()),
    }
    let before = stops.load(Ordering::SeqCst);
    let holds = latch.holds(epoch);
    // A stop was complete since the epoch was taken: it must be seen.
    holds && (taken_at % 2 == 1 || before > taken_at)
}

/// Marsaglia's xorshift: chance that can be repeated.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn a_stop_pressed_during_a_resume_leaves_word_book_and_disk_of_one_mind() {
    for stopped in SCOPES.map(scope) {
        let mut seen = [0, 0];
        for round in 0..1000 {
            let dir = memory_dir();
            let latch = Latch::open(dir.path());
            let resumed = race(&latch, &stopped, round);
            assert!(latch.epoch(stopped.marks()).is_err(), "no press is swallowed");
            assert!(latch.saved(super::SOON));
            assert_eq!(stops(&Latch::open(dir.path())), stops(&latch));
            seen[usize::from(resumed)] += 1;
        }
        assert!(seen.iter().all(|n| *n > 0), "{stopped}: both orders were seen: {seen:?}");
    }
}

/// Whoever presses then finds the stop that is being reset, and leaves no trace in the book.
#[test]
fn who_presses_during_a_reset_is_not_swallowed() {
    let dir = memory_dir();
    let latch = Latch::open(dir.path());
    let stop = latch.engage(cause("fire")).stop().clone();
    let (pressing, presses) = (latch.clone(), AtomicBool::new(true));
    latch.refuse_lift_while(move || {
        if presses.swap(false, Ordering::SeqCst) {
            pressing.engage(cause("smoke"));
        }
        None
    });
    let refused = latch.reset(&stop.id, "out", "root");
    assert!(matches!(refused, Err(LiftError::EngagedAgain)), "{refused:?}");
    assert_eq!(stops(&reopened(&latch, dir.path())), [stop]);
    latch.lift_all();
}

/// Whether the resume came first.
fn race(latch: &Latch, stopped: &Scope, round: u32) -> bool {
    let cause = || -> Cause { cause("race").of(stopped.clone()) };
    let stop = latch.engage(cause()).stop().clone();
    latch.reset(&stop.id, "race", "test").unwrap();
    let start = Barrier::new(2);
    let (pressed, resumed) = thread::scope(|threads| {
        let pressing = threads.spawn(|| {
            start.wait();
            // Later by a little each round, so that every step of the resume is met.
            (0..round % 200 * 20).for_each(|_| std::hint::spin_loop());
            latch.engage(cause())
        });
        start.wait();
        let resumed = latch.resume(&stop.id, "test");
        (pressing.join().unwrap(), resumed)
    });
    assert!(matches!(pressed, Engaged::Now(_)), "{pressed:?} {resumed:?}");
    resumed.is_ok()
}
