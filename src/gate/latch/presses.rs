//! The presses of the stop, and what of one outlives us before it is on disk.
//!
//! A press leaves a line in memory that belongs to no process before it does anything else; the
//! line is taken back once the book that it was entered in is in its file. Whoever is ended in
//! between is stopped at the next start. Promises to wait for no disk: a place that is not memory
//! is not used. What is there but cannot be read stops everything; what a stranger put there is
//! nothing. Knows neither the word nor the book.

use std::{
    fs::{self, File, Metadata},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::UNIX_EPOCH,
};

use rustix::fs::{Mode, OFlags, open, statfs};

use super::{book::Stop, file::unreadable};
use crate::sys::{self, Trust};

pub(super) struct Presses {
    /// Where lines may lie: the first that takes one has it, and all are read.
    paths: Vec<PathBuf>,
    /// Whose lines count.
    trust: Trust,
    /// Nobody who holds it waits for a disk, or can panic.
    count: Mutex<Count>,
}

#[derive(Default)]
struct Count {
    left: u64,
    /// How many of those are in the book.
    entered: u64,
    /// There may be lines.
    are_marked: bool,
}

/// So many presses there were, and each of them was in the book.
#[derive(Clone, Copy)]
pub(super) struct Settled(u64);

/// With more than that, everything is stopped at the next start.
const BYTES_MAX: usize = 64 * 1024;
/// Stands for a line that had no place, and is none that can be read.
const NO_PLACE: &[u8] = b"more\n";

impl Presses {
    /// Of the latch whose files are in that directory: its marks in such of `memory` as is memory.
    pub(super) fn of(directory: &Path, memory: &[PathBuf]) -> Self {
        let mut paths = Vec::new();
        if let Ok(found) = fs::metadata(directory) {
            let name = name(&found);
            let places = memory.iter().filter(|place| is_memory(place));
            paths.extend(places.map(|place| place.join(&name)));
        }
        if paths.is_empty() && !memory.is_empty() {
            tracing::warn!(
                "No place in memory: a stop outlives a kill only once it is in its file"
            );
        }
        Self { paths, trust: Trust::of(directory), count: Mutex::default() }
    }

    /// Somebody left a mark.
    pub(super) fn are_marked(&self) -> bool {
        self.paths.iter().any(|path| self.is_ours(path))
    }

    /// What was left by whoever was ended before it was on disk, and whether there is any mark.
    pub(super) fn found(&self) -> (bool, Vec<Stop>) {
        let mut stops = Vec::new();
        for path in self.paths.iter().filter(|path| self.is_ours(path)) {
            self.count().are_marked = true;
            let mark = path.display();
            tracing::warn!(%mark, "A stop was pressed and was not on disk yet: it holds");
            match read(path) {
                Ok(read) => stops.extend(read),
                Err(error) => stops.push(unreadable(&format!("`{mark}`: {error}"))),
            }
        }
        (self.count().are_marked, stops)
    }

    /// Leaves a line for it. On an error it counts as pressed all the same.
    pub(super) fn leave(&self, stop: &Stop) -> io::Result<()> {
        let mut line = serde_json::to_vec(stop).unwrap_or_default();
        line.push(b'\n');
        let mut count = self.count();
        count.left = count.left.saturating_add(1);
        let mut done = Ok(());
        for path in &self.paths {
            count.are_marked = true;
            done = self.append(path, &line);
            if done.is_ok() {
                break;
            }
        }
        done
    }

    fn append(&self, path: &Path, line: &[u8]) -> io::Result<()> {
        // Neither a link nor a pipe of a stranger's leads or holds us anywhere.
        let how = OFlags::WRONLY
            | OFlags::APPEND
            | OFlags::CREATE
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::CLOEXEC;
        let mut file = File::from(open(path, how, Mode::RUSR | Mode::WUSR)?);
        let found = file.metadata()?;
        if !self.trust.is_of(&found) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        match BYTES_MAX.checked_sub(usize::try_from(found.len()).unwrap_or(usize::MAX)) {
            Some(left) if line.len() <= left => file.write_all(line),
            Some(_) => file.write_all(NO_PLACE),
            // It cannot be read already.
            None => Ok(()),
        }
    }

    /// One more is in the book.
    pub(super) fn enter(&self) {
        let mut count = self.count();
        count.entered = count.entered.saturating_add(1);
    }

    pub(super) fn n_left(&self) -> u64 {
        self.count().left
    }

    pub(super) fn n_entered(&self) -> u64 {
        self.count().entered
    }

    /// None while one is on its way to the book.
    pub(super) fn settled(&self) -> Option<Settled> {
        let count = self.count();
        (count.left == count.entered).then_some(Settled(count.left))
    }

    /// Takes the lines back, unless there was another press since: a book with all of them is on
    /// disk.
    pub(super) fn wipe(&self, settled: Settled) -> io::Result<()> {
        let mut count = self.count();
        if count.left != settled.0 || !count.are_marked {
            return Ok(());
        }
        for path in self.paths.iter().filter(|path| self.is_ours(path)) {
            fs::remove_file(path)?;
        }
        count.are_marked = false;
        Ok(())
    }

    /// There is something at this path, and no stranger put it there.
    fn is_ours(&self, path: &Path) -> bool {
        match fs::symlink_metadata(path) {
            Ok(found) => self.trust.is_of(&found),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Presses {
    /// As somebody else, to whom whatever we made is a stranger's.
    pub(super) fn among_strangers(self) -> Self {
        Self { trust: Trust::among_strangers(), ..self }
    }
}

/// By what the directory is, since many paths may lead to it; and by when it was made, since its
/// number is another's as soon as it is gone.
fn name(directory: &Metadata) -> String {
    let born = directory.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let (device, number) = (directory.dev(), directory.ino());
    format!("portcullis-stop-{device:x}-{number:x}-{:x}", born.unwrap_or_default().as_nanos())
}

fn is_memory(place: &Path) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    statfs(place).is_ok_and(|found| u64::try_from(found.f_type).is_ok_and(|kind| kind == TMPFS))
}

fn read(path: &Path) -> io::Result<Vec<Stop>> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let text = sys::read_bounded(path, BYTES_MAX)?;
    let stops = serde_json::Deserializer::from_slice(&text).into_iter();
    let stops: Vec<Stop> = stops.collect::<Result<_, _>>()?;
    // Whoever was ended while it wrote had been asked to stop something.
    if stops.is_empty() { Err(io::Error::other("empty")) } else { Ok(stops) }
}
