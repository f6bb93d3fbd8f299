//! Server-sent events, read as the HTML standard says and written for one message at a time.
//!
//! An event over the bound, or with a line over it, is reported once and skipped up to its blank
//! line. An event without data is handed on only for its `id` or `retry`, which matter to whoever
//! reconnects. What comes out does not depend on how the bytes were cut on their way in.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::text_lines::{Line, TextLines};
use crate::{
    domain::limits::UPSTREAM_MESSAGE_BYTES_MAX,
    wire::{WireError, json::Frame},
};

/// One event. `data` is empty for an event that only carries an id or a retry time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SseEvent {
    pub id: Option<String>,
    /// None for the default, `message`.
    pub event: Option<String>,
    pub data: Bytes,
    pub retry: Option<Duration>,
}

/// Cuts a byte stream into events.
#[derive(Debug)]
pub struct SseReader {
    lines: TextLines,
    state: State,
    bytes_max: usize,
}

/// What has arrived of the event that is being read.
#[derive(Debug)]
enum State {
    Reading {
        event: SseEvent,
        /// None before the first `data` field.
        data: Option<BytesMut>,
    },
    Skipping,
}

/// Room for a field's name, which does not count as content.
const FIELD_NAME_BYTES: usize = 64;

impl Default for SseReader {
    fn default() -> Self {
        Self::new(UPSTREAM_MESSAGE_BYTES_MAX)
    }
}

impl SseReader {
    /// A reader of events with at most `bytes_max` bytes of data.
    pub fn new(bytes_max: usize) -> Self {
        let lines = TextLines::new(bytes_max.saturating_add(FIELD_NAME_BYTES));
        Self { lines, state: State::START, bytes_max }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.lines.push(bytes);
    }

    /// How much has come of the event that is not whole yet; nothing of one that is skipped.
    pub fn n_waiting(&self) -> usize {
        let data = match &self.state {
            State::Reading { data, .. } => data.as_ref().map_or(0, BytesMut::len),
            State::Skipping => 0,
        };
        self.lines.n_waiting() + data
    }
}

impl Iterator for SseReader {
    type Item = Result<SseEvent, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(line) = self.lines.next() {
            let taken = match line {
                Line::Whole(line) if line.is_empty() => {
                    match std::mem::replace(&mut self.state, State::START).event() {
                        Some(event) => return Some(Ok(event)),
                        None => continue,
                    }
                }
                Line::Whole(line) => self.state.field(&line, self.bytes_max),
                Line::TooLong => self.state.too_long(self.bytes_max),
            };
            if let Err(error) = taken {
                return Some(Err(error));
            }
        }
        None
    }
}

impl State {
    const START: Self = Self::Reading {
        event: SseEvent { id: None, event: None, data: Bytes::new(), retry: None },
        data: None,
    };

    /// Ends the event at its blank line.
    fn event(self) -> Option<SseEvent> {
        let Self::Reading { event, data } = self else { return None };
        if data.is_none() && event.id.is_none() && event.retry.is_none() {
            return None;
        }
        Some(SseEvent { data: data.unwrap_or_default().freeze(), ..event })
    }

    fn field(&mut self, line: &[u8], data_bytes_max: usize) -> Result<(), WireError> {
        let Self::Reading { event, data } = self else { return Ok(()) };
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let (name, value) = line.split_at_checked(colon).unwrap_or((line, b""));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                let newline = usize::from(data.is_some());
                let data = data.get_or_insert_default();
                if data.len() + newline + value.len() > data_bytes_max {
                    return self.too_long(data_bytes_max);
                }
                data.extend_from_slice(b"\n".get(..newline).unwrap_or_default());
                data.extend_from_slice(value);
            }
            b"event" => {
                let name = String::from_utf8_lossy(value).into_owned();
                event.event = Some(name).filter(|name| !name.is_empty());
            }
            b"id" if !value.contains(&0) => {
                event.id = Some(String::from_utf8_lossy(value).into_owned());
            }
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                let ms = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                event.retry = ms.map(Duration::from_millis).or(event.retry);
            }
            // A comment, or a field that the standard does not know.
            _ => {}
        }
        Ok(())
    }

    /// Skips the event; an error the first time.
    fn too_long(&mut self, max: usize) -> Result<(), WireError> {
        match std::mem::replace(self, Self::Skipping) {
            Self::Reading { .. } => Err(WireError::TooLong { max }),
            Self::Skipping => Ok(()),
        }
    }
}

/// `message` as one event of the default type.
pub fn sse_event(message: &Frame) -> Vec<Bytes> {
    // A frame is one line: newlines between tokens were dropped when it was scanned.
    let mut parts = Vec::with_capacity(message.parts().len() + 2);
    parts.push(Bytes::from_static(b"data: "));
    parts.extend(message.parts().iter().cloned());
    parts.push(Bytes::from_static(b"\n\n"));
    parts
}

/// The same under an id (a word without spaces), in one piece, which holds on to nothing else.
pub fn sse_event_with_id(id: &str, message: &Frame) -> Bytes {
    let mut text = BytesMut::with_capacity(message.len() + id.len() + 16);
    for part in [b"id: ", id.as_bytes(), b"\ndata: "] {
        text.extend_from_slice(part);
    }
    message.parts().iter().for_each(|part| text.extend_from_slice(part));
    text.extend_from_slice(b"\n\n");
    text.freeze()
}

