//! What came of the calls of the last `BREAKER_WINDOW`, counted in slots of a tenth of it.
//!
//! Promises constant memory however many calls there are. What is forgotten is forgotten a slot at
//! a time, so the window is at most a tenth shorter than its name. Knows nothing of ejections.

use tokio::time::Instant;

use super::breaker::Sign;
use crate::domain::limits::{BREAKER_FAILED_PERCENT, BREAKER_WINDOW, BREAKER_WINDOW_CALLS_MIN};

const SLOTS: usize = 10;
const SLOT_MS: u128 = BREAKER_WINDOW.as_millis() / 10;

/// The counts; a slot is used again once its time is over.
#[derive(Debug)]
pub(super) struct Window {
    born: Instant,
    slots: [Slot; SLOTS],
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// How many slots after birth.
    number: usize,
    calls: u32,
    failed: u32,
}

impl Window {
    pub(super) fn new(now: Instant) -> Self {
        Self { born: now, slots: Default::default() }
    }

    /// Counts a call that has shown something.
    pub(super) fn count(&mut self, sign: Sign, now: Instant) {
        let number = self.number(now);
        let Some(slot) = self.slots.get_mut(number % SLOTS) else { return };
        if slot.number != number {
            *slot = Slot { number, ..Slot::default() };
        }
        slot.calls = slot.calls.saturating_add(1);
        slot.failed = slot.failed.saturating_add(u32::from(sign == Sign::Bad));
    }

    /// Whether enough calls were made to judge, and too many of them failed.
    pub(super) fn is_failing(&self, now: Instant) -> bool {
        let now = self.number(now);
        let is_recent = |slot: &&Slot| slot.number.saturating_add(SLOTS) > now;
        let sum = |count: fn(&Slot) -> u32| -> u64 {
            self.slots.iter().filter(is_recent).map(|slot| u64::from(count(slot))).sum()
        };
        let (calls, failed) = (sum(|slot| slot.calls), sum(|slot| slot.failed));
        calls >= u64::from(BREAKER_WINDOW_CALLS_MIN)
            && failed.saturating_mul(100) >= calls.saturating_mul(BREAKER_FAILED_PERCENT.into())
    }

    fn number(&self, now: Instant) -> usize {
        let lived = now.saturating_duration_since(self.born).as_millis();
        usize::try_from(lived / SLOT_MS).unwrap_or(usize::MAX)
    }
}
