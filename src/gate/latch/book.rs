//! The book of stops: what is stopped, by whom and why, and how far it is on its way back.
//!
//! RUN → (press) STOPPED → (reset) READY → (resume) RUN, for each scope by itself. Pure. Promises
//! that nothing but a resume takes a stop out of the book, and that a press is never lost: one that
//! finds a stop leaves it, or makes it harder; one that finds a READY is a stop of its own.

use super::scope::{Category, Scope};
use crate::sys;

/// Who stops what, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub who: String,
    pub why: String,
    pub scope: Scope,
    pub category: Category,
}

/// One engagement of the stop.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stop {
    /// What `reset` and `resume` must name.
    pub id: String,
    pub scope: Scope,
    pub category: Category,
    pub phase: Phase,
    pub who: String,
    pub why: String,
    pub at_us: u64,
}

/// How far it is on its way back. Nothing is sent in either phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Stopped,
    /// It was reset: it may be resumed.
    Ready,
}

/// Everything that is stopped; at most one stop for each scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Book {
    pub stops: Vec<Stop>,
}

/// What a press found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Engaged {
    /// It is this one that stopped it.
    Now(Stop),
    /// Stopped before, and by another: that one keeps its id and cause.
    Already(Stop),
}

/// Why a stop is not lifted.
#[derive(Debug, thiserror::Error)]
pub enum LiftError {
    #[error("nothing is stopped; there is nothing to lift")]
    NotEngaged,
    #[error("no stop has the id `{given}`; see `portcullis estop status`")]
    OtherId { given: String },
    #[error("a reset needs a reason")]
    NoReason,
    #[error("stop `{id}` was not reset; reset it before it is resumed")]
    NotReset { id: String },
    #[error("stop `{id}` was reset already; resume it")]
    IsReset { id: String },
    #[error("what asks for the stop stands: {what}")]
    CauseStands { what: String },
    #[error("a stop was engaged meanwhile; nothing was lifted")]
    EngagedAgain,
    #[error("the state cannot be written, so the stop stays")]
    Disk { source: std::io::Error },
}

impl Cause {
    /// Of everything, at once.
    pub fn new(who: impl Into<String>, why: impl Into<String>) -> Self {
        let (scope, category) = (Scope::Global, Category::default());
        Self { who: who.into(), why: why.into(), scope, category }
    }

    #[must_use]
    pub fn of(self, scope: Scope) -> Self {
        Self { scope, ..self }
    }

    #[must_use]
    pub fn by(self, category: Category) -> Self {
        Self { category, ..self }
    }
}

impl Engaged {
    pub fn stop(&self) -> &Stop {
        match self {
            Self::Now(stop) | Self::Already(stop) => stop,
        }
    }
}

impl Stop {
    pub(super) fn new(id: String, cause: Cause) -> Self {
        let Cause { who, why, scope, category } = cause;
        Self { id, scope, category, phase: Phase::Stopped, who, why, at_us: sys::unix_micros() }
    }
}

impl Book {
    pub fn is_clear(&self) -> bool {
        self.stops.is_empty()
    }

    /// The stop of everything.
    pub fn global(&self) -> Option<&Stop> {
        self.stops.iter().find(|stop| stop.scope == Scope::Global)
    }

    /// Enters a stop, unless its scope is stopped already.
    pub(super) fn press(&mut self, stop: Stop) -> Engaged {
        match self.stops.iter_mut().find(|earlier| earlier.scope == stop.scope) {
            Some(earlier) if earlier.phase == Phase::Stopped => {
                earlier.category = earlier.category.max(stop.category);
                Engaged::Already(earlier.clone())
            }
            Some(earlier) => {
                *earlier = stop.clone();
                Engaged::Now(stop)
            }
            None => {
                self.stops.push(stop.clone());
                Engaged::Now(stop)
            }
        }
    }

    /// Enters a stop that was pressed before our time, unless it was entered then.
    pub(super) fn take_up(&mut self, stop: Stop) {
        // By its time as well: what cannot be read has always the same id, and is new each time.
        let is_it = |other: &Stop| (&other.id, other.at_us) == (&stop.id, stop.at_us);
        if !self.stops.iter().any(is_it) {
            self.press(stop);
        }
    }

    /// STOPPED → READY.
    pub(super) fn reset(&mut self, id: &str) -> Result<Stop, LiftError> {
        let stop = self.find(id)?;
        match stop.phase {
            Phase::Stopped => stop.phase = Phase::Ready,
            Phase::Ready => return Err(LiftError::IsReset { id: id.to_owned() }),
        }
        Ok(stop.clone())
    }

    /// READY → RUN.
    pub(super) fn resume(&mut self, id: &str) -> Result<Stop, LiftError> {
        let stop = self.find(id)?.clone();
        if stop.phase == Phase::Stopped {
            return Err(LiftError::NotReset { id: id.to_owned() });
        }
        self.stops.retain(|other| other.id != id);
        Ok(stop)
    }

    fn find(&mut self, id: &str) -> Result<&mut Stop, LiftError> {
        if self.is_clear() {
            return Err(LiftError::NotEngaged);
        }
        let found = self.stops.iter_mut().find(|stop| stop.id == id);
        found.ok_or_else(|| LiftError::OtherId { given: id.to_owned() })
    }
}
