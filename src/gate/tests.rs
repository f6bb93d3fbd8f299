//! Claims of the gate as a whole: the order, and that everything is on record.

use std::{fs, path::Path, sync::Arc, task::Poll};

use bytes::Bytes;

use super::{
    Approval, Cause, Definition, Epoch, Gate, Latch, Permit, Rules, Schema, Stopped, Ticket,
    Whitelist, judge,
};
use crate::{
    audit::{Audit, AuditThread, Durability, Wanted, verify},
    config::ToolFilter,
    domain::{
        Asking, Call, CallIds, Caller, DenyReason, Era, Generation, Kind, Matter, Nonce, Outcome,
        Principal, Questions, Refusal, ServerName, Standing, Subject, Transport, Verdict,
    },
};

pub(super) fn call(tool: &str, arguments: &'static str) -> Call {
    static IDS: std::sync::LazyLock<CallIds> = std::sync::LazyLock::new(|| CallIds::new(Nonce(1)));
    Call {
        id: IDS.next(1_700_000_000_000),
        caller: Arc::new(Caller {
            principal: Principal::new("local"),
            client: "test".into(),
            conversation: None,
            era: Era::Legacy,
            transport: Transport::Http,
        }),
        server: ServerName::parse("files").unwrap(),
        subject: Subject::parse(Kind::Tool, tool).unwrap(),
        arguments: Bytes::from_static(arguments.as_bytes()),
        answers: None,
        generation: Generation(1),
        trace: None,
        at: None,
        under: None,
    }
}

fn rules() -> Rules {
    let server = ServerName::parse("files").unwrap();
    let filter = ToolFilter { enabled: None, disabled: ["delete".to_owned()].into() };
    Rules::of_whitelist(Whitelist::from_filters([(&server, &filter)]))
}

fn cause(why: &str) -> Cause {
    Cause::new("test", why)
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
    async fn admit(&self, call: Call) -> Result<(Permit, Ticket), Refusal> {
        self.gate.admit(&rules(), call, Definition::Forwarded).await
    }

    /// The log's kinds in order, once it is closed.
    fn kinds(self) -> Vec<String> {
        self.audit.finish();
        let dir = self.dir.path().join("audit");
        verify(&dir, &Wanted::default()).unwrap();
        lines(&dir).iter().map(|v| v["kind"].as_str().unwrap().to_owned()).collect()
    }
}

