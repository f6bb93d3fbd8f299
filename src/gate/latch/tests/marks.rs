//! What a press leaves in memory, for whoever is ended before its stop is on disk.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use super::{
    super::presses::Presses, Cause, Latch, LiftError, Phase, SOON, Scope, Stop, cause, end,
    memory_dir, scope, stops, until,
};

/// A state and a place in memory.
pub(super) struct Two {
    state: tempfile::TempDir,
    memory: tempfile::TempDir,
}

impl Two {
    pub(super) fn new() -> Self {
        let memory = tempfile::tempdir_in("/dev/shm").expect("a place in memory");
        Self { state: memory_dir(), memory }
    }

    pub(super) fn latch(&self) -> Latch {
        Latch::open_with(self.state.path(), &[self.memory.path().to_owned()])
    }

    fn marks(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.memory.path()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// Takes the disk away, so that nothing is saved.
    pub(super) fn unplug(&self) -> PathBuf {
        let aside = self.state.path().join("aside");
        fs::rename(self.state.path().join("estop"), &aside).unwrap();
        aside
    }

    /// Ends a latch before anything comes to disk, and gives the disk back.
    pub(super) fn end(&self, latch: Latch, aside: &Path) {
        end(latch);
        fs::rename(aside, self.state.path().join("estop")).unwrap();
    }

    /// The mark of one stop of `server:a` by a latch that never came to disk, and its stop.
    fn marked(&self) -> (PathBuf, Stop) {
        let latch = self.latch();
        let aside = self.unplug();
        let stop = press(&latch, "server:a");
        self.end(latch, &aside);
        let marks = self.marks();
        assert_eq!(marks.len(), 1, "{marks:?}");
        (marks[0].clone(), stop)
    }
}

fn press(latch: &Latch, what: &str) -> Stop {
    latch.engage(cause("fire").of(scope(what))).stop().clone()
}

#[test]
fn a_stop_that_never_came_to_disk_is_found_at_the_next_start() {
    let two = Two::new();
    let (_, stop) = two.marked();
    let latch = two.latch();
    assert_eq!(stops(&latch), std::slice::from_ref(&stop));
    assert!(latch.epoch(stop.scope.marks()).is_err() && latch.now().is_ok());
    // It comes to disk without being pressed again.
    assert!(latch.saved(SOON));
    until_wiped(&two);
    assert_eq!(stops(&Latch::open(two.state.path())), [stop]);
}

fn until_wiped(two: &Two) {
    until("the mark to be taken back", || two.marks().is_empty());
}

#[test]
fn presses_of_one_moment_are_all_found() {
    let two = Two::new();
    let latch = two.latch();
    let aside = two.unplug();
    let mut pressed = ["server:a", "principal:p", "global"].map(|what| press(&latch, what));
    // A second press finds the first, and makes it harder.
    let drain = |what| cause("drip").of(scope(what)).by(super::Category::Drain);
    let soft = latch.engage(drain("server:b")).stop().clone();
    let hard = press(&latch, "server:b");
    assert_eq!(soft.id, hard.id);
    two.end(latch, &aside);
    let mut found = stops(&two.latch());
    found.sort_by_key(|stop| stop.at_us);
    let last = found.pop().unwrap();
    pressed.sort_by_key(|stop| stop.at_us);
    assert_eq!(found, pressed);
    assert_eq!(last, hard);
}

#[test]
fn what_is_on_disk_leaves_no_mark_and_what_was_lifted_does_not_come_back() {
    let two = Two::new();
    for what in ["global", "server:a"].repeat(20) {
        let latch = two.latch();
        let stop = press(&latch, what);
        // At times the scribe is first, at times the reset.
        latch.reset(&stop.id, "test", "test").unwrap();
        assert!(two.marks().is_empty(), "a reset is of what is on disk");
        latch.resume(&stop.id, "test").unwrap();
        assert!(stops(&two.latch()).is_empty(), "{what}");
        press(&latch, what);
        assert!(latch.saved(SOON) && two.marks().is_empty());
        latch.lift_all();
    }
}

/// Whoever sees the word finds the mark, however little later the gateway ends.
#[test]
fn nobody_sees_a_stop_that_an_end_could_undo() {
    let without: u64 = (0..10).map(|_| seen_without_a_mark(200)).sum();
    assert_eq!(without, 0, "of 2,000");
}

fn seen_without_a_mark(rounds: u64) -> u64 {
    let two = Two::new();
    let latch = two.latch();
    let aside = two.unplug();
    let n_bytes = || -> u64 { two.marks().iter().map(|at| fs::metadata(at).unwrap().len()).sum() };
    let round = AtomicU64::new(0);
    let without = thread::scope(|threads| {
        threads.spawn(|| {
            for n in 1..=rounds {
                while round.load(Ordering::Acquire) < n {
                    std::hint::spin_loop();
                }
                press(&latch, &format!("server:s{n}"));
            }
        });
        let mut look = |n| {
            let of = scope(&format!("server:s{n}")).marks();
            let before = n_bytes();
            round.store(n, Ordering::Release);
            while latch.epoch(of).is_ok() {
                std::hint::spin_loop();
            }
            u64::from(n_bytes() <= before)
        };
        (1..=rounds).map(&mut look).sum()
    });
    two.end(latch, &aside);
    without
}

#[test]
fn a_mark_that_cannot_be_read_stops_everything() {
    let cut = |n: usize| {
        move |mark: &Path| {
            let whole = fs::read(mark).unwrap();
            fs::write(mark, &whole[..whole.len() - n]).unwrap();
        }
    };
    check_unreadable("torn", cut(2));
    check_unreadable("torn in the middle", cut(40));
    check_unreadable("empty", |mark| fs::write(mark, "").unwrap());
    check_unreadable("blank", |mark| fs::write(mark, " \n").unwrap());
    check_unreadable("too long", |mark| {
        fs::write(mark, fs::read(mark).unwrap().repeat(1_000)).unwrap()
    });
    check_unreadable("another's words", |mark| fs::write(mark, "{\"stops\":[]}\n").unwrap());
    check_unreadable("a directory", |mark| {
        fs::remove_file(mark).unwrap();
        fs::create_dir(mark).unwrap();
    });
    check_unreadable("a link", |mark| {
        let other = mark.with_file_name("other");
        fs::rename(mark, &other).unwrap();
        symlink(&other, mark).unwrap();
    });
}

/// However often: a resume must not swallow the second.
#[test]
fn a_second_mark_that_cannot_be_read_is_a_stop_anew() {
    let two = Two::new();
    let (mark, _) = two.marked();
    fs::write(&mark, "").unwrap();
    let latch = two.latch();
    let first = latch.book().global().unwrap().clone();
    latch.reset(&first.id, "test", "test").unwrap();
    end(latch);
    fs::write(&mark, "").unwrap();
    let latch = two.latch();
    assert_eq!(latch.book().global().unwrap().phase, Phase::Stopped);
}

#[track_caller]
fn check_unreadable(what: &str, harm: impl FnOnce(&Path)) {
    let two = Two::new();
    harm(&two.marked().0);
    let latch = two.latch();
    assert!(latch.now().is_err(), "{what}: {latch:?}");
    assert_eq!(latch.book().global().unwrap().who, "latch", "{what}");
}

#[test]
fn presses_without_end_do_not_fill_the_memory_and_are_a_stop_of_everything() {
    let two = Two::new();
    let latch = two.latch();
    let aside = two.unplug();
    let why = "x".repeat(2_000);
    for n in 0..100 {
        latch.engage(Cause::new("test", &why).of(scope(&format!("server:s{n}"))));
    }
    let len = fs::metadata(&two.marks()[0]).unwrap().len();
    assert!((60_000..70_000).contains(&len), "{len}");
    two.end(latch, &aside);
    let latch = two.latch();
    assert_eq!(latch.book().global().unwrap().scope, Scope::Global);
}

/// Anybody may put files into a shared place, and must neither stop us so nor keep a stop from
/// being lifted.
#[test]
fn a_strangers_mark_is_neither_read_nor_written_nor_in_the_way() {
    let two = Two::new();
    let (mark, stop) = two.marked();
    let before = fs::read(&mark).unwrap();
    let directory = two.state.path().join("estop");
    let presses = Presses::of(&directory, &[two.memory.path().to_owned()]).among_strangers();
    assert_eq!(presses.found(), (false, vec![]), "who wrote that?");
    let refused = presses.leave(&stop).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    presses.enter();
    presses.wipe(presses.settled().unwrap()).unwrap();
    assert_eq!(fs::read(&mark).unwrap(), before);
}

#[test]
fn a_mark_is_not_taken_back_while_a_press_is_on_its_way() {
    let two = Two::new();
    let presses = || Presses::of(&two.state.path().join("estop"), &[two.memory.path().to_owned()]);
    let (_, stop) = two.marked();
    let presses = presses();
    assert!(presses.found().0);
    let before = presses.settled().unwrap();
    presses.leave(&stop).unwrap();
    assert!(presses.settled().is_none());
    presses.wipe(before).unwrap();
    assert_eq!(two.marks().len(), 1, "the last press is not in that book");
    presses.enter();
    presses.wipe(presses.settled().unwrap()).unwrap();
    assert!(two.marks().is_empty());
}

#[test]
fn a_link_in_the_place_of_the_mark_is_not_followed() {
    let two = Two::new();
    let (mark, _) = two.marked();
    drop(two.latch());
    until_wiped(&two);
    let other = two.state.path().join("other");
    fs::write(&other, "mine").unwrap();
    let latch = two.latch();
    symlink(&other, &mark).unwrap();
    let aside = two.unplug();
    latch.engage(cause("fire"));
    assert_eq!(fs::read(&other).unwrap(), b"mine");
    two.end(latch, &aside);
}

/// A mark on a disk would wait for it.
#[test]
fn a_mark_is_left_in_memory_or_not_at_all() {
    let two = Two::new();
    let none = PathBuf::from("/proc/self");
    let latch = Latch::open_with(two.state.path(), &[none.clone(), two.memory.path().to_owned()]);
    let aside = two.unplug();
    let stop = press(&latch, "server:a");
    assert_eq!(two.marks().len(), 1, "the next place is taken");
    two.end(latch, &aside);
    let presses = Presses::of(&two.state.path().join("estop"), &[none]);
    assert!(presses.leave(&stop).is_ok(), "it is not even tried there");
}

#[test]
fn a_mark_of_what_is_on_disk_changes_nothing() {
    let two = Two::new();
    let (mark, stop) = two.marked();
    let text = fs::read(&mark).unwrap();
    let latch = two.latch();
    latch.reset(&stop.id, "test", "test").unwrap();
    end(latch);
    // As whoever is ended after the file and before the mark leaves them.
    fs::write(&mark, text).unwrap();
    let latch = two.latch();
    assert_eq!(stops(&latch), [Stop { phase: Phase::Ready, ..stop }]);
    until_wiped(&two);
}

/// A file system gives the number of a directory that is gone to the next one, at times at once.
#[test]
fn a_mark_of_a_directory_that_is_gone_stops_no_other() {
    let memory = tempfile::tempdir_in("/dev/shm").expect("a place in memory");
    let on_disk = tempfile::tempdir().unwrap();
    let open = || Latch::open_with(on_disk.path(), &[memory.path().to_owned()]);
    for _ in 0..20 {
        let latch = open();
        assert!(stops(&latch).is_empty());
        fs::remove_dir_all(on_disk.path().join("estop")).unwrap();
        press(&latch, "server:a");
        end(latch);
    }
}

/// Or it would come back.
#[test]
fn a_stop_whose_mark_cannot_be_taken_back_is_not_lifted() {
    let two = Two::new();
    let latch = two.latch();
    let aside = two.unplug();
    let stop = press(&latch, "server:a");
    let mark = two.marks().remove(0);
    fs::remove_file(&mark).unwrap();
    fs::create_dir(&mark).unwrap();
    fs::rename(&aside, two.state.path().join("estop")).unwrap();
    let refused = latch.reset(&stop.id, "test", "test");
    assert!(matches!(refused, Err(LiftError::Disk { .. })), "{refused:?}");
    assert_eq!(stops(&latch), std::slice::from_ref(&stop));
    fs::remove_dir(&mark).unwrap();
    assert_eq!(stops(&super::reopened(&latch, two.state.path())), [stop], "the file as well");
    latch.lift_all();
}
