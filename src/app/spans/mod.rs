//! Carries spans to a collector, as long as the gateway runs and for a moment after the last call.
//!
//! What a collector does not take after a few attempts is dropped and counted; calls never wait for
//! it. What is said of them, `telemetry` knows. Without the feature `otlp` there is nobody who
//! carries, and the configuration says so.

#[cfg(feature = "otlp")]
mod export;

use http::Uri;
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::domain::limits::SPANS_TIMEOUT;

/// Whoever exports; nobody, if there is no collector.
#[derive(Debug, Default)]
pub(super) struct Exporter {
    task: JoinSet<()>,
    end: CancellationToken,
}

impl Exporter {
    #[cfg(feature = "otlp")]
    pub(super) fn start(url: Option<Uri>) -> Self {
        let mut exporter = Self::default();
        if let Some((url, spans)) = url.zip(crate::telemetry::Spans::collect()) {
            tracing::info!(collector = %url, "Traces are exported");
            exporter.task.spawn(export::export(url, spans, exporter.end.clone()));
        }
        exporter
    }

    #[cfg(not(feature = "otlp"))]
    pub(super) fn start(_: Option<Uri>) -> Self {
        Self::default()
    }

    /// Lets the last spans go out, and ends.
    pub(super) async fn finish(mut self) {
        self.end.cancel();
        if timeout(SPANS_TIMEOUT, self.task.join_next()).await.is_err() {
            warn!("The last spans were not exported in time");
        }
    }
}
