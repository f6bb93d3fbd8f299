//! Reading a log's lines, from one segment into the next.
//!
//! In memory bounded by one line. Says where each line is, what has no end, and when there is no
//! more; a reader may come back for more later. Believes nothing of what it reads.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::PathBuf,
};

use super::{Place, chain::Entry};
use crate::domain::limits::AUDIT_LINE_BYTES_MAX;

/// What was found next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::audit) enum Line {
    /// A line, in `Lines::line` without its line feed.
    Whole,
    /// A line that does not end, or not yet.
    Torn,
    TooLong,
    End,
}

impl Line {
    /// What is wrong with a line that is not whole.
    pub(in crate::audit) fn fault(self) -> Option<&'static str> {
        match self {
            Self::Whole => None,
            Self::Torn => Some("is torn: its line has no end"),
            Self::TooLong => Some("is longer than any record"),
            Self::End => Some("is gone"),
        }
    }
}

/// The numbers of the segments that are there, in order.
pub(in crate::audit) fn segments(place: &Place) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(place.segments())? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The number of a segment's first record; none if it has no whole one.
pub(in crate::audit) fn first_seq(place: &Place, number: u64) -> io::Result<Option<u64>> {
    let mut lines = Lines::from(place, number)?;
    if lines.next()? != Line::Whole || lines.segment() != number {
        return Ok(None);
    }
    let entry: Option<Entry<'_>> = serde_json::from_slice(lines.line()).ok();
    Ok(entry.map(|entry| entry.seq))
}

#[derive(Debug)]
pub(in crate::audit) struct Lines {
    place: Place,
    number: u64,
    reader: BufReader<File>,
    line: Vec<u8>,
    /// Where the line ends in its segment.
    offset: u64,
}

impl Lines {
    /// From the beginning of a segment.
    pub(in crate::audit) fn from(place: &Place, number: u64) -> io::Result<Self> {
        let reader = open(place.segment(number))?;
        Ok(Self { place: place.clone(), number, reader, line: Vec::new(), offset: 0 })
    }

    /// From somewhere in a segment.
    pub(in crate::audit) fn at(place: &Place, number: u64, offset: u64) -> io::Result<Self> {
        let mut lines = Self::from(place, number)?;
        lines.reader.seek(SeekFrom::Start(offset))?;
        lines.offset = offset;
        Ok(lines)
    }

    /// The segment that the line is in.
    pub(in crate::audit) fn segment(&self) -> u64 {
        self.number
    }

    /// Where the line ends in it, its line feed included.
    pub(in crate::audit) fn offset(&self) -> u64 {
        self.offset
    }

    /// Where the line begins.
    pub(in crate::audit) fn start(&self) -> u64 {
        self.offset.saturating_sub(u64::try_from(self.line.len()).unwrap_or(u64::MAX))
    }

    pub(in crate::audit) fn line(&self) -> &[u8] {
        self.line.strip_suffix(b"\n").unwrap_or(&self.line)
    }

    pub(in crate::audit) fn next(&mut self) -> io::Result<Line> {
        loop {
            self.line.clear();
            let most = u64::try_from(AUDIT_LINE_BYTES_MAX).unwrap_or(u64::MAX);
            let read = self.reader.by_ref().take(most).read_until(b'\n', &mut self.line)?;
            if self.line.ends_with(b"\n") {
                self.offset = self.offset.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
                return Ok(Line::Whole);
            }
            if read > 0 {
                // To be read again from its beginning, should the rest of it come.
                self.reader.seek(SeekFrom::Start(self.offset))?;
                let torn = read < AUDIT_LINE_BYTES_MAX;
                return Ok(if torn { Line::Torn } else { Line::TooLong });
            }
            let next = self.number.saturating_add(1);
            match open(self.place.segment(next)) {
                // Once there is a next one this one has its last line, which may be new to us.
                Ok(_) if self.reader.get_ref().metadata()?.len() > self.offset => {}
                Ok(reader) => (self.reader, self.number, self.offset) = (reader, next, 0),
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Line::End),
                Err(e) => return Err(e),
            }
        }
    }
}

fn open(path: PathBuf) -> io::Result<BufReader<File>> {
    Ok(BufReader::with_capacity(AUDIT_LINE_BYTES_MAX, File::open(path)?))
}
