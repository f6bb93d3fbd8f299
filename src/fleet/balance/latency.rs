//! How long a replica takes to answer: an average that believes bad news at once.
//!
//! A slower answer than expected becomes the estimate; faster ones pull it down over
//! `LATENCY_DECAY`, and so does silence: a replica that was slow once and has been avoided since
//! is tried again. One atomic word; time comes in by argument.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

use crate::domain::limits::LATENCY_DECAY;

/// Two callers of one replica never read clocks that are further apart.
const CLOCKS_APART_MS: u32 = 60_000;

/// The estimate for one replica.
#[derive(Debug)]
pub(in crate::fleet) struct Latency {
    born: Instant,
    /// Seconds as the bits of an `f32` above, the millisecond of the last change below.
    word: AtomicU64,
}

#[derive(Clone, Copy)]
struct Estimate {
    seconds: f32,
    /// Milliseconds since birth; they wrap after seven weeks.
    at: u32,
}

impl Latency {
    pub(in crate::fleet) fn new(now: Instant) -> Self {
        Self { born: now, word: AtomicU64::new(0) }
    }

    /// A call was answered, or given up, after so long.
    pub(in crate::fleet) fn observe(&self, took: Duration, now: Instant) {
        let (seen, at) = (took.as_secs_f32(), self.millisecond(now));
        let after = |word| Some(Estimate::unpack(word).towards(seen, at).pack());
        // The function always has an answer, so this cannot fail.
        self.word.fetch_update(Relaxed, Relaxed, after).ok();
    }

    /// The estimate in microseconds; zero for one that nothing is known of.
    pub(in crate::fleet) fn micros(&self, now: Instant) -> u64 {
        let at = self.millisecond(now);
        let estimate = Estimate::unpack(self.word.load(Relaxed)).towards(0.0, at);
        let duration = Duration::try_from_secs_f32(estimate.seconds).unwrap_or(Duration::MAX);
        u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
    }

    fn millisecond(&self, now: Instant) -> u32 {
        let lived = now.saturating_duration_since(self.born).as_millis();
        u32::try_from(lived & u128::from(u32::MAX)).unwrap_or_default()
    }
}

impl Estimate {
    fn towards(self, seen: f32, at: u32) -> Self {
        // Others may have been here with a later clock, if not much later.
        let at = if self.at.wrapping_sub(at) < CLOCKS_APART_MS { self.at } else { at };
        let passed = at.wrapping_sub(self.at);
        if seen >= self.seconds {
            return Self { seconds: seen, at };
        }
        let passed = Duration::from_millis(u64::from(passed)).as_secs_f32();
        let kept = (-passed / LATENCY_DECAY.as_secs_f32()).exp();
        Self { seconds: seen + (self.seconds - seen) * kept, at }
    }

    fn pack(self) -> u64 {
        u64::from(self.seconds.to_bits()) << 32 | u64::from(self.at)
    }

    fn unpack(word: u64) -> Self {
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or_default();
        Self { seconds: f32::from_bits(half(word >> 32)), at: half(word) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use tokio::time::Instant;

    use super::Latency;
    use crate::domain::limits::LATENCY_DECAY;

    const MS: Duration = Duration::from_millis(1);

    fn known(took: Duration) -> (Latency, Instant) {
        let now = Instant::now();
        let latency = Latency::new(now);
        assert_eq!(latency.micros(now), 0, "nothing is known yet");
        latency.observe(took, now);
        (latency, now)
    }

    #[track_caller]
    fn near(got: u64, want: u64) {
        assert!(got.abs_diff(want) <= want / 1000 + 1, "{got} µs, not about {want}");
    }

    #[test]
    fn a_peak_is_believed_at_once_and_better_news_only_over_time() {
        let (latency, now) = known(10 * MS);
        near(latency.micros(now), 10_000);
        latency.observe(200 * MS, now);
        near(latency.micros(now), 200_000);
        latency.observe(10 * MS, now);
        near(latency.micros(now), 200_000);
        // After one decay time 1/e of the difference is left.
        let later = now + LATENCY_DECAY;
        latency.observe(10 * MS, later);
        near(latency.micros(later), 10_000 + 69_897);
    }

    #[test]
    fn many_answers_in_every_millisecond_still_pull_the_estimate_down() {
        let (latency, mut now) = known(100 * MS);
        for n in 0..(LATENCY_DECAY.as_millis() * 4) {
            now += Duration::from_micros(250);
            latency.observe(if n % 2 == 0 { MS } else { 2 * MS }, now);
        }
        let rest = latency.micros(now);
        assert!((30_000..45_000).contains(&rest), "{rest} µs");
    }

    #[test]
    fn a_replica_that_is_left_alone_is_forgiven() {
        let (latency, now) = known(Duration::from_secs(3600));
        assert!(latency.micros(now + LATENCY_DECAY) < 3_600_000_000 / 2);
        assert_eq!(latency.micros(now + 40 * LATENCY_DECAY), 0);
    }

    #[test]
    fn clocks_that_disagree_or_wrap_do_no_harm() {
        let (latency, now) = known(10 * MS);
        let later = now + Duration::from_secs(30);
        latency.observe(50 * MS, later);
        near(latency.micros(now), 50_000);
        latency.observe(MS, now);
        near(latency.micros(later), 50_000);
        let wrapped = later + MS * u32::MAX - Duration::from_secs(3600);
        latency.observe(70 * MS, wrapped);
        near(latency.micros(wrapped), 70_000);
        assert!(latency.micros(wrapped + LATENCY_DECAY) < 30_000);
    }

    proptest! {
        #[test]
        fn the_estimate_stays_between_nothing_and_the_worst_that_was_seen(
            steps in prop::collection::vec((0..5_000_000_u64, 0..20_000_u64), 1..50),
        ) {
            let mut now = Instant::now();
            let latency = Latency::new(now);
            let mut worst = 0;
            for (took_us, pause_ms) in steps {
                now += Duration::from_millis(pause_ms);
                latency.observe(Duration::from_micros(took_us), now);
                worst = worst.max(took_us);
                let estimate = latency.micros(now);
                prop_assert!(estimate <= worst + 1 + worst / 1_000_000);
                prop_assert!(estimate + 1 + took_us / 1_000_000 >= took_us, "better than it was");
            }
        }
    }
}
