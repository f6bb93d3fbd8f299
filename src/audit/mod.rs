//! The audit: what was asked, decided and came of it, as one hash-chained log.
//!
//! Promises: a `Receipt` exists only after its record is in the file at the durability asked
//! for; a full queue or a failed log refuses at once; opening keeps what is valid, sets aside
//! what is not and says so on record. Never goes through the tracing pipeline, so no log filter
//! can switch it off. Knows nothing of gates or servers. Fails closed.

mod chain;
mod queue;
mod record;
mod recover;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
};

use tokio::sync::oneshot;

pub use record::{LatchStep, Record};
pub use verify::{Verified, VerifyError, verify};

pub use crate::config::Durability;

use crate::{domain::limits, sys};
use queue::Entry;
use writer::{Shared, Writer};

/// The log's one file in this format.
const FILE_NAME: &str = "000001.jsonl";

/// Proof that a record is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub seq: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("cannot open the audit log `{}`", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("the audit log `{}` is in use by another process; stop it first", path.display())]
    Locked { path: PathBuf },
    #[error("the audit queue is full ({} records)", limits::AUDIT_QUEUE_MAX)]
    Full,
    #[error("the audit log has failed; see the service log, then restart")]
    Failed,
    #[error("the audit log did not take the record within {} s", limits::AUDIT_WRITE_TIMEOUT.as_secs())]
    Stalled,
    #[error("the audit log is closed")]
    Closed,
}

/// A handle on the log. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    shared: Arc<Shared>,
}

/// A record on its way to the log. Whoever drops it has only stopped waiting.
#[derive(Debug)]
#[must_use = "only a receipt says that the record is in the log"]
pub struct Pending(oneshot::Receiver<u64>);

/// The writer's thread. Finish it last, after everybody who reports; dropping it does the same.
#[derive(Debug)]
pub struct AuditThread {
    audit: Audit,
    thread: Option<JoinHandle<()>>,
}

impl Audit {
    /// Opens or creates the log in `dir` and starts its writer. Blocks: reads the whole log.
    pub fn open(dir: &Path, durability: Durability) -> Result<(Self, AuditThread), AuditError> {
        let opened = recover::open(dir)?;
        let shared = Arc::new(Shared::new());
        let writer = Writer::new(shared.clone(), opened.file, opened.chain, durability);
        let audit = Self { shared };
        if let Some(torn) = &opened.torn {
            let (what, kept_in) = (torn.what, &torn.kept_in);
            tracing::warn!(what, kept_in, bytes = torn.bytes, "Audit log was cut back");
            audit.enqueue_at_open(Record::Recovered {
                dropped_bytes: torn.bytes,
                dropped_sha256: &torn.sha256,
                kept_in,
                what,
            })?;
        }
        for call in opened.orphans {
            audit.enqueue_at_open(Record::Orphaned { call })?;
        }
        let thread = writer
            .start()
            .map_err(|source| AuditError::Open { path: dir.join(FILE_NAME), source })?;
        Ok((audit.clone(), AuditThread { audit, thread: Some(thread) }))
    }

    /// Puts a record in the log and returns when it is there. An error means that nobody may
    /// rely on it being there; after a `Stalled` it may still appear.
    pub async fn append(&self, record: Record<'_>) -> Result<Receipt, AuditError> {
        self.begin(record)?.written().await
    }

    /// Hands a record to the writer, for whoever has something to do until it is in the log.
    pub fn begin(&self, record: Record<'_>) -> Result<Pending, AuditError> {
        let (done, written) = oneshot::channel();
        let entry = Entry { rendered: record.render(sys::unix_micros()), done: Some(done) };
        self.shared.queue.push(entry, limits::AUDIT_QUEUE_MAX)?;
        Ok(Pending(written))
    }

    /// Puts a record in the log without waiting. It may use twice the queue's bound, because it
    /// tells of what has happened already. A loss is an error event and changes nothing else.
    pub fn append_later(&self, record: Record<'_>) {
        let entry = Entry { rendered: record.render(sys::unix_micros()), done: None };
        let bound = limits::AUDIT_QUEUE_MAX.saturating_mul(2);
        if let Err(error) = self.shared.queue.push(entry, bound) {
            tracing::error!(kind = record.kind(), %error, "Audit record was lost");
        }
    }

    /// Whether the log takes records. Once false, it stays false until a restart.
    pub fn is_healthy(&self) -> bool {
        self.shared.queue.is_open()
    }

    /// Sets what is done, once, when the log fails; at once if it has failed already. Runs on
    /// the writer's thread.
    pub fn on_failure(&self, hook: impl FnOnce() + Send + 'static) {
        self.shared.set_hook(Box::new(hook));
    }

    /// Before the writer runs there is no bound to keep: a crash leaves at most what was in flight.
    fn enqueue_at_open(&self, record: Record<'_>) -> Result<(), AuditError> {
        let entry = Entry { rendered: record.render(sys::unix_micros()), done: None };
        self.shared.queue.push(entry, usize::MAX)
    }
}

impl Pending {
    /// Returns when the record is in the log; errors mean what they mean for `Audit::append`.
    pub async fn written(self) -> Result<Receipt, AuditError> {
        match tokio::time::timeout(limits::AUDIT_WRITE_TIMEOUT, self.0).await {
            Ok(Ok(seq)) => Ok(Receipt { seq }),
            Ok(Err(_)) => Err(AuditError::Failed),
            Err(_) => Err(AuditError::Stalled),
        }
    }
}

impl AuditThread {
    /// Writes what waits, syncs, closes the log. Blocks. Later reports are refused.
    pub fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.audit.shared.queue.close();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("Audit writer panicked");
        }
    }
}

impl Drop for AuditThread {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").field("healthy", &self.is_healthy()).finish()
    }
}
