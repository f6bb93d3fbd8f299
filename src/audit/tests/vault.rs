//! Claims on what is kept beside the log, and on what the log says of it.

use std::{fs, path::Path};

use bytes::Bytes;
use serde_json::Value;

use super::{
    Audit, Durability, Settings, call, ids, intent, log, log_dir, memory_dir,
    second::assert_agreed, verified, write_calls,
};
use crate::{
    audit::{Counted, Kept, Payloads, Records, commitments, count_payloads},
    domain::{Call, Matter, limits},
};

fn settings(payloads: Payloads) -> Settings {
    Settings { payloads, ..Durability::Cached.into() }
}

async fn written(dir: &Path, payloads: Payloads, calls: usize) {
    let (audit, thread) = Audit::open(dir, settings(payloads)).unwrap();
    write_calls(&audit, calls).await;
    thread.finish();
}

/// What is kept of each commitment, in the order of the records.
fn kept(dir: &Path) -> Vec<Option<Kept>> {
    let (mut records, mut all) = (Records::all(dir).unwrap(), Vec::new());
    while let Some(line) = records.read().unwrap() {
        for (_, commit) in commitments(line) {
            all.push(records.kept(&commit).unwrap());
        }
    }
    all
}

fn vault(dir: &Path) -> std::path::PathBuf {
    log_dir(dir).join("vault/000001.jsonl")
}

const ARGUMENTS: &str = r#"{"path":"secret.txt"}"#;

#[tokio::test]
async fn what_is_kept_whole_is_what_is_on_record_and_is_no_part_of_it() {
    let dir = memory_dir();
    written(dir.path(), Payloads::Full, 3).await;
    let all = Counted { commitments: 6, kept: 6, opened: 6, wrong: 0 };
    assert_eq!(count_payloads(dir.path()).unwrap(), all);
    assert_eq!(kept(dir.path())[0].as_ref().unwrap().opened(), Some(ARGUMENTS));
    assert_agreed(dir.path());
    assert!(!log(dir.path()).contains("secret.txt"));
    let before = verified(dir.path());
    // Another content in the place of one: told, and no affair of the log's.
    let text = fs::read_to_string(vault(dir.path())).unwrap();
    fs::write(vault(dir.path()), text.replacen("secret.txt", "public.txt", 1)).unwrap();
    let one_wrong = Counted { opened: 5, wrong: 1, ..all };
    assert_eq!(count_payloads(dir.path()).unwrap(), one_wrong);
    assert_agreed(dir.path());
    fs::remove_dir_all(log_dir(dir.path()).join("vault")).unwrap();
    assert_eq!(
        count_payloads(dir.path()).unwrap(),
        Counted { commitments: 6, ..Counted::default() }
    );
    assert_agreed(dir.path());
    assert_eq!(verified(dir.path()), before);
    written(dir.path(), Payloads::Full, 1).await;
    assert_eq!(count_payloads(dir.path()).unwrap().opened, 2);
}

