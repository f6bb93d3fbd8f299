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
    let to = export::Collector::of(config);
    let Some((to, spans)) = to.zip(crate::telemetry::Spans::collect()) else {
        return Errand::default();
    };
    tracing::info!(collector = %to.url, "Traces are exported");
    Errand::start(|end| export::export(to, spans, end))
}

#[cfg(not(feature = "otlp"))]
pub(super) fn start(_: TelemetryConfig) -> Errand {
    Errand::default()
}
