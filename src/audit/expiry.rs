//! Segments whose time is over.
//!
//! Promises that a segment goes only when all its records are old enough, when its tiles hold its
//! leaves and are on disk, and when a signed record says so. Part of the notary's work.

use std::{fs::File, io, time::Duration};

use super::{
    Own, Record,
    log::{Entry, Line, Lines, segments},
    notary::Notary,
    tlog::{Hash, TILE_WIDTH, Tile, leaf},
};
use crate::sys;

impl Notary {
    pub(super) fn expire(&mut self, retention: Duration) -> io::Result<()> {
        let age = u64::try_from(retention.as_micros()).unwrap_or(u64::MAX);
        let limit = sys::unix_micros().saturating_sub(age);
        let numbers = segments(&self.place)?;
        let (mut up_to, mut over) = (0, Vec::new());
        for (number, next) in numbers.iter().zip(numbers.iter().skip(1)) {
            let Some((first, ts)) = self.first_of(*next)? else { break };
            let last = first.saturating_sub(1);
            // A tile that is not full yet will be replaced: it cannot stand for anything.
            let tiled = last.div_ceil(TILE_WIDTH).saturating_mul(TILE_WIDTH);
            if ts > limit || tiled > self.edge.size() || !self.is_tiled(*number)? {
                break;
            }
            up_to = last;
            over.push(*number);
        }
        if over.is_empty() {
            return Ok(());
        }
        let Some(seq) = self.put(&Record::Own(Own::Expired { up_to })) else { return Ok(()) };
        self.read_to(seq)?;
        self.sign()?;
        for number in over {
            self.disk.remove(&self.place.segment(number))?;
            self.disk.remove(&self.place.vault(number))?;
            self.disk.remove(&self.place.index(number))?;
        }
        self.disk.sync_dir(&self.place.segments())
    }

    /// Number and time of a segment's first record.
    fn first_of(&self, number: u64) -> io::Result<Option<(u64, u64)>> {
        let mut lines = Lines::from(&self.place, number)?;
        if lines.next()? != Line::Whole {
            return Ok(None);
        }
        let entry: Option<Entry<'_>> = serde_json::from_slice(lines.line()).ok();
        Ok(entry.map(|entry| (entry.seq, entry.ts)))
    }

    /// Whether the tiles on disk hold the leaves of a segment, after syncing them.
    fn is_tiled(&self, number: u64) -> io::Result<bool> {
        let Some((first, _)) = self.first_of(number)? else { return Ok(false) };
        let mut lines = Lines::from(&self.place, number)?;
        let mut at = first.saturating_sub(1);
        let mut tile: Option<(u64, Vec<Hash>)> = None;
        while lines.next()? == Line::Whole && lines.segment() == number {
            let index = at / TILE_WIDTH;
            if tile.as_ref().is_none_or(|(have, _)| *have != index) {
                let hashes = self.place.tile(0, index, TILE_WIDTH).unwrap_or_default();
                tile = Some((index, hashes));
            }
            let slot = usize::try_from(at % TILE_WIDTH).unwrap_or(usize::MAX);
            let stored = tile.as_ref().and_then(|(_, hashes)| hashes.get(slot));
            if stored != Some(&leaf(lines.line())) {
                tracing::error!(index, "Audit tile is damaged; its segment is kept");
                return Ok(false);
            }
            at = at.saturating_add(1);
        }
        self.sync_tiles(first.saturating_sub(1), at)?;
        Ok(true)
    }

    /// Puts the full tiles over these leaves on disk for good, at every level.
    fn sync_tiles(&self, from: u64, to: u64) -> io::Result<()> {
        let (mut from, mut to) = (from / TILE_WIDTH, to.div_ceil(TILE_WIDTH));
        for level in 0.. {
            for index in from..to {
                let path = self.place.dir().join(Tile::path(level, index, TILE_WIDTH));
                match File::open(path) {
                    Ok(file) => self.disk.sync(&file)?,
                    // Higher up the last one is not full.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(e),
                }
            }
            if to <= 1 {
                break;
            }
            (from, to) = (from / TILE_WIDTH, to.div_ceil(TILE_WIDTH));
        }
        Ok(())
    }
}
