//! Claims on what happens when the log cannot be written: full disk, dead or hanging files.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::Write,
    os::fd::OwnedFd,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{call, ids, intent};
use crate::{
    audit::{
        Audit, AuditError, AuditThread, Durability, Pace, Payloads,
        log::{Chain, Disk, Place},
        queue::{Entry, Queue},
        record::Rendered,
        shared::Shared,
        vault,
        writer::{Segment, Writer},
    },
    domain::{Matter, limits},
};

/// An audit over any file, to make writing fail.
fn over(file: File, durability: Durability) -> (Audit, AuditThread) {
    let shared = Arc::new(Shared::new(durability, 0));
    let lock = file.try_clone().unwrap();
    let segment = Segment {
        place: Place::new("/nowhere".into()),
        disk: Disk::default(),
        pace: Pace::default(),
        file,
        number: 1,
        bytes: 0,
        since: Instant::now(),
    };
    let (chain, in_flight, batch) = (Chain::START, BTreeSet::new(), Vec::new());
    let salts = vault::Salts::default();
    let (vault, _) = vault::start(segment.place.clone(), Payloads::None).unwrap();
    let log = shared.clone();
    let writer = Writer { shared: log, segment, chain, in_flight, vault, salts, batch };
    let writer = Some(writer.start().unwrap());
    let audit = Audit { shared };
    (
        audit.clone(),
        AuditThread { audit, writer, notary: None, vault: None, witness: None, _lock: lock },
    )
}

#[track_caller]
fn failing(file: File, durability: Durability) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (audit, thread) = over(file, durability);
    let (tell, told) = mpsc::sync_channel(1);
    audit.on_failure(move || tell.send(()).unwrap());
    assert!(audit.is_healthy());
    let ids = ids();
    for _ in 0..3 {
        let call = call(&ids);
        let got = runtime.block_on(audit.append(intent(Matter::Call(&call))));
        assert!(matches!(got, Err(AuditError::Failed)), "{got:?}");
        assert!(!audit.is_healthy());
    }
    told.recv_timeout(Duration::from_secs(5)).expect("the hook is called");
    let (tell, told) = mpsc::sync_channel(1);
    audit.on_failure(move || tell.send(()).unwrap());
    told.recv_timeout(Duration::from_secs(5)).expect("a late hook is called at once");
    thread.finish();
}

/// Who waits alone, and for no disk, looks again before it sleeps.
#[test]
fn only_who_is_next_and_waits_for_no_disk_stays_awake() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let ids = ids();
    for (durability, want) in [
        (Durability::Cached, [true, false]),
        (Durability::Group, [false, false]),
        (Durability::Sync, [false, false]),
    ] {
        let shared = Shared::new(durability, 0);
        let call = call(&ids);
        let record = || intent(Matter::Call(&call));
        let both = [(); 2].map(|()| shared.begin(&record(), 2).unwrap());
        assert_eq!(both.each_ref().map(|pending| pending.is_near), want, "{durability:?}");
        let [first, second] = both;
        let mut batch = Vec::new();
        assert!(shared.queue.next_batch(&mut batch, 0));
        let [at_once, later] = <[Entry; 2]>::try_from(batch).unwrap();
        at_once.done.unwrap().send(7).unwrap();
        assert_eq!(runtime.block_on(first.written()).unwrap().seq, 7);
        // Long after it went to sleep.
        let telling = std::thread::spawn(move || {
            std::thread::sleep(1000 * limits::AUDIT_AWAKE);
            later.done.unwrap().send(8).unwrap();
        });
        assert_eq!(runtime.block_on(second.written()).unwrap().seq, 8);
        telling.join().unwrap();
        let told = shared.begin(&record(), 3).unwrap();
        shared.fail();
        assert!(matches!(runtime.block_on(told.written()), Err(AuditError::Failed)));
    }
}

#[test]
fn a_full_disk_refuses_everything_and_acknowledges_nothing() {
    failing(OpenOptions::new().write(true).open("/dev/full").unwrap(), Durability::Cached);
}

#[test]
fn a_file_that_cannot_be_written_refuses_everything() {
    failing(File::open("/dev/null").unwrap(), Durability::Cached);
}

#[test]
fn a_failing_sync_refuses_although_the_write_went_through() {
    // A pipe takes writes and has no disk to sync to.
    let (reader, writer) = std::io::pipe().unwrap();
    failing(File::from(OwnedFd::from(writer)), Durability::Group);
    drop(reader);
}

#[test]
fn a_full_queue_refuses_at_once_and_counts_what_is_being_written() {
    let queue = Queue::new();
    let entry = || {
        let (done, _) = oneshot::channel();
        Entry { rendered: Rendered::default(), done: Some(done) }
    };
    assert!(queue.push(entry(), 2).is_ok() && queue.push(entry(), 2).is_ok());
    assert!(matches!(queue.push(entry(), 2), Err(AuditError::Full)));
    assert!(queue.push(entry(), 4).is_ok(), "an outcome has a larger bound");
    let mut batch = Vec::new();
    assert!(queue.next_batch(&mut batch, 0));
    assert_eq!(batch.len(), 3);
    assert!(matches!(queue.push(entry(), 2), Err(AuditError::Full)), "three are being written");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_refuses_when_its_time_is_up() {
    // Nobody reads: a full pipe takes no more, like a disk that has gone away.
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(&vec![b' '; PIPE_BYTES]).unwrap();
    let (audit, thread) = over(File::from(OwnedFd::from(writer)), Durability::Cached);
    let ids = ids();
    let call = call(&ids);
    let began = tokio::time::Instant::now();
    let refused = audit.append(intent(Matter::Call(&call))).await;
    let waited = began.elapsed();
    // Its thread ends with the pipe, whatever is claimed.
    drop(reader);
    thread.finish();
    assert!(matches!(refused, Err(AuditError::Stalled)), "{refused:?}");
    assert!(waited < limits::AUDIT_WRITE_TIMEOUT * 2, "{waited:?}");
    assert!(!audit.is_healthy());
}

/// What a pipe holds by default.
const PIPE_BYTES: usize = 64 * 1024;