/// An event of another type than `message`; neither of the two has a line end.
pub fn sse_named(event: &str, data: &str) -> Bytes {
    format!("event: {event}\ndata: {data}\n\n").into()
}

/// An event without content, so that a client has an id to come back with.
pub fn sse_primer(id: &str, retry: Duration) -> Bytes {
    format!("id: {id}\nretry: {}\ndata:\n\n", retry.as_millis()).into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Frame, SseEvent, SseReader, sse_event, sse_event_with_id, sse_named, sse_primer};

    const BYTES_MAX: usize = 64;

    /// Each event as its data, id, name and retry time.
    fn read(bytes: &[u8]) -> Vec<String> {
        let mut reader = SseReader::new(BYTES_MAX);
        reader.push(bytes);
        let show = |SseEvent { id, event, data, retry }: SseEvent| {
            let data = String::from_utf8(data.to_vec()).unwrap();
            let retry = retry.map_or(0, |time| time.as_millis());
            let (id, event) = (id.unwrap_or("-".into()), event.unwrap_or("-".into()));
            format!("{} {id} {event} {retry}", data.replace('\n', "|"))
        };
        reader.map(|event| event.map_or_else(|error| error.to_string(), show)).collect()
    }

    #[track_caller]
    fn check(stream: &str, want: &[&str]) {
        assert_eq!(read(stream.as_bytes()), want, "{stream:?}");
        // The line end makes no difference.
        assert_eq!(read(stream.replace('\n', "\r").as_bytes()), want, "{stream:?} with CR");
        assert_eq!(read(stream.replace('\n', "\r\n").as_bytes()), want, "{stream:?} with CRLF");
    }

    #[test]
    fn events_are_read_as_the_standard_says() {
        check("data: a\n\n", &["a - - 0"]);
        check("data:a\n\ndata:  b\n\n", &["a - - 0", " b - - 0"]);
        check("data: a\ndata\ndata: b\n\n", &["a||b - - 0"]);
        check("data\n\n", &[" - - 0"]);
        check("\u{feff}data: a\n\n", &["a - - 0"]);
        check("data: \u{feff}\n\n", &["\u{feff} - - 0"]);
        check(": comment\n\n:\n\ndata: a\n\n", &["a - - 0"]);
        check("event: x\nid: 7\nretry: 500\ndata: a\n\n", &["a 7 x 500"]);
        check("event: x\n\ndata: a\n\n", &["a - - 0"]);
        check("event:\ndata: a\n\n", &["a - - 0"]);
        check("Data: a\n data: b\ndatax: c\n\n", &[]);
        check("id: a\0b\nretry: 1x\nretry:\ndata:\n\n", &[" - - 0"]);
        check("data: unfinished\n", &[]);
    }

    #[test]
    fn an_id_or_a_retry_time_without_data_is_handed_on() {
        check("id: 1\ndata:\n\n", &[" 1 - 0"]);
        check("id: 1\n\n", &[" 1 - 0"]);
        check("id\n\n", &["  - 0"]);
        check("retry: 10\n\n", &[" - - 10"]);
    }

    #[test]
    fn an_event_over_the_bound_is_reported_once_and_skipped() {
        let told = "a line or an event has more than 64 bytes";
        let (half, less) = ("x".repeat(32), "x".repeat(31));
        check(&format!("data: {half}\ndata: {less}\n\n"), &[&format!("{half}|{less} - - 0")]);
        check(&format!("data: {half}\ndata: {half}\n\ndata: c\n\n"), &[told, "c - - 0"]);
        let line = "x".repeat(1000);
        check(&format!("data: {line}\ndata: {line}\nid: 1\n\ndata: c\n\n"), &[told, "c - - 0"]);
        check(&format!(":{line}\ndata: b\n\ndata: c\n\n"), &[told, "c - - 0"]);
    }

    #[test]
    fn an_over_long_line_ends_nothing_but_itself() {
        let mut reader = SseReader::new(BYTES_MAX);
        reader.push(&[b'x'; 1000]);
        assert!(matches!(reader.next(), Some(Err(_))));
        // The line's end comes alone: it must not pass for the blank line that ends the event.
        reader.push(b"\ndata: a\n\ndata: b\n\n");
        let rest: Vec<_> = reader.map(|event| event.unwrap().data).collect();
        assert_eq!(rest, ["b"]);
    }

    #[test]
    fn a_stream_without_line_ends_costs_bounded_memory() {
        let mut reader = SseReader::new(1 << 20);
        let mut n_errors = 0;
        for _ in 0..256 {
            reader.push(&[b'x'; 65_536]);
            n_errors += reader.by_ref().filter(Result::is_err).count();
            assert!(reader.lines.held() < 4 << 20);
        }
        assert_eq!(n_errors, 1);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let parts = sse_event(&Frame::from(bytes::Bytes::from_static(b"{\"a\":1}")));
        assert_eq!(read(&parts.concat()), ["{\"a\":1} - - 0"]);
        let with_id = sse_event_with_id("a-1", &Frame::from(bytes::Bytes::from_static(b"{}")));
        assert_eq!(read(&with_id), ["{} a-1 - 0"]);
        assert_eq!(read(&sse_named("endpoint", "/m?s=1")), ["/m?s=1 - endpoint 0"]);
        assert_eq!(read(&sse_primer("a-0", Duration::from_secs(1))), [" a-0 - 1000"]);
    }
}
