//! The scribe: the thread that brings the book to disk.
//!
//! Whoever stops something pokes it and goes on, so that a slow or stuck disk delays no stop. It
//! writes the newest book, tells those who wait for it, and tries again for as long as it fails.
//! Ends with the last handle on the latch.

use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    book::{Book, LiftError},
    file::{LatchFile, Turn},
    presses::{Presses, Settled},
};
use crate::domain::limits::ESTOP_SAVE_AGAIN;

/// What the scribe and the latch share.
pub(super) struct Ledger {
    /// Changed only inside `send_if_modified`, which is a lock.
    pub(super) book: watch::Sender<Book>,
    pub(super) file: LatchFile,
    pub(super) presses: Presses,
    /// How many of those that were entered in the book are on disk.
    saved: Mutex<u64>,
    told: Condvar,
}

impl Ledger {
    pub(super) fn new(book: Book, file: LatchFile, presses: Presses) -> Arc<Self> {
        let book = watch::Sender::new(book);
        let (saved, told) = (Mutex::default(), Condvar::new());
        Arc::new(Self { book, file, presses, saved, told })
    }

    /// Enters a press in the book without waking anybody.
    pub(super) fn enter<T>(&self, change: impl FnOnce(&mut Book) -> T) -> Option<T> {
        let mut done = None;
        self.book.send_if_modified(|book| {
            done = Some(change(book));
            self.presses.enter();
            false
        });
        done
    }

    /// Waits until everything that was entered before is on disk. `false`: not within `patience`.
    pub(super) fn wait(&self, patience: Duration) -> bool {
        let wanted = self.presses.n_entered();
        let until = Instant::now() + patience;
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        while *saved < wanted {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.told.wait_timeout(saved, left);
            saved = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Whether the newest book is on disk now.
    pub(super) fn write(&self) -> bool {
        let turn = self.file.turn();
        let (n_entered, settled) = (self.presses.n_entered(), self.presses.settled());
        let book = self.book.borrow().clone();
        if let Err(error) = self.put(&turn, &book, settled) {
            tracing::error!(%error, "A stop is engaged but could not be saved; it is tried again");
            return false;
        }
        *self.saved.lock().unwrap_or_else(PoisonError::into_inner) = n_entered;
        self.told.notify_all();
        true
    }

    /// Brings a book with all presses up to `settled` to disk; their marks are needed no longer.
    pub(super) fn put(
        &self,
        turn: &Turn<'_>,
        book: &Book,
        settled: Option<Settled>,
    ) -> Result<(), LiftError> {
        turn.save(book)?;
        let wiped = settled.map_or(Ok(()), |settled| self.presses.wipe(settled));
        wiped.map_err(|source| LiftError::Disk { source })
    }
}

/// Starts the thread. Without one, whoever pokes writes himself.
pub(super) fn start(ledger: &Arc<Ledger>) -> Option<SyncSender<()>> {
    let (poke, pokes) = sync_channel(1);
    let ledger = Arc::clone(ledger);
    let work = move || {
        let mut is_saved = true;
        loop {
            let pause = if is_saved { Duration::MAX } else { ESTOP_SAVE_AGAIN };
            match pokes.recv_timeout(pause) {
                Ok(()) => is_saved = ledger.write(),
                Err(RecvTimeoutError::Timeout) if !is_saved => is_saved = ledger.write(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    };
    thread::Builder::new().name("estop-scribe".to_owned()).spawn(work).ok().map(|_| poke)
}
