//! One message per line, as stdio speaks.
//!
//! Bytes come in as they arrive; whole lines come out. A line over the bound is reported once and
//! skipped up to its newline, without being kept. Every byte is looked at once. Blank lines are
//! nothing. What a line holds is not looked at.

use bytes::{Bytes, BytesMut};

use crate::{domain::limits::UPSTREAM_MESSAGE_BYTES_MAX, wire::WireError};

/// Cuts a byte stream into lines.
#[derive(Debug)]
pub struct LineReader {
    buffer: BytesMut,
    /// How much of `buffer` is known to hold no newline.
    searched: usize,
    /// Whether the rest of an over-long line is being skipped.
    skipping: bool,
    bytes_max: usize,
}

impl Default for LineReader {
    fn default() -> Self {
        Self::new(UPSTREAM_MESSAGE_BYTES_MAX)
    }
}

impl LineReader {
    pub fn new(bytes_max: usize) -> Self {
        Self { buffer: BytesMut::new(), searched: 0, skipping: false, bytes_max }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Where to read into directly; call `next` until it is dry before reading more, so that the
    /// bound on memory holds.
    pub fn buffer_mut(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }
}

impl Iterator for LineReader {
    type Item = Result<Bytes, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let unseen = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(at) = memchr::memchr(b'\n', unseen) else {
                return self.unfinished();
            };
            let mut line = self.buffer.split_to(self.searched + at + 1);
            self.searched = 0;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            line.truncate(line.len() - 1);
            if line.last() == Some(&b'\r') {
                line.truncate(line.len() - 1);
            }
            if line.len() > self.bytes_max {
                return Some(Err(WireError::TooLong { max: self.bytes_max }));
            }
            if !line.is_empty() {
                return Some(Ok(line.freeze()));
            }
        }
    }
}

impl LineReader {
    fn unfinished(&mut self) -> Option<Result<Bytes, WireError>> {
        if self.skipping {
            self.buffer.clear();
            self.searched = 0;
            return None;
        }
        self.searched = self.buffer.len();
        // One more byte may be the `\r` of the line end.
        if self.searched <= self.bytes_max + 1 {
            return None;
        }
        self.buffer = BytesMut::new();
        self.searched = 0;
        self.skipping = true;
        Some(Err(WireError::TooLong { max: self.bytes_max }))
    }
}
