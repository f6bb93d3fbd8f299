//! What follows the end of a replica's life: pure, with time and chance passed in.
//!
//! A pause that doubles, or the long one of a crash loop: a child that has failed
//! `CRASH_LOOP_LIVES` times within `CRASH_LOOP_WINDOW` is in one until a life was healthy for long
//! enough. Nothing is ever given up. An address is in no crash loop: nothing of ours crashes there,
//! and it shall be found again soon after it is back. Knows neither processes nor sessions.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use crate::{
    config::Target,
    domain::limits::{
        CRASH_LOOP_LIVES, CRASH_LOOP_PAUSE, CRASH_LOOP_WINDOW, RESTART_HEALTHY_AFTER,
    },
    fleet::backoff::Backoff,
};

/// The failed lives of one replica.
#[derive(Debug)]
pub(super) struct Restarts {
    crashes: Crashes,
    backoff: Backoff,
    is_looping: bool,
}

/// When the last lives ended.
#[derive(Debug)]
enum Crashes {
    Counted(VecDeque<Instant>),
    /// It is no process of ours.
    NotOurs,
}

/// What comes before the next life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Backoff(Duration),
    CrashLoop,
}

impl Next {
    pub(super) fn pause(self) -> Duration {
        match self {
            Self::Backoff(pause) => pause,
            Self::CrashLoop => CRASH_LOOP_PAUSE,
        }
    }
}

impl Restarts {
    pub(super) fn of(target: &Target) -> Self {
        let crashes = match target {
            Target::Stdio(_) => Crashes::Counted(VecDeque::with_capacity(CRASH_LOOP_LIVES)),
            Target::Http(_) => Crashes::NotOurs,
        };
        Self { crashes, backoff: Backoff::default(), is_looping: false }
    }

    /// A life has ended after it was ready for so long; `chance` is uniform over `u32`.
    pub(super) fn after(&mut self, ready_for: Duration, now: Instant, chance: u32) -> Next {
        let pause = self.backoff.after(ready_for, chance);
        let was_healthy = ready_for >= RESTART_HEALTHY_AFTER;
        self.is_looping = (self.is_looping && !was_healthy) || self.crashes.are_many(now);
        if self.is_looping { Next::CrashLoop } else { Next::Backoff(pause) }
    }
}

impl Crashes {
    /// With the one of this moment.
    fn are_many(&mut self, now: Instant) -> bool {
        let Self::Counted(ends) = self else { return false };
        if ends.len() >= CRASH_LOOP_LIVES {
            ends.pop_front();
        }
        ends.push_back(now);
        let first = ends.front().filter(|_| ends.len() >= CRASH_LOOP_LIVES);
        first.is_some_and(|first| now.saturating_duration_since(*first) <= CRASH_LOOP_WINDOW)
    }
}
