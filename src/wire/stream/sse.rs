//! Server-sent events, read as the HTML standard says and written for one message at a time.
//!
//! Lines end in CR, LF or CRLF, wherever the chunks are cut. An event over the bound is reported
//! once and skipped up to its blank line. An event without data is not dispatched, but its `id` and
//! `retry` are, since they matter to whoever reconnects.

use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::{
    domain::limits::UPSTREAM_MESSAGE_BYTES_MAX,
    wire::{WireError, json::Frame},
};

/// One event. `data` is empty for an event that only carries an id or a retry time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SseEvent {
    pub id: Option<String>,
    pub event: Option<String>,
    pub data: Bytes,
    pub retry: Option<Duration>,
}

/// Cuts a byte stream into events.
#[derive(Debug)]
pub struct SseReader {
    buffer: BytesMut,
    searched: usize,
    /// The last line ended in CR, so that an LF that follows belongs to it.
    after_cr: bool,
    started: bool,
    skipping: bool,
    event: SseEvent,
    data: BytesMut,
    has_data: bool,
    bytes_max: usize,
}

impl Default for SseReader {
    fn default() -> Self {
        Self::new(UPSTREAM_MESSAGE_BYTES_MAX)
    }
}

impl SseReader {
    pub fn new(bytes_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            searched: 0,
            after_cr: false,
            started: false,
            skipping: false,
            event: SseEvent::default(),
            data: BytesMut::new(),
            has_data: false,
            bytes_max,
        }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }
}

impl Iterator for SseReader {
    type Item = Result<SseEvent, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(line) = self.line() {
            if line.is_empty() {
                if let Some(event) = self.dispatch() {
                    return Some(Ok(event));
                }
            } else if !self.skipping && self.field(&line).is_none() {
                return Some(Err(self.overflow()));
            }
        }
        let held = self.buffer.len() + self.data.len();
        if self.skipping {
            self.drop_partial();
        } else if held > self.bytes_max.saturating_add(SLACK_BYTES) {
            self.drop_partial();
            return Some(Err(self.overflow()));
        }
        None
    }
}

/// Field names and the like, which do not count as the event's content.
const SLACK_BYTES: usize = 1024;

impl SseReader {
    /// The next whole line without its end.
    fn line(&mut self) -> Option<BytesMut> {
        loop {
            if !self.started && !self.skip_mark()? {
                continue;
            }
            if self.after_cr && !self.buffer.is_empty() {
                self.after_cr = false;
                if self.buffer.first() == Some(&b'\n') {
                    let _newline = self.buffer.split_to(1);
                }
            }
            let unseen = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(at) = memchr::memchr2(b'\r', b'\n', unseen) else {
                self.searched = self.buffer.len();
                return None;
            };
            let mut line = self.buffer.split_to(self.searched + at + 1);
            self.searched = 0;
            self.after_cr = line.last() == Some(&b'\r');
            line.truncate(line.len() - 1);
            return Some(line);
        }
    }

    /// Drops a byte order mark; none while too little has arrived to tell.
    fn skip_mark(&mut self) -> Option<bool> {
        const MARK: &[u8] = b"\xef\xbb\xbf";
        if self.buffer.len() < MARK.len() && MARK.starts_with(&self.buffer) {
            return None;
        }
        if self.buffer.starts_with(MARK) {
            let _mark = self.buffer.split_to(MARK.len());
        }
        self.started = true;
        Some(true)
    }

    fn field(&mut self, line: &[u8]) -> Option<()> {
        let colon = memchr::memchr(b':', line).unwrap_or(line.len());
        let (name, value) = line.split_at_checked(colon)?;
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                if self.data.len() + value.len() >= self.bytes_max {
                    return None;
                }
                if self.has_data {
                    self.data.extend_from_slice(b"\n");
                }
                self.data.extend_from_slice(value);
                self.has_data = true;
            }
            b"event" => self.event.event = Some(String::from_utf8_lossy(value).into_owned()),
            b"id" if !value.contains(&0) => {
                self.event.id = Some(String::from_utf8_lossy(value).into_owned());
            }
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                let ms = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                self.event.retry = ms.map(Duration::from_millis).or(self.event.retry);
            }
            _ => {}
        }
        Some(())
    }

    fn dispatch(&mut self) -> Option<SseEvent> {
        let skipped = std::mem::take(&mut self.skipping);
        let mut event = std::mem::take(&mut self.event);
        event.data = self.data.split().freeze();
        let has_data = std::mem::take(&mut self.has_data);
        let worth = has_data || event.id.is_some() || event.retry.is_some();
        (worth && !skipped).then_some(event)
    }

    fn overflow(&mut self) -> WireError {
        self.skipping = true;
        self.event = SseEvent::default();
        self.data = BytesMut::new();
        self.has_data = false;
        WireError::TooLarge { bytes: self.bytes_max.saturating_add(1), max: self.bytes_max }
    }

    fn drop_partial(&mut self) {
        self.buffer.clear();
        self.searched = 0;
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
