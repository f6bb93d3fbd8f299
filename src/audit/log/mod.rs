//! One log on disk: where everything lies, and every way in which it is written.
//!
//! `ROOT/current` leads to `ROOT/<log-id>/`, which holds the segments, the tiles, the checkpoint,
//! the notes that close epochs, and the secret key. Owns names, creation, keys and recovery.
//! Reading for people is `read/`; who writes when is the writer's and the notary's affair.

mod begin;
mod chain;
mod disk;
mod index;
mod keys;
mod lines;
mod marks;
mod recover;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub(super) use begin::find;
pub(super) use chain::{Chain, Entry, is_canonical};
pub(super) use disk::Disk;
#[cfg(test)]
pub(super) use disk::{Fault, Faults};
pub(super) use index::{build as build_index, look_up};
pub(super) use keys::{Keys, random};
pub(super) use lines::{Line, Lines, first_seq, segments};
pub(super) use marks::Marks;
pub(super) use recover::{Opened, open};

use super::tlog::{Edge, Hash, Stored, TILE_WIDTH, Tile, Vkey, widths};

/// What the names of logs begin with; the id follows.
pub(super) const ORIGIN_START: &str = "portcullis/audit/";

/// The file of the format before this one, one chained file without keys.
const PLAIN_LOG: &str = "000001.jsonl";

/// The directory of one log.
#[derive(Clone, Debug)]
pub(super) struct Place(PathBuf);

impl Place {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self(dir)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.0
    }

    pub(super) fn segments(&self) -> PathBuf {
        self.0.join("seg")
    }

    pub(super) fn segment(&self, number: u64) -> PathBuf {
        self.segments().join(format!("{number:06}.jsonl"))
    }

    pub(super) fn checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint")
    }

    /// The newest checkpoint that a witness cosigned, with its lines.
    pub(super) fn cosigned(&self) -> PathBuf {
        self.0.join("cosigned")
    }

    /// The secret that a witness knows the log by.
    pub(super) fn sender(&self) -> PathBuf {
        self.keys().join("sender")
    }

    /// The public key of the first epoch, for convenience: whoever verifies has it from elsewhere.
    pub(super) fn pubkey(&self) -> PathBuf {
        self.0.join("pubkey")
    }

    /// What the log is called, as the key beside it says.
    pub(super) fn origin(&self) -> io::Result<String> {
        let text = read_small(&self.pubkey())?.unwrap_or_default();
        let key = Vkey::parse(text.trim_end());
        Ok(key.ok_or(io::ErrorKind::InvalidData)?.name().to_owned())
    }

    fn epochs(&self) -> PathBuf {
        self.0.join("epoch")
    }

    /// The note by which an epoch ends.
    pub(super) fn epoch(&self, epoch: u64) -> PathBuf {
        self.epochs().join(format!("{epoch:06}"))
    }

    fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    pub(super) fn vaults(&self) -> PathBuf {
        self.0.join("vault")
    }

    /// What is kept of what the records of a segment commit to.
    pub(super) fn vault(&self, number: u64) -> PathBuf {
        self.vaults().join(format!("{number:06}.jsonl"))
    }

    pub(super) fn indexes(&self) -> PathBuf {
        self.0.join("index")
    }

    /// Where the records of each call are in a segment; derived from it.
    pub(super) fn index(&self, number: u64) -> PathBuf {
        self.indexes().join(format!("{number:06}"))
    }

    fn torn(&self) -> PathBuf {
        self.0.join("torn")
    }

    /// The notes by which the epochs so far have ended, in order.
    pub(super) fn closings(&self) -> io::Result<Vec<String>> {
        let mut notes = Vec::new();
        for epoch in 0.. {
            match read_small(&self.epoch(epoch))? {
                Some(note) => notes.push(note),
                None => break,
            }
        }
        Ok(notes)
    }

    /// The tiles of a tree of this size, as far as they can be read.
    pub(super) fn stored(
        &self,
        size: u64,
    ) -> Stored<impl Fn(usize, u64, u64) -> Option<Vec<Hash>> + '_> {
        Stored::new(size, move |level, index, width| self.tile(level, index, width))
    }

    /// The tree of this size, from its partial tiles; its root is yet to be compared.
    fn edge(&self, size: u64) -> Option<Edge> {
        let level = |(level, width): (usize, u64)| {
            let index = size >> (8 * (level + 1)).min(63);
            if width == 0 { Some(Vec::new()) } else { self.tile(level, index, width) }
        };
        let levels = widths(size).into_iter().enumerate().map(level).collect::<Option<_>>()?;
        Edge::restore(size, levels)
    }

    /// The leaf of record `seq`, from a tree of `size`.
    pub(super) fn leaf(&self, seq: u64, size: u64) -> Option<Hash> {
        let at = seq.checked_sub(1)?;
        let index = at / TILE_WIDTH;
        let width = TILE_WIDTH.min(size.checked_sub(index * TILE_WIDTH)?);
        self.tile(0, index, width)?.get(usize::try_from(at % TILE_WIDTH).ok()?).copied()
    }

    pub(super) fn put_tile(&self, disk: &Disk, tile: &Tile) -> io::Result<()> {
        let path = self.0.join(tile.own_path());
        if let Some(parent) = path.parent() {
            disk.create_dir(parent)?;
        }
        disk.put(&path, &tile.hashes.concat())
    }

    /// The first `width` hashes of a tile. A wider one stands for any that is narrower.
    pub(super) fn tile(&self, level: usize, index: u64, width: u64) -> Option<Vec<Hash>> {
        let read = |width| fs::read(self.0.join(Tile::path(level, index, width))).ok();
        let bytes = [TILE_WIDTH, width].into_iter().find_map(read);
        let bytes = bytes.or_else(|| (width..TILE_WIDTH).find_map(read))?;
        let (hashes, _) = bytes.as_chunks::<32>();
        hashes.get(..usize::try_from(width).ok()?).map(<[Hash]>::to_vec)
    }
}

/// A text of ours, if it is there; a note has no more than this.
pub(super) fn read_small(path: &Path) -> io::Result<Option<String>> {
    use io::Read;
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let mut text = String::new();
    file.take(NOTE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// A checkpoint with room for a few witnesses.
const NOTE_BYTES_MAX: u64 = 64 * 1024;
