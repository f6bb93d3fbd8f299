//! The writer's thread: it writes whatever no caller writes itself, and ends the log in order.
//!
//! Only it waits for the disk on purpose: it begins new segments and syncs. Trees, keys and
//! checkpoints are the notary's, so that nobody waits for them.

use std::{io, sync::Arc, thread::JoinHandle};

use super::{
    Durability,
    pen::{Hand, Pen},
    queue::Company,
    shared::{Shared, Writing},
};
use crate::sys::spawn_vital;

pub(super) struct Writer(Arc<Shared>);

impl Writer {
    /// Starts the thread for a log that has none yet.
    pub(super) fn start(shared: Arc<Shared>, pen: Pen) -> io::Result<JoinHandle<()>> {
        shared.queue.equip(Box::new(pen));
        let writer = Self(shared);
        spawn_vital("audit", move || writer.run())
    }

    fn run(self) {
        let shared = &self.0;
        let mut company = Company::None;
        while let Some(sheet) = shared.queue.next_batch(company) {
            let Some(waiters) = Hand::new(shared, sheet).turn_over_and_write() else { return };
            company = expected(shared.durability, waiters);
        }
    }
}

/// Who waited together comes together again.
pub(super) fn expected(durability: Durability, waiters: usize) -> Company {
    match (durability, waiters) {
        (_, 0 | 1) | (Durability::Sync, _) => Company::None,
        (Durability::Cached, _) => Company::Near,
        (Durability::Group, n) => Company::Awaited(n),
    }
}

/// Also on a panic: a log without a writer is a failed log.
impl Drop for Writer {
    fn drop(&mut self) {
        if self.0.queue.end() {
            self.0.fail();
        } else {
            self.0.end(Writing::IsOver);
        }
    }
}
