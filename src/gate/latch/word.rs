//! The word that every permit is compared with, and the table beside it for stops of a part.
//!
//! Promises: after a `close` has returned, no epoch from before it that it concerns holds, in any
//! thread, now or after an `open`. While nothing was stopped since a permit was given, asking costs
//! one atomic load; only a word that differs sends the asker to the table. The table is in place
//! before the word tells of it. Knows neither names nor reasons.

use super::sync::{AtomicU64, Ordering, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// What something concerns, in numbers: a server, a tool of it, a principal; 0 is none. Two names
/// may have one number, so a number may only ever be a reason to refuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    pub(super) server: u64,
    pub(super) tool: u64,
    pub(super) principal: u64,
}

/// A stretch of time between two stops, for what it was asked for. A permit is worth nothing
/// outside its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    word: u64,
    of: Marks,
}

/// It is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

impl Marks {
    /// Whether a stop of `self` concerns `other`; one of nothing in particular concerns all.
    pub(super) fn cover(self, other: Self) -> bool {
        let each = [
            (self.server, other.server),
            (self.tool, other.tool),
            (self.principal, other.principal),
        ];
        each.into_iter().all(|(mine, theirs)| mine == 0 || mine == theirs)
    }

    fn is_everything(self) -> bool {
        self == Self::default()
    }
}

/// The lowest bit says that everything is stopped, the next that some part is; the rest counts the
/// engagements.
pub(super) struct Word {
    word: AtomicU64,
    table: RwLock<Table>,
}

const ALL: u64 = 1;
const SOME: u64 = 2;
const STEP: u64 = 4;

/// How many lifted stops of a part are remembered one by one.
const LIFTED_MAX: usize = 64;

#[derive(Default)]
struct Table {
    rows: Vec<Row>,
    /// Whatever was permitted before this count is past.
    floor: u64,
}

struct Row {
    scope: Marks,
    /// What was permitted before this count is past, if the scope covers it.
    since: u64,
    engaged: bool,
}

impl Word {
    pub(super) fn new() -> Self {
        Self { word: AtomicU64::new(STEP), table: RwLock::new(Table::default()) }
    }

    /// The present epoch, to be carried by a permit for `of`.
    pub(super) fn epoch(&self, of: Marks) -> Result<Epoch, Stopped> {
        let word = self.word.load(Ordering::Acquire);
        if word & (ALL | SOME) == 0 { Ok(Epoch { word, of }) } else { self.epoch_beside(word, of) }
    }

    #[cold]
    fn epoch_beside(&self, word: u64, of: Marks) -> Result<Epoch, Stopped> {
        let stopped = word & ALL != 0 || self.read().stops(of);
        if stopped { Err(Stopped) } else { Ok(Epoch { word, of }) }
    }

    /// Whether that epoch still lasts.
    pub(super) fn holds(&self, epoch: Epoch) -> bool {
        let word = self.word.load(Ordering::Acquire);
        word == epoch.word || self.outlives(word, epoch)
    }

    /// Something was stopped or lifted since: whether it was another's affair.
    #[cold]
    fn outlives(&self, word: u64, epoch: Epoch) -> bool {
        word & ALL == 0 && !self.read().is_past(epoch)
    }

    /// Stops what `scope` covers, at once and without waiting if that is everything.
    pub(super) fn close(&self, scope: Marks) {
        if scope.is_everything() {
            let next = |word: u64| (word & ALL == 0).then(|| word.saturating_add(STEP) | ALL);
            // An error means that it is stopped already.
            self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).unwrap_or_default();
            return;
        }
        let mut table = self.write();
        // A stop of everything may raise the count meanwhile: then nothing is permitted between.
        table.close(scope, count(self.word.load(Ordering::Acquire)).saturating_add(1));
        let next = |word: u64| Some(word.saturating_add(STEP) | SOME);
        self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).unwrap_or_default();
    }

    /// Permits again what `scope` covers. The caller lets nobody close it meanwhile.
    pub(super) fn open(&self, scope: Marks) {
        let mut table = self.write();
        if scope.is_everything() {
            table.floor = table.floor.max(count(self.word.load(Ordering::Acquire)));
            self.word.fetch_and(!ALL, Ordering::AcqRel);
            return;
        }
        if !table.open(scope) {
            self.word.fetch_and(!SOME, Ordering::AcqRel);
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn stops(&self, of: Marks) -> bool {
        self.rows.iter().any(|row| row.engaged && row.scope.cover(of))
    }

    fn is_past(&self, epoch: Epoch) -> bool {
        let of = |row: &Row| count(epoch.word) < row.since && row.scope.cover(epoch.of);
        count(epoch.word) < self.floor || self.rows.iter().any(of)
    }

    fn close(&mut self, scope: Marks, since: u64) {
        self.rows.retain(|row| row.scope != scope);
        self.rows.push(Row { scope, since, engaged: true });
    }

    /// Whether anything is still stopped.
    fn open(&mut self, scope: Marks) -> bool {
        for row in self.rows.iter_mut().filter(|row| row.scope == scope) {
            row.engaged = false;
        }
        let lifted = self.rows.iter().filter(|row| !row.engaged).count();
        if lifted > LIFTED_MAX
            && let Some(oldest) = self.rows.iter().position(|row| !row.engaged)
        {
            // Late permits of others are past as well: rare, and safe.
            self.floor = self.floor.max(self.rows.remove(oldest).since);
        }
        self.rows.iter().any(|row| row.engaged)
    }
}

fn count(word: u64) -> u64 {
    word / STEP
}
