//! The bounded queue between those who report and whoever writes, who has the one pen.
//!
//! Promises: full, failed or closed is said at once, nobody waits for room; the writer's thread is
//! woken only when somebody waits for it and it is not awake already. Reports that nobody waits for
//! lie until the next waiter or the end of a short nap. Who waits alone may be lent the pen,
//! as long as that was said to be safe. The lock is held for a push or a swap.

use std::{
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{AuditError, record::Rendered};
use crate::domain::limits;

/// How often the writer's thread lets others run before it rests: with ten, a call at 128 sessions
/// takes an eighth less of the processors, and with thirty no less than with ten.
const LOOKS: usize = 10;

/// One rendered record on its way to the writer.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) rendered: Rendered,
    /// Told the record's number once it is durable; dropped unsent when writing failed.
    pub(super) done: Option<oneshot::Sender<u64>>,
}

/// What it takes to write, and what is to be written. There is one; whoever has it writes.
#[derive(Debug)]
pub(super) struct Sheet<P> {
    pub(super) pen: P,
    pub(super) batch: Vec<Entry>,
}

/// Whether who reports and waits would take the pen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// It writes itself, if the pen is lent.
    Caller,
    Thread,
}

/// Who may have the pen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lend {
    ToThread,
    /// Until then also to who waits alone.
    ToWaiters(Instant),
}

impl Lend {
    /// A disk that was quick just now is trusted for a moment.
    pub(super) fn after(took: Duration, at: Instant) -> Self {
        match at.checked_add(limits::AUDIT_LENT) {
            Some(until) if took <= limits::AUDIT_QUICK => Self::ToWaiters(until),
            Some(_) | None => Self::ToThread,
        }
    }
}

#[derive(Debug)]
pub(super) struct Queue<P> {
    state: Mutex<State<P>>,
    wake: Condvar,
}

#[derive(Debug)]
struct State<P> {
    /// None while somebody writes.
    sheet: Option<Sheet<P>>,
    lend: Lend,
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

/// When an entry is written.
#[derive(Debug)]
pub(super) enum Turn<P> {
    /// As soon as whoever reported it does so, and gives the pen back.
    Yours(Sheet<P>),
    /// At once: the thread does nothing for others meanwhile.
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

/// Who is expected when the writer's thread comes for the next batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Company {
    /// Nobody in particular.
    None,
    /// Some waited just now and will be back: they need not wake it.
    Near,
    /// So many, who share one sync.
    Awaited(usize),
}

/// How the writer's thread rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// A moment, whatever lies there that nobody waits for.
    Nap,
    /// Until there is something.
    Sleep,
}

impl<P> State<P> {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.writing == 0
    }

    /// The pen with all that waits, if nobody has it.
    fn take(&mut self) -> Option<Sheet<P>> {
        let mut sheet = self.sheet.take()?;
        self.since = Instant::now();
        mem::swap(&mut self.waiting, &mut sheet.batch);
        self.waiters = 0;
        self.writing = sheet.batch.len();
        Some(sheet)
    }

    /// Whether nobody but the last one to come waits, little lies there, and the pen is lent.
    fn is_for_waiter(&self) -> bool {
        let Lend::ToWaiters(until) = self.lend else { return false };
        self.waiters == 1
            && self.sheet.is_some()
            && self.waiting.len() <= limits::AUDIT_LENT_RECORDS
            && Instant::now() < until
    }

    /// Whether there is nothing yet for the writer's thread to do.
    fn is_quiet(&self, rest: Rest) -> bool {
        match self.door {
            Door::Failed => false,
            _ if self.sheet.is_none() => true,
            Door::Closing => false,
            Door::Open => self.waiters == 0 && (self.waiting.is_empty() || rest == Rest::Nap),
        }
    }
}

impl<P> Queue<P> {
    pub(super) fn new() -> Self {
        let state = State {
            sheet: None,
            lend: Lend::ToThread,
            waiting: Vec::new(),
            waiters: 0,
            writing: 0,
            since: Instant::now(),
            door: Door::Open,
            mood: Mood::Awake,
        };
        Self { state: Mutex::new(state), wake: Condvar::new() }
    }

