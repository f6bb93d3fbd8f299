//! Claims of the latch: set not toggled, two steps back, scopes, restarts and broken files.

mod disk;
mod marks;
mod races;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use marks::Two;

use super::{Category, Cause, Engaged, Epoch, Latch, LiftError, Marks, Phase, Scope, Stop};

/// Nothing here takes so long unless it hangs.
const SOON: Duration = Duration::from_secs(20);

fn cause(why: &str) -> Cause {
    Cause::new("test", why)
}

fn scope(text: &str) -> Scope {
    text.parse().unwrap()
}

/// In memory where the machine has such a place: thousands of syncs take a disk a minute.
fn memory_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// The latch as it is after our own end: what is on disk counts.
fn reopened(latch: &Latch, dir: &Path) -> Latch {
    assert!(latch.saved(SOON));
    Latch::open(dir)
}

/// Drops the last handle. Its scribe may have been poked again, and writes until it ends.
fn end(latch: Latch) {
    let ledger = Arc::downgrade(&latch.shared.ledger);
    drop(latch);
    until("the scribe to end", || ledger.strong_count() == 0);
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        thread::yield_now();
    }
}

fn stops(latch: &Latch) -> Vec<Stop> {
    latch.book().stops
}

#[test]
fn a_second_engagement_finds_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let latch = Latch::open(dir.path());
    let first = latch.engage(cause("fire").by(Category::Drain));
    let second = latch.engage(cause("flood"));
    assert!(matches!(first, Engaged::Now(_)) && matches!(second, Engaged::Already(_)));
    assert_eq!(first.stop().id, second.stop().id);
    assert_eq!(second.stop().why, "fire");
    assert_eq!(second.stop().category, Category::Kill, "it may become harder");
    latch.engage(cause("drip").by(Category::Drain));
    assert_eq!(stops(&latch)[0].category, Category::Kill, "and never softer");
    assert!(latch.now().is_err());
}

#[test]
fn the_way_back_has_two_steps_and_each_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let latch = Latch::open(dir.path());
    let old = latch.now().unwrap();
    let stop = latch.engage(cause("fire")).stop().clone();
    let latch = reopened(&latch, dir.path());
    assert_eq!(stops(&latch), std::slice::from_ref(&stop));
    assert!(matches!(latch.reset("stop-0", "x", "root"), Err(LiftError::OtherId { .. })));
    assert!(matches!(latch.reset(&stop.id, " ", "root"), Err(LiftError::NoReason)));
    assert!(matches!(latch.resume(&stop.id, "root"), Err(LiftError::NotReset { .. })));
    assert_eq!(stops(&latch), std::slice::from_ref(&stop), "a refusal changes nothing");
    latch.reset(&stop.id, "fire is out", "root").unwrap();
    assert!(latch.now().is_err(), "a reset permits no more than to resume");
    assert!(matches!(latch.reset(&stop.id, "again", "root"), Err(LiftError::IsReset { .. })));
    let latch = Latch::open(dir.path());
    assert_eq!(stops(&latch), [Stop { phase: Phase::Ready, ..stop.clone() }]);
    assert!(latch.now().is_err(), "nor does a restart");
    latch.resume(&stop.id, "root").unwrap();
    let now = latch.now().unwrap();
    assert!(latch.holds(now) && !latch.holds(old));
    assert!(matches!(latch.resume(&stop.id, "root"), Err(LiftError::NotEngaged)));
    assert!(Latch::open(dir.path()).now().is_ok());
    assert!(dir.path().join("estop/last.json").exists());
}

#[test]
fn who_presses_when_it_is_ready_stops_it_anew() {
    let dir = memory_dir();
    let latch = Latch::open(dir.path());
    let first = latch.engage(cause("fire")).stop().clone();
    latch.reset(&first.id, "out", "root").unwrap();
    let Engaged::Now(second) = latch.engage(cause("smoke")) else { panic!("must be another") };
    assert!(matches!(latch.resume(&first.id, "root"), Err(LiftError::OtherId { .. })));
    assert_eq!(stops(&latch), [second]);
}