#[tokio::test]
async fn equal_contents_look_different_and_can_be_shown_with_their_salt_only() {
    for form in [Payloads::None, Payloads::Shape, Payloads::Redacted] {
        let dir = memory_dir();
        written(dir.path(), form, 2).await;
        let kept: Vec<Kept> = kept(dir.path()).into_iter().map(Option::unwrap).collect();
        for one in [&kept[0], &kept[2]] {
            assert_eq!(one.form, form);
            assert!(one.is_of(ARGUMENTS.as_bytes()) && !one.is_of(b"{}"), "{form:?}");
            let is_kept = form == Payloads::Redacted;
            assert_eq!(one.opened(), is_kept.then_some(ARGUMENTS), "nothing had to be hidden");
        }
        let wanted = match form {
            Payloads::None | Payloads::Full => None,
            Payloads::Shape => Some(r#"{"path":"text 10"}"#),
            Payloads::Redacted => Some(ARGUMENTS),
        };
        assert_eq!(kept[0].text.as_deref(), wanted);
        assert_agreed(dir.path());
        let mut commits: Vec<_> = log(dir.path())
            .lines()
            .flat_map(|line| commitments(line.as_bytes()))
            .map(|(_, commit)| commit)
            .collect();
        commits.sort_unstable();
        commits.dedup();
        assert_eq!(commits.len(), 4, "no two are alike");
    }
}

#[tokio::test]
async fn long_contents_are_committed_to_and_too_long_ones_are_not_kept() {
    let dir = memory_dir();
    let (audit, thread) = Audit::open(dir.path(), settings(Payloads::Full)).unwrap();
    let ids = ids();
    let lengths = [limits::AUDIT_HASH_BYTES_MAX + 1, limits::AUDIT_PAYLOAD_BYTES_MAX + 1];
    for n in lengths {
        let call = Call { arguments: Bytes::from(vec![b' '; n]), ..call(&ids) };
        audit.append(intent(Matter::Call(&call))).await.unwrap();
    }
    thread.finish();
    let kept = kept(dir.path());
    for (kept, n) in kept.iter().zip(lengths) {
        assert!(kept.as_ref().unwrap().is_of(&vec![b' '; n]));
    }
    let counted = Counted { commitments: 2, kept: 2, opened: 1, wrong: 0 };
    assert_eq!(count_payloads(dir.path()).unwrap(), counted);
}

#[tokio::test]
async fn where_there_is_no_room_the_commitment_stands_and_nothing_is_kept() {
    let dir = memory_dir();
    let (audit, thread) = Audit::open(dir.path(), settings(Payloads::Full)).unwrap();
    let all = u32::try_from(limits::AUDIT_CONTENT_BYTES_MAX).unwrap();
    let room = audit.shared.room.clone().try_acquire_many_owned(all).unwrap();
    write_calls(&audit, 1).await;
    drop(room);
    write_calls(&audit, 1).await;
    thread.finish();
    let counted = Counted { commitments: 4, kept: 2, opened: 2, wrong: 0 };
    assert_eq!(count_payloads(dir.path()).unwrap(), counted);
    verified(dir.path());
}

#[tokio::test]
async fn a_vault_that_ends_anywhere_is_gone_on_with() {
    let whole = memory_dir();
    written(whole.path(), Payloads::Full, 1).await;
    let bytes = fs::read(vault(whole.path())).unwrap();
    // Prime, so that all kinds of places come up.
    for cut in (0..=bytes.len()).rev().step_by(7) {
        let dir = memory_dir();
        super::crash::copy(whole.path(), dir.path());
        fs::write(vault(dir.path()), &bytes[..cut]).unwrap();
        written(dir.path(), Payloads::Full, 1).await;
        let counted = count_payloads(dir.path()).unwrap();
        let whole = bytes[..cut].split(|b| *b == b'\n');
        let whole = whole.filter(|line| serde_json::from_slice::<Value>(line).is_ok()).count();
        let opened = 2 + u64::try_from(whole).unwrap();
        let want = Counted { commitments: 4, kept: opened, opened, wrong: 0 };
        assert_eq!(counted, want, "cut at {cut}");
    }
}

#[tokio::test]
async fn a_vault_that_cannot_be_written_refuses_no_call() {
    let dir = memory_dir();
    let (audit, thread) = Audit::open(dir.path(), settings(Payloads::Full)).unwrap();
    fs::write(log_dir(dir.path()).join("vault"), "in its place").unwrap();
    write_calls(&audit, 2).await;
    assert!(audit.is_healthy());
    thread.finish();
    fs::remove_file(log_dir(dir.path()).join("vault")).unwrap();
    assert_eq!(verified(dir.path()).last, 5);
    let counted = Counted { commitments: 4, ..Counted::default() };
    assert_eq!(count_payloads(dir.path()).unwrap(), counted);
}
