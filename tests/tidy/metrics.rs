//! Dashboard, alerts and the page about them name the metrics that there are, and all of them.

use std::collections::BTreeSet;

use portcullis::telemetry::names::{ALL, Shape};

use super::{bites, passes, read};

/// The words of a text that look like names of metrics, without what a histogram adds.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let ours = ["portcullis_", "process_", "mcp_server_", "mcp_client_"];
    let words = text.split(|c| !is_part(c)).filter(|word| ours.iter().any(|o| word.starts_with(o)));
    let bare = |word: &str| {
        let histogram = ["_bucket", "_sum", "_count"].into_iter();
        let base = histogram.filter_map(|part| word.strip_suffix(part)).find(|base| {
            ALL.iter().any(|m| m.name == *base && matches!(m.shape, Shape::Histogram(_)))
        });
        base.unwrap_or(word).to_owned()
    };
    words.map(bare).collect()
}

fn unknown(text: &str) -> Vec<String> {
    let known = |name: &String| ALL.iter().any(|metric| metric.name == name);
    let unknown = named(text).into_iter().filter(|name| !known(name));
    unknown.map(|name| format!("there is no metric `{name}`")).collect()
}

#[test]
fn dashboard_and_alerts_name_metrics_that_there_are() {
    for file in ["dashboard.json", "alerts.yml", "alerts.test.yml", "README.md"] {
        let text = read(&format!("docs/observability/{file}"));
        assert!(named(&text).len() > 8, "{file} names {:?}", named(&text));
        assert_eq!(unknown(&text), Vec::<String>::new(), "{file}");
    }
    bites(unknown("rate(portcullis_calls[5m])"), "`portcullis_calls`");
    bites(unknown("portcullis_inflight_count"), "`portcullis_inflight_count`");
    passes(unknown("portcullis_risk_score_bucket{le=\"5\"} portcullis_inflight"));
}

#[test]
fn every_metric_is_explained_and_shown() {
    for file in ["README.md", "dashboard.json"] {
        let shown = named(&read(&format!("docs/observability/{file}")));
        for metric in ALL {
            assert!(shown.contains(metric.name), "{file} lacks {}", metric.name);
        }
    }
}
