//! Refusals that are too many: a caller who is refused again and again is stopped.
//!
//! Counts in windows of a minute for each principal. Bounded: beyond so many principals all counts
//! begin anew, so that names that are made up keep nobody else from being counted for long.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Cause, Scope};
use crate::domain::{Principal, limits::RUNAWAY_PRINCIPALS_MAX};

const WINDOW: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(in crate::gate) struct Runaway {
    most: usize,
    counts: Mutex<HashMap<Principal, Count>>,
}

#[derive(Debug)]
struct Count {
    since: Instant,
    refused: usize,
}

impl Runaway {
    pub(in crate::gate) fn new(most: usize) -> Self {
        Self { most, counts: Mutex::default() }
    }

    /// One refusal more; the cause of a stop if it is one too many.
    pub(in crate::gate) fn refused(&self, principal: &Principal, now: Instant) -> Option<Cause> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= RUNAWAY_PRINCIPALS_MAX && !counts.contains_key(principal) {
            counts.clear();
        }
        let begun = || Count { since: now, refused: 0 };
        let count = counts.entry(principal.clone()).or_insert_with(begun);
        if now.saturating_duration_since(count.since) >= WINDOW {
            *count = begun();
        }
        count.refused = count.refused.saturating_add(1);
        if count.refused <= self.most {
            return None;
        }
        *count = begun();
        let why = format!("refused more than {} times in a minute", self.most);
        Some(Cause::new("runaway", why).of(Scope::Principal(principal.clone())))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Runaway, Scope, WINDOW};
    use crate::domain::{Principal, limits::RUNAWAY_PRINCIPALS_MAX};

    #[test]
    fn only_who_is_refused_too_often_within_a_minute_is_stopped() {
        let runaway = Runaway::new(2);
        let (ann, bob) = (Principal::new("ann"), Principal::new("bob"));
        let begun = Instant::now();
        let late = begun + WINDOW - Duration::from_millis(1);
        assert!(runaway.refused(&ann, begun).is_none() && runaway.refused(&bob, begun).is_none());
        assert!(runaway.refused(&ann, late).is_none());
        let cause = runaway.refused(&ann, late).expect("three in a minute");
        assert_eq!(cause.scope, Scope::Principal(ann.clone()));
        assert!(runaway.refused(&ann, late).is_none(), "counted anew");
        assert!(runaway.refused(&bob, begun + WINDOW).is_none());
        assert!(runaway.refused(&bob, begun + WINDOW).is_none(), "the first minute is over");
    }

    #[test]
    fn names_that_are_made_up_take_no_memory_without_end() {
        let runaway = Runaway::new(1);
        for n in 0..3 * RUNAWAY_PRINCIPALS_MAX {
            runaway.refused(&Principal::new(&n.to_string()), Instant::now());
        }
        assert!(runaway.counts.lock().unwrap().len() <= RUNAWAY_PRINCIPALS_MAX);
    }
}
