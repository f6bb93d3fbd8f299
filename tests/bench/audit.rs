//! What the audit log takes: calls put on record a second, and how long each waits, beside a bare
//! loop of write and fdatasync on the same disk in the same rounds; with arguments and results kept
//! in the vault in several ways, and not at all. Then how fast a log verifies.
//!
//! `cargo bench --bench audit [DIR]`: DIR is a directory on the disk that is meant (default: the
//! system's temporary directory). Ratios carry over to other machines, absolute figures do not.
//! `cargo bench --bench audit -- why`: how long the records of one call take to find in a log of
//! some hundred megabytes, with the index of its segments and without.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up has nothing to measure")]
#![expect(clippy::print_stdout, reason = "figures are its output")]

mod calls;

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use portcullis::{
    audit::{Audit, Durability, Record, Settings, Wanted, records_of, verify},
    config::Payloads,
    domain::{CallId, CallIds, Grounds, Matter, Nonce, Outcome},
};
use tokio::task::JoinSet;

use calls::call;

const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 3;

/// Prints how many there were a second, and how long they took.
fn tell(what: &str, mut waits: Vec<Duration>, elapsed: Duration) {
    waits.sort_unstable();
    let at = |share: usize| waits.get(waits.len() * share / 1000).copied().unwrap_or_default();
    let n = u64::try_from(waits.len()).unwrap();
    let rate = n * 1000 / u64::try_from(elapsed.as_millis()).unwrap().max(1);
    let (half, rare) = (at(500).as_micros(), at(990).as_micros());
    println!("{what:<38} {rate:>8}/s  p50 {half:>7} µs  p99 {rare:>7} µs");
}

/// Writes so many records at a time and syncs, with nothing around it.
fn bare(dir: &Path, records: usize) {
    let mut file = File::create(dir.join("bare")).unwrap();
    let block = vec![b'x'; records * 420];
    let (began, mut waits) = (Instant::now(), Vec::new());
    while began.elapsed() < ROUND {
        let one = Instant::now();
        file.write_all(&block).unwrap();
        file.sync_data().unwrap();
        waits.extend(std::iter::repeat_n(one.elapsed(), records));
    }
    tell(&format!("bare fdatasync, {records} at once"), waits, began.elapsed());
}

fn audited(dir: &Path, (durability, payloads): (Durability, Payloads), clients: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut settings = Settings::from(durability);
    settings.payloads = payloads;
    let (audit, thread) = Audit::open(dir, settings).unwrap();
    let ids = Arc::new(CallIds::new(Nonce(1)));
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (audit, ids) = (audit.clone(), ids.clone());
        let client = async move {
            let (grounds, mut waits) = (Grounds::default(), Vec::new());
            let result = Bytes::from(vec![b'x'; 100]);
            while began.elapsed() < ROUND {
                let (call, one) = (call(&ids, "read"), Instant::now());
                let intent = Record::Intent { matter: Matter::Call(&call), grounds: &grounds };
                audit.append(intent).await.unwrap();
                waits.push(one.elapsed());
                let outcome = Outcome::Answered;
                let elapsed = one.elapsed();
                let (call, result) = (call.id, Some(&result));
                audit.append_later(Record::Outcome { call, outcome, result, elapsed });
            }
            waits
        };
        tasks.spawn_on(client, runtime.handle());
    }
    let waits = runtime.block_on(tasks.join_all()).concat();
    let what = format!("{durability:?}, vault {payloads:?}, {clients} clients");
    tell(&what, waits, began.elapsed());
    thread.finish();
}

fn verified(dir: &Path) {
    let began = Instant::now();
    let told = verify(dir, &Wanted::default()).unwrap();
    let elapsed = began.elapsed();
    let megabytes = megabytes(&files(dir, "seg"));
    let rate = megabytes * 1000 / u64::try_from(elapsed.as_millis()).unwrap().max(1);
    println!("verify: {} records, {megabytes} MB, {rate} MB/s", told.last);
}

/// The segments of a log, or their tables.
fn files(dir: &Path, what: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("current").join(what)).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn megabytes(files: &[PathBuf]) -> u64 {
    files.iter().map(|path| path.metadata().unwrap().len()).sum::<u64>() / 1_000_000
}

/// Writes a log whose closed segments have tables; gives some of its calls, oldest first.
fn grown(dir: &Path) -> Vec<CallId> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (audit, thread) = Audit::open(dir, Durability::Cached).unwrap();
    let (ids, grounds) = (CallIds::new(Nonce(1)), Grounds::default());
    let (result, mut calls) = (Bytes::from(vec![b'x'; 100]), Vec::new());
    while files(dir, "seg").len() <= WHY_SEGMENTS {
        for _ in 0..WHY_EVERY {
            let call = call(&ids, "read");
            let intent = Record::Intent { matter: Matter::Call(&call), grounds: &grounds };
            runtime.block_on(audit.append(intent)).unwrap();
            let (outcome, elapsed) = (Outcome::Answered, Duration::ZERO);
            let (call, result) = (call.id, Some(&result));
            audit.append_later(Record::Outcome { call, outcome, result, elapsed });
            calls.push(call);
        }
    }
    let last = Instant::now() + WHY_PATIENCE;
    while files(dir, "index").len() < WHY_SEGMENTS && Instant::now() < last {
        thread::sleep(Duration::from_millis(100));
    }
    thread.finish();
    calls.into_iter().step_by(WHY_EVERY).collect()
}

const WHY_SEGMENTS: usize = 4;
const WHY_EVERY: usize = 10_000;
/// A heartbeat for each table.
const WHY_PATIENCE: Duration = Duration::from_secs(300);

/// How long it takes to find the records of each of some calls.
fn found(dir: &Path, what: &str, calls: &[CallId]) {
    let (began, mut waits) = (Instant::now(), Vec::new());
    for call in calls {
        let one = Instant::now();
        assert_eq!(records_of(dir, &call.to_string()).unwrap().len(), 2);
        waits.push(one.elapsed());
    }
    tell(what, waits, began.elapsed());
}

fn why(dir: &Path) {
    let calls = grown(dir);
    let (log, tables) = (files(dir, "seg"), files(dir, "index"));
    println!(
        "why: {} segments, {} MB; {} tables, {} MB",
        log.len(),
        megabytes(&log),
        tables.len(),
        megabytes(&tables)
    );
    for round in 1..=ROUNDS {
        println!("round {round}");
        found(dir, "with tables", &calls);
        let aside = dir.join("aside");
        fs::rename(dir.join("current/index"), &aside).unwrap();
        found(dir, "without", &calls);
        fs::rename(&aside, dir.join("current/index")).unwrap();
    }
}

fn main() {
    let mut words = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let place = words.next();
    if place.as_deref() == Some("why") {
        let place = words.next().map_or_else(std::env::temp_dir, PathBuf::from);
        return why(tempfile::tempdir_in(place).unwrap().path());
    }
    let place = place.map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(place).unwrap();
    for round in 1..=ROUNDS {
        println!("round {round}");
        for clients in [1, 64] {
            bare(dir.path(), clients);
            audited(&dir.path().join("audit"), (Durability::Group, Payloads::Shape), clients);
        }
        for payloads in [Payloads::None, Payloads::Shape, Payloads::Full] {
            for clients in [1, 64] {
                audited(&dir.path().join("audit"), (Durability::Cached, payloads), clients);
            }
        }
    }
    verified(&dir.path().join("audit"));
}
