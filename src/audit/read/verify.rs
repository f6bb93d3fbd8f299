//! Verifying a log from its files alone.
//!
//! Streams, in memory bounded by one line and one tile a level, and names the first record that is
//! not the one that was signed. Believes nothing but the public key that it is given: keys follow
//! from it note by note, roots from the signatures, records from the roots. What it cannot see: a
//! log that ends earlier than it did, unless a mark, a witness or the time is held against it.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::keyring::Keyring;
use crate::audit::{
    log::{Chain, Line, Lines, Place, find, is_canonical, segments},
    record::hex_digits,
    tlog::{Edge, Hash, TILE_WIDTH, root_by_inclusion},
};

/// What a log is held against.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The public key of its first epoch, from elsewhere; else the one that lies beside it.
    pub pubkey: Option<String>,
    /// Copies of checkpoints that were kept elsewhere.
    pub witnesses: Vec<PathBuf>,
    /// Keys of witnesses that must have cosigned it.
    pub cosigners: Vec<String>,
    /// Neither the last signed record nor a cosignature may be older than this, in microseconds
    /// since 1970.
    pub not_before: Option<u64>,
}

/// A log in which every record is the one that was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub origin: String,
    /// The first record that is still there.
    pub first: u64,
    /// Number of the last record.
    pub last: u64,
    /// Its leaf, in hexadecimal.
    pub head: String,
    /// The last record that is signed.
    pub signed: u64,
    /// Its time, in microseconds since 1970.
    pub signed_ts: u64,
    pub epochs: u64,
    /// Whether the key came from elsewhere.
    pub anchored: bool,
    /// How many records every witness that was asked for has cosigned.
    pub cosigned: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("record {seq} of `{}` {what}", path.display())]
    Bad { path: PathBuf, seq: u64, what: String },
    #[error("the log `{}` {what}", path.display())]
    Log { path: PathBuf, what: String },
    #[error("there is no audit log in `{}`", path.display())]
    None { path: PathBuf },
    #[error(
        "`{key}` is not a public key; it looks like the one that `portcullis audit init` prints"
    )]
    Key { key: String },
    #[error("`{key}` is neither a file nor the key of a witness")]
    WitnessKey { key: String },
    #[error("cannot read the audit log `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
}

/// Checks the log in `dir` from its first byte to its last. Takes no lock: what is written while
/// it reads may be left out.
pub fn verify(dir: &Path, wanted: &Wanted) -> Result<Verified, VerifyError> {
    let read = |source| VerifyError::Read { path: dir.to_owned(), source };
    let place = find(dir).map_err(read)?;
    let place = place.ok_or_else(|| VerifyError::None { path: dir.to_owned() })?;
    let keyring = Keyring::read(&place, wanted)?;
    let mut check = Check::begin(&place, keyring).map_err(read)?;
    check.run(wanted)
}

/// A root that the log must have had.
#[derive(Clone, Debug)]
pub(super) struct Fixed {
    pub(super) size: u64,
    pub(super) root: Hash,
    /// Who says so, in a sentence after "as".
    pub(super) says: String,
}

struct Check<'a> {
    place: &'a Place,
    keyring: Keyring,
    lines: Lines,
    chain: Chain,
    edge: Edge,
    first: u64,
    last_ts: u64,
    signed_ts: u64,
    /// Up to which record the log says that retention has removed it.
    expired: u64,
    /// Level-0 tile that the records are compared with: its index and its hashes.
    tile: Option<(u64, Vec<Hash>)>,
    /// The first record that is not what its tile says.
    differs: Option<u64>,
    /// How many records are the ones that were signed.
    sound: u64,
}

impl<'a> Check<'a> {
    fn begin(place: &'a Place, keyring: Keyring) -> io::Result<Self> {
        let number = segments(place)?.first().copied().ok_or(io::ErrorKind::NotFound)?;
        let lines = Lines::from(place, number)?;
        Ok(Self {
            place,
            keyring,
            lines,
            chain: Chain::START,
            edge: Edge::default(),
            first: 1,
            last_ts: 0,
            signed_ts: 0,
            expired: 0,
            tile: None,
            differs: None,
            sound: 0,
        })
    }

