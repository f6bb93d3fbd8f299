//! The page that Prometheus reads, in its text format.
//!
//! Holds what was recorded and what is read from its owners at this moment, in the order of the
//! table, each family with its help. A value is asked for once; nothing here is kept.

use std::{collections::BTreeMap, fmt::Write};

use super::{
    names::{ALL, Metric, Shape},
    recorder::{BOARD, Board, Labels, Series},
};

/// What is read now, for the page.
#[derive(Debug, Default)]
pub struct Page(BTreeMap<&'static str, Vec<(Labels, f64)>>);

impl Page {
    /// One series of a family, by the values of its labels in the order of the table.
    pub fn set(&mut self, metric: &'static Metric, values: &[&str], now: f64) {
        let values = values.iter().map(|value| (*value).to_owned());
        let labels = metric.labels.iter().copied().zip(values).collect();
        self.0.entry(metric.name).or_default().push((labels, now));
    }

    /// The whole page.
    pub fn render(&self) -> String {
        self.render_with(&BOARD)
    }

    fn render_with(&self, board: &Board) -> String {
        let mut text = String::new();
        for metric in ALL {
            let (read, recorded) = (self.0.get(metric.name), board.family(metric));
            if read.is_none() && recorded.is_empty() {
                continue;
            }
            let (name, help) = (metric.name, metric.help);
            let kind = match metric.shape {
                Shape::Counter => "counter",
                Shape::Gauge => "gauge",
                Shape::Histogram(_) => "histogram",
            };
            put(&mut text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
            for (labels, value) in read.into_iter().flatten() {
                line(&mut text, (name, ""), (labels, None), value);
            }
            for (labels, series) in &recorded {
                of_series(&mut text, name, labels, series);
            }
        }
        text
    }
}

fn of_series(text: &mut String, name: &str, labels: &Labels, series: &Series) {
    match series {
        Series::Counter(count) => line(text, (name, ""), (labels, None), &count.read()),
        Series::Histogram(buckets) => {
            let (below, count, sum) = buckets.read();
            for (bound, n) in below {
                line(text, (name, "_bucket"), (labels, Some(&bound.to_string())), &n);
            }
            line(text, (name, "_bucket"), (labels, Some("+Inf")), &count);
            line(text, (name, "_sum"), (labels, None), &sum);
            line(text, (name, "_count"), (labels, None), &count);
        }
    }
}

fn line(
    text: &mut String,
    (name, part): (&str, &str),
    (labels, bound): (&Labels, Option<&str>),
    value: &dyn std::fmt::Display,
) {
    put(text, format_args!("{name}{part}"));
    let bound = bound.map(|bound| ("le", bound));
    let labels = labels.iter().map(|(name, value)| (*name, value.as_str()));
    for (n, (name, value)) in labels.chain(bound).enumerate() {
        let open = if n == 0 { '{' } else { ',' };
        put(text, format_args!("{open}{name}=\"{}\"", escaped(value)));
    }
    let close = if text.ends_with('"') { "}" } else { "" };
    put(text, format_args!("{close} {value}\n"));
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    // A string takes everything.
    text.write_fmt(what).unwrap_or_default();
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::{Board, Page};
    use crate::telemetry::names::{APPROVAL_WAIT, AUDIT_RECORDS, INFLIGHT};

    #[test]
    fn the_page_is_in_the_form_that_prometheus_reads() {
        let board = Board::default();
        board.counter(&AUDIT_RECORDS, &[]).increment(7);
        board.histogram(&APPROVAL_WAIT, &[]).record(3.5);
        let mut page = Page::default();
        page.set(&INFLIGHT, &["a\"b\\c\nd"], 2.0);
        let text = page.render_with(&board);
        let want = [
            "# TYPE portcullis_inflight gauge\nportcullis_inflight{server=\"a\\\"b\\\\c\\nd\"} 2\n",
            "# TYPE portcullis_audit_records_total counter\nportcullis_audit_records_total 7\n",
            "portcullis_approval_wait_seconds_bucket{le=\"1\"} 0\n",
            "portcullis_approval_wait_seconds_bucket{le=\"5\"} 1\n",
            "portcullis_approval_wait_seconds_bucket{le=\"+Inf\"} 1\n",
            "portcullis_approval_wait_seconds_sum 3.5\nportcullis_approval_wait_seconds_count 1\n",
        ];
        for part in want {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("portcullis_risk_score"), "what nobody knows is not shown: {text}");
    }
}
