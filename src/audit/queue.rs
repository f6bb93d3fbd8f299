//! The bounded queue between those who report and the one thread that writes.
//!
//! Promises: full, failed or closed is said at once, nobody waits for room; the writer is woken
//! only when somebody waits for it and it is not awake already. Reports that nobody waits for
//! lie until the next waiter or the end of a short nap. The lock is held for a push or a swap.

use std::{
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{AuditError, record::Rendered};
use crate::domain::limits;

/// One rendered record on its way to the writer.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) rendered: Rendered,
    /// Told the record's number once it is durable; dropped unsent when writing failed.
    pub(super) done: Option<oneshot::Sender<u64>>,
}

#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Debug)]
struct State {
    waiting: Vec<Entry>,
    /// How many of `waiting` somebody waits for.
    waiters: usize,
    /// Taken by the writer and not yet written; they count against the bound.
    writing: usize,
    /// When the writer last took what waited, or found the first new entry after a rest.
    since: Instant,
    door: Door,
    mood: Mood,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Open,
    /// No more is taken; what waits is still written.
    Closing,
    Failed,
}

/// When the writer comes to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// At once: it does nothing for others meanwhile.
    Next,
    Later,
}

/// What the writer does, hence who must wake it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// It looks at the queue again before it sleeps.
    Awake,
    /// It was busy just now and looks again soon by itself: only a waiter wakes it.
    Napping,
    Asleep,
    /// It waits a moment until so many wait, to sync once for all of them.
    Gathering(usize),
}

impl State {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.writing == 0
    }
}

impl Queue {
    pub(super) fn new() -> Self {
        let state = State {
            waiting: Vec::new(),
            waiters: 0,
            writing: 0,
            since: Instant::now(),
            door: Door::Open,
            mood: Mood::Awake,
        };
        Self { state: Mutex::new(state), wake: Condvar::new() }
    }

    /// Takes the entry if there are fewer than `bound` unwritten ones.
    pub(super) fn push(&self, entry: Entry, bound: usize) -> Result<Turn, AuditError> {
        let mut state = self.lock();
        match state.door {
            Door::Open => {}
            Door::Closing => return Err(AuditError::Closed),
            Door::Failed => return Err(AuditError::Failed),
        }
        if state.waiting.len().saturating_add(state.writing) >= bound {
            return Err(AuditError::Full);
        }
        if state.is_idle() {
            state.since = Instant::now();
        }
        let turn = match state.writing == 0 && state.waiters == 0 {
            true => Turn::Next,
            false => Turn::Later,
        };
        let waited_for = entry.done.is_some();
        state.waiters = state.waiters.saturating_add(usize::from(waited_for));
        state.waiting.push(entry);
        let wake = match state.mood {
            Mood::Awake => false,
            Mood::Napping => waited_for,
            Mood::Asleep => true,
            Mood::Gathering(wanted) => state.waiters >= wanted,
        };
        if wake {
            state.mood = Mood::Awake;
        }
        drop(state);
        if wake {
            self.wake.notify_one();
        }
        Ok(turn)
    }

    /// Moves everything that waits into `batch` (empty on entry), sleeping until there is
    /// something worth a write. `company`: wait a moment for so many waiters. `false`: the end.
    pub(super) fn next_batch(&self, batch: &mut Vec<Entry>, company: usize) -> bool {
        let mut state = self.lock();
        state.writing = 0;
        state = self.sleep(state);
        if company > 1 && state.waiters < company && state.door == Door::Open {
            state.mood = Mood::Gathering(company);
            let gathering = |s: &mut State| s.waiters < company && s.door == Door::Open;
            let window = limits::AUDIT_GROUP_WINDOW;
            let waited = self.wake.wait_timeout_while(state, window, gathering);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.mood = Mood::Awake;
        state.since = Instant::now();
        mem::swap(&mut state.waiting, batch);
        state.waiters = 0;
        state.writing = batch.len();
        !(batch.is_empty() && state.door != Door::Open)
    }

    fn sleep<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let mut rested = false;
        while state.door == Door::Open
            && state.waiters == 0
            && (state.waiting.is_empty() || !rested)
        {
            if rested {
                state.mood = Mood::Asleep;
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            } else {
                state.mood = Mood::Napping;
                let nap = self.wake.wait_timeout(state, limits::AUDIT_NAP);
                let (guard, timeout) = nap.unwrap_or_else(PoisonError::into_inner);
                (state, rested) = (guard, timeout.timed_out());
            }
        }
        state
    }

    /// Takes no more; the writer writes what waits and ends.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        if state.door == Door::Open {
            state.door = Door::Closing;
        }
        drop(state);
        self.wake.notify_one();
    }

    /// Nothing is taken any more, and nothing that waits is written.
    pub(super) fn fail(&self) {
        let mut state = self.lock();
        state.door = Door::Failed;
        state.waiters = 0;
        let unwritten = mem::take(&mut state.waiting);
        drop(state);
        drop(unwritten);
        self.wake.notify_one();
    }

    /// The writer is gone: whoever still waits learns it now. `true` if that is a failure and
    /// not the end of a log that was closed and written to its last record.
    pub(super) fn end(&self) -> bool {
        let mut state = self.lock();
        let in_order =
            state.door == Door::Closing && state.waiting.is_empty() && state.writing == 0;
        state.door = if in_order { Door::Closing } else { Door::Failed };
        state.waiters = 0;
        let unwritten = mem::take(&mut state.waiting);
        drop(state);
        drop(unwritten);
        !in_order
    }

    /// How long the writer has been at what it does now; nothing while it has nothing to do, or
    /// has given up.
    pub(super) fn busy_for(&self) -> Duration {
        let state = self.lock();
        let is_at_work = state.door == Door::Open && !state.is_idle();
        if is_at_work { state.since.elapsed() } else { Duration::ZERO }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.lock().door == Door::Failed
    }

    pub(super) fn is_open(&self) -> bool {
        self.lock().door == Door::Open
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves plain data behind, which is still right.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
