//! Opening the log: lock it, keep its longest valid prefix, set aside the rest.
//!
//! Promises that nothing is lost: bytes that do not continue the chain go to a file in `torn/`,
//! synced, before the log is cut back. What the checkpoint covers is never cut: a log that lacks
//! some of it, or that a mark outside knows to be longer, is left as it is and another is begun,
//! which says so. Reads from the last checkpoint on, not the whole log. A second gateway finds the
//! log locked and refuses.

mod signed;
mod torn;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, TryLockError},
    io,
    path::Path,
};

pub(in crate::audit) use torn::Torn;

use super::{
    Disk, Keys, Line, Lines, Marks, Place,
    begin::{self, PLAIN_NAME},
    chain::{Chain, Entry},
    lines::{first_seq, segments},
};
use crate::{
    audit::{
        AuditError,
        tlog::{Edge, Hash, Vkey},
    },
    domain::CallId,
};
use signed::Signed;
use torn::set_aside;

/// A log ready to be written on.
#[derive(Debug)]
pub(in crate::audit) struct Opened {
    pub(in crate::audit) place: Place,
    pub(in crate::audit) keys: Keys,
    pub(in crate::audit) chain: Chain,
    /// The tree over all of it.
    pub(in crate::audit) edge: Edge,
    /// How much of it the checkpoint covers.
    pub(in crate::audit) signed: u64,
    /// At its end.
    pub(in crate::audit) lines: Lines,
    pub(in crate::audit) torn: Vec<Torn>,
    /// Calls without an outcome.
    pub(in crate::audit) orphans: BTreeSet<CallId>,
    /// Set if this log had to be begun although there was another: that one, and why.
    pub(in crate::audit) instead_of: Option<(String, String)>,
}

