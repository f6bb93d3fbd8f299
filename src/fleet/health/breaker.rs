//! The breaker of one replica: whether it is sent calls.
//!
//! Owns what the calls over one connection have shown. Too many failures eject the replica for
//! `EJECTION` times how often that has happened; then one call probes it, and decides. A new
//! connection has a clean record. Every call that was let in hands its pass back, and a pass from
//! before the last turn of events says nothing any more.

use std::time::Duration;

use tokio::time::Instant;

use super::window::Window;
use crate::domain::{
    CallError,
    limits::{BREAKER_IN_A_ROW, EJECTION, EJECTION_FORGOTTEN_AFTER, EJECTION_MAX, PROBE_MAX},
};

/// What one call has shown about the replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fleet) enum Sign {
    /// It answers, whatever it answers and however slowly.
    Good,
    Bad,
    /// Nothing: it was not the replica that ended the call.
    Nothing,
}

/// How a replica stands at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fleet) enum Standing {
    Closed,
    Open {
        until: Instant,
    },
    /// Its time is over: the next call probes it.
    HalfOpen,
    /// A probe is under way.
    Probed,
}

/// Why a call comes to this replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fleet) enum Entry {
    Chosen,
    /// It is the one that `last_resort` keeps in.
    LastResort,
}

/// What has become of a replica by what a call has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fleet) enum Turn {
    Nothing,
    Ejected(Duration),
    /// The same, because it did not use its second chance.
    Condemned(Duration),
    Readmitted,
}

/// The breaker of one replica.
#[derive(Debug)]
pub(in crate::fleet) struct Breaker {
    /// Of the connection that the record is about.
    generation: u64,
    /// Counts the turns of events: opened, closed, connected anew.
    round: u64,
    ejections: u32,
    state: State,
}

/// To be handed back with what the call has shown.
#[derive(Debug)]
#[must_use = "a pass is handed back, or a probe seems to be under way"]
pub(in crate::fleet) struct Pass {
    round: u64,
    role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Call,
    Probe,
}

#[derive(Debug)]
enum State {
    Closed {
        since: Instant,
        bad_in_a_row: u32,
        window: Window,
    },
    Open {
        /// Probes that failed do not begin it anew.
        since: Instant,
        until: Instant,
        /// When the probe was let in that has not come back.
        probe: Option<Instant>,
    },
}

impl Sign {
    pub(in crate::fleet) fn of<T>(answer: &Result<T, CallError>) -> Self {
        match answer {
            // It got as far as to ask something; that nobody may answer is not its fault.
            Ok(_) | Err(CallError::Withheld { .. }) => Self::Good,
            Err(CallError::Unavailable { .. } | CallError::Deadline { .. }) => Self::Bad,
            // What one tool gets wrong each time shall not take the others away.
            Err(
                CallError::Protocol { .. }
                | CallError::Stopped { .. }
                | CallError::Busy
                | CallError::Crowded
                | CallError::Queued
                | CallError::Unauthorised
                | CallError::Cancelled { .. },
            ) => Self::Nothing,
        }
    }
}

impl Standing {
    /// `closed` is well; `open` has no calls for a while; `half-open` is being tried.
    pub(in crate::fleet) fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open { .. } => "open",
            Self::HalfOpen | Self::Probed => "half-open",
        }
    }

    /// Whether a call may come here without being the last resort.
    pub(in crate::fleet) fn is_usable(self) -> bool {
        match self {
            Self::Closed | Self::HalfOpen => true,
            Self::Open { .. } | Self::Probed => false,
        }
    }
}

/// The replica that is used although its breaker is not closed, because no other's is: the one
/// that is the closest to a second chance. `None` while there is a closed one, or none at all.
pub(in crate::fleet) fn last_resort(standings: impl Iterator<Item = Standing>) -> Option<usize> {
    let mut best: Option<(usize, Option<Instant>)> = None;
    for (index, standing) in standings.enumerate() {
        let until = match standing {
            Standing::Closed => return None,
            Standing::HalfOpen | Standing::Probed => None,
            Standing::Open { until } => Some(until),
        };
        if best.is_none_or(|(_, soonest)| until < soonest) {
            best = Some((index, until));
        }
    }
    best.map(|(index, _)| index)
}

