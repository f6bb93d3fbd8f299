//! The bytes of every record, in `snapshots/`: readers rely on them, and content is never in them.

use std::{sync::Arc, time::Duration};

use super::{Own, RESULT, Record, SECRET, call, denied, ids, intent, questions};
use crate::audit::{
    ApprovalRecord, KeyRecord, LatchStep, PinRecord, Repeat, TurnedAway,
    log::{Chain, is_canonical},
};
use crate::config::Digests;
use crate::domain::{
    ApprovalId, Call, CallError, DenyReason, Generation, Grounds, Kind, Matter, Outcome, Reason,
    ReplicaNo, ResourceUri, Sent, Standing, Subject, Task, TaskId, TaskStep, ToolName, Topic, Wish,
};

const TURNED_AWAY: TurnedAway =
    TurnedAway { door: "main", at: "/mcp", status: 403, reason: "origin" };
const ON_A_PIPE: TurnedAway =
    TurnedAway { door: "stdio", at: "message", status: 0, reason: "parse_error" };

fn wish(of: &Call, topic: Topic) -> Wish {
    let (caller, server) = (of.caller.clone(), of.server.clone());
    Wish { id: of.id, caller, server, topic, generation: Generation(3) }
}

fn latch(step: LatchStep, why: &str) -> Record<'_> {
    Record::Latch { step, id: "stop-1", scope: "server:files", who: "root", why }
}

fn standing() -> Standing {
    let reasons = [(Reason::Sink, 20), (Reason::Tainted, 15)].into_iter().collect();
    Standing { score: 35, tainted: true, reasons }
}

#[test]
fn the_bytes_of_every_kind_are_golden() {
    let ids = ids();
    let call = call(&ids);
    let (digest, elapsed) = (digests(0xab), Duration::from_micros(1234));
    let failed = Outcome::Failed(CallError::Protocol { what: "two answers" });
    let gone = Outcome::Failed(CallError::Cancelled { sent: Sent::Unknown });
    let aimed = |kind, name| Call { subject: Subject::parse(kind, name).unwrap(), ..call.clone() };
    let (prompt, resource) = (aimed(Kind::Prompt, "sum up"), aimed(Kind::Resource, "ui://a/\"b"));
    let answering = Call { answers: Some(Box::new(SECRET.into())), ..call.clone() };
    let questions = questions(&call);
    let policies = ["readers".into(), "policies/a.cedar:3".into()].into();
    let grounds = Grounds { policies, is_shadowed: true, risk: Some(standing()), approval: None };
    let task = Arc::new(Task {
        tool: ToolName::parse("slow").unwrap(),
        id: TaskId::parse("t-1").unwrap(),
        begun_by: ids.next(2),
        at: ReplicaNo(0),
    });
    let wish = wish(&call, Topic::Resource(ResourceUri::parse("file:///a").unwrap()));
    let follow = Wish { topic: Topic::Task(task.clone()), ..wish.clone() };
    let subject = Subject::Task(TaskStep::Update, task);
    let task = Call { id: ids.next(3), subject, ..call.clone() };
    let (id, reason, generation) = (call.id, DenyReason::Schema, Generation(3));
    let records = [
        Record::Started { version: "0.1.0", config: &digest, generation },
        intent(Matter::Call(&call)),
        Record::Intent { matter: Matter::Call(&call), grounds: &grounds },
        Record::Outcome { call: id, outcome: Outcome::Answered, result: Some(&RESULT), elapsed },
        Record::Outcome { call: id, outcome: Outcome::ServerError, result: Some(&RESULT), elapsed },
        Record::Outcome { call: id, outcome: failed, result: None, elapsed },
        Record::Outcome { call: id, outcome: gone, result: None, elapsed },
        denied(Matter::Call(&call), reason, "`/path` is\nwrong"),
        Record::Refused {
            call: id,
            caller: &call.caller,
            about: Kind::Tool,
            asked: "x\\y",
            reason,
        },
        latch(LatchStep::Engaged, "odd calls"),
        latch(LatchStep::Reset, "done"),
        latch(LatchStep::Resumed, ""),
        latch(LatchStep::Drilled, "{\"saved_us\":900}"),
        Record::Own(Own::Recovered {
            dropped_bytes: 5,
            dropped_sha256: &digest.file,
            kept_in: "f",
            what: "is torn",
        }),
        Record::Own(Own::Orphaned { call: id }),
        Record::Resent { call: id, from: ReplicaNo(0), to: ReplicaNo(2) },
        intent(Matter::Call(&prompt)),
        intent(Matter::Call(&resource)),
        intent(Matter::Questions(&questions)),
        denied(Matter::Questions(&questions), reason, "no"),
        intent(Matter::Call(&answering)),
        Record::Outcome { call: id, outcome: Outcome::TaskBegun, result: Some(&RESULT), elapsed },
        intent(Matter::Call(&task)),
        intent(Matter::Wish(&wish)),
        denied(Matter::Wish(&wish), reason, "no"),
        intent(Matter::Wish(&follow)),
        Record::Stopped { why: "SIGTERM" },
        Record::TurnedAway { what: &TURNED_AWAY, who: Some("uid:1000"), count: 9, since: 5 },
        Record::TurnedAway { what: &ON_A_PIPE, who: None, count: 1, since: 5 },
    ];
    insta::assert_snapshot!(golden(&records));
}