#[test]
fn a_stop_of_a_part_concerns_that_part_alone() {
    let (files, web) = (scope("server:files"), scope("server:web"));
    let read = scope("tool:files/read");
    let ann = scope("principal:ann");
    let part = |server: &Scope, tool: Option<&Scope>, principal: &str| Marks {
        tool: tool.map(|tool| tool.marks().tool).unwrap_or_default(),
        principal: scope(&format!("principal:{principal}")).marks().principal,
        ..server.marks()
    };
    let calls = [
        part(&files, Some(&read), "ann"),
        part(&files, Some(&scope("tool:files/write")), "bob"),
        part(&web, Some(&scope("tool:web/read")), "bob"),
        files.marks(),
        ann.marks(),
    ];
    let check = |stopped: &Scope, want: [bool; 5]| {
        let dir = memory_dir();
        let latch = Latch::open(dir.path());
        let before = calls.map(|call| latch.epoch(call).unwrap());
        let stop = latch.engage(cause("part").of(stopped.clone())).stop().clone();
        assert_eq!(calls.map(|call| latch.epoch(call).is_err()), want, "{stopped}");
        assert_eq!(before.map(|epoch| !latch.holds(epoch)), want, "{stopped}");
        // What was given while a part is stopped is as good as any.
        let during = calls.map(|call| latch.epoch(call));
        let again = reopened(&latch, dir.path());
        assert_eq!(calls.map(|call| again.epoch(call).is_err()), want, "{stopped}");
        latch.lift_all();
        assert!(calls.iter().all(|call| latch.epoch(*call).is_ok()));
        assert_eq!(before.map(|epoch| !latch.holds(epoch)), want, "for ever: {}", stop.id);
        assert!(during.iter().flatten().all(|epoch| latch.holds(*epoch)));
    };
    check(&Scope::Global, [true, true, true, true, true]);
    check(&files, [true, true, false, true, false]);
    check(&web, [false, false, true, false, false]);
    check(&read, [true, false, false, false, false]);
    check(&ann, [true, false, false, false, true]);
}

#[test]
fn stops_of_many_parts_are_lifted_one_by_one() {
    let dir = memory_dir();
    let latch = Latch::open(dir.path());
    let servers: Vec<Scope> = (0..100).map(|n| scope(&format!("server:s{n}"))).collect();
    let other = scope("server:other").marks();
    let old: Vec<Epoch> = servers.iter().map(|s| latch.epoch(s.marks()).unwrap()).collect();
    for server in &servers {
        let stop = latch.engage(cause("part").of(server.clone())).stop().clone();
        assert!(latch.epoch(server.marks()).is_err() && latch.epoch(other).is_ok());
        latch.reset(&stop.id, "test", "test").unwrap();
        latch.resume(&stop.id, "test").unwrap();
        assert!(latch.epoch(server.marks()).is_ok());
    }
    // However many there were since: none that was stopped is good again.
    assert!(!old.iter().any(|epoch| latch.holds(*epoch)));
}

#[test]
fn scopes_are_read_as_they_are_written() {
    for text in ["global", "server:files", "tool:files/a/b:c", "principal:uid:0"] {
        assert_eq!(scope(text).to_string(), text);
    }
    for text in ["", "all", "server:", "server:a__b", "tool:files", "tool:files/", "principal:"] {
        assert!(text.parse::<Scope>().is_err(), "{text}");
    }
}

#[test]
fn whatever_cannot_be_read_counts_as_a_stop_of_everything() {
    #[track_caller]
    fn check(prepare: impl FnOnce(&Path), who: &str) {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        fs::create_dir_all(state.join("estop")).unwrap();
        prepare(&state);
        let latch = Latch::open(&state);
        assert!(latch.now().is_err());
        let book = latch.book();
        assert_eq!(book.global().unwrap().who, who);
    }
    const STOPS: &str = "estop/stops.json";
    check(|d| fs::write(d.join(STOPS), b"").unwrap(), "latch");
    check(|d| fs::write(d.join(STOPS), b"{\"stops\":[").unwrap(), "latch");
    check(|d| fs::write(d.join(STOPS), b"{\"stops\":[]}").unwrap(), "latch");
    check(|d| fs::write(d.join(STOPS), b"{}").unwrap(), "latch");
    check(|d| fs::create_dir(d.join(STOPS)).unwrap(), "latch");
    check(|d| drop(fs::File::create(d.join("STOP")).unwrap()), "file");
    check(|d| std::os::unix::fs::symlink("/nowhere", d.join("STOP")).unwrap(), "file");
    check(
        |d| {
            fs::remove_dir_all(d).unwrap();
            fs::write(d, b"a file where the directory should be").unwrap();
        },
        "latch",
    );
}