/// But for the first, which is of the log itself.
fn lines(dir: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(dir.join("current/seg/000001.jsonl")).unwrap();
    text.lines().skip(1).map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_gates_are_asked_in_their_order() {
    #[track_caller]
    fn check(latch: Result<Epoch, Stopped>, tool: &str, definition: Definition<'_>, want: &str) {
        let call = call(tool, r#"{"a":1}"#);
        let got = match judge(
            latch,
            &rules(),
            (Matter::Call(&call), definition),
            (&Standing::default(), Approval::None),
        )
        .verdict
        {
            Verdict::Allow => "allow",
            Verdict::Hold => "hold",
            Verdict::Deny(refusal) => refusal.reason.as_str(),
        };
        assert_eq!(got, want);
    }
    let dir = tempfile::tempdir().unwrap();
    let open = Latch::open(dir.path()).now();
    let strict = Schema::compile(br#"{"required":["b"]}"#).unwrap();
    let lax = Schema::compile(b"{}").unwrap();
    check(open, "read", Definition::Known(&lax), "allow");
    check(open, "read", Definition::Forwarded, "allow");
    check(open, "read", Definition::Known(&strict), "schema");
    check(open, "delete", Definition::Known(&strict), "not_listed");
    check(open, "delete", Definition::Forwarded, "not_listed");
    check(open, "delete", Definition::Missing, "unknown");
    check(Err(Stopped), "delete", Definition::Missing, "stopped");
    check(Err(Stopped), "read", Definition::Known(&lax), "stopped");
}

#[test]
fn a_hidden_tool_and_an_unknown_one_read_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let open = Latch::open(dir.path()).now();
    let told = |tool, definition| {
        let call = call(tool, "{}");
        match judge(
            open,
            &rules(),
            (Matter::Call(&call), definition),
            (&Standing::default(), Approval::None),
        )
        .verdict
        {
            Verdict::Deny(refusal) => refusal.told,
            Verdict::Allow | Verdict::Hold => panic!("must be denied"),
        }
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
    assert_eq!(permit.receipt().seq, 2);
    ticket.conclude(Outcome::Answered);
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
async fn an_audit_that_cannot_write_refuses_calls_and_questions() {
    let House { dir: _dir, gate, audit } = house();
    audit.finish();
    let refused = gate.admit(&rules(), call("read", "{}"), Definition::Forwarded).await;
    assert_eq!(refused.unwrap_err().reason, DenyReason::AuditUnavailable);
    let refused = gate.admit_questions(&rules(), questions(&call("read", "{}"))).await;
    assert_eq!(refused.unwrap_err().reason, DenyReason::AuditUnavailable);
    let refused = gate.admit(&rules(), call("delete", "{}"), Definition::Forwarded).await;
    assert_eq!(refused.unwrap_err().reason, DenyReason::NotListed, "a refusal stays a refusal");
}

fn questions(of: &Call) -> Questions {
    Questions {
        call: of.id,
        caller: of.caller.clone(),
        server: of.server.clone(),
        asks: vec![Asking::Form],
        text: Bytes::from_static(br#"{"q":{"method":"elicitation/create"}}"#),
    }
}

#[tokio::test]
async fn questions_pass_on_record_and_not_while_stopped() {
    let house = house();
    let (permit, ticket) = house.admit(call("read", "{}")).await.unwrap();
    let asked = questions(permit.call());
    let leave = house.gate.admit_questions(&rules(), asked.clone()).await.unwrap();
    assert_eq!(leave.receipt().seq, 3, "it is in the file already");
    assert!(house.gate.latch().holds(leave.epoch()));
    house.gate.engage(cause("drill"));
    assert!(!house.gate.latch().holds(leave.epoch()), "what was let through may be too late");
    let refusal = house.gate.admit_questions(&rules(), asked).await.unwrap_err();
    assert_eq!(refusal.reason, DenyReason::Stopped);
    ticket.conclude(Outcome::Answered);
    let log = lines(&house.dir.path().join("audit"));
    assert_eq!((&log[1]["call"], &log[1]["asks"]), (&log[0]["call"], &"form".into()));
    let want = ["intent", "questions", "latch_engaged", "denied", "outcome"];
    assert_eq!(house.kinds(), want);
}

#[tokio::test]
async fn a_dropped_ticket_records_one_unknown_outcome() {
    let house = house();
    drop(house.admit(call("read", "{}")).await.unwrap());
    let (_permit, ticket) = house.admit(call("read", "{}")).await.unwrap();
    ticket.conclude(Outcome::Answered);
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
    let rules = rules();
    // The writer may be so quick that there is nothing to leave: ask until it is not.
    let left = loop {
        let call = call("read", "{}");
        let id = call.id.to_string();
        let mut admitting = Box::pin(house.gate.admit(&rules, call, Definition::Forwarded));
        let polled = std::future::poll_fn(|cx| Poll::Ready(admitting.as_mut().poll(cx)));
        if polled.await.is_pending() {
            break id;
        }
    };
    let audit = house.dir.path().join("audit");
    let House { dir: _dir, gate: _, audit: thread } = house;
    thread.finish();
    let log = lines(&audit);
    let [.., intent, outcome] = log.as_slice() else { panic!("two records at least") };
    assert_eq!((&intent["call"], &outcome["call"]), (&left.clone().into(), &left.into()));
    assert_eq!((&intent["kind"], &outcome["sent"]), (&"intent".into(), &"no".into()));
}
