//! Claims of the audit room that need a whole log: golden bytes, receipts, crashes, tampering.

mod failure;
mod golden;

use std::{
    fs::{self, File},
    path::Path,
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{
    Audit, AuditError, AuditThread, Durability, FILE_NAME, Record, VerifyError, chain::Chain,
    verify,
};
use crate::domain::{
    Asking, Call, CallId, CallIds, Caller, DenyReason, Era, Generation, Grounds, Kind, Matter,
    Nonce, Outcome, Principal, Questions, ServerName, Subject, Transport, limits,
};

fn call(ids: &CallIds) -> Call {
    Call {
        id: ids.next(1_700_000_000_000),
        caller: Arc::new(Caller {
            principal: Principal::new("local"),
            client: "a \"client\"\u{1b}[31m".into(),
            conversation: Some("c-1".into()),
            era: Era::Modern,
            transport: Transport::Http,
        }),
        server: ServerName::parse("files").unwrap(),
        subject: Subject::parse(Kind::Tool, "read").unwrap(),
        arguments: Bytes::from_static(br#"{"path":"secret.txt"}"#),
        answers: None,
        generation: Generation(3),
        trace: None,
        at: None,
    }
}

const SECRET: &[u8] = br#"{"q":"secret.txt"}"#;

fn questions(of: &Call) -> Questions {
    Questions {
        call: of.id,
        caller: of.caller.clone(),
        server: of.server.clone(),
        asks: vec![Asking::Form, Asking::Sampling],
        text: SECRET.into(),
    }
}

fn ids() -> CallIds {
    CallIds::new(Nonce(7))
}

/// In memory where the machine has such a place: thousands of syncs take a disk a minute.
fn memory_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn log(dir: &Path) -> String {
    fs::read_to_string(dir.join(FILE_NAME)).unwrap()
}

fn kinds(dir: &Path) -> Vec<String> {
    let kind = |line: &str| line.split("\"kind\":\"").nth(1)?.split('"').next().map(str::to_owned);
    log(dir).lines().filter_map(kind).collect()
}

fn open(dir: &Path) -> (Audit, AuditThread) {
    Audit::open(dir, Durability::Cached).unwrap()
}

/// That nothing was said about.
static NO_GROUNDS: LazyLock<Grounds> = LazyLock::new(Grounds::default);

fn intent(matter: Matter<'_>) -> Record<'_> {
    Record::Intent { matter, grounds: &NO_GROUNDS }
}

fn denied<'a>(matter: Matter<'a>, reason: DenyReason, told: &'a str) -> Record<'a> {
    Record::Denied { matter, grounds: &NO_GROUNDS, reason, told }
}

/// A log of `n` intents, each with its outcome.
async fn write_log(dir: &Path, n: usize) {
    let (audit, thread) = open(dir);
    let ids = ids();
    for _ in 0..n {
        let call = call(&ids);
        audit.append(intent(Matter::Call(&call))).await.unwrap();
        let outcome = Outcome::Answered { result_bytes: 2 };
        audit.append_later(Record::Outcome { call: call.id, outcome, elapsed: Duration::ZERO });
    }
    thread.finish();
}

#[test]
fn strings_of_strangers_are_cut_and_escaped() {
    let long = "é\u{0}".repeat(limits::AUDIT_TEXT_BYTES_MAX);
    let rendered = Record::Stopped { why: &long }.render(0);
    let line = format!("{{{}}}", String::from_utf8(rendered).unwrap());
    assert!(line.len() < 4 * limits::AUDIT_TEXT_BYTES_MAX);
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    let why = value["why"].as_str().unwrap();
    assert!(why.ends_with('…') && long.starts_with(why.trim_end_matches('…')));
}

#[tokio::test]
async fn a_receipt_exists_only_after_the_line_is_in_the_file() {
    for durability in [Durability::Cached, Durability::Group, Durability::Sync] {
        let dir = tempfile::tempdir().unwrap();
        let (audit, thread) = Audit::open(dir.path(), durability).unwrap();
        let ids = ids();
        for n in 1..=20 {
            let call = call(&ids);
            let receipt = audit.append(intent(Matter::Call(&call))).await.unwrap();
            assert_eq!(receipt.seq, n);
            let text = log(dir.path());
            let line = text.lines().last().unwrap();
            assert!(line.contains(&call.id.to_string()) && text.ends_with('\n'));
        }
        thread.finish();
        assert_eq!(verify(dir.path()).unwrap().last, 20);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn intents_of_many_tasks_appear_once_each_in_one_chain() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, thread) = Audit::open(dir.path(), Durability::Group).unwrap();
    let ids = Arc::new(ids());
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let (audit, ids) = (audit.clone(), ids.clone());
        tasks.spawn(async move {
            let mut mine = Vec::new();
            for _ in 0..25 {
                let call = call(&ids);
                let receipt = audit.append(intent(Matter::Call(&call))).await.unwrap();
                mine.push((receipt.seq, call.id));
            }
            mine
        });
    }
    let mut told: Vec<(u64, CallId)> = tasks.join_all().await.concat();
    thread.finish();
    assert_eq!(verify(dir.path()).unwrap().last, 400);
    told.sort_unstable();
    let text = log(dir.path());
    for ((seq, id), (n, line)) in told.iter().zip((1..).zip(text.lines())) {
        assert_eq!(*seq, n);
        assert!(line.starts_with(&format!("{{\"seq\":{seq},")) && line.contains(&id.to_string()));
    }
}

#[tokio::test]
async fn a_crash_at_any_byte_keeps_the_longest_valid_prefix_and_loses_nothing() {
    let whole = tempfile::tempdir().unwrap();
    write_log(whole.path(), 2).await;
    let bytes = fs::read(whole.path().join(FILE_NAME)).unwrap();
    for cut in 0..=bytes.len() {
        let dir = memory_dir();
        fs::write(dir.path().join(FILE_NAME), &bytes[..cut]).unwrap();
        open(dir.path()).1.finish();
        let keep = bytes[..cut].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let after = fs::read(dir.path().join(FILE_NAME)).unwrap();
        assert_eq!(after[..keep], bytes[..keep], "cut at {cut}");
        let whole_lines = bytes[..keep].iter().filter(|b| **b == b'\n').count();
        let mut want = vec!["intent", "outcome", "intent", "outcome"];
        want.truncate(whole_lines);
        if keep < cut {
            want.push("recovered");
            let name = format!("{FILE_NAME}.{keep}-0.torn");
            assert_eq!(fs::read(dir.path().join(name)).unwrap(), bytes[keep..cut]);
            let told = format!("\"dropped_bytes\":{},", cut - keep);
            assert!(log(dir.path()).contains(&told), "cut at {cut}");
        }
        if whole_lines % 2 == 1 {
            want.push("orphaned");
        }
        assert_eq!(kinds(dir.path()), want, "cut at {cut}");
        assert!(verify(dir.path()).is_ok());
    }
}

#[tokio::test]
async fn a_call_whose_questions_are_on_record_is_still_in_flight() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, thread) = open(dir.path());
    let call = call(&ids());
    let questions = questions(&call);
    for matter in [Matter::Call(&call), Matter::Questions(&questions)] {
        audit.append(intent(matter)).await.unwrap();
    }
    thread.finish();
    open(dir.path()).1.finish();
    assert_eq!(kinds(dir.path()), ["intent", "questions", "orphaned"]);
}

