//! What the gateway shows of itself: its log, the feed of calls, and what it counts and measures.
//!
//! Owns the log's form, the spans that are exported, the one table of metrics, the recorder behind
//! the `metrics` facade, and which names may become labels. Promises that a call costs a few
//! additions on handles that were made before, that no name a caller chooses becomes a series, and
//! that showing never waits for counting. Decides nothing, and the audit does not pass through
//! here.

mod feed;
mod log;
mod meter;
mod meters;
pub mod names;
mod page;
mod recorder;
mod spans;

pub use feed::{Seen, Viewer};
pub use log::{FOR_THE_JOURNAL, TelemetryError, init};
pub use meter::{KindMeters, Meter, ejections};
pub use meters::{Lap, Laps, Meters, Stage, meters, method};
pub use page::Page;
#[cfg(feature = "otlp")]
pub use spans::encode as encode_spans;
pub use spans::{Asked, End, Side, Span, Spans};