#[test]
fn what_asks_for_the_stop_must_go_before_the_reset() {
    let dir = tempfile::tempdir().unwrap();
    let latch = Latch::open(dir.path());
    fs::write(dir.path().join("STOP"), b"").unwrap();
    let Some(Engaged::Now(stop)) = latch.heed_the_file() else { panic!("must engage") };
    assert!(latch.heed_the_file().is_none(), "one file is one stop");
    let burns = Arc::new(AtomicBool::new(true));
    let fire = burns.clone();
    latch.refuse_lift_while(move || fire.load(Ordering::SeqCst).then(|| "the fire".to_owned()));
    let stands = |what: &str| match latch.reset(&stop.id, "x", "root") {
        Err(LiftError::CauseStands { what: told }) => assert!(told.contains(what), "{told}"),
        other => panic!("{other:?}"),
    };
    stands("STOP");
    fs::remove_file(dir.path().join("STOP")).unwrap();
    stands("the fire");
    burns.store(false, Ordering::SeqCst);
    latch.reset(&stop.id, "x", "root").unwrap();
}

#[test]
fn a_stop_that_cannot_be_saved_stops_all_the_same_and_is_saved_when_it_can_be() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let latch = Latch::open(&state);
    let epoch = latch.now().unwrap();
    fs::remove_dir_all(&state).unwrap();
    let stop = latch.engage(cause("fire")).stop().clone();
    assert!(!latch.holds(epoch) && latch.now().is_err());
    assert!(!latch.saved(Duration::from_millis(1)));
    assert!(matches!(latch.reset(&stop.id, "x", "root"), Err(LiftError::Disk { .. })));
    assert_eq!(stops(&latch)[0].phase, Phase::Stopped, "what cannot be saved is not undone");
    fs::create_dir_all(state.join("estop")).unwrap();
    assert_eq!(stops(&reopened(&latch, &state)), [stop]);
}

/// Each step of an engagement in turn is the last that happens: what comes before it must be
/// enough, and what is slow must not keep the rest waiting.
#[test]
fn no_step_waits_for_a_later_one() {
    let dir = tempfile::tempdir().unwrap();
    let latch = Latch::open(dir.path());
    let (reached, at_the_brake) = mpsc::sync_channel(1);
    let (release, released) = mpsc::sync_channel::<()>(1);
    let released = Mutex::new(released);
    latch.on_engage(move |_| {
        reached.send(()).unwrap();
        released.lock().unwrap().recv().unwrap_or_default();
    });
    let woken = latch.changed();
    thread::scope(|scope| {
        let pressing = scope.spawn(|| latch.engage(cause("fire")));
        // Here, so that a failure lets go of the brake.
        let release = release;
        at_the_brake.recv_timeout(SOON).unwrap();
        // The processes hang; nothing is sent any more, and the disk knows.
        assert!(latch.now().is_err());
        assert!(latch.saved(SOON) && Latch::open(dir.path()).now().is_err());
        assert!(!woken.has_changed().unwrap(), "who waits is told after the processes");
        release.send(()).unwrap();
        pressing.join().unwrap();
        assert!(woken.has_changed().unwrap());
    });
}

