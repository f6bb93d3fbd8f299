//! Claims of the latch: set not toggled, restarts, broken files, and threads that race it.

use std::{
    fs,
    path::Path,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use proptest::prelude::*;

use super::{Cause, Engaged, Epoch, Latch, LatchState, ResetError};

fn cause(why: &str) -> Cause {
    Cause { who: "test".to_owned(), why: why.to_owned() }
}

/// In memory where the machine has such a place: thousands of syncs take a disk a minute.
fn memory_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

#[test]
fn a_second_engagement_finds_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let latch = Latch::open(dir.path());
    let first = latch.engage(cause("fire"));
    let second = latch.engage(cause("flood"));
    assert!(matches!(first, Engaged::Now(_)) && matches!(second, Engaged::Already(_)));
    assert_eq!(first.stop(), second.stop());
    assert_eq!(first.stop().why, "fire");
    assert!(latch.epoch().is_err());
}

#[test]
fn the_stop_survives_a_restart_and_so_does_its_reset() {
    let dir = tempfile::tempdir().unwrap();
    let latch = Latch::open(dir.path());
    let old = latch.epoch().unwrap();
    let stop = latch.engage(cause("fire")).stop().clone();
    let latch = Latch::open(dir.path());
    assert_eq!(latch.state(), LatchState::Engaged(stop.clone()));
    assert!(!latch.holds(old));
    assert!(matches!(latch.reset("stop-0", "x", "root"), Err(ResetError::OtherId { .. })));
    assert!(matches!(latch.reset(&stop.id, " ", "root"), Err(ResetError::NoReason)));
    assert!(latch.epoch().is_err(), "a refused reset changes nothing");
    assert_eq!(latch.reset(&stop.id, "fire is out", "root").unwrap(), stop);
    let now = latch.epoch().unwrap();
    assert!(latch.holds(now));
    assert!(matches!(latch.reset(&stop.id, "again", "root"), Err(ResetError::NotEngaged)));
    assert!(Latch::open(dir.path()).epoch().is_ok());
    assert!(dir.path().join("estop.last.json").exists());
}

#[test]
fn whatever_cannot_be_read_counts_as_engaged() {
    #[track_caller]
    fn check(prepare: impl FnOnce(&Path), id: &str) {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::create_dir(&state).unwrap();
        prepare(&state);
        let latch = Latch::open(&state);
        assert!(latch.epoch().is_err());
        let LatchState::Engaged(stop) = latch.state() else { panic!("must be engaged") };
        assert_eq!(stop.id, id);
    }
    check(|d| fs::write(d.join("estop.json"), b"").unwrap(), "unreadable");
    check(|d| fs::write(d.join("estop.json"), b"{\"id\":\"x\"").unwrap(), "unreadable");
    check(|d| fs::write(d.join("estop.json"), b"{}").unwrap(), "unreadable");
    check(|d| fs::create_dir(d.join("estop.json")).unwrap(), "unreadable");
    check(|d| drop(fs::File::create(d.join("STOP")).unwrap()), "STOP");
    check(|d| std::os::unix::fs::symlink("/nowhere", d.join("STOP")).unwrap(), "STOP");
    check(
        |d| {
            fs::remove_dir(d).unwrap();
            fs::write(d, b"a file where the directory should be").unwrap();
        },
        "unreadable",
    );
}

#[test]
fn a_stop_file_must_go_before_the_reset() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("STOP"), b"").unwrap();
    let latch = Latch::open(dir.path());
    assert!(matches!(latch.reset("STOP", "x", "root"), Err(ResetError::CauseStands { .. })));
    fs::remove_file(dir.path().join("STOP")).unwrap();
    assert!(latch.reset("STOP", "x", "root").is_ok() && latch.epoch().is_ok());
}

#[test]
fn a_stop_that_cannot_be_saved_stops_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let latch = Latch::open(&dir.path().join("state"));
    let epoch = latch.epoch().unwrap();
    fs::remove_dir(dir.path().join("state")).unwrap();
    assert!(matches!(latch.engage(cause("fire")), Engaged::Now(_)));
    assert!(!latch.holds(epoch) && latch.epoch().is_err());
}

#[tokio::test]
async fn watchers_wake_when_the_stop_is_engaged() {
    let dir = tempfile::tempdir().unwrap();
    let latch = Latch::open(dir.path());
    let mut watcher = latch.changed();
    let engaging = latch.clone();
    let pressing = thread::spawn(move || drop(engaging.engage(cause("fire"))));
    let woken = watcher.wait_for(|state| matches!(state, LatchState::Engaged(_)));
    let woken = tokio::time::timeout(Duration::from_secs(5), woken).await.expect("woken").unwrap();
    assert!(matches!(&*woken, LatchState::Engaged(stop) if stop.why == "fire"));
    drop(woken);
    pressing.join().unwrap();
}

