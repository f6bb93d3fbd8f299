//! The latch: the emergency stop. It is set, never toggled, survives a restart, and is undone
//! only on purpose, by naming it.
//!
//! Promises: after `engage` has returned, no `holds` on an earlier epoch is true, in any thread;
//! the atomic is set first, then watchers wake, then the disk is told, and a failing or stuck
//! disk delays neither of the first two. What cannot be read at start counts as engaged.

mod file;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

use crate::sys;
use file::LatchFile;

/// A stretch of time between two stops. A permit is worth nothing outside its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch(u64);

/// The latch is engaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

/// Who stops everything, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub who: String,
    pub why: String,
}

/// One engagement of the latch.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stop {
    /// What `reset` must name.
    pub id: String,
    pub who: String,
    pub why: String,
    pub at_us: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LatchState {
    Clear,
    Engaged(Stop),
}

/// What an `engage` found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engaged {
    /// It is this one that stopped everything.
    Now(Stop),
    /// Stopped before, and by another: that one keeps its id and cause.
    Already(Stop),
}

impl Engaged {
    pub fn stop(&self) -> &Stop {
        match self {
            Self::Now(stop) | Self::Already(stop) => stop,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    #[error("the stop is not engaged; there is nothing to reset")]
    NotEngaged,
    #[error("stop `{given}` is not the one engaged; see `portcullis status` for its id")]
    OtherId { given: String },
    #[error("a reset needs a reason")]
    NoReason,
    #[error("the file `{file}` asks for the stop; remove it first")]
    CauseStands { file: String },
    #[error("the stop was engaged again during the reset; it stays engaged")]
    EngagedAgain,
    #[error("cannot clear the latch file, so the stop stays engaged")]
    Disk { source: std::io::Error },
}

/// A handle on the one latch. Cheap to clone.
#[derive(Clone)]
pub struct Latch {
    shared: Arc<Shared>,
}

struct Shared {
    /// Epoch in the upper 63 bits, engaged in the lowest.
    word: AtomicU64,
    /// The book: who engaged it. Changed only inside `send_if_modified`, which is a lock.
    book: watch::Sender<LatchState>,
    /// How often `engage` was called: a reset must not swallow one.
    presses: AtomicU64,
    file: LatchFile,
}

impl Latch {
    /// Reads the persisted latch in `dir`. Whatever goes wrong leaves it engaged.
    pub fn open(dir: &Path) -> Self {
        let file = LatchFile::at(dir);
        let state = file.read();
        let word = match &state {
            LatchState::Clear => 1 << 1,
            LatchState::Engaged(stop) => {
                tracing::warn!(id = stop.id, who = stop.who, why = stop.why, "Stop is engaged");
                1 << 1 | ENGAGED
            }
        };
        let book = watch::Sender::new(state);
        let shared = Shared { word: AtomicU64::new(word), book, presses: AtomicU64::new(0), file };
        Self { shared: Arc::new(shared) }
    }

    /// The present epoch, to be carried by a permit.
    pub fn epoch(&self) -> Result<Epoch, Stopped> {
        let word = self.shared.word.load(Ordering::Acquire);
        if word & ENGAGED == 0 { Ok(Epoch(word >> 1)) } else { Err(Stopped) }
    }

    /// Whether that epoch still lasts: the last look before a byte is written. One atomic load.
    pub fn holds(&self, epoch: Epoch) -> bool {
        self.shared.word.load(Ordering::Acquire) == epoch.0 << 1
    }

    /// Stops everything. A second engagement finds the first and changes nothing. Returns when
    /// the disk was told, or could not be (which is logged: the stop stands all the same).
    pub fn engage(&self, cause: Cause) -> Engaged {
        self.shared.presses.fetch_add(1, Ordering::AcqRel);
        self.shared.close();
        let stop = Stop { id: new_id(), who: cause.who, why: cause.why, at_us: sys::unix_micros() };
        let mut first = None;
        self.shared.book.send_if_modified(|state| {
            // Again, under the lock: a reset may just have opened what was found closed above.
            self.shared.close();
            if let LatchState::Engaged(earlier) = state {
                first = Some(earlier.clone());
                return false;
            }
            *state = LatchState::Engaged(stop.clone());
            true
        });
        if let Some(earlier) = first {
            return Engaged::Already(earlier);
        }
        if let Err(error) = self.shared.file.write(&self.shared.book) {
            tracing::error!(%error, id = stop.id, "Stop is engaged but could not be saved");
        }
        Engaged::Now(stop)
    }

    /// Permits calls again. Needs the id of the stop and a reason; refused while a `STOP` file
    /// stands. The disk is told first: what cannot be saved is not undone.
    pub fn reset(&self, id: &str, reason: &str, who: &str) -> Result<Stop, ResetError> {
        if reason.trim().is_empty() {
            return Err(ResetError::NoReason);
        }
        let presses = self.shared.presses.load(Ordering::Acquire);
        let stop = match self.state() {
            LatchState::Clear => return Err(ResetError::NotEngaged),
            LatchState::Engaged(stop) if stop.id == id => stop,
            LatchState::Engaged(_) => return Err(ResetError::OtherId { given: id.to_owned() }),
        };
        let cleared = self.shared.file.clear(|| self.shared.open(id, presses))?;
        if cleared {
            tracing::warn!(id, who, reason, "Stop was reset");
            return Ok(stop);
        }
        if let Err(error) = self.shared.file.write(&self.shared.book) {
            tracing::error!(%error, id, "Stop is engaged but could not be saved");
        }
        Err(ResetError::EngagedAgain)
    }

    pub fn state(&self) -> LatchState {
        self.shared.book.borrow().clone()
    }

    /// Returns when this epoch is past.
    pub async fn passed(&self, epoch: Epoch) {
        let mut changes = self.changed();
        while self.holds(epoch) {
            // We hold a sender ourselves, so this cannot fail.
            changes.changed().await.ok();
        }
    }

    /// Waits until nothing is stopped, and gives the epoch that lasts then.
    pub async fn resumed(&self) -> Epoch {
        let mut changes = self.changed();
        loop {
            if let Ok(epoch) = self.epoch() {
                return epoch;
            }
            // We hold a sender ourselves, so this cannot fail.
            changes.changed().await.ok();
        }
    }

    /// Wakes whoever waits for the stop; await it by value, for example with `wait_for`.
    pub fn changed(&self) -> watch::Receiver<LatchState> {
        self.shared.book.subscribe()
    }
}

impl Shared {
    /// Clears the word if the stop is still that one and nobody pressed again meanwhile.
    fn open(&self, id: &str, presses: u64) -> bool {
        self.book.send_if_modified(|state| {
            let same = matches!(state, LatchState::Engaged(now) if now.id == id);
            let undisturbed = self.presses.load(Ordering::Acquire) == presses;
            if same && undisturbed {
                *state = LatchState::Clear;
                self.word.fetch_and(!ENGAGED, Ordering::AcqRel);
            }
            same && undisturbed
        })
    }

    /// Engages the word; a new engagement is a new epoch, so that no older permit ever holds.
    fn close(&self) {
        let next = |word: u64| (word & ENGAGED == 0).then(|| word.saturating_add(2) | ENGAGED);
        // An error means that it is engaged already.
        self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).unwrap_or_default();
    }
}

const ENGAGED: u64 = 1;

/// Short enough to be typed, random so that yesterday's command does not reset today's stop.
fn new_id() -> String {
    let random = getrandom::u32().unwrap_or_else(|_| {
        let clock = sys::unix_micros() & u64::from(u32::MAX);
        u32::try_from(clock).unwrap_or_default()
    });
    format!("stop-{random:08x}")
}

impl fmt::Debug for Latch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Latch").field("state", &self.state()).finish()
    }
}
