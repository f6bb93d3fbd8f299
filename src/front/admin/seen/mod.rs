//! What happens, for people and programs that watch: metrics.
//!
//! Reads what others own. Changes nothing, and holds nothing up.

mod metrics;

pub(super) use metrics::metrics;
