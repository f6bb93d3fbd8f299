//! How long to wait before a server is started again: pure arithmetic.
//!
//! Doubles from the minimum to the maximum, with full jitter so that many servers which fell
//! together do not rise together, and forgets old failures after a healthy life. Chance comes in
//! by argument.

use std::time::Duration;

use crate::domain::limits::{RESTART_BACKOFF_MAX, RESTART_BACKOFF_MIN, RESTART_HEALTHY_AFTER};

/// The failures in a row of one replica.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after it was well for so long; `chance` is uniform over `u32`.
    pub(super) fn after(&mut self, well_for: Duration, chance: u32) -> Duration {
        if well_for >= RESTART_HEALTHY_AFTER {
            self.failures = 0;
        }
        let doublings = self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        let ceiling =
            RESTART_BACKOFF_MIN.saturating_mul(1_u32 << doublings).min(RESTART_BACKOFF_MAX);
        let jitter = ceiling.saturating_sub(RESTART_BACKOFF_MIN);
        RESTART_BACKOFF_MIN + jitter.mul_f64(f64::from(chance) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Backoff;
    use crate::domain::limits::{RESTART_BACKOFF_MAX, RESTART_BACKOFF_MIN};

    #[test]
    fn grows_to_the_maximum_and_is_forgotten_after_a_healthy_life() {
        let mut backoff = Backoff::default();
        let mut last = Duration::ZERO;
        for _ in 0..12 {
            let pause = backoff.after(Duration::ZERO, u32::MAX);
            assert!(pause >= last);
            last = pause;
        }
        assert_eq!(last, RESTART_BACKOFF_MAX);
        let pause = backoff.after(Duration::from_secs(3600), u32::MAX);
        assert_eq!(pause, RESTART_BACKOFF_MIN);
    }

    #[test]
    fn never_restarts_at_once() {
        let mut backoff = Backoff::default();
        for _ in 0..100 {
            assert!(backoff.after(Duration::ZERO, 0) >= RESTART_BACKOFF_MIN);
        }
    }
}