    fn run(&mut self, wanted: &Wanted) -> Result<Verified, VerifyError> {
        let signed = self.keyring.signed;
        loop {
            match self.next()? {
                Line::Whole => {}
                Line::End => break,
                // Somebody may be writing it just now, and nobody has signed it.
                Line::Torn if self.chain.seq >= signed && self.is_last() => break,
                line @ (Line::Torn | Line::TooLong) => {
                    return Err(self.bad(line.fault().unwrap_or_default()));
                }
            }
            self.record()?;
        }
        if let Some(fixed) = self.keyring.fixed.first() {
            let (size, says) = (fixed.size, fixed.says.clone());
            return Err(self.bad(&format!("is gone: the log had {size} records, as {says}")));
        }
        if let Some((size, says)) = &self.keyring.witnessed
            && *size > signed
        {
            let what = format!("is not signed any more, though {size} were once, as {says}");
            return Err(self.bad_at(signed.saturating_add(1), &what));
        }
        if self.expired < self.first - 1 {
            let what = "is gone, and no record says that its time was over";
            return Err(self.bad_at(self.expired.saturating_add(1), what));
        }
        if let Some(limit) = wanted.not_before
            && self.signed_ts < limit
        {
            let late = (limit - self.signed_ts) / 1_000_000;
            let what =
                format!("is the last that is signed, and {late} s too old for the log to be whole");
            return Err(self.bad_at(signed, &what));
        }
        self.keyring.is_young(wanted.not_before, self.place.dir())?;
        Ok(Verified {
            origin: self.keyring.origin.clone(),
            first: self.first,
            last: self.chain.seq,
            head: String::from_utf8_lossy(&hex_digits(&self.chain.leaf)).into_owned(),
            signed,
            signed_ts: self.signed_ts,
            epochs: self.keyring.epochs,
            anchored: wanted.pubkey.is_some(),
            cosigned: self.keyring.cosigned.iter().map(|seen| seen.checkpoint.size).min(),
        })
    }

    fn next(&mut self) -> Result<Line, VerifyError> {
        let read = |source| VerifyError::Read { path: self.place.dir().to_owned(), source };
        self.lines.next().map_err(read)
    }

    /// Takes one record, and holds it against whatever is known about it.
    fn record(&mut self) -> Result<(), VerifyError> {
        if self.chain.seq == 0 {
            self.after_what_expired()?;
        }
        let line = self.lines.line();
        let entry = match self.chain.check(line) {
            Ok(entry) => entry,
            Err(what) => return Err(self.bad(what)),
        };
        self.last_ts = entry.ts;
        let named = entry.pubkey.filter(|_| entry.kind == "key_epoch").map(str::to_owned);
        let begins = entry.kind == "log_begun";
        let origin = entry.origin.is_some_and(|origin| *origin == self.keyring.origin);
        let key = entry.pubkey.is_some_and(|key| *key == self.keyring.first_key());
        if self.chain.seq == 1 && !(begins && origin && key) {
            return Err(self.bad_at(1, "is not the beginning of the log that this key signs"));
        }
        if entry.kind == "expired" {
            self.expired = self.expired.max(entry.up_to.unwrap_or_default());
        }
        if !is_canonical(line) {
            return Err(self.bad_at(self.chain.seq, "is not written in its one form"));
        }
        self.grow(self.chain.leaf)?;
        let seq = self.chain.seq;
        if seq == self.keyring.signed {
            self.signed_ts = self.last_ts;
        }
        if let Some(key) = self.keyring.closed_at(seq)
            && named != Some(key)
        {
            return Err(self.bad_at(seq, "does not name the key that the end of its epoch names"));
        }
        Ok(())
    }

