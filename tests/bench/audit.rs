//! What the audit log takes: calls put on record a second, and how long each waits, beside a bare
//! loop of write and fdatasync on the same disk in the same rounds. Then how fast a log verifies.
//!
//! `cargo bench --bench audit [DIR]`: DIR is a directory on the disk that is meant (default: the
//! system's temporary directory). Ratios carry over to other machines, absolute figures do not.

#![expect(clippy::unwrap_used, reason = "a bench that cannot be set up has nothing to measure")]
#![expect(clippy::print_stdout, reason = "figures are its output")]

mod calls;

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use portcullis::{
    audit::{Audit, Durability, Record, Wanted, verify},
    domain::{CallIds, Grounds, Matter, Nonce, Outcome},
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
    println!("{what:<28} {rate:>8}/s  p50 {half:>7} µs  p99 {rare:>7} µs");
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

fn audited(dir: &Path, durability: Durability, clients: usize) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (audit, thread) = Audit::open(dir, durability).unwrap();
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
    tell(&format!("{durability:?}, {clients} clients"), waits, began.elapsed());
    thread.finish();
}

fn verified(dir: &Path) {
    let began = Instant::now();
    let told = verify(dir, &Wanted::default()).unwrap();
    let elapsed = began.elapsed();
    let segments = std::fs::read_dir(dir.join("current/seg")).unwrap();
    let bytes: u64 = segments.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    let rate = bytes / 1000 / u64::try_from(elapsed.as_millis()).unwrap().max(1);
    println!("verify: {} records, {} MB, {rate} MB/s", told.last, bytes / 1_000_000);
}

fn main() {
    let place = std::env::args().nth(1).filter(|arg| !arg.starts_with("--"));
    let place = place.map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(place).unwrap();
    for round in 1..=ROUNDS {
        println!("round {round}");
        for (durability, clients) in [
            (Durability::Group, 1),
            (Durability::Group, 64),
            (Durability::Cached, 1),
            (Durability::Cached, 64),
        ] {
            if durability == Durability::Group {
                bare(dir.path(), clients);
            }
            audited(&dir.path().join("audit"), durability, clients);
        }
    }
    verified(&dir.path().join("audit"));
}
