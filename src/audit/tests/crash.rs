//! Claims on what is found again after a crash at any point.

use std::{fs, path::Path};

use super::{
    Audit, Durability, Settings, call, evidence::long_log, ids, intent, kinds, log, log_dir,
    memory_dir, open, outcome, questions, segment, verified, write_calls, write_log,
};
use crate::{
    audit::{
        Record, Wanted,
        log::{Disk, Fault, Faults},
        verify,
    },
    domain::Matter,
};

/// A copy of a log's whole directory, links as links.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, kind) = (to.join(entry.file_name()), entry.file_type().unwrap());
        if kind.is_dir() {
            copy(&entry.path(), &path);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(entry.path()).unwrap(), path).unwrap();
        } else {
            fs::copy(entry.path(), path).unwrap();
        }
    }
}

/// A log of four records since its first, of which nothing but the first is signed, as if killed.
async fn killed(n: usize) -> tempfile::TempDir {
    let dir = memory_dir();
    let (audit, thread) = open(dir.path());
    write_calls(&audit, n).await;
    let left = memory_dir();
    copy(dir.path(), left.path());
    thread.finish();
    left
}

#[tokio::test]
async fn a_crash_at_any_byte_keeps_the_longest_valid_prefix_and_loses_nothing() {
    let whole = killed(2).await;
    let bytes = fs::read(segment(whole.path())).unwrap();
    let first = bytes.iter().position(|b| *b == b'\n').unwrap() + 1;
    for cut in first..=bytes.len() {
        let dir = memory_dir();
        copy(whole.path(), dir.path());
        fs::write(segment(dir.path()), &bytes[..cut]).unwrap();
        open(dir.path()).1.finish();
        let keep = bytes[..cut].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let after = fs::read(segment(dir.path())).unwrap();
        assert_eq!(after[..keep], bytes[..keep], "cut at {cut}");
        let whole_lines = bytes[..keep].iter().filter(|b| **b == b'\n').count();
        let mut want = vec!["log_begun", "intent", "outcome", "intent", "outcome"];
        want.truncate(whole_lines);
        if keep < cut {
            want.push("recovered");
            let torn = log_dir(dir.path()).join(format!("torn/000001-{keep}-0"));
            assert_eq!(fs::read(torn).unwrap(), bytes[keep..cut]);
            let told = format!("\"dropped_bytes\":{},", cut - keep);
            assert!(log(dir.path()).contains(&told), "cut at {cut}");
        }
        if whole_lines % 2 == 0 {
            want.push("orphaned");
        }
        assert_eq!(kinds(dir.path()), want, "cut at {cut}");
        assert_eq!(verified(dir.path()).signed, want.len() as u64);
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
    assert_eq!(kinds(dir.path()), ["log_begun", "intent", "questions", "orphaned"]);
}

#[tokio::test]
async fn a_call_in_flight_is_remembered_from_segment_to_segment() {
    let dir = memory_dir();
    let mut settings: Settings = Durability::Cached.into();
    settings.pace.segment_bytes = 1;
    let (audit, thread) = Audit::open(dir.path(), settings).unwrap();
    let ids = ids();
    let open_one = call(&ids);
    audit.append(intent(Matter::Call(&open_one))).await.unwrap();
    for _ in 0..3 {
        let other = call(&ids);
        audit.append(Record::Stopped { why: "test" }).await.unwrap();
        audit.append(outcome(&other)).await.unwrap();
    }
    thread.finish();
    let segments = fs::read_dir(log_dir(dir.path()).join("seg")).unwrap().count();
    assert!(segments > 5, "{segments}");
    verified(dir.path());
    // Only the last segment is read for it.
    open(dir.path()).1.finish();
    let text = log(dir.path());
    let last = text.lines().last().unwrap();
    assert!(last.contains("\"kind\":\"orphaned\"") && last.contains(&open_one.id.to_string()));
    verified(dir.path());
}

#[tokio::test]
async fn a_segment_that_was_only_begun_is_begun_again() {
    let dir = memory_dir();
    write_log(dir.path(), 1).await;
    fs::write(log_dir(dir.path()).join("seg/000002.jsonl"), "").unwrap();
    write_log(dir.path(), 1).await;
    assert_eq!(fs::read_dir(log_dir(dir.path()).join("seg")).unwrap().count(), 1);
    assert_eq!(verified(dir.path()).last, 5);
}

#[tokio::test]
async fn tiles_that_are_gone_are_made_again() {
    let dir = memory_dir();
    write_log(dir.path(), 300).await;
    let tiles = log_dir(dir.path()).join("tile");
    fs::remove_dir_all(&tiles).unwrap();
    assert!(verify(dir.path(), &Wanted::default()).is_err());
    write_log(dir.path(), 1).await;
    assert_eq!(verified(dir.path()).signed, 603);
    assert_eq!(fs::metadata(tiles.join("0/001")).unwrap().len(), 8192);
}

/// The last that is written of an epoch's end is the checkpoint: it may be two epochs behind.
#[tokio::test]
async fn a_checkpoint_of_an_epoch_before_the_last_one_is_enough() {
    let dir = memory_dir();
    long_log(dir.path()).await;
    let (before, place) = (verified(dir.path()), log_dir(dir.path()));
    assert!(before.epochs >= 3);
    fs::copy(place.join("epoch/000000"), place.join("checkpoint")).unwrap();
    open(dir.path()).1.finish();
    assert_eq!(log_dir(dir.path()), place, "no other log was begun");
    let after = verified(dir.path());
    assert!(after.last >= before.last && after.signed == after.last, "{after:?}");
}

/// What was acknowledged of a log whose disk fails at one step, and in how many it was written.
fn failing(dir: &Path, faults: Faults) -> Vec<u64> {
    let mut settings: Settings = Durability::Group.into();
    settings.disk = Disk { faults };
    // Every few records there is a new segment and a new key.
    (settings.pace.segment_bytes, settings.pace.epoch_records) = (1500, 4);
    let Ok((audit, thread)) = Audit::open(dir, settings) else { return Vec::new() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let ids = ids();
    let mut acknowledged = Vec::new();
    for _ in 0..8 {
        let call = call(&ids);
        match runtime.block_on(audit.append(intent(Matter::Call(&call)))) {
            Ok(receipt) => acknowledged.push(receipt.seq),
            Err(_) => assert!(!audit.is_healthy(), "it refuses from then on"),
        }
    }
    thread.finish();
    acknowledged
}

#[test]
fn whatever_step_fails_nothing_that_was_acknowledged_is_lost() {
    let counted = Faults::default();
    assert_eq!(failing(memory_dir().path(), counted.clone()).len(), 8);
    assert!(counted.steps() > 30, "{}", counted.steps());
    for at in 0..counted.steps() + 5 {
        for (done, errno) in [(false, ENOSPC), (true, EIO)] {
            let dir = memory_dir();
            let acknowledged = failing(dir.path(), Faults::new(Fault { at, done, errno }));
            // The disk is well again.
            open(dir.path()).1.finish();
            let verified = verified(dir.path());
            assert_eq!(verified.signed, verified.last, "step {at}");
            let text = log(dir.path());
            for seq in acknowledged {
                let found = text.lines().find(|line| line.contains(&format!("\"seq\":{seq},")));
                assert!(found.unwrap().contains("\"kind\":\"intent\""), "step {at}: {seq}");
            }
        }
    }
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
