//! What it takes to write the log: the file, where the chain stands, the way into the vault.
//!
//! There is one pen, which lies in the queue; whoever takes it writes, the writer's thread or a
//! caller. Promises that a record's number is told only after its line is in the file at the
//! durability asked for, and that the first failing write or sync ends the log for this process,
//! before anybody who waits is let go: after a failed sync nobody knows what the disk holds. One
//! write(2) a batch; a new segment begins between two batches.

use std::{collections::BTreeSet, fs::File, io, time::Instant};

use super::{
    Durability, Own, Pace, Record,
    log::{Chain, Disk, Place},
    queue::{Entry, Lend, Sheet},
    record::Step,
    shared::Shared,
    vault::{Inlet, Payload, Salts},
};
use crate::{
    domain::{
        CallId,
        limits::{AUDIT_IN_FLIGHT_IDS, AUDIT_LENT_CALLS},
    },
    sys,
    telemetry::meters,
};

pub(super) struct Pen {
    pub(super) segment: Segment,
    pub(super) chain: Chain,
    /// Calls whose outcome is not written yet.
    pub(super) in_flight: BTreeSet<CallId>,
    vault: Inlet,
    salts: Salts,
    /// What goes into the file with the next write; empty between two.
    lines: Vec<u8>,
}

/// The file that is appended to.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) place: Place,
    pub(super) disk: Disk,
    pub(super) pace: Pace,
    pub(super) file: File,
    pub(super) number: u64,
    pub(super) bytes: u64,
    pub(super) since: Instant,
}

/// Somebody writes. Whoever does not get to the end, by an error or a panic, has failed the log.
pub(super) struct Hand<'a> {
    shared: &'a Shared,
    began: Instant,
    /// None once it is given back.
    sheet: Option<Sheet<Box<Pen>>>,
}

impl Pen {
    pub(super) fn new(
        segment: Segment,
        (chain, in_flight): (Chain, BTreeSet<CallId>),
        vault: Inlet,
    ) -> Self {
        Self { segment, chain, in_flight, vault, salts: Salts::default(), lines: Vec::new() }
    }

    /// A new segment, if it is time for one.
    fn turn_over(&mut self, durability: Durability) -> io::Result<()> {
        if !self.segment.is_full() {
            return Ok(());
        }
        self.segment.begin_next(durability)?;
        // Whoever opens the log again need not read older segments to know what is under way.
        let in_flight: Vec<CallId> = self.in_flight.iter().copied().collect();
        let mut parts = in_flight.chunks(AUDIT_IN_FLIGHT_IDS);
        let first = parts.next().unwrap_or_default();
        for in_flight in std::iter::once(first).chain(parts) {
            let record = Record::Own(Own::Segment { in_flight });
            self.chain.seal(&record.render(sys::unix_micros()), &mut self.lines);
        }
        Ok(())
    }

    /// Among few a write costs less than waking the thread; among many it writes for all at once.
    /// A new segment is its affair alone.
    pub(super) fn may_be_lent(&self) -> bool {
        self.in_flight.len() <= AUDIT_LENT_CALLS && !self.segment.is_full()
    }

    /// Puts the batch in the file; returns the number of its first record, and what it commits to.
    pub(super) fn write(
        &mut self,
        batch: &mut [Entry],
        durability: Durability,
    ) -> io::Result<(u64, Vec<Payload>)> {
        let first = self.chain.seq.saturating_add(1);
        let mut kept = Vec::new();
        for entry in batch {
            entry.rendered.commit(&mut self.salts, &mut kept)?;
            self.chain.seal(&entry.rendered, &mut self.lines);
            match entry.rendered.step {
                Some(Step::Begins(call)) => drop(self.in_flight.insert(call)),
                Some(Step::Ends(call)) => drop(self.in_flight.remove(&call)),
                None => {}
            }
        }
        self.segment.append(&self.lines, durability)?;
        self.lines.clear();
        Ok((first, kept))
    }
}

impl<'a> Hand<'a> {
    pub(super) fn new(shared: &'a Shared, sheet: Sheet<Box<Pen>>) -> Self {
        Self { shared, began: Instant::now(), sheet: Some(sheet) }
    }

    /// What the writer's thread does: a new segment first, if it is time for one, which may take
    /// long. Says how many waited; none if the log has failed.
    pub(super) fn turn_over_and_write(mut self) -> Option<usize> {
        let durability = self.shared.durability;
        let turned = self.sheet.iter_mut().try_for_each(|sheet| sheet.pen.turn_over(durability));
        let written = turned.and_then(|()| self.put());
        written.inspect_err(complain).ok()
    }

    /// The same without a new segment.
    pub(super) fn write(mut self) -> Option<usize> {
        self.put().inspect_err(complain).ok()
    }

    /// Writes what is on the sheet, tells who waits, and gives the pen back.
    fn put(&mut self) -> io::Result<usize> {
        let Some(Sheet { pen, batch }) = &mut self.sheet else { return Ok(0) };
        let n = batch.len();
        let (first, kept) = pen.write(batch, self.shared.durability)?;
        let ended = Instant::now();
        let took = ended.saturating_duration_since(self.began);
        meters().audit_append.record(took);
        meters().audit_records.increment(u64::try_from(n).unwrap_or(u64::MAX));
        let waiters = tell(first, batch);
        self.shared.wrote(pen.chain.seq);
        pen.vault.put(pen.segment.number, kept);
        let lend = match self.shared.lends && pen.may_be_lent() {
            true => Lend::after(took, ended),
            false => Lend::ToThread,
        };
        if let Some(sheet) = self.sheet.take() {
            self.shared.queue.give_back(sheet, lend);
        }
        Ok(waiters)
    }
}

fn complain(error: &io::Error) {
    tracing::error!(%error, "Audit log failed; every call is refused from now on");
}

impl Drop for Hand<'_> {
    fn drop(&mut self) {
        if self.sheet.is_some() {
            // Before its waiters are let go, with the sheet.
            self.shared.fail();
        }
    }
}

impl Segment {
    fn is_full(&self) -> bool {
        self.bytes >= self.pace.segment_bytes || self.since.elapsed() >= self.pace.segment_age
    }

    fn begin_next(&mut self, durability: Durability) -> io::Result<()> {
        if durability == Durability::Cached {
            self.disk.sync(&self.file)?;
        }
        self.number = self.number.saturating_add(1);
        self.file = self.disk.create(&self.place.segment(self.number))?;
        self.disk.sync_dir(&self.place.segments())?;
        (self.bytes, self.since) = (0, Instant::now());
        Ok(())
    }

    fn append(&mut self, lines: &[u8], durability: Durability) -> io::Result<()> {
        self.disk.write(&self.file, lines)?;
        let n = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        self.bytes = self.bytes.saturating_add(n);
        match durability {
            Durability::Cached => Ok(()),
            Durability::Group | Durability::Sync => self.disk.sync(&self.file),
        }
    }
}

/// Tells each waiter its number, in one go; says how many there were.
fn tell(first: u64, batch: &mut Vec<Entry>) -> usize {
    let mut waiters = 0_usize;
    for (seq, entry) in (first..).zip(batch.drain(..)) {
        if let Some(done) = entry.done {
            waiters = waiters.saturating_add(1);
            // A waiter that has gone needs no answer; its record stands.
            done.send(seq).unwrap_or_default();
        }
    }
    waiters
}
