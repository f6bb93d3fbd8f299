//! The way to the collector: one export at a time, on a connection of its own, in a few attempts.

use std::io;

use http::{HeaderMap, HeaderValue, Uri};
use tokio::{select, time::sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    config::{Secret, TelemetryConfig},
    domain::limits::{SPANS_ANSWER_BYTES_MAX, SPANS_ATTEMPTS, SPANS_PAUSE, SPANS_TIMEOUT},
    telemetry::{Span, Spans, encode_spans, meters},
    upstream::post,
};

/// Who takes spans.
#[derive(Debug)]
pub(super) struct Collector {
    pub(super) url: Uri,
    headers: HeaderMap,
}

impl Collector {
    pub(super) fn of(config: TelemetryConfig) -> Option<Self> {
        let value = |secret: &Secret| {
            // What cannot be sent has been refused.
            let mut value = HeaderValue::from_str(secret.expose()).ok()?;
            value.set_sensitive(true);
            Some(value)
        };
        let named = config.otlp_headers.iter();
        let headers = named.filter_map(|(name, secret)| Some((name.clone(), value(secret)?)));
        Some(Self { url: config.otlp?, headers: headers.collect() })
    }
}

/// Whether the last export was taken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Taken,
    Dropped,
}

pub(super) async fn export(to: Collector, mut spans: Spans, end: CancellationToken) {
    let url = &to.url;
    let mut last = Last::Taken;
    loop {
        let batch = select! {
            biased;
            () = end.cancelled() => break,
            batch = spans.batch() => batch,
        };
        let now = carry(&to, &batch).await;
        if let (Err(error), Last::Taken) = (&now, last) {
            warn!(collector = %url, %error, "Spans are dropped: nobody takes them");
        }
        last = if now.is_ok() { Last::Taken } else { Last::Dropped };
    }
    let rest = spans.rest();
    if let Err(error) = carry(&to, &rest).await {
        warn!(collector = %url, %error, "The last spans are dropped");
    }
}

/// One export, in a few attempts.
async fn carry(to: &Collector, batch: &[Span]) -> io::Result<()> {
    if batch.is_empty() {
        return Ok(());
    }
    let mut pause = SPANS_PAUSE;
    let mut told = once(to, batch).await;
    for _ in 1..SPANS_ATTEMPTS {
        if told.is_ok() {
            break;
        }
        sleep(pause).await;
        pause = pause.saturating_mul(2);
        told = once(to, batch).await;
    }
    if told.is_err() {
        meters().spans_lost.increment(u64::try_from(batch.len()).unwrap_or(u64::MAX));
    }
    told
}

async fn once(to: &Collector, batch: &[Span]) -> io::Result<()> {
    let body = ("application/json", encode_spans(batch));
    let (status, _) =
        post((&to.url, &to.headers), body, (SPANS_TIMEOUT, SPANS_ANSWER_BYTES_MAX)).await?;
    if status.is_success() {
        return Ok(());
    }
    Err(io::Error::other(format!("it answered {status}")))
}
