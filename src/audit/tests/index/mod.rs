//! What the index says or does not say changes no answer.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use sha2::{Digest as _, Sha256};

use super::{Durability, Settings, intent, memory_dir, outcome};
use crate::{
    audit::{
        Audit, Pace,
        log::{build_index as build, find, look_up, segments},
        records_of,
    },
    domain::{CallId, Matter},
};

/// A log of several segments, with tables of all but the last.
async fn several(dir: &Path) -> Vec<CallId> {
    let pace = Pace { segment_bytes: 8_000, ..Pace::default() };
    let settings = Settings { pace, ..Durability::Cached.into() };
    let (audit, thread) = Audit::open(dir, settings).unwrap();
    let ids = super::ids();
    let mut open = Vec::new();
    let mut calls = Vec::new();
    for _ in 0..60 {
        let call = super::call(&ids);
        audit.append(intent(Matter::Call(&call))).await.unwrap();
        calls.push(call.id);
        open.push(call);
        // Its outcome is in another segment, often.
        if open.len() > 9 {
            audit.append(outcome(&open.remove(0))).await.unwrap();
        }
    }
    for call in &open {
        audit.append(outcome(call)).await.unwrap();
    }
    thread.finish();
    let place = find(dir).unwrap().unwrap();
    let numbers = segments(&place).unwrap();
    assert!(numbers.len() > 4, "{numbers:?}");
    for number in numbers.iter().rev().skip(1) {
        build(&place, &crate::audit::log::Disk::default(), *number).unwrap();
    }
    calls
}

fn answers(dir: &Path, calls: &[CallId]) -> Vec<Vec<Vec<u8>>> {
    let all: Vec<_> =
        calls.iter().map(|call| records_of(dir, &call.to_string()).unwrap()).collect();
    assert!(all.iter().all(|lines| lines.len() == 2), "an intent and an outcome each");
    all
}

fn tables(dir: &Path) -> Vec<PathBuf> {
    let place = find(dir).unwrap().unwrap();
    let mut paths: Vec<_> =
        fs::read_dir(place.indexes()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn an_index_that_is_gone_lies_or_is_old_changes_no_answer() {
    let dir = memory_dir();
    let calls = several(dir.path()).await;
    let want = answers(dir.path(), &calls);
    let place = find(dir.path()).unwrap().unwrap();
    let is_known = |call: &CallId| look_up(&place, 1, &call.to_string()).unwrap().len();
    assert!(calls.iter().map(is_known).sum::<usize>() > 5, "the index is used");
    let whole: Vec<_> =
        tables(dir.path()).into_iter().map(|p| (fs::read(&p).unwrap(), p)).collect();
    // Any bit of it, and an end that is missing.
    for (table, path) in &whole {
        for at in (0..table.len()).step_by(5) {
            let mut lying = table.clone();
            lying[at] ^= 1;
            fs::write(path, lying).unwrap();
            assert_eq!(answers(dir.path(), &calls), want, "{at} of {}", path.display());
        }
        // By somebody who knows how: two calls have each other's lines.
        let mut forged = table[..table.len() - 32].to_vec();
        let last = forged.len() - 8;
        let (one, other) = forged.split_at_mut(last);
        one[24..32].swap_with_slice(other);
        let digest = Sha256::digest(&forged);
        fs::write(path, [&forged[..], &digest[..]].concat()).unwrap();
        assert_eq!(answers(dir.path(), &calls), want, "forged {}", path.display());
        fs::write(path, &table[..table.len() - 16]).unwrap();
        assert_eq!(answers(dir.path(), &calls), want);
        fs::write(path, table).unwrap();
    }
    // Of another segment, and of one that has grown since.
    fs::write(&whole[0].1, &whole[1].0).unwrap();
    assert_eq!(answers(dir.path(), &calls), want);
    let last = segments(&place).unwrap().into_iter().next_back().unwrap();
    build(&place, &crate::audit::log::Disk::default(), last).unwrap();
    let (audit, thread) = super::open(dir.path());
    let call = super::call(&super::ids());
    audit.append(intent(Matter::Call(&call))).await.unwrap();
    thread.finish();
    assert_eq!(look_up(&place, last, &call.id.to_string()), None, "it is old");
    fs::remove_dir_all(place.indexes()).unwrap();
    let again = answers_of_more(dir.path(), &calls);
    assert_eq!(again.iter().zip(&want).filter(|(one, other)| one == other).count(), 59);
}

/// The first call of all was made once more: ids of tests begin anew.
fn answers_of_more(dir: &Path, calls: &[CallId]) -> Vec<Vec<Vec<u8>>> {
    calls.iter().map(|call| records_of(dir, &call.to_string()).unwrap()).collect()
}

#[tokio::test]
async fn the_notary_indexes_each_segment_that_is_closed() {
    let dir = memory_dir();
    let pace =
        Pace { segment_bytes: 8_000, heartbeat: Duration::from_millis(5), ..Pace::default() };
    let settings = Settings { pace, ..Durability::Cached.into() };
    let (audit, thread) = Audit::open(dir.path(), settings.clone()).unwrap();
    super::write_calls(&audit, 60).await;
    let place = find(dir.path()).unwrap().unwrap();
    loop_until(|| look_up(&place, 2, "nobody").is_some()).await;
    thread.finish();
    // What was deleted is made again, at the next start too.
    fs::remove_dir_all(place.indexes()).unwrap();
    let (_audit, thread) = Audit::open(dir.path(), settings).unwrap();
    loop_until(|| look_up(&place, 2, "nobody").is_some()).await;
    thread.finish();
}

async fn loop_until(is_so: impl Fn() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("in time");
}