#[track_caller]
fn first_bad(lines: &[String], want: u64) {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(FILE_NAME), lines.concat()).unwrap();
    match verify(dir.path()) {
        Err(VerifyError::Bad { seq, .. }) => assert_eq!(seq, want),
        other => panic!("expected record {want} to be bad, found {other:?}"),
    }
}

#[tokio::test]
async fn verify_names_the_first_record_that_was_tampered_with() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), 3).await;
    let lines: Vec<String> = log(dir.path()).split_inclusive('\n').map(str::to_owned).collect();
    assert_eq!(lines.len(), 6);
    for at in 0..lines.len() {
        let seq = u64::try_from(at + 1).unwrap();
        // Flip one bit of every byte, the line feed included.
        for byte in 0..lines[at].len() {
            let mut changed = lines.clone();
            let mut bytes = changed[at].clone().into_bytes();
            bytes[byte] ^= 1;
            changed[at] = String::from_utf8_lossy(&bytes).into_owned();
            first_bad(&changed, seq);
        }
        let mut shortened = lines.clone();
        shortened[at].remove(30);
        first_bad(&shortened, seq);
        let mut doubled = lines.clone();
        doubled.insert(at, lines[at].clone());
        first_bad(&doubled, seq + 1);
        let mut foreign = lines.clone();
        foreign.insert(at, lines[(at + 2) % 6].clone());
        first_bad(&foreign, seq);
        if at + 1 < lines.len() {
            let mut deleted = lines.clone();
            deleted.remove(at);
            first_bad(&deleted, seq);
            let mut swapped = lines.clone();
            swapped.swap(at, at + 1);
            first_bad(&swapped, seq);
        }
    }
}