    /// Compares the leaf of the next record with its tile, and the root with what is signed.
    fn grow(&mut self, leaf: Hash) -> Result<(), VerifyError> {
        self.edge.push(leaf, &mut drop);
        let seq = self.edge.size();
        if seq <= self.keyring.signed && self.differs.is_none() {
            let stored = self.stored(seq);
            if stored != Some(leaf) {
                self.differs = Some(seq);
                self.hold_against(seq, stored)?;
            }
        }
        while let Some(fixed) = self.keyring.fixed.first().filter(|fixed| fixed.size == seq) {
            if fixed.root != self.edge.root() {
                return Err(self.mismatch(&fixed.clone()));
            }
            self.keyring.fixed.remove(0);
            self.sound = seq;
        }
        match self.differs {
            // The records are what was signed, so it is the tile that is not.
            Some(at) if at <= self.sound => {
                Err(self.bad_at(at, "is the one that was signed, but its tile is damaged or gone"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The leaf of a record, as its tile has it.
    fn stored(&mut self, seq: u64) -> Option<Hash> {
        let at = seq.checked_sub(1)?;
        let index = at / TILE_WIDTH;
        if self.tile.as_ref().is_none_or(|(have, _)| *have != index) {
            let width = TILE_WIDTH.min(self.keyring.signed - index * TILE_WIDTH);
            let hashes = self.place.tile(0, index, width).unwrap_or_default();
            self.tile = Some((index, hashes));
        }
        let (_, hashes) = self.tile.as_ref()?;
        hashes.get(usize::try_from(at % TILE_WIDTH).ok()?).copied()
    }

    /// Where retention has removed the first segments, their tiles stand for them.
    fn after_what_expired(&mut self) -> Result<(), VerifyError> {
        #[derive(serde::Deserialize)]
        struct First {
            seq: u64,
        }
        let first = serde_json::from_slice(self.lines.line()).map_or(1, |First { seq }| seq);
        // Whole segments expire: the first one begins with the first record.
        if first <= 1 || first > self.keyring.signed || self.lines.segment() == 1 {
            return Ok(());
        }
        let mut last = Chain::START;
        for seq in 1..first {
            let Some(leaf) = self.stored(seq) else {
                return Err(self.bad_at(seq, "is gone, and so is its tile"));
            };
            self.grow(leaf)?;
            last = Chain { seq, leaf };
        }
        (self.chain, self.first) = (last, first);
        Ok(())
    }

    /// The record is not what its tile says. If the tile is what was signed, the record is not.
    fn hold_against(&self, seq: u64, stored: Option<Hash>) -> Result<(), VerifyError> {
        let at = seq.saturating_sub(1);
        let Some(fixed) = self.keyring.fixed.iter().find(|fixed| fixed.size >= seq) else {
            return Ok(());
        };
        let root = stored.and_then(|leaf| {
            let proof = self.place.stored(self.keyring.signed).inclusion(at, fixed.size)?;
            root_by_inclusion(leaf, at, fixed.size, &proof)
        });
        if root != Some(fixed.root) {
            return Ok(());
        }
        let what = format!("is not the one that was signed, as {}", fixed.says);
        Err(self.bad_at(seq, &what))
    }

    /// The records since the last sound root are not what was signed, and no tile says which.
    fn mismatch(&self, fixed: &Fixed) -> VerifyError {
        let (size, says) = (fixed.size, &fixed.says);
        let first = self.sound.saturating_add(1);
        let what = format!("or a later one up to {size} is not the one that was signed, as {says}");
        self.bad_at(first, &what)
    }

    fn is_last(&self) -> bool {
        let last = segments(self.place).ok().and_then(|numbers| numbers.last().copied());
        last == Some(self.lines.segment())
    }

    /// About the record after the last good one.
    fn bad(&self, what: &str) -> VerifyError {
        self.bad_at(self.chain.seq.saturating_add(1), what)
    }

    fn bad_at(&self, seq: u64, what: &str) -> VerifyError {
        VerifyError::Bad { path: self.place.dir().to_owned(), seq, what: what.to_owned() }
    }
}
