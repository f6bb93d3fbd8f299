//! The wall clock, for stamps that people and other programs read.
//!
//! Durations are measured with `Instant`, never with this clock, which may jump. A time before
//! 1970 reads as 0: a stamp is never a reason to fail.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds since 1970, UTC.
pub fn unix_micros() -> u64 {
    u64::try_from(since_1970().as_micros()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970, UTC.
pub fn unix_millis() -> u64 {
    u64::try_from(since_1970().as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{unix_micros, unix_millis};

    #[test]
    fn both_readings_are_of_the_same_clock() {
        let before = unix_millis();
        let between = unix_micros() / 1000;
        let after = unix_millis();
        assert!(before <= between && between <= after);
        assert!(before > 1_700_000_000_000, "the clock of this machine is set");
    }
}
