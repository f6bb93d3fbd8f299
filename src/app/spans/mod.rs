//! Carries spans to a collector, as long as the gateway runs and for a moment after the last call.
//!
//! What a collector does not take after a few attempts is dropped and counted; calls never wait for
//! it. What is said of them, `telemetry` knows. Without the feature `otlp` there is nobody who
//! carries, and the configuration says so.

#[cfg(feature = "otlp")]
mod export;

use super::errand::Errand;
use crate::config::TelemetryConfig;

#[cfg(feature = "otlp")]
pub(super) fn start(config: TelemetryConfig) -> Errand {
    // In this order: what is collected without a collector is made and thrown away by each call.
    let collected = |to| Some((to, crate::telemetry::Spans::collect()?));
    let Some((to, spans)) = export::Collector::of(config).and_then(collected) else {
        return Errand::default();
    };
    tracing::info!(collector = %to.url, "Traces are exported");
    Errand::start(|end| export::export(to, spans, end))
}

#[cfg(not(feature = "otlp"))]
pub(super) fn start(_: TelemetryConfig) -> Errand {
    Errand::default()
}
