//! The bounds of what is shown: metrics, the feed of calls, and what of a trace passes.

use std::time::Duration;

/// Servers that have series of their own; those that come later share one.
pub const METRIC_SERVERS_MAX: usize = 512;
/// Tools of one server that have series of their own, likewise.
pub const METRIC_TOOLS_PER_SERVER_MAX: usize = 512;
/// What is kept of a name in a label.
pub const METRIC_LABEL_CHARS_MAX: usize = 64;
/// Who watches the feed of calls at once.
pub const FEED_VIEWERS_MAX: usize = 16;
/// Events of the feed that wait for a viewer; who is further behind loses the oldest.
pub const FEED_EVENTS_MAX: usize = 1024;
/// Between two comments that keep a quiet feed open.
pub const FEED_KEEPALIVE: Duration = Duration::from_secs(15);
/// Spans that wait for a collector; what comes later is dropped.
pub const SPANS_QUEUE_MAX: usize = 4096;
/// Spans of one export.
pub const SPANS_BATCH_MAX: usize = 512;
/// How long a span waits for others.
pub const SPANS_BATCH_WAIT: Duration = Duration::from_secs(2);
/// How often one export is tried, with a pause that doubles.
pub const SPANS_ATTEMPTS: u32 = 3;
pub const SPANS_PAUSE: Duration = Duration::from_secs(1);
/// For one attempt; and for all that is left at the end.
pub const SPANS_TIMEOUT: Duration = Duration::from_secs(5);
pub const SPANS_ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Threads of the admin listener's own runtime.
pub const ADMIN_THREADS: usize = 2;
/// A `tracestate` that passes; a longer one is left out.
pub const TRACESTATE_BYTES_MAX: usize = 512;
pub const TRACESTATE_MEMBERS_MAX: usize = 32;
/// A `baggage` of which allowed members pass; a longer one is left out.
pub const BAGGAGE_BYTES_MAX: usize = 8192;
