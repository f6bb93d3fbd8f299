//! The latch: the emergency stop. It is set, never toggled, survives a restart, and is undone
//! only on purpose, by naming it, in two steps.
//!
//! Promises: after `engage` has returned, no `holds` on an earlier epoch that it concerns is true,
//! in any thread. Its order is: a mark in memory, by which it outlives us from then on; the word;
//! the processes (`on_engage`); those who wait. The disk is told by a thread of its own, and a
//! failing or stuck one delays none of them. What cannot be read at start counts as a stop of
//! everything. Knows no processes, channels or audit.

mod book;
mod file;
mod presses;
mod runaway;
mod scope;
mod scribe;
#[cfg(test)]
mod tests;
mod word;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError, mpsc::SyncSender},
    time::{Duration, Instant},
};

use tokio::sync::watch;

/// What `word` is made of; a model checker puts its own in their place.
mod sync {
    pub(super) use std::sync::{
        PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    };
}

pub use book::{Book, Cause, Engaged, LiftError, Phase, Stop};
pub(super) use runaway::Runaway;
pub use scope::{Category, Scope, ScopeError};
pub use word::{Epoch, Marks, Stopped};

use crate::{domain::limits::ESTOP_GRACE, sys, telemetry::meters};
use file::LatchFile;
use presses::Presses;
use scribe::Ledger;
use word::Word;

/// A handle on the one latch. Cheap to clone.
#[derive(Clone)]
pub struct Latch {
    shared: Arc<Shared>,
}

struct Shared {
    word: Word,
    ledger: Arc<Ledger>,
    poke: Option<SyncSender<()>>,
    brake: OnceLock<Brake>,
    obstacles: Mutex<Vec<Obstacle>>,
}

/// Ends what runs for a stop's scope. Must not wait.
type Brake = Box<dyn Fn(&Stop) + Send + Sync>;
/// What still asks for a stop, if anything.
type Obstacle = Box<dyn Fn() -> Option<String> + Send + Sync>;

impl Latch {
    /// Reads the persisted latch in the state directory. Whatever goes wrong leaves it engaged.
    /// Without a place for marks in memory.
    pub fn open(state: &Path) -> Self {
        Self::open_with(state, &[])
    }

    /// The same. A press leaves its mark in the first of `memory` that is a place in memory.
    pub fn open_with(state: &Path, memory: &[PathBuf]) -> Self {
        let file = LatchFile::at(state);
        let (mut book, word) = (file.read(), Word::new());
        let presses = Presses::of(&file.own_directory(), memory);
        let (is_behind, found) = presses.found();
        found.into_iter().for_each(|stop| book.take_up(stop));
        for stop in &book.stops {
            let Stop { id, scope, who, why, .. } = stop;
            tracing::warn!(id, %scope, who, why, "The emergency stop is engaged");
            word.close(scope.marks());
        }
        let ledger = Ledger::new(book, file, presses);
        let poke = scribe::start(&ledger);
        let (brake, obstacles) = (OnceLock::new(), Mutex::default());
        let latch = Self { shared: Arc::new(Shared { word, ledger, poke, brake, obstacles }) };
        if is_behind {
            latch.shared.save_soon();
        }
        latch.heed_the_file();
        latch
    }

    /// Whether a latch that is opened there will be engaged; for whoever only looks.
    pub fn is_engaged_at(state: &Path, memory: &[PathBuf]) -> bool {
        let file = LatchFile::at(state);
        file.is_engaged() || Presses::of(&file.own_directory(), memory).are_marked()
    }

    /// The present epoch, to be carried by a permit for `of`.
    pub fn epoch(&self, of: Marks) -> Result<Epoch, Stopped> {
        self.shared.word.epoch(of)
    }

    /// Whether that epoch still lasts: the last look before a byte is written. One atomic load.
    pub fn holds(&self, epoch: Epoch) -> bool {
        self.shared.word.holds(epoch)
    }

    /// Stops what `cause` says. A second engagement finds the first. Waits for no disk.
    pub fn engage(&self, cause: Cause) -> Engaged {
        let (began, Shared { word, ledger, .. }) = (Instant::now(), &*self.shared);
        let stop = Stop::new(new_id(), cause);
        let scope = stop.scope.marks();
        // First of all: from the word on, somebody may see the stop.
        let marked = ledger.presses.leave(&stop);
        word.close(scope);
        let entered = ledger.enter(|book| {
            // Again, under the lock: a resume may just have opened what was found closed above.
            word.close(scope);
            book.press(stop.clone())
        });
        // The closure has run: this is for the compiler.
        let engaged = entered.unwrap_or(Engaged::Now(stop));
        self.shared.save_soon();
        self.shared.brake(engaged.stop());
        self.shared.wake();
        meters().estop_apply.record(began.elapsed());
        if let Err(error) = marked {
            tracing::warn!(%error, "A stop is engaged but left no mark in memory");
        }
        engaged
    }

    /// Engages if somebody has put a file `STOP` in the state directory.
    pub fn heed_the_file(&self) -> Option<Engaged> {
        let cause = self.shared.ledger.file.asked()?;
        let is_done = self.book().global().is_some_and(|stop| stop.phase == Phase::Stopped);
        (!is_done).then(|| self.engage(cause))
    }

    /// The directory in which `STOP` is looked for.
    pub fn directory(&self) -> &Path {
        self.shared.ledger.file.directory()
    }

    /// STOPPED → READY. Needs the id of the stop and a reason; refused while what asked for it
    /// stands. Nothing is sent yet.
    pub fn reset(&self, id: &str, reason: &str, who: &str) -> Result<Stop, LiftError> {
        if reason.trim().is_empty() {
            return Err(LiftError::NoReason);
        }
        let stop = self.lift(|book| book.reset(id))?;
        tracing::warn!(id, who, reason, "Stop was reset");
        Ok(stop)
    }

