//! The writer: one std thread, sole owner of the log file.
//!
//! Promises that a record's number is told only after its line is in the file at the durability
//! asked for, and that the first failing write or sync ends the log for this process: whoever
//! waits and whoever comes later is refused, because after a failed sync nobody knows what the
//! disk holds. One write(2) a batch.

use std::{
    fs::File,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
};

use super::{
    Durability,
    chain::Chain,
    queue::{Entry, Queue},
};
use crate::sys::spawn_vital;

/// Called once, on the writer's thread, when the log has failed.
pub(super) type FailureHook = Box<dyn FnOnce() + Send>;

/// What the writer and its handles share.
pub(super) struct Shared {
    pub(super) queue: Queue,
    hook: Mutex<Option<FailureHook>>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self { queue: Queue::new(), hook: Mutex::new(None) }
    }

    /// Sets what to do on failure; if that has come already, does it now.
    pub(super) fn set_hook(&self, hook: FailureHook) {
        *self.hook.lock().unwrap_or_else(PoisonError::into_inner) = Some(hook);
        if self.queue.has_failed() {
            self.call_hook();
        }
    }

    fn call_hook(&self) {
        let hook = self.hook.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(hook) = hook {
            hook();
        }
    }
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    file: File,
    chain: Chain,
    durability: Durability,
    /// A field, so that waiters are let go only after `drop` has marked the log as failed.
    batch: Vec<Entry>,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        file: File,
        chain: Chain,
        durability: Durability,
    ) -> Self {
        Self { shared, file, chain, durability, batch: Vec::new() }
    }

    pub(super) fn start(self) -> io::Result<JoinHandle<()>> {
        spawn_vital("audit", move || self.run())
    }

    fn run(mut self) {
        let mut lines = Vec::new();
        let mut company = 0;
        while self.shared.queue.next_batch(&mut self.batch, company) {
            let first = self.chain.seq.saturating_add(1);
            lines.clear();
            for entry in &self.batch {
                self.chain.seal(&entry.rendered, &mut lines);
            }
            if let Err(error) = self.put(&lines) {
                tracing::error!(%error, "Audit log failed; every call is refused from now on");
                return;
            }
            let waiters = tell(first, &mut self.batch);
            company = if self.durability == Durability::Group { waiters } else { 0 };
        }
    }

    fn put(&mut self, lines: &[u8]) -> io::Result<()> {
        self.file.write_all(lines)?;
        match self.durability {
            Durability::Cached => Ok(()),
            Durability::Group | Durability::Sync => self.file.sync_data(),
        }
    }
}

/// Tells each waiter its number, in one go; says how many there were.
fn tell(first: u64, batch: &mut Vec<Entry>) -> usize {
    let mut waiters = 0_usize;
    for (seq, entry) in (first..).zip(batch.drain(..)) {
        if let Some(done) = entry.done {
            waiters = waiters.saturating_add(1);
            // A waiter that has gone needs no answer; its record stands.
            done.send(seq).unwrap_or_default();
        }
    }
    waiters
}

/// Also on a panic: a log without a writer is a failed log.
impl Drop for Writer {
    fn drop(&mut self) {
        if self.shared.queue.end() {
            self.shared.call_hook();
        } else if let Err(error) = self.file.sync_all() {
            tracing::error!(%error, "Audit log could not be synced at its end");
        }
    }
}