#[test]
fn the_bytes_of_the_logs_own_records_are_golden() {
    let ids = ids();
    let in_flight = [ids.next(1), ids.next(2)];
    let why = "record 3 is gone, and 7 were signed";
    let records = [
        Record::Own(Own::LogBegun { origin: "portcullis/audit/00", pubkey: "n+0+A", after: None }),
        Record::Own(Own::LogBegun { origin: "o", pubkey: "k", after: Some(("0a", why)) }),
        Record::Own(Own::Segment { in_flight: &[] }),
        Record::Own(Own::Segment { in_flight: &in_flight }),
        Record::Own(Own::KeyEpoch { epoch: 1, pubkey: "n+0+B" }),
        Record::Own(Own::Heartbeat),
        Record::Own(Own::Expired { up_to: 9 }),
    ];
    insta::assert_snapshot!(golden(&records));
}

#[test]
fn the_bytes_of_reloads_are_golden() {
    let (before, digest, generation) = (digests(0xcd), digests(0xab), Generation(3));
    let records = [
        Record::Reloaded {
            who: "SIGHUP",
            before: &before,
            config: &digest,
            generation: Generation(4),
            added: "b,c",
            removed: "",
            changed: "a",
        },
        Record::ReloadRefused { who: "file", config: None, generation, why: "gone" },
        Record::ReloadRefused { who: "x", config: Some(&digest), generation, why: "C003" },
    ];
    insta::assert_snapshot!(golden(&records));
}

#[test]
fn the_bytes_of_approvals_are_golden() {
    let (id, who) = (ApprovalId::new(0xab), "uid:1000");
    let grounds = Grounds { approval: Some(id), ..Grounds::default() };
    let call = call(&ids());
    let records = [
        Record::Intent { matter: Matter::Call(&call), grounds: &grounds },
        Record::Approval(ApprovalRecord::Allowed { id, who, remembered: false }),
        Record::Approval(ApprovalRecord::Allowed { id, who, remembered: true }),
        Record::Approval(ApprovalRecord::Refused { id, who }),
        Record::Approval(ApprovalRecord::Ended { id, why: "expired" }),
    ];
    insta::assert_snapshot!(golden(&records));
}

#[test]
fn the_bytes_of_pins_are_golden() {
    let (call, pins_sha256) = (call(&ids()), &[0xab; 32]);
    let (server, definitions, what) = (&call.server, 3, "tool `x` (changed)");
    let records = [
        PinRecord::Pinned { server, definitions, pins_sha256 },
        PinRecord::Quarantined { server, definitions, pins_sha256, what },
        PinRecord::Approved { who: "uid:0", server, list: "tool", name: "x", pin: pins_sha256 },
    ];
    insta::assert_snapshot!(golden(&records.map(Record::Pins)));
}

#[test]
fn the_bytes_of_counts_are_golden() {
    let call = call(&ids());
    let (who, server) = (Some(call.caller.principal.clone()), Some(call.server.clone()));
    let (about, name) = (Some(Kind::Tool), Some(call.subject.clone()));
    let named = Repeat { reason: DenyReason::Rate, who, server, about, name };
    let asked =
        Repeat { server: None, name: None, reason: DenyReason::Overloaded, ..named.clone() };
    let others = Repeat { who: None, about: None, ..asked.clone() };
    let of = |what| Record::Repeated { what, first: call.id, count: 5, since: 7 };
    insta::assert_snapshot!(golden(&[of(&named), of(&asked), of(&others)]));
}

#[test]
fn the_bytes_of_keys_are_golden() {
    let (who, key, name) = ("uid:0", "3f9c1d20aa41", "ann");
    let (plain, role, expires_ms) = ("", Some("operator"), Some(1_700_000_000_000));
    let added = |groups, scopes, role, expires_ms| KeyRecord::Added {
        who,
        key,
        name,
        groups,
        scopes,
        role,
        expires_ms,
    };
    let records = [
        added("a,b", "mcp:call", role, expires_ms),
        added(plain, plain, None, None),
        KeyRecord::Removed { who: "start", key, name, why: "revoked" },
        KeyRecord::Taken { who, count: 2, keys_sha256: &[0xab; 32] },
    ];
    insta::assert_snapshot!(golden(&records.map(Record::Keys)));
}

fn digests(byte: u8) -> Digests {
    Digests { file: [byte; 32], policies: [byte.wrapping_add(1); 32] }
}

fn golden(records: &[Record<'_>]) -> String {
    let (mut chain, mut lines) = (Chain::START, Vec::new());
    for record in records {
        chain.seal(&record.render(1_700_000_000_000_000), &mut lines);
    }
    let text = String::from_utf8(lines).unwrap();
    for (line, record) in text.lines().zip(records) {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["kind"], record.kind());
        assert!(!line.contains("secret.txt"), "content is never on record");
        assert!(is_canonical(line.as_bytes()), "{line}");
    }
    text
}
