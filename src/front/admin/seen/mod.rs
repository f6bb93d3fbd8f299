//! What happens, for people and programs that watch: metrics, the feed of calls, the record's
//! heads.
//!
//! Reads what others own. Changes nothing, and holds nothing up.

mod audit;
mod calls;
mod metrics;

pub(super) use audit::audit;
pub(super) use calls::calls;
pub(super) use metrics::metrics;
