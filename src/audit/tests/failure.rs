//! Claims on what happens when the log cannot be written: full disk, dead or hanging files.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::Write,
    os::fd::OwnedFd,
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use rustix::fs::{OFlags, fcntl_setfl};
use tokio::sync::oneshot;

use super::{call, ids, intent};
use crate::{
    audit::{
        Audit, AuditError, AuditThread, Durability, Pace, Payloads,
        log::{Chain, Disk, Place},
        pen::{Pen, Segment},
        queue::{By, Company, Entry, Lend, Queue, Sheet, Turn},
        record::Rendered,
        shared::Shared,
        vault,
        writer::{Writer, expected},
    },
    domain::{Matter, limits},
};

/// An audit over any file, to make writing fail.
fn over(file: File, durability: Durability) -> (Audit, AuditThread) {
    let shared = Arc::new(Shared::new(durability, 0));
    let lock = file.try_clone().unwrap();
    let writer = Some(Writer::start(shared.clone(), pen(file)).unwrap());
    let audit = Audit { shared };
    (
        audit.clone(),
        AuditThread { audit, writer, notary: None, vault: None, witness: None, _lock: lock },
    )
}

fn pen(file: File) -> Pen {
    let segment = Segment {
        place: Place::new("/dev/null/nowhere".into()),
        disk: Disk::default(),
        pace: Pace::default(),
        file,
        number: 1,
        bytes: 0,
        since: Instant::now(),
    };
    let (vault, _) = vault::start(segment.place.clone(), Payloads::None).unwrap();
    Pen::new(segment, (Chain::START, BTreeSet::new()), vault)
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
        let both = [(); 2].map(|()| shared.begin(&record(), 2, By::Thread).unwrap());
        assert_eq!(both.each_ref().map(|pending| pending.is_near), want, "{durability:?}");
        let [first, second] = both;
        let batch = shared.queue.take_waiting();
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
        let told = shared.begin(&record(), 3, By::Thread).unwrap();
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
    queue.equip(());
    let entry = || {
        let (done, _) = oneshot::channel();
        Entry { rendered: Rendered::default(), done: Some(done) }
    };
    assert!(
        queue.push(entry(), 2, By::Caller).is_ok() && queue.push(entry(), 2, By::Caller).is_ok()
    );
    assert!(matches!(queue.push(entry(), 2, By::Caller), Err(AuditError::Full)));
    assert!(queue.push(entry(), 4, By::Caller).is_ok(), "an outcome has a larger bound");
    let sheet = queue.next_batch(Company::None).unwrap();
    assert_eq!(sheet.batch.len(), 3);
    assert!(
        matches!(queue.push(entry(), 2, By::Caller), Err(AuditError::Full)),
        "three are being written"
    );
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

/// From here on whoever waits alone writes itself.
fn lend(audit: &Audit) {
    while !audit.shared.queue.lend() {
        std::thread::yield_now();
    }
}

/// Writes until no byte more goes in.
fn fill(pipe: &mut std::io::PipeWriter) {
    fcntl_setfl(&*pipe, OFlags::NONBLOCK).unwrap();
    while pipe.write(&[b' '; 512]).is_ok() || pipe.write(b" ").is_ok() {}
    fcntl_setfl(&*pipe, OFlags::empty()).unwrap();
}

#[test]
fn what_a_caller_cannot_write_itself_fails_the_log_for_all() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let (audit, thread) = over(File::from(OwnedFd::from(writer)), Durability::Cached);
    lend(&audit);
    let (tell, told) = mpsc::sync_channel(1);
    audit.on_failure(move || tell.send(()).unwrap());
    drop(reader);
    let call = call(&ids());
    let pending = audit.begin_call(intent(Matter::Call(&call))).unwrap();
    // Already: nobody was told before the log had failed.
    assert!(!audit.is_healthy());
    told.recv_timeout(Duration::from_secs(5)).expect("the hook is called");
    assert!(matches!(runtime.block_on(pending.written()), Err(AuditError::Failed)));
    let next = runtime.block_on(audit.append(intent(Matter::Call(&call))));
    assert!(matches!(next, Err(AuditError::Failed)), "{next:?}");
    thread.finish();
}

/// Its caller is held as the writer's thread would be: ADR 0050.
#[test]
fn a_disk_that_hangs_under_a_caller_refuses_the_others_when_their_time_is_up() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let file = File::from(OwnedFd::from(writer.try_clone().unwrap()));
    let (audit, thread) = over(file, Durability::Cached);
    lend(&audit);
    fill(&mut writer);
    let held = std::thread::spawn({
        let audit = audit.clone();
        move || audit.begin_call(intent(Matter::Call(&call(&ids()))))
    });
    while audit.busy_for().is_zero() {
        std::thread::yield_now();
    }
    let call = call(&ids());
    let refused = runtime.block_on(audit.append(intent(Matter::Call(&call))));
    assert!(matches!(refused, Err(AuditError::Stalled)), "{refused:?}");
    assert!(!held.is_finished(), "it is its caller that writes");
    drop(reader);
    let held = held.join().unwrap().unwrap();
    assert!(matches!(runtime.block_on(held.written()), Err(AuditError::Failed)));
    thread.finish();
    assert!(!audit.is_healthy());
}

