//! Lines as server-sent events end them: in CR, LF or CRLF, behind an optional byte order mark.
//!
//! A line over the bound is announced as soon as that is certain and then dropped up to its end
//! without being kept. Every byte is looked at once.

use bytes::BytesMut;

#[derive(Debug)]
pub(super) enum Line {
    /// Without its end.
    Whole(BytesMut),
    TooLong,
}

#[derive(Debug)]
pub(super) struct TextLines {
    buffer: BytesMut,
    /// How much of `buffer` is known to hold no line end.
    searched: usize,
    place: Place,
    bytes_max: usize,
}

/// What the first byte of the buffer follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing: a byte order mark may come.
    Start,
    /// A CR that ended a line: an LF would belong to it.
    Return,
    Elsewhere,
    /// The dropped beginning of an over-long line.
    Overlong,
}

impl TextLines {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { buffer: BytesMut::new(), searched: 0, place: Place::Start, bytes_max }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    pub(super) fn next(&mut self) -> Option<Line> {
        loop {
            self.settle()?;
            let unseen = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(at) = memchr::memchr2(b'\r', b'\n', unseen) else {
                return self.unfinished();
            };
            let mut line = self.buffer.split_to(self.searched + at + 1);
            self.searched = 0;
            let overlong = self.place == Place::Overlong;
            let returned = line.last() == Some(&b'\r');
            self.place = if returned { Place::Return } else { Place::Elsewhere };
            line.truncate(line.len() - 1);
            if overlong {
                continue;
            }
            return Some(if line.len() > self.bytes_max {
                Line::TooLong
            } else {
                Line::Whole(line)
            });
        }
    }

    /// Drops what may stand at the head of the buffer without being content; none while too little
    /// has arrived to tell.
    fn settle(&mut self) -> Option<()> {
        let extra: &[u8] = match self.place {
            Place::Start => b"\xef\xbb\xbf",
            Place::Return => b"\n",
            Place::Elsewhere | Place::Overlong => return Some(()),
        };
        if self.buffer.len() < extra.len() && extra.starts_with(&self.buffer) {
            return None;
        }
        if self.buffer.starts_with(extra) {
            drop(self.buffer.split_to(extra.len()));
        }
        self.place = Place::Elsewhere;
        Some(())
    }

    /// How much has come of the line that is not whole yet.
    pub(super) fn n_waiting(&self) -> usize {
        self.buffer.len()
    }

    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.buffer.capacity()
    }

    fn unfinished(&mut self) -> Option<Line> {
        self.searched = self.buffer.len();
        let dropping = self.place == Place::Overlong;
        if !dropping && self.searched <= self.bytes_max {
            return None;
        }
        self.buffer = BytesMut::new();
        self.searched = 0;
        self.place = Place::Overlong;
        (!dropping).then_some(Line::TooLong)
    }
}