#[test]
fn a_gap_in_the_numbers_is_found_although_the_hashes_agree() {
    let rendered = Record::Stopped { why: "test" }.render(0);
    let (mut chain, mut lines) = (Chain::START, Vec::new());
    chain.seal(&rendered, &mut lines);
    chain.seq += 1;
    chain.seal(&rendered, &mut lines);
    first_bad(&[String::from_utf8(lines).unwrap()], 2);
}

#[tokio::test]
async fn a_log_cut_at_the_end_of_a_line_is_told_by_its_head() {
    let dir = tempfile::tempdir().unwrap();
    write_log(dir.path(), 2).await;
    let before = verify(dir.path()).unwrap();
    let text = log(dir.path());
    let shorter: String = text.split_inclusive('\n').take(3).collect();
    fs::write(dir.path().join(FILE_NAME), shorter).unwrap();
    let after = verify(dir.path()).unwrap();
    assert_eq!((before.last, after.last), (4, 3));
    assert_ne!(before.head, after.head);
}

#[test]
fn a_line_without_end_is_not_read_into_memory() {
    let dir = tempfile::tempdir().unwrap();
    let file = File::create(dir.path().join(FILE_NAME)).unwrap();
    file.set_len(1 << 30).unwrap();
    assert!(matches!(verify(dir.path()), Err(VerifyError::Bad { seq: 1, .. })));
}

#[test]
fn two_gateways_never_write_one_log() {
    let dir = tempfile::tempdir().unwrap();
    let (_audit, thread) = open(dir.path());
    let second = Audit::open(dir.path(), Durability::Cached);
    assert!(matches!(second, Err(AuditError::Locked { .. })));
    thread.finish();
    open(dir.path()).1.finish();
}

#[test]
fn a_log_that_is_a_link_is_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/null", dir.path().join(FILE_NAME)).unwrap();
    let opened = Audit::open(dir.path(), Durability::Cached);
    assert!(matches!(opened, Err(AuditError::Open { .. })));
}

#[tokio::test]
async fn a_closed_log_has_everything_and_refuses_more() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, thread) = open(dir.path());
    for _ in 0..10 {
        audit.append_later(Record::Stopped { why: "test" });
    }
    thread.finish();
    assert_eq!(verify(dir.path()).unwrap().last, 10);
    let got = audit.append(Record::Stopped { why: "late" }).await;
    assert!(matches!(got, Err(AuditError::Closed)));
    assert!(!audit.is_healthy());
}

#[tokio::test]
async fn a_record_nobody_waits_for_is_written_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (audit, thread) = open(dir.path());
    audit.append_later(Record::Stopped { why: "test" });
    let written = async {
        while log(dir.path()).is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), written).await.expect("within the nap");
    thread.finish();
}
