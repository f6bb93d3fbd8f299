//! Where the records of a call are in a segment that is closed: derived from it, and disposable.
//!
//! `index/NNNNNN` is a table of the records that name a call, sorted by the call: 16 bytes each,
//! the first eight of the call's SHA-256 and where the line begins; and the digest of it all. A
//! table that is damaged, or of a segment that has become longer, is as good as none. No part of
//! the log: whoever follows it reads the line and looks whose it is. Deleted, it is made again.

use std::{fs, io};

use sha2::{Digest, Sha256};

use super::{Disk, Line, Lines, Place, chain::Entry};

const MAGIC: &[u8; 8] = b"PCINDEX1";

/// Makes the table of a segment that gets no more records.
pub(in crate::audit) fn build(place: &Place, disk: &Disk, number: u64) -> io::Result<()> {
    let mut lines = Lines::from(place, number)?;
    let mut rows: Vec<[u64; 2]> = Vec::new();
    while lines.next()? == Line::Whole && lines.segment() == number {
        let entry: Option<Entry<'_>> = serde_json::from_slice(lines.line()).ok();
        if let Some(call) = entry.and_then(|entry| entry.call) {
            rows.push([key(call), lines.start()]);
        }
    }
    rows.sort_unstable();
    let mut table = MAGIC.to_vec();
    table.extend_from_slice(&bytes_of(place, number)?.to_be_bytes());
    table.extend(rows.as_flattened().iter().flat_map(|part| part.to_be_bytes()));
    let digest = Sha256::digest(&table);
    table.extend_from_slice(&digest);
    disk.create_dir(&place.indexes())?;
    disk.replace(&place.index(number), &table)
}

/// Where the lines of a call begin, in order; none if there is no table of the segment as it is.
pub(in crate::audit) fn look_up(place: &Place, number: u64, call: &str) -> Option<Vec<u64>> {
    let table = fs::read(place.index(number)).ok()?;
    let (table, digest) = table.split_last_chunk::<32>()?;
    let (magic, rest) = table.split_first_chunk::<8>()?;
    let (bytes, rows) = rest.split_first_chunk::<8>()?;
    let is_as_made = magic == MAGIC && Sha256::digest(table)[..] == digest[..];
    if !is_as_made || u64::from_be_bytes(*bytes) != bytes_of(place, number).ok()? {
        return None;
    }
    let (rows, key) = (rows.as_chunks::<16>().0, key(call));
    let first = rows.partition_point(|row| number_in(row) < key);
    let of_call = rows.get(first..)?.iter().take_while(|row| number_in(row) == key);
    Some(of_call.filter_map(|row| row.last_chunk::<8>()).map(number_in).collect())
}

/// What the first eight bytes are.
fn number_in<const N: usize>(bytes: &[u8; N]) -> u64 {
    bytes.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

fn key(call: &str) -> u64 {
    number_in::<32>(&Sha256::digest(call).into())
}

fn bytes_of(place: &Place, number: u64) -> io::Result<u64> {
    Ok(fs::metadata(place.segment(number))?.len())
}
