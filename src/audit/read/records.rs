//! Going through a log's records, one line after the other, and waiting for more.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::payload::Shelf;
use crate::audit::log::{Line, Lines, Place, find, first_seq, segments};

/// A reader's place in a log.
#[derive(Debug)]
pub struct Records {
    pub(super) place: Place,
    pub(super) lines: Lines,
    /// What the vault has for one segment.
    pub(super) shelf: Option<Shelf>,
}

impl Records {
    /// From the first record that is there.
    pub fn all(dir: &Path) -> io::Result<Self> {
        Self::from(dir, 0)
    }

    /// From record `seq`, or a little before it: from the beginning of its segment.
    pub fn from(dir: &Path, seq: u64) -> io::Result<Self> {
        let place = find(dir)?.ok_or(io::ErrorKind::NotFound)?;
        let mut numbers = segments(&place)?;
        let first = numbers.first().copied().ok_or(io::ErrorKind::NotFound)?;
        while let Some(number) = numbers.pop() {
            let begins = first_seq(&place, number)?;
            if number == first || begins.is_some_and(|begins| begins <= seq) {
                return Ok(Self { lines: Lines::from(&place, number)?, place, shelf: None });
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }

    /// The last two segments: what was just now.
    pub fn recent(dir: &Path) -> io::Result<Self> {
        let place = find(dir)?.ok_or(io::ErrorKind::NotFound)?;
        let numbers = segments(&place)?;
        let number = numbers.iter().rev().nth(1).or(numbers.last()).copied();
        let lines = Lines::from(&place, number.ok_or(io::ErrorKind::NotFound)?)?;
        Ok(Self { place, lines, shelf: None })
    }

    /// The next record's line. None: no more for now. A line that is in the writing comes later.
    pub fn read(&mut self) -> io::Result<Option<&[u8]>> {
        match self.lines.next()? {
            Line::Whole => Ok(Some(self.lines.line())),
            Line::Torn | Line::TooLong | Line::End => Ok(None),
        }
    }

    /// The directory of the log.
    pub fn dir(&self) -> PathBuf {
        self.place.dir().to_owned()
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }
}
