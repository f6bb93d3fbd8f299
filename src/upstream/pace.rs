//! What a server may cost us that says what nobody asked for, in the log and in time.
//!
//! A hostile server can make us notice a million oddities a second. Each is counted; only a few
//! a second are logged, and the next line that is logged says how many were not. And whoever says
//! too much is read more slowly: then it is the server that waits, not we that work.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::domain::limits::{UNASKED_BYTES_MAX, UNASKED_BYTES_PER_SECOND, UNASKED_LINE_BYTES};

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

/// How much of what nobody asked for is read of one pipe, or of all streams of one session.
#[derive(Debug)]
pub(super) struct Allowance {
    /// When all that was read so far is paid for.
    paid: Instant,
}

/// What has come on one stream of events and is not paid for yet.
#[derive(Debug, Default)]
pub(super) struct Tab {
    n_bytes: usize,
    n_events: usize,
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
    heard: AtomicU64,
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

impl Allowance {
    pub(super) fn new() -> Self {
        Self { paid: Instant::now() }
    }

    /// Takes note of so much more; if that was too much, nothing is to be read until then.
    pub(super) fn spend(
        &mut self,
        n_bytes: usize,
        n_lines: usize,
        now: Instant,
    ) -> Option<Instant> {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let spent = count(n_lines).saturating_mul(UNASKED_LINE_BYTES);
        self.paid = self.paid.max(now) + price(spent.saturating_add(count(n_bytes)));
        let until = self.paid.checked_sub(price(UNASKED_BYTES_MAX))?;
        (until > now).then_some(until)
    }
}

impl Tab {
    pub(super) fn came(&mut self, n_bytes: usize) {
        self.n_bytes += n_bytes;
    }

    /// An event is whole, of which so many bytes are what somebody waits for.
    pub(super) fn event(&mut self, n_asked: usize) {
        self.n_bytes = self.n_bytes.saturating_sub(n_asked);
        self.n_events += usize::from(n_asked == 0);
    }

    /// Pays for everything but what is not whole yet, of which nobody knows what it will be; waits
    /// while the session has said too much.
    pub(super) async fn pay(&mut self, n_waiting: usize, allowance: &Mutex<Allowance>) {
        let n_bytes = self.n_bytes.saturating_sub(n_waiting);
        self.n_bytes -= n_bytes;
        let n_events = std::mem::take(&mut self.n_events);
        if n_bytes == 0 && n_events == 0 {
            return;
        }
        let spent = {
            let mut allowance = allowance.lock().unwrap_or_else(PoisonError::into_inner);
            allowance.spend(n_bytes, n_events, Instant::now())
        };
        if let Some(until) = spent {
            sleep_until(until).await;
        }
    }
}

/// The time in which so many bytes may be said.
fn price(n_bytes: u64) -> Duration {
    const NANOS_PER_BYTE: u64 = 1_000_000_000 / UNASKED_BYTES_PER_SECOND;
    Duration::from_nanos(n_bytes.saturating_mul(NANOS_PER_BYTE))
}

impl Counts {
    /// The server has said something, whatever it is.
    pub(super) fn hear(&self) {
        self.heard.fetch_add(1, Relaxed);
    }

    pub(super) fn heard(&self) -> u64 {
        self.heard.load(Relaxed)
    }

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

    use tokio::time::{Instant, advance};

    use super::{Allowance, Pace, Turn};
    use crate::domain::limits::{UNASKED_BYTES_MAX, UNASKED_BYTES_PER_SECOND, UNASKED_LINE_BYTES};

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
    /// How long it takes to read so many lines of a server that says them without a pause.
    async fn time_of_a_flood(length: usize, n_lines: u64) -> Duration {
        let (mut allowance, begun) = (Allowance::new(), Instant::now());
        for _ in 0..n_lines {
            if let Some(until) = allowance.spend(length, 1, Instant::now()) {
                advance(until - Instant::now()).await;
            }
        }
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_read_as_fast_as_is_allowed_in_the_long_run() {
        for length in [10, 1000, 1 << 16] {
            let minute = UNASKED_BYTES_MAX + 60 * UNASKED_BYTES_PER_SECOND;
            let n_lines = minute / (length as u64 + UNASKED_LINE_BYTES);
            let took = time_of_a_flood(length, n_lines).await.as_secs_f64();
            assert!((59.0..61.0).contains(&took), "{length}: {took} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_little_never_waits_and_who_was_silent_may_say_more() {
        let mut allowance = Allowance::new();
        let most = usize::try_from(UNASKED_BYTES_MAX).unwrap();
        for _ in 0..3 {
            assert_eq!(allowance.spend(most, 0, Instant::now()), None);
            let one_more = allowance.spend(1, 0, Instant::now());
            assert!(one_more.is_some_and(|until| until > Instant::now()));
            advance(Duration::from_secs(5)).await;
        }
    }
}
