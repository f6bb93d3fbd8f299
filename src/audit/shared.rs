//! What the handles, the writer and the notary of one log have in common.
//!
//! The queue of what is to be written, how far the log is, and what is done when it fails. Whoever
//! fails first fails it for all.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::available_parallelism,
    time::Instant,
};

use tokio::sync::{Semaphore, oneshot, watch};

use super::{
    AuditError, Durability, Pending, Record,
    pen::{Hand, Pen},
    queue::{By, Entry, Queue, Turn},
    refusals::Tallies,
    witness::{WitnessProblem, Witnessed},
};
use crate::{
    domain::limits::{AUDIT_CONTENT_BYTES_MAX, AUDIT_CONTENT_BYTES_MIN},
    sys,
    telemetry::meters,
};

/// Called once when the log has failed, on the thread that found out.
pub(super) type FailureHook = Box<dyn FnOnce() + Send>;

pub(super) struct Shared {
    pub(super) durability: Durability,
    /// Whether a caller may write itself: there is no sync to wait for, and a disk that hangs
    /// leaves the others a processor.
    pub(super) lends: bool,
    pub(super) queue: Queue<Box<Pen>>,
    hook: Mutex<Option<FailureHook>>,
    progress: Mutex<Progress>,
    news: Condvar,
    /// Room for content on its way to the vault, in bytes.
    pub(super) room: Arc<Semaphore>,
    pub(super) refused: Tallies,
    /// The newest checkpoint; who sends it on waits for the next.
    pub(super) signed: watch::Sender<Option<Signed>>,
    witnessed: Mutex<Option<Witnessed>>,
}

/// The last checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// How many records it is over.
    pub size: u64,
    /// Of the tree over them, as the checkpoint has it.
    pub root: String,
    /// Which key signs now, counted from 0.
    pub epoch: u64,
    pub at_us: u64,
    /// The checkpoint itself.
    pub note: String,
}

/// How far a log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heads {
    /// How many records are written.
    pub size: u64,
    pub signed: Option<Signed>,
}

#[derive(Debug)]
struct Progress {
    /// The last record that is written.
    seq: u64,
    /// The one that the notary waits for.
    wanted: u64,
    writing: Writing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writing {
    GoesOn,
    /// Everything is written.
    IsOver,
    HasFailed,
}

impl Shared {
    pub(super) fn new(durability: Durability, seq: u64) -> Self {
        let progress = Progress { seq, wanted: u64::MAX, writing: Writing::GoesOn };
        let processors = available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            durability,
            lends: durability == Durability::Cached && processors > 1,
            queue: Queue::new(),
            hook: Mutex::new(None),
            progress: Mutex::new(progress),
            news: Condvar::new(),
            room: Arc::new(Semaphore::new(AUDIT_CONTENT_BYTES_MAX)),
            refused: Tallies::default(),
            signed: watch::Sender::new(None),
            witnessed: Mutex::default(),
        }
    }

    /// Hands a record to the writer if fewer than `bound` wait, or, by its caller, writes it if
    /// nobody else does; for whoever wants its number.
    pub(super) fn begin(
        &self,
        record: &Record<'_>,
        bound: usize,
        by: By,
    ) -> Result<Pending, AuditError> {
        let (done, written) = oneshot::channel();
        let is_near = match self.push(self.entry(record, Some(done)), bound, by)? {
            Turn::Yours(sheet) => {
                // What came of it is told like to everybody who waits.
                Hand::new(self, sheet).write();
                true
            }
            Turn::Next => self.durability == Durability::Cached,
            Turn::Later => false,
        };
        Ok(Pending { written, is_near })
    }

    /// The same for what nobody waits for, so that it is never written here.
    pub(super) fn later(&self, record: &Record<'_>, bound: usize) -> Result<(), AuditError> {
        self.push(self.entry(record, None), bound, By::Thread).map(drop)
    }

    fn push(&self, entry: Entry, bound: usize, by: By) -> Result<Turn<Box<Pen>>, AuditError> {
        self.queue.push(entry, bound, by).inspect_err(|_| meters().audit_lost.increment(1))
    }

    fn entry(&self, record: &Record<'_>, done: Option<oneshot::Sender<u64>>) -> Entry {
        let mut rendered = record.render(sys::unix_micros());
        for content in &mut rendered.contents {
            let n_bytes = content.n_bytes().max(AUDIT_CONTENT_BYTES_MIN);
            let n_bytes = u32::try_from(n_bytes).unwrap_or(u32::MAX);
            content.hold(self.room.clone().try_acquire_many_owned(n_bytes).ok());
        }
        Entry { rendered, done }
    }

    /// Sets what to do on failure; if that has come already, does it now.
    pub(super) fn set_hook(&self, hook: FailureHook) {
        *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = Some(hook);
        if self.queue.has_failed() {
            self.call_hook();
        }
    }

    /// The queue knows already, or learns it now.
    pub(super) fn fail(&self) {
        self.queue.fail();
        self.end(Writing::HasFailed);
        self.call_hook();
    }

    fn call_hook(&self) {
        let hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(hook) = hook {
            hook();
        }
    }

    /// Everything up to a record is signed.
    pub(super) fn signed(&self, signed: Signed) {
        self.signed.send_replace(Some(signed));
    }

    pub(super) fn heads(&self) -> Heads {
        let signed = self.signed.borrow().clone();
        // What is signed was written before, whatever was written since.
        Heads { size: self.lock().seq, signed }
    }

    /// Everything up to this record is written.
    pub(super) fn wrote(&self, seq: u64) {
        let mut progress = self.lock();
        progress.seq = seq;
        if seq >= progress.wanted {
            self.news.notify_one();
        }
    }

    pub(super) fn end(&self, how: Writing) {
        let mut progress = self.lock();
        if progress.writing == Writing::GoesOn {
            progress.writing = how;
        }
        self.news.notify_one();
    }

    /// Returns at `until`, when record `wanted` is written, or when there will be no more.
    pub(super) fn wait(&self, until: Instant, wanted: u64) -> (u64, Writing) {
        let mut progress = self.lock();
        progress.wanted = wanted;
        let left = until.saturating_duration_since(Instant::now());
        let pending = |p: &mut Progress| p.seq < wanted && p.writing == Writing::GoesOn;
        let waited = self.news.wait_timeout_while(progress, left, pending);
        let progress = waited.unwrap_or_else(PoisonError::into_inner).0;
        (progress.seq, progress.writing)
    }

    /// How it stands with the witness, if there is one.
    pub(super) fn witness(&self) -> Option<Witnessed> {
        self.witnessed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn witnessed(&self, how: Witnessed) {
        *self.witnessed.lock().unwrap_or_else(PoisonError::into_inner) = Some(how);
    }

    /// Whether it is another problem than before.
    pub(super) fn witness_problem(&self, problem: &WitnessProblem) -> bool {
        let mut witnessed = self.witnessed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(witnessed) = witnessed.as_mut() else { return true };
        witnessed.problem.replace(problem.clone()).as_ref() != Some(problem)
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        // A panic elsewhere leaves plain data behind, which is still right.
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
