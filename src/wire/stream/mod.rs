//! Framing: messages out of a byte stream, as lines (stdio) or server-sent events (HTTP).
//!
//! Both readers take bytes in any chunks, bound what they hold, and never look at a byte twice.
//! They know nothing of what a message says.

mod line;
mod sse;
mod text_lines;

pub use line::LineReader;
pub use sse::{SseEvent, SseReader, sse_event, sse_event_with_id, sse_named, sse_primer};