#[derive(Clone, Debug)]
enum Step {
    Engage,
    Reset { right: bool },
    Restart,
    Take,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_latch_behaves_as_its_model(steps in prop::collection::vec(prop_oneof![
        Just(Step::Engage), Just(Step::Take), Just(Step::Restart),
        any::<bool>().prop_map(|right| Step::Reset { right }),
    ], 1..24)) {
        let dir = memory_dir();
        let mut latch = Latch::open(dir.path());
        let mut engaged: Option<String> = None;
        let (mut live, mut dead): (Vec<Epoch>, Vec<Epoch>) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Engage => {
                    let got = latch.engage(cause("model"));
                    let want = engaged.get_or_insert_with(|| got.stop().id.clone());
                    prop_assert_eq!(&got.stop().id, want);
                    dead.append(&mut live);
                }
                Step::Reset { right } => {
                    let id = engaged.clone().filter(|_| right).unwrap_or_else(|| "other".into());
                    let done = latch.reset(&id, "model", "test").is_ok();
                    prop_assert_eq!(done, right && engaged.is_some());
                    if done { engaged = None; }
                }
                Step::Restart => {
                    latch = Latch::open(dir.path());
                    // Epochs are of one process: no permit outlives it.
                    live.clear();
                    dead.clear();
                }
                Step::Take => if let Ok(epoch) = latch.epoch() { live.push(epoch) },
            }
            prop_assert_eq!(latch.epoch().is_err(), engaged.is_some());
            prop_assert!(live.iter().all(|e| latch.holds(*e)));
            prop_assert!(!dead.iter().any(|e| latch.holds(*e)));
        }
    }
}

/// Threads look while another engages and resets. One that finds its epoch holding after
/// `engage` had returned would be a call let through.
#[test]
fn nothing_holds_after_engage_has_returned() {
    const CHECKS: u64 = 100_000;
    let dir = memory_dir();
    let latch = Latch::open(dir.path());
    let stops = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    let (looks, let_through) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Acquire) {
                    let wrong = held_after_a_stop(&latch, &stops);
                    let_through.fetch_add(u64::from(wrong), Ordering::SeqCst);
                    looks.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        while looks.load(Ordering::SeqCst) < CHECKS || stops.load(Ordering::SeqCst) <= 10 {
            let stop = latch.engage(cause("race")).stop().clone();
            stops.fetch_add(1, Ordering::SeqCst);
            assert!(latch.epoch().is_err());
            stops.fetch_add(1, Ordering::SeqCst);
            latch.reset(&stop.id, "race", "test").unwrap();
            thread::yield_now();
        }
        done.store(true, Ordering::Release);
    });
    assert!(stops.load(Ordering::SeqCst) > 10, "stops and looks did meet");
    assert_eq!(let_through.load(Ordering::SeqCst), 0);
}

#[test]
fn a_stop_pressed_during_a_reset_leaves_word_book_and_disk_of_one_mind() {
    let dir = memory_dir();
    let latch = Latch::open(dir.path());
    let mut seen = [0, 0];
    for round in 0..2000 {
        let stop = latch.engage(cause("first")).stop().clone();
        let start = Barrier::new(2);
        let (pressed, reset) = thread::scope(|scope| {
            let pressing = scope.spawn(|| {
                start.wait();
                // Later by a little each round, so that every step of the reset is met.
                (0..round % 200 * 20).for_each(|_| std::hint::spin_loop());
                latch.engage(cause("second"))
            });
            start.wait();
            let reset = latch.reset(&stop.id, "race", "test");
            (pressing.join().unwrap(), reset)
        });
        let engaged = matches!(latch.state(), LatchState::Engaged(_));
        assert_eq!(latch.epoch().is_err(), engaged, "{pressed:?} {reset:?}");
        assert_eq!(Latch::open(dir.path()).state(), latch.state(), "{pressed:?} {reset:?}");
        assert!(engaged || (reset.is_ok() && matches!(pressed, Engaged::Already(_))));
        seen[usize::from(engaged)] += 1;
    }
    assert!(seen.iter().all(|n| *n > 0), "both ends of the race were seen: {seen:?}");
}

#[test]
fn a_reset_does_not_swallow_a_press_that_came_after_it_began() {
    let dir = tempfile::tempdir().unwrap();
    let latch = Latch::open(dir.path());
    let stop = latch.engage(cause("fire")).stop().clone();
    let began = latch.shared.presses.load(Ordering::SeqCst);
    assert!(matches!(latch.engage(cause("flood")), Engaged::Already(_)));
    assert!(!latch.shared.open(&stop.id, began));
    assert!(latch.epoch().is_err());
    assert!(latch.shared.open(&stop.id, began + 1) && latch.epoch().is_ok());
}

/// Takes an epoch and looks again, as a call does. `stops` is odd from the return of an `engage`
/// to the call of its `reset`.
fn held_after_a_stop(latch: &Latch, stops: &AtomicU64) -> bool {
    let Ok(epoch) = latch.epoch() else { return false };
    let taken_at = stops.load(Ordering::SeqCst);
    thread::yield_now();
    let before = stops.load(Ordering::SeqCst);
    let holds = latch.holds(epoch);
    // A stop was complete since the epoch was taken: it must be seen.
    holds && (taken_at % 2 == 1 || before > taken_at)
}