    /// Puts the pen there, for the first time.
    pub(super) fn equip(&self, pen: P) {
        self.lock().sheet = Some(Sheet { pen, batch: Vec::new() });
    }

    /// Takes the entry if there are fewer than `bound` unwritten ones.
    pub(super) fn push(&self, entry: Entry, bound: usize, by: By) -> Result<Turn<P>, AuditError> {
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
        if by == By::Caller
            && waited_for
            && state.is_for_waiter()
            && let Some(sheet) = state.take()
        {
            return Ok(Turn::Yours(sheet));
        }
        let wake = match state.mood {
            // Whoever writes looks at the queue again.
            _ if state.sheet.is_none() => false,
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

    /// The pen with everything that waits, for the writer's thread, which sleeps until there is
    /// something worth a write. None at the end.
    pub(super) fn next_batch(&self, company: Company) -> Option<Sheet<P>> {
        if company == Company::Near {
            self.look_out();
        }
        let mut state = self.sleep(self.lock());
        if let Company::Awaited(n) = company
            && state.waiters < n
            && state.door == Door::Open
        {
            state.mood = Mood::Gathering(n);
            let gathering = |s: &mut State<P>| s.waiters < n && s.door == Door::Open;
            let window = limits::AUDIT_GROUP_WINDOW;
            let waited = self.wake.wait_timeout_while(state, window, gathering);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.mood = Mood::Awake;
        if state.waiting.is_empty() && state.door != Door::Open {
            return None;
        }
        state.take()
    }

    /// Lets others run, who may come with something: as long as it is awake nobody has to wake it.
    fn look_out(&self) {
        for _ in 0..LOOKS {
            if !self.lock().is_quiet(Rest::Nap) {
                return;
            }
            thread::yield_now();
        }
    }

    fn sleep<'a>(&self, mut state: MutexGuard<'a, State<P>>) -> MutexGuard<'a, State<P>> {
        let mut rest = Rest::Nap;
        while state.is_quiet(rest) {
            if rest == Rest::Sleep {
                state.mood = Mood::Asleep;
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.mood = Mood::Napping;
            let nap = self.wake.wait_timeout(state, limits::AUDIT_NAP);
            let (guard, timeout) = nap.unwrap_or_else(PoisonError::into_inner);
            rest = if timeout.timed_out() { Rest::Sleep } else { Rest::Nap };
            state = guard;
        }
        state
    }

    /// What was taken is written: the pen is for whoever comes next.
    pub(super) fn give_back(&self, sheet: Sheet<P>, lend: Lend) {
        let mut state = self.lock();
        state.writing = 0;
        if state.door == Door::Failed {
            drop(state);
            // Nobody comes any more.
            return drop(sheet);
        }
        (state.sheet, state.lend) = (Some(sheet), lend);
        let is_ending = state.door != Door::Open;
        let wake = match state.mood {
            Mood::Awake | Mood::Gathering(_) => false,
            Mood::Napping => state.waiters > 0 || is_ending,
            Mood::Asleep => !state.waiting.is_empty() || is_ending,
        };
        if wake {
            state.mood = Mood::Awake;
        }
        drop(state);
        if wake {
            self.wake.notify_one();
        }
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
        let unwritten = (mem::take(&mut state.waiting), state.sheet.take());
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

    fn lock(&self) -> MutexGuard<'_, State<P>> {
        // A panic elsewhere leaves plain data behind, which is still right.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl<P> Queue<P> {
    /// What waits where nobody writes; it counts as being written.
    pub(super) fn take_waiting(&self) -> Vec<Entry> {
        let mut state = self.lock();
        state.waiters = 0;
        state.writing = state.waiting.len();
        mem::take(&mut state.waiting)
    }

    /// Lends the pen for long; false while somebody has it.
    pub(super) fn lend(&self) -> bool {
        let mut state = self.lock();
        state.lend = Lend::ToWaiters(Instant::now() + Duration::from_secs(3600));
        state.sheet.is_some()
    }
}
