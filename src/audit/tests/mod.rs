//! Claims of the audit room that need a whole log: golden bytes, receipts, crashes, tampering.

mod crash;
mod evidence;
mod failure;
mod golden;
mod index;
mod kept;
mod second;
mod vault;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::{
    Audit, AuditError, AuditThread, Durability, Own, Record, Settings, Verified, VerifyError,
    Wanted, log::find, verify,
};
use crate::domain::{
    Asking, Call, CallId, CallIds, Caller, DenyReason, Era, Generation, Grounds, Kind, Matter,
    Nonce, Outcome, Principal, Questions, ServerName, Subject, Transport, limits,
};

pub(super) fn call(ids: &CallIds) -> Call {
    Call {
        id: ids.next(1_700_000_000_000),
        caller: Arc::new(Caller {
            principal: Principal::new("local"),
            client: "a \"client\"\u{1b}[31m\u{9b}".into(),
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
        under: None,
    }
}

const SECRET: &[u8] = br#"{"q":"secret.txt"}"#;

static RESULT: Bytes = Bytes::from_static(b"{}");

fn questions(of: &Call) -> Questions {
    Questions {
        call: of.id,
        caller: of.caller.clone(),
        server: of.server.clone(),
        asks: vec![Asking::Form, Asking::Sampling],
        text: SECRET.into(),
    }
}

pub(super) fn ids() -> CallIds {
    CallIds::new(Nonce(7))
}

/// In memory where the machine has such a place: thousands of syncs take a disk a minute.
fn memory_dir() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// The directory of the log that is written below `dir`.
fn log_dir(dir: &Path) -> PathBuf {
    find(dir).unwrap().unwrap().dir().to_owned()
}

/// The first segment.
fn segment(dir: &Path) -> PathBuf {
    log_dir(dir).join("seg/000001.jsonl")
}

/// All segments, one after the other.
fn log(dir: &Path) -> String {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(log_dir(dir).join("seg")).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
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

pub(super) fn denied<'a>(matter: Matter<'a>, reason: DenyReason, told: &'a str) -> Record<'a> {
    Record::Denied { matter, grounds: &NO_GROUNDS, reason, told }
}

fn verified(dir: &Path) -> Verified {
    verify(dir, &Wanted::default()).unwrap()
}

fn outcome(call: &Call) -> Record<'static> {
    let outcome = Outcome::Answered;
    let result = Some(&RESULT);
    Record::Outcome { call: call.id, outcome, result, elapsed: Duration::ZERO }
}

/// `n` intents, each with its outcome.
async fn write_calls(audit: &Audit, n: usize) {
    let ids = ids();
    for _ in 0..n {
        let call = call(&ids);
        audit.append(intent(Matter::Call(&call))).await.unwrap();
        audit.append(outcome(&call)).await.unwrap();
    }
}

async fn write_log(dir: &Path, n: usize) {
    let (audit, thread) = open(dir);
    write_calls(&audit, n).await;
    thread.finish();
}

#[test]
fn strings_of_strangers_are_cut_and_escaped() {
    let long = "é\u{0}".repeat(limits::AUDIT_TEXT_BYTES_MAX);
    let rendered = Record::Stopped { why: &long }.render(0);
    let line = String::from_utf8(rendered.bytes).unwrap().replace("\"seq\":,", "");
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
        // The first record of a log is its own.
        for n in 2..=20 {
            let call = call(&ids);
            let receipt = audit.append(intent(Matter::Call(&call))).await.unwrap();
            assert_eq!(receipt.seq, n);
            let text = log(dir.path());
            let line = text.lines().last().unwrap();
            assert!(line.contains(&call.id.to_string()) && text.ends_with('\n'));
        }
        thread.finish();
        let verified = verified(dir.path());
        assert_eq!((verified.last, verified.signed), (20, 20));
    }
}

/// `n` calls with outcomes that nobody waits for; which intent has which number.
async fn tell_calls(audit: &Audit, ids: &CallIds, n: usize) -> Vec<(u64, CallId)> {
    let mut told = Vec::new();
    for _ in 0..n {
        let call = call(ids);
        let pending = audit.begin_call(intent(Matter::Call(&call))).unwrap();
        let receipt = pending.written().await.unwrap();
        audit.append_later(outcome(&call));
        told.push((receipt.seq, call.id));
    }
    told
}

/// Of many the thread writes, of few they do themselves and it does by turns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn intents_of_many_tasks_appear_once_each_in_one_chain() {
    for (durability, n_tasks) in
        [(Durability::Group, 16), (Durability::Cached, 16), (Durability::Cached, 2)]
    {
        let dir = tempfile::tempdir().unwrap();
        let (audit, thread) = Audit::open(dir.path(), durability).unwrap();
        let ids = Arc::new(ids());
        let mut tasks = JoinSet::new();
        for _ in 0..n_tasks {
            let (audit, ids) = (audit.clone(), ids.clone());
            tasks.spawn(async move { tell_calls(&audit, &ids, 400 / n_tasks).await });
        }
        let mut told: Vec<(u64, CallId)> = tasks.join_all().await.concat();
        thread.finish();
        assert_eq!(verified(dir.path()).last, 801);
        told.sort_unstable();
        assert!(told.len() == 400 && told.is_sorted_by(|one, next| one.0 < next.0));
        let text = log(dir.path());
        let lines: Vec<&str> = text.lines().collect();
        for (seq, id) in told {
            let line = lines[usize::try_from(seq).unwrap() - 1];
            assert!(line.contains(&format!(",\"seq\":{seq},")) && line.contains("\"intent\""));
            assert!(line.contains(&id.to_string()));
        }
    }
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
fn links_are_not_followed() {
    for name in ["seg/000001.jsonl", "keys/secret"] {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).1.finish();
        let (path, away) = (log_dir(dir.path()).join(name), dir.path().join("elsewhere"));
        fs::rename(&path, &away).unwrap();
        std::os::unix::fs::symlink(&away, &path).unwrap();
        let before = fs::read(&away).unwrap();
        let opened = Audit::open(dir.path(), Durability::Cached);
        assert!(
            opened.is_err() || !fs::read_link(dir.path().join("current")).unwrap().is_absolute()
        );
        drop(opened);
        assert_eq!(fs::read(&away).unwrap(), before, "{name}");
    }
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/tmp", dir.path().join("current")).unwrap();
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
    let verified = verified(dir.path());
    assert_eq!((verified.last, verified.signed), (11, 11));
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
        while log(dir.path()).lines().count() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), written).await.expect("within the nap");
    thread.finish();
}
