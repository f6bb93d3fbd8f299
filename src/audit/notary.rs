//! The notary: a second std thread, which reads what the writer wrote and signs it.
//!
//! It adds a heartbeat or names the next key, reads the log from its files up to that record, keeps
//! the tree, and writes tiles, checkpoint, the note that ends an epoch, and the marks outside. So
//! what is signed is what is on disk, and no call waits for it. What it cannot write or read fails
//! the log like a record that cannot be written: evidence that nobody signs is none.

use std::{
    fs::File,
    io, mem,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{
    Own, Pace, Record,
    log::{Chain, Disk, Keys, Lines, Marks, Opened, Place, build_index},
    queue::By,
    shared::{Shared, Signed, Writing},
    tlog::{Checkpoint, Edge, Tile, widths},
};
use crate::{
    domain::limits,
    sys::{self, spawn_vital},
    telemetry::FOR_THE_JOURNAL,
    wire::base64,
};

pub(super) struct Notary {
    pub(super) shared: Arc<Shared>,
    pub(super) place: Place,
    pub(super) disk: Disk,
    keys: Keys,
    chain: Chain,
    pub(super) edge: Edge,
    lines: Lines,
    duties: Duties,
    /// When the epoch began, and the last record before it.
    epoch_since: (Instant, u64),
    /// The oldest segment that may not be on disk whole.
    unsynced: u64,
    /// The first segment that may have no index yet.
    unindexed: u64,
    /// Partial tiles that the next checkpoint has no use for.
    partial: Vec<String>,
}

/// What is done when, and where else.
pub(super) struct Duties {
    pub(super) marks: Marks,
    pub(super) pace: Pace,
    pub(super) retention: Duration,
}

impl Notary {
    /// Goes on where the log was opened; signs it if it is longer than it was when it was signed.
    pub(super) fn new(
        shared: Arc<Shared>,
        disk: Disk,
        duties: Duties,
        opened: Opened,
    ) -> io::Result<Self> {
        let stale = |(level, width): (usize, u64)| {
            let index = opened.signed >> (8 * (level + 1)).min(63);
            (width > 0).then(|| Tile::path(level, index, width))
        };
        let partial = widths(opened.signed).into_iter().enumerate().filter_map(stale).collect();
        let mut notary = Self {
            shared,
            place: opened.place,
            disk,
            keys: opened.keys,
            chain: opened.chain,
            unsynced: opened.lines.segment(),
            epoch_since: (Instant::now(), opened.chain.seq),
            edge: opened.edge,
            lines: opened.lines,
            duties,
            partial,
            unindexed: 1,
        };
        notary.sign()?;
        Ok(notary)
    }

    pub(super) fn start(self) -> io::Result<JoinHandle<()>> {
        spawn_vital("notary", move || self.run())
    }

    fn run(mut self) {
        let mut beat = Instant::now() + self.duties.pace.heartbeat;
        loop {
            let (since, first) = self.epoch_since;
            let until = beat.min(since + self.duties.pace.epoch_age);
            let last = first.saturating_add(self.duties.pace.epoch_records);
            let (seq, writing) = self.shared.wait(until, last);
            if writing == Writing::GoesOn {
                self.shared.refused.settle(&self.shared);
            }
            let done = match writing {
                Writing::HasFailed => return,
                Writing::IsOver => self.read_to(seq).and_then(|()| self.sign()),
                Writing::GoesOn if seq >= last || since.elapsed() >= self.duties.pace.epoch_age => {
                    self.next_epoch(seq)
                }
                Writing::GoesOn => self.heartbeat(),
            };
            if let Err(error) = done {
                tracing::error!(%error, "Audit log cannot be signed; every call is refused from now on");
                self.shared.fail();
                return;
            }
            if writing == Writing::IsOver {
                return;
            }
            self.index();
            beat = Instant::now() + self.duties.pace.heartbeat;
        }
    }

    fn heartbeat(&mut self) -> io::Result<()> {
        let Some(seq) = self.put(&Record::Own(Own::Heartbeat)) else { return Ok(()) };
        self.read_to(seq)?;
        self.sign()
    }

    fn next_epoch(&mut self, seq: u64) -> io::Result<()> {
        // Also if the record is not taken: then it is tried again as much later.
        self.epoch_since = (Instant::now(), seq);
        let epoch = self.keys.epoch().saturating_add(1);
        let pubkey = self.keys.prepare()?.vkey().to_string();
        let record = Record::Own(Own::KeyEpoch { epoch, pubkey: &pubkey });
        let Some(seq) = self.put(&record) else { return Ok(()) };
        self.read_to(seq)?;
        self.sync()?;
        let note = self.keys.advance(seq, self.edge.root())?;
        self.epoch_since = (Instant::now(), seq);
        self.publish(&note)?;
        self.expire(self.duties.retention)
    }

    /// Makes the index of one segment that is closed and has none, if there is one: a convenience,
    /// whose failure is no more than a warning.
    fn index(&mut self) {
        while self.unindexed < self.lines.segment() {
            let number = self.unindexed;
            self.unindexed = number.saturating_add(1);
            if self.place.index(number).exists() || !self.place.segment(number).exists() {
                continue;
            }
            if let Err(error) = build_index(&self.place, &self.disk, number) {
                tracing::warn!(number, %error, "Audit segment has no index");
            }
            return;
        }
    }

    /// Has a record written. None if it is not taken: then the writer has failed or is at its end,
    /// or the queue is full and the next time will do.
    pub(super) fn put(&self, record: &Record<'_>) -> Option<u64> {
        let bound = limits::AUDIT_QUEUE_MAX.saturating_mul(2);
        let written = self.shared.begin(record, bound, By::Thread);
        written.ok()?.written.blocking_recv().ok()
    }

    /// Takes what is written up to this record into the tree.
    pub(super) fn read_to(&mut self, seq: u64) -> io::Result<()> {
        while self.chain.seq < seq {
            let next = self.chain.seq.saturating_add(1);
            let told =
                |what| io::Error::other(format!("record {next} {what}, though it was written"));
            if let Some(what) = self.lines.next()?.fault() {
                return Err(told(what));
            }
            drop(self.chain.check(self.lines.line()).map_err(told)?);
            let mut full = Vec::new();
            self.edge.push(self.chain.leaf, &mut |tile| full.push(tile));
            for tile in full {
                self.place.put_tile(&self.disk, &tile)?;
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        for number in self.unsynced..=self.lines.segment() {
            self.disk.sync(&File::open(self.place.segment(number))?)?;
        }
        self.unsynced = self.lines.segment();
        Ok(())
    }

    /// Signs everything that was read.
    pub(super) fn sign(&mut self) -> io::Result<()> {
        self.sync()?;
        let (size, root) = (self.edge.size(), self.edge.root());
        let signer = self.keys.signer();
        let origin = signer.vkey().name().to_owned();
        let note = match self.keys.closing(size)? {
            Some(closing) => closing,
            None => signer.sign(&Checkpoint { origin, size, root, next: None }),
        };
        self.publish(&note)
    }

    fn publish(&mut self, note: &str) -> io::Result<()> {
        let partial = self.edge.partial();
        for tile in &partial {
            self.place.put_tile(&self.disk, tile)?;
        }
        self.disk.replace(&self.place.checkpoint(), note.as_bytes())?;
        self.duties.marks.write(note);
        let size = self.edge.size();
        tracing::info!(target: FOR_THE_JOURNAL, { audit.size = size, audit.checkpoint = note }, "Audit log signed");
        self.shared.signed(Signed {
            size,
            root: base64::encode(&self.edge.root()),
            epoch: self.keys.epoch(),
            at_us: sys::unix_micros(),
            note: note.to_owned(),
        });
        let now: Vec<String> = partial.iter().map(|tile| tile.own_path()).collect();
        for old in mem::replace(&mut self.partial, now) {
            if !self.partial.contains(&old) {
                self.disk.remove(&self.place.dir().join(old))?;
            }
        }
        Ok(())
    }
}

/// How often what is done. Tests are in a hurry.
impl Default for Pace {
    fn default() -> Self {
        Self {
            heartbeat: limits::AUDIT_HEARTBEAT,
            epoch_age: limits::AUDIT_EPOCH_AGE,
            epoch_records: limits::AUDIT_EPOCH_RECORDS,
            segment_bytes: limits::AUDIT_SEGMENT_BYTES,
            segment_age: limits::AUDIT_SEGMENT_AGE,
        }
    }
}
