//! How often something odd may be said in the log, and the counts that never skip one.
//!
//! A hostile server can make us notice a million oddities a second. Each is counted; only a few
//! a second are logged, and the next line that is logged says how many were not.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

/// At most `per_second` lines in a second.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: u32,
    window: Instant,
    n_said: u32,
    n_suppressed: u64,
}

/// Whether a line may be logged, and how many were not since the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Say { n_suppressed: u64 },
    Suppress,
}

/// What one server did that it should not have done. Read by the status and by tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Oddities {
    /// Lines or events that are no JSON-RPC message.
    pub n_noise: u64,
    /// Answers to nobody: unknown, repeated or late.
    pub n_strays: u64,
    /// Notifications dropped because their reader was slow or gone.
    pub n_notices_dropped: u64,
    /// Requests refused, because a mute session takes none.
    pub n_questions: u64,
    /// Short messages of ours that the server left no room for.
    pub n_unsaid: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    noise: AtomicU64,
    strays: AtomicU64,
    notices_dropped: AtomicU64,
    questions: AtomicU64,
    unsaid: AtomicU64,
}

impl Pace {
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second, window: Instant::now(), n_said: 0, n_suppressed: 0 }
    }

    pub(super) fn turn(&mut self, now: Instant) -> Turn {
        if now.duration_since(self.window) >= Duration::from_secs(1) {
            self.window = now;
            self.n_said = 0;
        }
        if self.n_said >= self.per_second {
            self.n_suppressed += 1;
            return Turn::Suppress;
        }
        self.n_said += 1;
        Turn::Say { n_suppressed: std::mem::take(&mut self.n_suppressed) }
    }
}

impl Counts {
    pub(super) fn noise(&self) {
        self.noise.fetch_add(1, Relaxed);
    }

    pub(super) fn stray(&self) {
        self.strays.fetch_add(1, Relaxed);
    }

    pub(super) fn notice_dropped(&self) {
        self.notices_dropped.fetch_add(1, Relaxed);
    }

    pub(super) fn question(&self) {
        self.questions.fetch_add(1, Relaxed);
    }

    pub(super) fn unsaid(&self) {
        self.unsaid.fetch_add(1, Relaxed);
    }

    pub(super) fn read(&self) -> Oddities {
        Oddities {
            n_noise: self.noise.load(Relaxed),
            n_strays: self.strays.load(Relaxed),
            n_notices_dropped: self.notices_dropped.load(Relaxed),
            n_questions: self.questions.load(Relaxed),
            n_unsaid: self.unsaid.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Pace, Turn};

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_logged_a_few_times_a_second_and_the_rest_is_counted() {
        let mut pace = Pace::new(2);
        let now = tokio::time::Instant::now();
        let said: Vec<_> = (0..5).map(|_| pace.turn(now)).collect();
        assert_eq!(said[..2], [Turn::Say { n_suppressed: 0 }; 2]);
        assert_eq!(said[2..], [Turn::Suppress; 3]);
        let later = now + Duration::from_secs(1);
        assert_eq!(pace.turn(later), Turn::Say { n_suppressed: 3 });
    }
}