/// Why a log is not gone on with.
enum Broken {
    Io(io::Error),
    /// It is not what was signed: evidence, to be left alone.
    Evidence(String),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn evidence(why: impl Into<String>) -> Broken {
    Broken::Evidence(why.into())
}

/// The log to go on with, and the lock to be held for as long as it is written.
pub(in crate::audit) fn open(
    root: &Path,
    disk: &Disk,
    marks: &Marks,
) -> Result<(Opened, File), AuditError> {
    let failed = |source| AuditError::Open { path: root.to_owned(), source };
    disk.create_dir(root).map_err(failed)?;
    let lock = lock(root, disk)?;
    let plain = begin::plain_log(root).map_err(failed)?;
    let mut instead_of = None;
    let place = match begin::find(root).map_err(failed)? {
        Some(place) => place,
        None => {
            // The old format going out of use is no cause for alarm.
            let plain = plain.clone().map(|why| (PLAIN_NAME.to_owned(), why));
            instead_of = if plain.is_some() { None } else { missing(marks) };
            renew(root, disk, plain.as_ref().or(instead_of.as_ref())).map_err(failed)?
        }
    };
    if plain.is_some() {
        begin::put_plain_log_aside(root, disk).map_err(failed)?;
    }
    let opened = match resume(&place, disk, marks) {
        Err(Broken::Evidence(why)) => {
            let id = place.dir().file_name().unwrap_or_default().to_string_lossy().into_owned();
            instead_of = Some((id, why));
            let place = renew(root, disk, instead_of.as_ref()).map_err(failed)?;
            resume(&place, disk, &Marks::default())
        }
        resumed => resumed,
    };
    match opened {
        Ok(opened) => Ok((Opened { instead_of, ..opened }, lock)),
        Err(Broken::Io(source)) => Err(failed(source)),
        Err(Broken::Evidence(why)) => Err(failed(io::Error::other(why))),
    }
}

fn renew(root: &Path, disk: &Disk, before: Option<&(String, String)>) -> io::Result<Place> {
    let after = before.map(|(name, why)| (name.as_str(), why.as_str()));
    begin::create(root, disk, after)
}

/// The log that a mark tells of, where there is none.
fn missing(marks: &Marks) -> Option<(String, String)> {
    let (path, told) = marks.read().into_iter().next()?;
    let why = format!("it is gone: {path} knows of {} records", told.size);
    Some((told.origin, why))
}

fn lock(root: &Path, disk: &Disk) -> Result<File, AuditError> {
    let path = root.join("lock");
    let failed = |source| AuditError::Open { path: path.clone(), source };
    let file = disk.open_lock(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(AuditError::Locked { path }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

fn resume(place: &Place, disk: &Disk, marks: &Marks) -> Result<Opened, Broken> {
    let mut scan = Scan::begin(place, disk, Signed::read(place, disk)?, marks)?;
    scan.run()?;
    let scan = scan.settle()?;
    Ok(Opened {
        place: place.clone(),
        signed: scan.signed.size,
        keys: scan.signed.keys,
        chain: scan.chain,
        edge: scan.edge,
        lines: scan.lines,
        torn: scan.torn,
        orphans: scan.in_flight,
        instead_of: None,
    })
}

struct Scan<'a> {
    place: &'a Place,
    disk: &'a Disk,
    signed: Signed,
    chain: Chain,
    edge: Edge,
    lines: Lines,
    in_flight: BTreeSet<CallId>,
    /// Roots that the log must have had, by size.
    wanted: BTreeMap<u64, (Hash, String)>,
    /// The record that named the next key, if its epoch was not closed: its number, and the root.
    named: Option<(u64, Hash)>,
    torn: Vec<Torn>,
    bad: Option<&'static str>,
}

impl<'a> Scan<'a> {
    fn begin(
        place: &'a Place,
        disk: &'a Disk,
        signed: Signed,
        marks: &Marks,
    ) -> Result<Self, Broken> {
        let numbers = segments(place)?;
        let first = *numbers.first().ok_or_else(|| evidence("it has no segments"))?;
        let mut wanted = BTreeMap::new();
        for (path, told) in marks.read() {
            if told.origin != signed.origin {
                tracing::error!(path, log = told.origin, "Mark of another log");
                continue;
            }
            if told.size > signed.size {
                wanted.insert(told.size, (told.root, path));
            } else if place.stored(signed.size).root_at(told.size) != Some(told.root) {
                return Err(evidence(format!("{path} knows other records")));
            }
        }
        let mut scan = Self {
            place,
            disk,
            chain: Chain::START,
            edge: Edge::default(),
            lines: Lines::from(place, first)?,
            in_flight: BTreeSet::new(),
            wanted,
            named: None,
            torn: Vec::new(),
            bad: None,
            signed,
        };
        let size = scan.signed.size;
        if let Some(edge) = place.edge(size).filter(|edge| edge.root() == scan.signed.root) {
            scan.edge = edge;
            for number in numbers.into_iter().rev() {
                let Some(seq) = first_seq(place, number)? else { continue };
                if seq > size.saturating_add(1) {
                    continue;
                }
                let before = seq.saturating_sub(1);
                let leaf = if before == 0 { Some([0; 32]) } else { place.leaf(before, size) };
                let leaf = leaf.ok_or_else(|| evidence("a tile is gone"))?;
                scan.chain = Chain { seq: before, leaf };
                scan.lines = Lines::from(place, number)?;
                break;
            }
        } else if size > 0 {
            // The tiles can be made again from the segments, if these are all there.
            scan.wanted.insert(size, (scan.signed.root, "its checkpoint".to_owned()));
        }
        Ok(scan)
    }

    /// Reads lines as long as they continue the chain.
    fn run(&mut self) -> Result<(), Broken> {
        let size = self.signed.size;
        let last_signed = self.place.leaf(size, size).filter(|_| self.edge.size() > 0);
        loop {
            match self.lines.next()? {
                Line::Whole => {}
                Line::End => break,
                line @ (Line::Torn | Line::TooLong) => {
                    self.bad = line.fault();
                    break;
                }
            }
            let before = self.lines.start();
            match self.chain.check(self.lines.line()) {
                Ok(entry) => see(&mut self.in_flight, &entry),
                Err(what) => {
                    self.bad = Some(what);
                    self.lines = Lines::at(self.place, self.lines.segment(), before)?;
                    break;
                }
            }
            if self.chain.seq == size && last_signed.is_some_and(|leaf| leaf != self.chain.leaf) {
                return Err(evidence(format!("record {size} is not the one that was signed")));
            }
            self.grow()?;
        }
        if self.chain.seq < size {
            let (found, what) = (self.chain.seq, self.bad.unwrap_or("is gone"));
            let next = found.saturating_add(1);
            return Err(evidence(format!("record {next} {what}, and {size} were signed")));
        }
        match self.wanted.first_key_value() {
            None => Ok(()),
            Some((size, (_, path))) => {
                let found = self.chain.seq;
                Err(evidence(format!("{path} knows of {size} records, and there are {found}")))
            }
        }
    }

    /// Takes the record that the chain stands at into the tree, unless it is there.
    fn grow(&mut self) -> Result<(), Broken> {
        if self.chain.seq <= self.edge.size() {
            return Ok(());
        }
        let mut full = Vec::new();
        self.edge.push(self.chain.leaf, &mut |tile| full.push(tile));
        for tile in full {
            self.place.put_tile(self.disk, &tile)?;
        }
        let seq = self.chain.seq;
        if let Some((root, path)) = self.wanted.remove(&seq)
            && root != self.edge.root()
        {
            return Err(evidence(format!("{path} knows other records up to {seq}")));
        }
        if let Ok(entry) = serde_json::from_slice::<Entry<'_>>(self.lines.line())
            && self.signed.keys.next().is_some_and(|next| names(&entry, next.vkey()))
            && entry.seq > self.signed.size
        {
            self.named = Some((seq, self.edge.root()));
        }
        Ok(())
    }

    /// Cuts off what is bad, and finishes an epoch that was being closed.
    fn settle(mut self) -> Result<Self, Broken> {
        let (number, offset) = (self.lines.segment(), self.lines.offset());
        let numbers = segments(self.place)?;
        if let Some(what) = self.bad {
            let torn = set_aside(self.place, self.disk, (number, offset), what)?;
            self.torn.push(torn);
            for later in numbers.iter().filter(|n| **n > number) {
                self.torn.push(set_aside(self.place, self.disk, (*later, 0), what)?);
                self.disk.remove(&self.place.segment(*later))?;
            }
        }
        // A segment begins with what is in flight: one without a record is not begun.
        let first = numbers.first().copied().unwrap_or(number);
        if offset == 0 && number > first {
            self.disk.remove(&self.place.segment(number))?;
            let before = number.saturating_sub(1);
            let bytes = fs::metadata(self.place.segment(before))?.len();
            self.lines = Lines::at(self.place, before, bytes)?;
        }
        if let Some((seq, root)) = self.named {
            self.signed.keys.advance(seq, root)?;
        }
        Ok(self)
    }
}

fn names(entry: &Entry<'_>, key: &Vkey) -> bool {
    entry.kind == "key_epoch" && entry.pubkey.is_some_and(|named| *named == key.to_string())
}

/// Which calls are under way after this record.
fn see(in_flight: &mut BTreeSet<CallId>, entry: &Entry<'_>) {
    let carried = entry.in_flight.iter().flatten();
    in_flight.extend(carried.filter_map(|id| CallId::parse(id)));
    let Some(call) = entry.call.and_then(CallId::parse) else { return };
    match entry.kind {
        "intent" => in_flight.insert(call),
        "outcome" | "orphaned" => in_flight.remove(&call),
        // Of its questions; how the call itself ended is another record.
        _ => false,
    };
}