impl Breaker {
    pub(in crate::fleet) fn new(generation: u64, now: Instant) -> Self {
        Self { generation, round: 0, ejections: 0, state: State::closed(now) }
    }

    /// How the replica stands with that connection.
    pub(in crate::fleet) fn standing(&self, generation: u64, now: Instant) -> Standing {
        match self.state {
            State::Closed { .. } => Standing::Closed,
            State::Open { .. } if generation > self.generation => Standing::Closed,
            State::Open { until, .. } if now < until => Standing::Open { until },
            State::Open { probe: Some(since), .. } if now < since + PROBE_MAX => Standing::Probed,
            State::Open { .. } => Standing::HalfOpen,
        }
    }

    /// Lets a call in over that connection, if calls are let in.
    pub(in crate::fleet) fn enter(
        &mut self,
        generation: u64,
        entry: Entry,
        now: Instant,
    ) -> Option<Pass> {
        if generation > self.generation {
            self.generation = generation;
            self.ejections = 0;
            self.turn(State::closed(now));
        }
        if generation < self.generation {
            // That connection has been replaced: the call may try, and shows nothing.
            return Some(Pass { round: self.round.wrapping_sub(1), role: Role::Call });
        }
        let role = match (self.standing(generation, now), entry) {
            (Standing::HalfOpen, Entry::Chosen | Entry::LastResort) => Role::Probe,
            (Standing::Closed, _) | (_, Entry::LastResort) => Role::Call,
            (Standing::Open { .. } | Standing::Probed, Entry::Chosen) => return None,
        };
        if let (Role::Probe, State::Open { probe, .. }) = (role, &mut self.state) {
            *probe = Some(now);
        }
        Some(Pass { round: self.round, role })
    }

    /// Takes a pass back, and into account what the call has shown.
    pub(in crate::fleet) fn leave(&mut self, pass: Pass, sign: Sign, now: Instant) -> Turn {
        if pass.round != self.round {
            return Turn::Nothing;
        }
        match (&mut self.state, sign, pass.role) {
            (State::Closed { .. }, Sign::Nothing, _) => {}
            (State::Closed { since, bad_in_a_row, window }, Sign::Good, _) => {
                *bad_in_a_row = 0;
                window.count(sign, now);
                if now.saturating_duration_since(*since) >= EJECTION_FORGOTTEN_AFTER {
                    self.ejections = 0;
                }
            }
            (State::Closed { bad_in_a_row, window, .. }, Sign::Bad, _) => {
                *bad_in_a_row = bad_in_a_row.saturating_add(1);
                window.count(sign, now);
                if *bad_in_a_row >= BREAKER_IN_A_ROW || window.is_failing(now) {
                    return Turn::Ejected(self.eject(now));
                }
            }
            (State::Open { .. }, Sign::Good, _) => {
                self.turn(State::closed(now));
                return Turn::Readmitted;
            }
            (State::Open { .. }, Sign::Bad, Role::Probe) => {
                return Turn::Condemned(self.eject(now));
            }
            (State::Open { probe, .. }, Sign::Nothing, Role::Probe) => *probe = None,
            (State::Open { .. }, Sign::Bad | Sign::Nothing, Role::Call) => {}
        }
        Turn::Nothing
    }

    /// When the replica was ejected, if it was and no call has shown since that it is well.
    pub(in crate::fleet) fn ejected_since(&self) -> Option<Instant> {
        match self.state {
            State::Closed { .. } => None,
            State::Open { since, .. } => Some(since),
        }
    }

    /// For how long.
    fn eject(&mut self, now: Instant) -> Duration {
        self.ejections = self.ejections.saturating_add(1);
        let pause = EJECTION.saturating_mul(self.ejections).min(EJECTION_MAX);
        let since = self.ejected_since().unwrap_or(now);
        self.turn(State::Open { since, until: now + pause, probe: None });
        pause
    }

    fn turn(&mut self, state: State) {
        self.round = self.round.wrapping_add(1);
        self.state = state;
    }
}

impl State {
    fn closed(now: Instant) -> Self {
        Self::Closed { since: now, bad_in_a_row: 0, window: Window::new(now) }
    }
}
