//! The writer: one std thread, the only one that appends to the log.
//!
//! Promises that a record's number is told only after its line is in the file at the durability
//! asked for, and that the first failing write or sync ends the log for this process: whoever
//! waits and whoever comes later is refused, because after a failed sync nobody knows what the
//! disk holds. One write(2) a batch; a new segment begins between two batches. Trees, keys and
//! checkpoints are the notary's, so that nobody waits for them.

use std::{collections::BTreeSet, fs::File, io, sync::Arc, thread::JoinHandle, time::Instant};

use super::{
    Durability, Own, Pace, Record,
    log::{Chain, Disk, Place},
    queue::Entry,
    record::Step,
    shared::{Shared, Writing},
    vault::{Inlet, Payload, Salts},
};
use crate::{
    domain::{CallId, limits::AUDIT_IN_FLIGHT_IDS},
    sys::{self, spawn_vital},
    telemetry::meters,
};

pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) segment: Segment,
    pub(super) chain: Chain,
    /// Calls whose outcome is not written yet.
    pub(super) in_flight: BTreeSet<CallId>,
    pub(super) vault: Inlet,
    pub(super) salts: Salts,
    /// A field, so that waiters are let go only after `drop` has marked the log as failed.
    pub(super) batch: Vec<Entry>,
}

/// The file that is appended to.
pub(super) struct Segment {
    pub(super) place: Place,
    pub(super) disk: Disk,
    pub(super) pace: Pace,
    pub(super) file: File,
    pub(super) number: u64,
    pub(super) bytes: u64,
    pub(super) since: Instant,
}

impl Writer {
    pub(super) fn start(self) -> io::Result<JoinHandle<()>> {
        spawn_vital("audit", move || self.run())
    }

    fn run(mut self) {
        let (mut lines, mut kept) = (Vec::new(), Vec::new());
        let mut company = 0;
        while self.shared.queue.next_batch(&mut self.batch, company) {
            let (began, n) = (Instant::now(), self.batch.len());
            let first = match self.write(&mut lines, &mut kept) {
                Ok(first) => first,
                Err(error) => {
                    tracing::error!(%error, "Audit log failed; every call is refused from now on");
                    return;
                }
            };
            meters().audit_append.record(began.elapsed());
            meters().audit_records.increment(u64::try_from(n).unwrap_or(u64::MAX));
            let waiters = tell(first, &mut self.batch);
            self.shared.wrote(self.chain.seq);
            self.vault.put(self.segment.number, std::mem::take(&mut kept));
            company = if self.shared.durability == Durability::Group { waiters } else { 0 };
        }
    }

    /// Puts the batch in the file, and what it commits to in `kept`; returns the number of its
    /// first record.
    fn write(&mut self, lines: &mut Vec<u8>, kept: &mut Vec<Payload>) -> io::Result<u64> {
        lines.clear();
        if self.segment.is_full() {
            self.segment.begin_next(self.shared.durability)?;
            // Whoever opens the log again need not read older segments to know what is under way.
            let in_flight: Vec<CallId> = self.in_flight.iter().copied().collect();
            let mut parts = in_flight.chunks(AUDIT_IN_FLIGHT_IDS);
            let first = parts.next().unwrap_or_default();
            for in_flight in std::iter::once(first).chain(parts) {
                let record = Record::Own(Own::Segment { in_flight });
                self.chain.seal(&record.render(sys::unix_micros()), lines);
            }
        }
        let first = self.chain.seq.saturating_add(1);
        for entry in &mut self.batch {
            entry.rendered.commit(&mut self.salts, kept)?;
            self.chain.seal(&entry.rendered, lines);
            match entry.rendered.step {
                Some(Step::Begins(call)) => drop(self.in_flight.insert(call)),
                Some(Step::Ends(call)) => drop(self.in_flight.remove(&call)),
                None => {}
            }
        }
        self.segment.append(lines, self.shared.durability)?;
        Ok(first)
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

/// Also on a panic: a log without a writer is a failed log.
impl Drop for Writer {
    fn drop(&mut self) {
        if self.shared.queue.end() {
            self.shared.fail();
        } else {
            self.shared.end(Writing::IsOver);
        }
    }
}