#[tokio::test]
async fn watchers_wake_when_the_stop_is_engaged_and_when_it_is_lifted() {
    let dir = tempfile::tempdir().unwrap();
    let latch = Latch::open(dir.path());
    let epoch = latch.now().unwrap();
    let engaging = latch.clone();
    let pressing = thread::spawn(move || engaging.engage(cause("fire")).stop().clone());
    tokio::time::timeout(SOON, latch.passed(epoch)).await.expect("woken");
    pressing.join().unwrap();
    let lifting = latch.clone();
    let lifting = thread::spawn(move || lifting.lift_all());
    tokio::time::timeout(SOON, latch.resumed(Marks::default())).await.expect("woken");
    lifting.join().unwrap();
}

#[derive(Clone, Debug)]
enum Step {
    Engage(usize),
    Reset(usize),
    Resume(usize),
    Restart,
    /// Nothing comes to disk until the next start: what comes next is an end by SIGKILL.
    Unplug,
    Take(usize),
}

const SCOPES: [&str; 4] = ["global", "server:a", "tool:a/t", "principal:p"];

/// Which of `SCOPES` concern each of the things that epochs are taken for.
const CONCERNED: [(&str, [bool; 4]); 3] = [
    ("server:a", [true, true, false, false]),
    ("tool:a/t", [true, true, true, false]),
    ("principal:p", [true, false, false, true]),
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_latch_behaves_as_its_model(steps in prop::collection::vec(prop_oneof![
        (0_usize..4).prop_map(Step::Engage),
        (0_usize..4).prop_map(Step::Reset),
        (0_usize..4).prop_map(Step::Resume),
        (0_usize..3).prop_map(Step::Take),
        Just(Step::Restart),
        Just(Step::Unplug),
    ], 1..32)) {
        let two = Two::new();
        let (mut latch, mut unplugged) = (two.latch(), None::<PathBuf>);
        let mut model: [Option<(String, Phase)>; 4] = Default::default();
        let (mut live, mut dead): (Vec<(usize, Epoch)>, Vec<Epoch>) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Engage(n) => {
                    let got = latch.engage(cause("model").of(scope(SCOPES[n])));
                    let id = got.stop().id.clone();
                    match &model[n] {
                        Some((earlier, Phase::Stopped)) => prop_assert_eq!(&id, earlier),
                        Some((_, Phase::Ready)) | None => model[n] = Some((id, Phase::Stopped)),
                    }
                    let (hit, missed) = live.into_iter().partition(|(what, _)| CONCERNED[*what].1[n]);
                    live = missed;
                    let hit: Vec<(usize, Epoch)> = hit;
                    dead.extend(hit.into_iter().map(|(_, epoch)| epoch));
                }
                Step::Reset(n) => if let Some((id, phase)) = &mut model[n] {
                    let done = latch.reset(id, "model", "test").is_ok();
                    prop_assert_eq!(done, *phase == Phase::Stopped && unplugged.is_none());
                    if done { *phase = Phase::Ready; }
                },
                Step::Resume(n) => if unplugged.is_none() && let Some((id, phase)) = model[n].clone() {
                    let done = latch.resume(&id, "test").is_ok();
                    prop_assert_eq!(done, phase == Phase::Ready);
                    if done { model[n] = None; }
                },
                Step::Restart => {
                    if let Some(aside) = unplugged.take() {
                        two.end(latch, &aside);
                    } else {
                        prop_assert!(latch.saved(SOON));
                        end(latch);
                    }
                    latch = two.latch();
                    // Epochs are of one process: no permit outlives it.
                    live.clear();
                    dead.clear();
                }
                Step::Unplug => unplugged = unplugged.or_else(|| Some(two.unplug())),
                Step::Take(what) => if let Ok(epoch) = latch.epoch(scope(CONCERNED[what].0).marks()) {
                    live.push((what, epoch));
                },
            }
            for (what, concerned) in CONCERNED {
                let stopped = model.iter().zip(concerned).any(|(stop, hit)| stop.is_some() && hit);
                prop_assert_eq!(latch.epoch(scope(what).marks()).is_err(), stopped);
            }
            prop_assert!(live.iter().all(|(_, epoch)| latch.holds(*epoch)));
            prop_assert!(!dead.iter().any(|epoch| latch.holds(*epoch)));
        }
    }
}
