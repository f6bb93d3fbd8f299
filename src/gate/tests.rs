//! Claims of the gate as a whole: order, records, the latch under threads, restarts.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    Cause, Definition, Engaged, Epoch, Gate, Latch, LatchState, Permit, Policy, ResetError, Schema,
    Stopped, Ticket, judge,
};
use crate::{
    audit::{Audit, AuditThread, Durability, verify},
    config::ToolFilter,
    domain::{
        CallIds, Caller, DenyReason, Era, Generation, Nonce, Outcome, Principal, Refusal,
        ServerName, ToolCall, ToolName, Verdict,
    },
};

fn call(tool: &str, arguments: &'static str) -> ToolCall {
    static IDS: std::sync::LazyLock<CallIds> = std::sync::LazyLock::new(|| CallIds::new(Nonce(1)));
    ToolCall {
        id: IDS.next(1_700_000_000_000),
        caller: Arc::new(Caller {
            principal: Principal::new("local"),
            client: "test".into(),
            conversation: None,
            era: Era::Legacy,
        }),
        server: ServerName::parse("files").unwrap(),
        tool: ToolName::parse(tool).unwrap(),
        arguments: Bytes::from_static(arguments.as_bytes()),
        generation: Generation(1),
    }
}

fn policy() -> Policy {
    let server = ServerName::parse("files").unwrap();
    let filter = ToolFilter { enabled: None, disabled: ["delete".to_owned()].into() };
    Policy::from_filters([(&server, &filter)])
}

fn cause(why: &str) -> Cause {
    Cause { who: "test".to_owned(), why: why.to_owned() }
}

struct House {
    dir: tempfile::TempDir,
    gate: Gate,
    audit: AuditThread,
}

fn house() -> House {
    let dir = tempfile::tempdir().unwrap();
    let (audit, thread) = Audit::open(&dir.path().join("audit"), Durability::Cached).unwrap();
    let gate = Gate::new(Latch::open(dir.path()), audit);
    House { dir, gate, audit: thread }
}

impl House {
    async fn admit(&self, call: ToolCall) -> Result<(Permit, Ticket), Refusal> {
        self.gate.admit(&policy(), call, Definition::Forwarded).await
    }

    /// The log's kinds in order, once it is closed.
    fn kinds(self) -> Vec<String> {
        self.audit.finish();
        let dir = self.dir.path().join("audit");
        verify(&dir).unwrap();
        lines(&dir).iter().map(|v| v["kind"].as_str().unwrap().to_owned()).collect()
    }
}

fn lines(dir: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(dir.join("000001.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_gates_are_asked_in_their_order() {
    #[track_caller]
    fn check(latch: Result<Epoch, Stopped>, tool: &str, definition: Definition<'_>, want: &str) {
        let got = match judge(latch, &policy(), &call(tool, r#"{"a":1}"#), definition) {
            Verdict::Allow => "allow",
            Verdict::Deny(refusal) => refusal.reason.as_str(),
        };
        assert_eq!(got, want);
    }
    let dir = tempfile::tempdir().unwrap();
    let open = Latch::open(dir.path()).epoch();
    let strict = Schema::compile(br#"{"required":["b"]}"#).unwrap();
    let lax = Schema::compile(b"{}").unwrap();
    check(open, "read", Definition::Known(&lax), "allow");
    check(open, "read", Definition::Forwarded, "allow");
    check(open, "read", Definition::Known(&strict), "schema");
    check(open, "delete", Definition::Known(&strict), "not_listed");
    check(open, "delete", Definition::Forwarded, "not_listed");
    check(open, "delete", Definition::Missing, "unknown_tool");
    check(Err(Stopped), "delete", Definition::Missing, "stopped");
    check(Err(Stopped), "read", Definition::Known(&lax), "stopped");
}

#[test]
fn a_hidden_tool_and_an_unknown_one_read_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let open = Latch::open(dir.path()).epoch();
    let told = |tool, definition| match judge(open, &policy(), &call(tool, "{}"), definition) {
        Verdict::Deny(refusal) => refusal.told,
        Verdict::Allow => panic!("must be denied"),
    };
    let hidden = told("delete", Definition::Forwarded);
    assert_eq!(hidden, told("nonsense", Definition::Missing));
    assert!(!hidden.contains("delete"));
}

#[tokio::test]
async fn a_permit_follows_its_intent_and_every_refusal_is_on_record() {
    let house = house();
    let (permit, ticket) = house.admit(call("read", "{}")).await.unwrap();
    let log = lines(&house.dir.path().join("audit"));
    assert_eq!(log[0]["call"], permit.call().id.to_string());
    assert_eq!(permit.receipt().seq, 1);
    ticket.conclude(Outcome::Answered { result_bytes: 3 });
    let refusal = house.admit(call("delete", "{}")).await.unwrap_err();
    assert_eq!(refusal.reason, DenyReason::NotListed);
    assert_eq!(lines(&house.dir.path().join("audit")).last().unwrap()["reason"], "not_listed");
    house.gate.engage(cause("drill"));
    let refusal = house.admit(call("read", "{}")).await.unwrap_err();
    assert_eq!(refusal.reason, DenyReason::Stopped);
    let want = ["intent", "outcome", "denied", "latch_engaged", "denied"];
    assert_eq!(house.kinds(), want);
}

#[tokio::test]
async fn an_audit_that_cannot_write_refuses_the_call() {
    let House { dir: _dir, gate, audit } = house();
    audit.finish();
    let refused = gate.admit(&policy(), call("read", "{}"), Definition::Forwarded).await;
    assert_eq!(refused.unwrap_err().reason, DenyReason::AuditUnavailable);
    let refused = gate.admit(&policy(), call("delete", "{}"), Definition::Forwarded).await;
    assert_eq!(refused.unwrap_err().reason, DenyReason::NotListed, "a refusal stays a refusal");
}

#[tokio::test]
async fn a_dropped_ticket_records_one_unknown_outcome() {
    let house = house();
    drop(house.admit(call("read", "{}")).await.unwrap());
    let (_permit, ticket) = house.admit(call("read", "{}")).await.unwrap();
    ticket.conclude(Outcome::Answered { result_bytes: 0 });
    let audit = house.dir.path().join("audit");
    let House { dir: _dir, gate: _, audit: thread } = house;
    thread.finish();
    let log = lines(&audit);
    let outcomes: Vec<_> = log.iter().filter(|v| v["kind"] == "outcome").collect();
    assert_eq!(outcomes.len(), 2);
    assert_eq!(
        (&outcomes[0]["error"], &outcomes[0]["sent"]),
        (&"cancelled".into(), &"unknown".into())
    );
    assert_eq!(outcomes[1]["outcome"], "answered");
}

#[tokio::test]
async fn a_caller_who_leaves_before_the_permit_has_sent_nothing() {
    let house = house();
    let policy = policy();
    let mut admitting =
        Box::pin(house.gate.admit(&policy, call("read", "{}"), Definition::Forwarded));
    std::future::poll_fn(|cx| {
        assert!(admitting.as_mut().poll(cx).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    drop(admitting);
    let audit = house.dir.path().join("audit");
    let House { dir: _dir, gate: _, audit: thread } = house;
    thread.finish();
    let log = lines(&audit);
    assert_eq!(log.len(), 2);
    assert_eq!((&log[0]["kind"], &log[1]["sent"]), (&"intent".into(), &"no".into()));
    assert_eq!(log[0]["call"], log[1]["call"]);
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
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
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
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
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
        while looks.load(Ordering::SeqCst) < CHECKS {
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
