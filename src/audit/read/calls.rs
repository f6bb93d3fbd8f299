//! The records of one call, found by the index where there is one.
//!
//! Says the same with an index and without, whatever has become of it: each line is read and asked
//! whose it is, a segment whose table is amiss is gone through, and a call that seems to have no
//! end is looked for in all of them. Only a table that somebody has forged to leave a record out
//! can hide it from here; that is no evidence, and what is, `verify` reads whole.

use std::{io, path::Path};

use serde::Deserialize;

use crate::audit::log::{Line, Lines, Place, find, look_up, segments};

#[derive(Deserialize)]
struct Named<'a> {
    call: Option<&'a str>,
    kind: &'a str,
}

/// The lines of the records that name a call, in order.
pub fn records_of(dir: &Path, call: &str) -> io::Result<Vec<Vec<u8>>> {
    let place = find(dir)?.ok_or(io::ErrorKind::NotFound)?;
    let quick = gather(&place, call, |number| by_index(&place, number, call))?;
    if quick.iter().any(|line| ends(line)) {
        return Ok(quick);
    }
    gather(&place, call, |_| None)
}

fn gather(
    place: &Place,
    call: &str,
    known: impl Fn(u64) -> Option<Vec<Vec<u8>>>,
) -> io::Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    for number in segments(place)? {
        match known(number) {
            Some(lines) => found.extend(lines),
            None => found.extend(by_reading(place, number, call)?),
        }
    }
    Ok(found)
}

/// None if there is no table, or one that is wrong.
fn by_index(place: &Place, number: u64, call: &str) -> Option<Vec<Vec<u8>>> {
    let line_at = |offset| {
        let mut lines = Lines::at(place, number, offset).ok()?;
        let is_whole = lines.next().ok()? == Line::Whole && lines.segment() == number;
        (is_whole && is_of(lines.line(), call)).then(|| lines.line().to_vec())
    };
    look_up(place, number, call)?.into_iter().map(line_at).collect()
}

fn by_reading(place: &Place, number: u64, call: &str) -> io::Result<Vec<Vec<u8>>> {
    let (mut lines, mut found) = (Lines::from(place, number)?, Vec::new());
    while lines.next()? == Line::Whole && lines.segment() == number {
        if is_of(lines.line(), call) {
            found.push(lines.line().to_vec());
        }
    }
    Ok(found)
}

/// Most lines are of others.
fn is_of(line: &[u8], call: &str) -> bool {
    let named = memchr::memmem::find(line, call.as_bytes()).and_then(|_| named(line));
    named.is_some_and(|named| named.call == Some(call))
}

fn named(line: &[u8]) -> Option<Named<'_>> {
    serde_json::from_slice(line).ok()
}

/// Whether nothing can come after this record.
fn ends(line: &[u8]) -> bool {
    const ENDS: [&str; 5] = ["outcome", "denied", "refused", "orphaned", "watch"];
    named(line).is_some_and(|named| ENDS.contains(&named.kind))
}