/// A caller writes where that is quicker than to wake the thread, and where nothing is waited for.
#[test]
fn the_pen_is_lent_among_few_and_while_the_disk_is_quick() {
    let now = Instant::now();
    assert_eq!(Lend::after(limits::AUDIT_QUICK, now), Lend::ToWaiters(now + limits::AUDIT_LENT));
    assert_eq!(Lend::after(limits::AUDIT_QUICK * 2, now), Lend::ToThread);
    let mut pen = pen(OpenOptions::new().write(true).open("/dev/null").unwrap());
    let ids = ids();
    for n in 1..=limits::AUDIT_LENT_CALLS + 1 {
        let rendered = intent(Matter::Call(&call(&ids))).render(0);
        pen.write(&mut [Entry { rendered, done: None }], Durability::Cached).unwrap();
        assert_eq!(pen.may_be_lent(), n <= limits::AUDIT_LENT_CALLS, "{n} under way");
    }
    for durability in [Durability::Group, Durability::Sync] {
        assert!(!Shared::new(durability, 0).lends, "{durability:?}");
    }
}

fn waiter() -> Entry {
    Entry { rendered: Rendered::default(), done: Some(oneshot::channel().0) }
}

/// What comes while a caller has the pen is the thread's, and so is the end.
#[test]
fn the_thread_comes_after_a_caller_that_writes() {
    let later = || Entry { rendered: Rendered::default(), done: None };
    let queue = Arc::new(Queue::new());
    let pen = Arc::new(());
    queue.equip(pen.clone());
    // Nobody waits, or somebody else does too: the thread's.
    assert!(queue.lend());
    assert!(matches!(queue.push(later(), 9, By::Caller), Ok(Turn::Next)));
    assert!(matches!(queue.push(later(), 9, By::Thread), Ok(Turn::Next)));
    let Ok(Turn::Yours(sheet)) = queue.push(waiter(), 9, By::Caller) else {
        panic!("the pen is lent")
    };
    assert_eq!(sheet.batch.len(), 3, "what waited goes along");
    assert!(!queue.lend(), "somebody has it");
    assert!(matches!(queue.push(waiter(), 9, By::Caller), Ok(Turn::Later)));
    assert!(!queue.busy_for().is_zero());
    let thread = |queue: &Arc<Queue<_>>| {
        let queue = queue.clone();
        std::thread::spawn(move || queue.next_batch(Company::None))
    };
    let next = thread(&queue);
    queue.give_back(Sheet { batch: Vec::new(), ..sheet }, Lend::ToThread);
    let sheet = next.join().unwrap().unwrap();
    assert_eq!(sheet.batch.len(), 1);
    queue.give_back(Sheet { batch: Vec::new(), ..sheet }, Lend::ToThread);
    assert!(matches!(queue.push(waiter(), 9, By::Caller), Ok(Turn::Next)), "it is not lent");
    let sheet = queue.next_batch(Company::None).unwrap();
    queue.give_back(Sheet { batch: Vec::new(), ..sheet }, Lend::ToThread);
    assert!(queue.lend());
    let Ok(Turn::Yours(sheet)) = queue.push(waiter(), 9, By::Caller) else {
        panic!("the pen is lent")
    };
    queue.give_back(Sheet { batch: Vec::new(), ..sheet }, Lend::ToThread);
    // Who would hold the admin socket, or anything but a call, never writes.
    assert!(queue.lend());
    assert!(matches!(queue.push(waiter(), 9, By::Thread), Ok(Turn::Next)));
    let sheet = queue.next_batch(Company::None).unwrap();
    queue.close();
    let last = thread(&queue);
    queue.give_back(Sheet { batch: Vec::new(), ..sheet }, Lend::ToThread);
    assert!(last.join().unwrap().is_none() && !queue.end());
    assert_eq!(Arc::strong_count(&pen), 1, "with the end the pen is gone");
}

/// Only where several came at once; and neither what is there nor the end is put off.
#[test]
fn a_thread_that_expects_company_looks_out_for_it() {
    let queue = Queue::new();
    queue.equip(());
    for company in [Company::None, Company::Near, Company::Awaited(2)] {
        assert!(matches!(queue.push(waiter(), 9, By::Caller), Ok(Turn::Next)));
        let sheet = queue.next_batch(company).unwrap();
        assert_eq!(sheet.batch.len(), 1, "{company:?}");
        queue.give_back(Sheet { batch: Vec::new(), ..sheet }, Lend::ToThread);
    }
    queue.close();
    assert!(queue.next_batch(Company::Near).is_none());
    for (durability, waiters, want) in [
        (Durability::Cached, 1, Company::None),
        (Durability::Cached, 2, Company::Near),
        (Durability::Group, 1, Company::None),
        (Durability::Group, 2, Company::Awaited(2)),
        (Durability::Sync, 2, Company::None),
    ] {
        assert_eq!(expected(durability, waiters), want, "{durability:?} {waiters}");
    }
}

/// The thread does not wait for a caller that hangs in a log that has failed, and the pen goes
/// with whoever gives it back last: the vault ends with it.
#[test]
fn a_pen_that_comes_back_to_a_failed_log_is_dropped() {
    let queue = Queue::new();
    let pen = Arc::new(());
    queue.equip(pen.clone());
    assert!(queue.lend());
    let Ok(Turn::Yours(sheet)) = queue.push(waiter(), 9, By::Caller) else {
        panic!("the pen is lent")
    };
    queue.fail();
    assert!(queue.next_batch(Company::None).is_none() && queue.end());
    queue.give_back(sheet, Lend::ToThread);
    assert_eq!(Arc::strong_count(&pen), 1);
}

/// What a pipe holds by default.
const PIPE_BYTES: usize = 64 * 1024;
