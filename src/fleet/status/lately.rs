//! How long calls took lately, as quantiles.
//!
//! Two windows of buckets, the one that is being filled and the one before it: what is told is
//! one to two windows old at most, and old news is forgotten. A call costs one relaxed addition;
//! a quantile is at most an eighth too large. Who reads while a window begins may miss a few calls.

use std::{
    array,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

use crate::domain::limits::LATELY_WINDOW;

/// Eight buckets for each doubling, up to an hour and a little more.
const BUCKETS: usize = 240;
const LONGEST_US: u64 = (1 << 32) - 1;

/// The calls of one replica.
#[derive(Debug)]
pub(in crate::fleet) struct Lately {
    born: Instant,
    windows: [Window; 2],
}

#[derive(Debug)]
struct Window {
    /// Counts the windows since birth, from one; zero for none yet.
    number: AtomicU64,
    counts: [AtomicU32; BUCKETS],
}

/// The calls of several, counted together.
#[derive(Debug)]
pub(in crate::fleet) struct Spread([u64; BUCKETS]);

/// What is told of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quantiles {
    /// That the quantiles are of.
    pub calls: u64,
    pub p50_us: Option<u64>,
    pub p99_us: Option<u64>,
}

impl Lately {
    pub(in crate::fleet) fn new(now: Instant) -> Self {
        let window =
            || Window { number: AtomicU64::new(0), counts: array::from_fn(|_| AtomicU32::new(0)) };
        Self { born: now, windows: array::from_fn(|_| window()) }
    }

    /// A call was answered, or given up, after so long.
    pub(in crate::fleet) fn observe(&self, took: Duration, now: Instant) {
        let number = self.number(now);
        let [even, odd] = &self.windows;
        let window = if number.is_multiple_of(2) { even } else { odd };
        if window.number.load(Relaxed) < number {
            window.begin(number);
        }
        if let Some(count) = window.counts.get(bucket(took)) {
            count.fetch_add(1, Relaxed);
        }
    }

    fn number(&self, now: Instant) -> u64 {
        let lived = now.saturating_duration_since(self.born).as_secs();
        (lived / LATELY_WINDOW.as_secs().max(1)).saturating_add(1)
    }
}

impl Window {
    fn begin(&self, number: u64) {
        // One of those who come at the same time empties it.
        if self.number.fetch_max(number, Relaxed) < number {
            self.counts.iter().for_each(|count| count.store(0, Relaxed));
        }
    }
}

impl Spread {
    /// All the calls that these have had lately.
    pub(in crate::fleet) fn of<'a>(all: impl Iterator<Item = &'a Lately>, now: Instant) -> Self {
        let mut spread = Self([0; BUCKETS]);
        for lately in all {
            let number = lately.number(now);
            let is_late =
                |window: &&Window| window.number.load(Relaxed).saturating_add(1) >= number;
            for window in lately.windows.iter().filter(is_late) {
                let counts = window.counts.iter().map(|count| u64::from(count.load(Relaxed)));
                spread.0.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            }
        }
        spread
    }

    pub(in crate::fleet) fn quantiles(&self) -> Quantiles {
        let calls = self.0.iter().sum();
        Quantiles { calls, p50_us: self.percentile(50, calls), p99_us: self.percentile(99, calls) }
    }

    /// No more than this did so many percent of the calls take.
    fn percentile(&self, percent: u64, calls: u64) -> Option<u64> {
        let rank = calls.saturating_mul(percent).div_ceil(100).max(1);
        let mut so_far = 0;
        let at = self.0.iter().position(|count| {
            so_far += count;
            so_far >= rank
        });
        at.map(longest)
    }
}

/// Below 8 µs each has its own; from there on the three bits after the highest tell.
fn bucket(took: Duration) -> usize {
    let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).min(LONGEST_US);
    let doubling = us.checked_ilog2().unwrap_or_default().max(3) - 3;
    let at = u64::from(doubling) * 8 + (us >> doubling);
    usize::try_from(at).unwrap_or(usize::MAX)
}

/// The longest time in this bucket, in microseconds.
fn longest(bucket: usize) -> u64 {
    let bucket = u64::try_from(bucket).unwrap_or(u64::MAX);
    let doubling = (bucket / 8).saturating_sub(1);
    ((bucket - doubling * 8 + 1) << doubling) - 1
}

#[cfg(test)]
mod tests {
    use std::{iter, time::Duration};

    use proptest::prelude::*;
    use tokio::time::Instant;

    use super::{BUCKETS, LATELY_WINDOW, LONGEST_US, Lately, Quantiles, Spread, bucket, longest};

    fn quantiles(all: &[&Lately], now: Instant) -> Quantiles {
        Spread::of(all.iter().copied(), now).quantiles()
    }

    #[test]
    fn the_buckets_lie_side_by_side_and_none_is_wider_than_an_eighth() {
        for at in 0..BUCKETS {
            let (first, last) = (at.checked_sub(1).map_or(0, |at| longest(at) + 1), longest(at));
            assert!(last >= first && last - first <= first / 8, "{first} to {last}");
            for us in [first, last] {
                assert_eq!(bucket(Duration::from_micros(us)), at, "{us} µs");
            }
        }
        assert_eq!(longest(BUCKETS - 1), LONGEST_US);
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn what_was_long_ago_does_not_count_and_the_window_before_does() {
        let now = Instant::now();
        let lately = Lately::new(now);
        assert_eq!(quantiles(&[&lately], now), Quantiles::default());
        lately.observe(Duration::from_secs(3600), now);
        let later = now + LATELY_WINDOW;
        lately.observe(Duration::from_micros(5), later);
        let both = quantiles(&[&lately], later);
        assert_eq!((both.calls, both.p50_us), (2, Some(5)));
        assert!(both.p99_us >= Some(3_600_000_000), "{both:?}");
        let one = quantiles(&[&lately], later + LATELY_WINDOW);
        assert_eq!((one.calls, one.p99_us), (1, Some(5)));
        assert_eq!(quantiles(&[&lately], later + 2 * LATELY_WINDOW), Quantiles::default());
        // A window that is used again is empty at first.
        lately.observe(Duration::from_micros(6), later + 3 * LATELY_WINDOW);
        let again = quantiles(&[&lately], later + 3 * LATELY_WINDOW);
        assert_eq!((again.calls, again.p50_us), (1, Some(6)));
    }

    proptest! {
        #[test]
        fn a_quantile_is_the_exact_one_or_up_to_an_eighth_more(
            took in prop::collection::vec(0..5_000_000_u64, 1..300),
        ) {
            let now = Instant::now();
            let (one, other) = (Lately::new(now), Lately::new(now));
            for (us, lately) in took.iter().zip(iter::repeat([&one, &other]).flatten()) {
                lately.observe(Duration::from_micros(*us), now);
            }
            let told = quantiles(&[&one, &other], now);
            prop_assert_eq!(told.calls, took.len() as u64);
            let mut sorted = took;
            sorted.sort_unstable();
            for (told, percent) in [(told.p50_us, 50), (told.p99_us, 99)] {
                let exact = sorted[(sorted.len() * percent).div_ceil(100) - 1];
                let told = told.unwrap();
                prop_assert!(told >= exact && told <= exact + exact / 8, "{told} for {exact}");
            }
        }
    }
}