    /// READY → RUN.
    pub fn resume(&self, id: &str, who: &str) -> Result<Stop, LiftError> {
        let stop = self.lift(|book| book.resume(id))?;
        tracing::warn!(id, who, scope = %stop.scope, "Stop was lifted");
        Ok(stop)
    }

    /// The disk is told first: what cannot be saved is not lifted.
    fn lift(
        &self,
        change: impl FnOnce(&mut Book) -> Result<Stop, LiftError>,
    ) -> Result<Stop, LiftError> {
        let Shared { word, ledger, .. } = &*self.shared;
        let turn = ledger.file.turn();
        let (n_presses, settled) = (ledger.presses.n_left(), ledger.presses.settled());
        let before = self.book();
        let mut next = before.clone();
        let stop = change(&mut next)?;
        if let Some(what) = self.shared.obstacle() {
            return Err(LiftError::CauseStands { what });
        }
        let saved = ledger.put(&turn, &next, settled);
        let is_over = next.stops.iter().all(|other| other.id != stop.id);
        let lifted = ledger.book.send_if_modified(|book| {
            // A press that came before may be entered only now, and one that finds its stop in the
            // book leaves no trace there.
            let undisturbed = before == *book && n_presses == ledger.presses.n_left();
            let is_lifted = saved.is_ok() && undisturbed;
            if is_lifted {
                *book = next;
            }
            if is_lifted && is_over {
                word.open(stop.scope.marks());
            }
            is_lifted
        });
        if lifted {
            return Ok(stop);
        }
        // What is in the book holds, and the file may say less.
        drop(turn);
        self.shared.save_soon();
        saved.and(Err(LiftError::EngagedAgain))
    }

    /// Sets, once, what is done to the processes of whatever is stopped. It must not wait, and is
    /// called again when something is stopped that was stopped before.
    pub fn on_engage(&self, brake: impl Fn(&Stop) + Send + Sync + 'static) {
        if self.shared.brake.set(Box::new(brake)).is_err() {
            tracing::error!("The latch has a brake already");
        }
    }

    /// Refuses every reset while this says that something still asks for a stop.
    pub fn refuse_lift_while(&self, asks: impl Fn() -> Option<String> + Send + Sync + 'static) {
        self.shared.obstacles().push(Box::new(asks));
    }

    /// Waits until all that was engaged before is on disk. `false`: not within `patience`.
    pub fn saved(&self, patience: Duration) -> bool {
        self.shared.ledger.wait(patience)
    }

    /// How hard the hardest stop is that concerns `of`.
    pub fn category(&self, of: Marks) -> Option<Category> {
        let book = self.shared.ledger.book.borrow();
        let concern = book.stops.iter().filter(|stop| stop.scope.marks().cover(of));
        concern.map(|stop| stop.category).max()
    }

    pub fn book(&self) -> Book {
        self.shared.ledger.book.borrow().clone()
    }

    /// Returns when this epoch is past.
    pub async fn passed(&self, epoch: Epoch) {
        let mut changes = self.changed();
        while self.holds(epoch) {
            // We hold a sender ourselves, so this cannot fail.
            changes.changed().await.ok();
        }
    }

    /// Returns when nothing that runs for `of` may be left: at once after a stop, or, if that lets
    /// it wind up and is not lifted meanwhile, a moment later.
    pub async fn over(&self, of: Marks, mut epoch: Epoch) {
        loop {
            self.passed(epoch).await;
            if self.category(of) != Some(Category::Drain) {
                return;
            }
            tokio::time::sleep(ESTOP_GRACE).await;
            match self.epoch(of) {
                Ok(next) => epoch = next,
                Err(Stopped) => return,
            }
        }
    }

    /// Waits until `of` is not stopped, and gives the epoch that lasts then.
    pub async fn resumed(&self, of: Marks) -> Epoch {
        let mut changes = self.changed();
        loop {
            if let Ok(epoch) = self.epoch(of) {
                return epoch;
            }
            // We hold a sender ourselves, so this cannot fail.
            changes.changed().await.ok();
        }
    }

    /// Wakes whoever waits for a stop, or for its end.
    pub fn changed(&self) -> watch::Receiver<Book> {
        self.shared.ledger.book.subscribe()
    }
}

impl Shared {
    fn save_soon(&self) {
        match &self.poke {
            // If it is full, the scribe has not yet looked at the book.
            Some(poke) => poke.try_send(()).unwrap_or_default(),
            None => drop(self.ledger.write()),
        }
    }

    fn brake(&self, stop: &Stop) {
        if let Some(brake) = self.brake.get() {
            brake(stop);
        }
    }

    fn wake(&self) {
        self.ledger.book.send_modify(|_| {});
    }

    fn obstacle(&self) -> Option<String> {
        let file = self.ledger.file.asked().map(|cause| cause.why);
        file.or_else(|| self.obstacles().iter().find_map(|asks| asks()))
    }

    fn obstacles(&self) -> std::sync::MutexGuard<'_, Vec<Obstacle>> {
        self.obstacles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

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
        f.debug_struct("Latch").field("book", &self.book()).finish()
    }
}

#[cfg(test)]
impl Latch {
    /// The epoch of nothing in particular.
    pub(crate) fn now(&self) -> Result<Epoch, Stopped> {
        self.epoch(Marks::default())
    }

    /// Takes back whatever is stopped.
    pub(crate) fn lift_all(&self) {
        for stop in self.book().stops {
            if stop.phase == Phase::Stopped {
                self.reset(&stop.id, "test", "test").unwrap();
            }
            self.resume(&stop.id, "test").unwrap();
        }
    }
}
