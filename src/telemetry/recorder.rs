//! The recorder behind the `metrics` facade: every series that was ever recorded, as atomics.
//!
//! A histogram here is its buckets and a sum: what is recorded is counted at once and forgotten,
//! so that nothing piles up between two looks. Registering takes a lock and finds a series that is
//! there already; recording takes none. A name that the table does not have is not recorded.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};

use super::names::{ALL, Metric, Shape};

/// The recorder of the process.
pub(super) static BOARD: LazyLock<Board> = LazyLock::new(Board::default);

/// Everything that is recorded, by name and labels.
#[derive(Debug, Default)]
pub(super) struct Board(Mutex<BTreeMap<&'static str, BTreeMap<Labels, Series>>>);

/// Names and values, in the order of the table.
pub(super) type Labels = Vec<(&'static str, String)>;

#[derive(Clone, Debug)]
pub(super) enum Series {
    Counter(Arc<Count>),
    Histogram(Arc<Buckets>),
}

#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

#[derive(Debug)]
pub(super) struct Buckets {
    bounds: &'static [f64],
    /// One more than there are bounds.
    counts: Box<[AtomicU64]>,
    /// The bits of an `f64`.
    sum: AtomicU64,
}

impl Board {
    pub(super) fn counter(&self, metric: &'static Metric, labels: &[&str]) -> Counter {
        match self.series(metric, labels) {
            Some(Series::Counter(count)) => Counter::from_arc(count),
            Some(Series::Histogram(_)) | None => Counter::noop(),
        }
    }

    pub(super) fn histogram(&self, metric: &'static Metric, labels: &[&str]) -> Histogram {
        match self.series(metric, labels) {
            Some(Series::Histogram(buckets)) => Histogram::from_arc(buckets),
            Some(Series::Counter(_)) | None => Histogram::noop(),
        }
    }

    /// The series of these values, a new one if there is none.
    fn series(&self, metric: &'static Metric, values: &[&str]) -> Option<Series> {
        let values = values.iter().map(|value| (*value).to_owned());
        let labels: Labels = metric.labels.iter().copied().zip(values).collect();
        let new = match metric.shape {
            Shape::Counter => Series::Counter(Arc::default()),
            Shape::Histogram(bounds) => Series::Histogram(Arc::new(Buckets::new(bounds))),
            // They are read from their owners.
            Shape::Gauge => return None,
        };
        let mut board = self.lock();
        let family = board.entry(metric.name).or_default();
        Some(family.entry(labels).or_insert(new).clone())
    }

    /// All series of one family, in order.
    pub(super) fn family(&self, metric: &Metric) -> Vec<(Labels, Series)> {
        let board = self.lock();
        let family = board.get(metric.name).into_iter().flatten();
        family.map(|(labels, series)| (labels.clone(), series.clone())).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, BTreeMap<Labels, Series>>> {
        // A panic elsewhere leaves plain data behind, which is still right.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What others report by the facade, as far as the table has it.
impl Recorder for &'static Board {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        known(key).map_or_else(Counter::noop, |(metric, values)| self.counter(metric, &values))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        known(key).map_or_else(Histogram::noop, |(metric, values)| self.histogram(metric, &values))
    }
}

/// The row of the table, and the values in its order; none unless all are there.
fn known(key: &Key) -> Option<(&'static Metric, Vec<&str>)> {
    let metric = ALL.iter().copied().find(|metric| metric.name == key.name())?;
    let value = |name: &&str| key.labels().find(|label| label.key() == *name).map(|l| l.value());
    let values: Option<Vec<_>> = metric.labels.iter().map(value).collect();
    Some((metric, values?))
}

impl Count {
    pub(super) fn read(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.0.fetch_max(value, Relaxed);
    }
}

impl Buckets {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// How many lie at or below each bound, how many there are in all, and their sum.
    pub(super) fn read(&self) -> (Vec<(f64, u64)>, u64, f64) {
        let mut so_far = 0_u64;
        let mut counts = self.counts.iter().map(|count| {
            so_far = so_far.saturating_add(count.load(Relaxed));
            so_far
        });
        let below = self.bounds.iter().copied().zip(counts.by_ref()).collect();
        (below, counts.last().unwrap_or_default(), f64::from_bits(self.sum.load(Relaxed)))
    }
}

impl HistogramFn for Buckets {
    fn record(&self, value: f64) {
        let at = self.bounds.iter().take_while(|bound| value > **bound).count();
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Relaxed);
        }
        let add = |sum| Some((f64::from_bits(sum) + value).to_bits());
        // It always has something to say.
        self.sum.fetch_update(Relaxed, Relaxed, add).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use metrics::{HistogramFn, Key, Label, Level, Metadata, Recorder};

    use super::{Board, Buckets, Series};
    use crate::telemetry::names::{CALLS, RISK_SCORE};

    #[test]
    fn a_bucket_holds_what_lies_at_or_below_its_bound() {
        let buckets = Buckets::new(&[1.0, 2.0]);
        for value in [0.0, 1.0, 1.5, 2.0, 7.25] {
            buckets.record(value);
        }
        assert_eq!(buckets.read(), (vec![(1.0, 2), (2.0, 4)], 5, 11.75));
    }

    #[test]
    fn a_name_that_the_table_lacks_is_not_recorded_and_a_series_is_made_once() {
        let board: &'static Board = Box::leak(Box::default());
        let about = Metadata::new("test", Level::INFO, None);
        let labels = ["outcome", "decision", "transport", "tool", "server"];
        let labels: Vec<_> = labels.iter().map(|name| Label::new(*name, *name)).collect();
        for key in [Key::from_name("x_total"), Key::from_name(CALLS.name)] {
            board.register_counter(&key, &about).increment(1);
            assert!(board.family(&CALLS).is_empty(), "{key:?}");
        }
        board.register_counter(&Key::from_parts(CALLS.name, labels), &about).increment(1);
        let ours = ["server", "tool", "transport", "decision", "outcome"];
        board.counter(&CALLS, &ours).increment(2);
        board.register_histogram(&Key::from_name(RISK_SCORE.name), &about).record(3.0);
        let calls = board.family(&CALLS);
        let [(labels, Series::Counter(count))] = calls.as_slice() else { panic!("{calls:?}") };
        assert_eq!((count.read(), labels.len()), (3, 5));
        assert_eq!(board.family(&RISK_SCORE).len(), 1);
    }
}
