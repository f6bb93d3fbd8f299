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
