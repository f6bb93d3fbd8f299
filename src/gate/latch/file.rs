//! The stops on disk: `estop/stops.json` while anything is stopped, `estop/last.json` when the last
//! was lifted, and a bare file `STOP` that anybody with a shell can create.
//!
//! Promises: what is there but cannot be understood is read as a stop of everything. A stop is in
//! the file before it is synced, so that it outlives our own end from the first moment; a power cut
//! in between leaves a file that cannot be read, which stops. Writers take turns.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::book::{Book, Cause, LiftError, Stop};
use crate::sys;

pub(super) struct LatchFile {
    /// The state directory.
    state: PathBuf,
    turn: Mutex<()>,
}

/// Whoever holds it may write.
pub(super) struct Turn<'a> {
    file: &'a LatchFile,
    _held: MutexGuard<'a, ()>,
}

/// Below the state directory.
const DIRECTORY: &str = "estop";
const STOPS: &str = "estop/stops.json";
const LAST: &str = "estop/last.json";
const BARE: &str = "STOP";
/// What stops everything when the state cannot be read.
const UNREADABLE: &str = "unreadable";

impl LatchFile {
    pub(super) fn at(state: &Path) -> Self {
        Self { state: state.to_owned(), turn: Mutex::new(()) }
    }

    pub(super) fn read(&self) -> Book {
        if let Err(error) = sys::create_private_dir(&self.state.join(DIRECTORY)) {
            return all_stopped(&error.to_string());
        }
        match fs::read(self.state.join(STOPS)) {
            Ok(text) => match serde_json::from_slice::<Book>(&text) {
                // An empty one is never written.
                Ok(book) if !book.is_clear() => book,
                Ok(_) | Err(_) => all_stopped("malformed"),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => Book::default(),
            Err(error) => all_stopped(&error.to_string()),
        }
    }

    /// Something is stopped on disk, or asked to be, as far as we can look.
    pub(super) fn is_engaged(&self) -> bool {
        self.state.join(STOPS).exists() || self.asked().is_some()
    }

    /// What the bare file asks for, if it stands or cannot be looked at.
    pub(super) fn asked(&self) -> Option<Cause> {
        let path = self.state.join(BARE);
        match fs::symlink_metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Ok(_) => Some(Cause::new("file", format!("the file `{}` stands", path.display()))),
            Err(error) => Some(Cause::new("file", format!("`{}`: {error}", path.display()))),
        }
    }

    /// The directory in which `STOP` is looked for.
    pub(super) fn directory(&self) -> &Path {
        &self.state
    }

    /// The directory that is the stop's alone; `read` makes it.
    pub(super) fn own_directory(&self) -> PathBuf {
        self.state.join(DIRECTORY)
    }

    pub(super) fn turn(&self) -> Turn<'_> {
        let held = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        Turn { file: self, _held: held }
    }
}

impl Turn<'_> {
    /// Puts the book in the file, and returns when it would survive a power cut.
    pub(super) fn save(&self, book: &Book) -> Result<(), LiftError> {
        self.put(book).map_err(|source| LiftError::Disk { source })
    }

    fn put(&self, book: &Book) -> io::Result<()> {
        let (stops, last) = (self.file.state.join(STOPS), self.file.state.join(LAST));
        if book.is_clear() {
            return sys::move_aside(&stops, &last).map(drop);
        }
        let mut text = serde_json::to_vec(book)?;
        text.push(b'\n');
        sys::place_file(&stops, &text)?;
        File::open(&stops)?.sync_all()?;
        sys::sync_dir(&self.file.state.join(DIRECTORY))
    }
}

/// What counts when some part of the state cannot be understood.
pub(super) fn unreadable(detail: &str) -> Stop {
    tracing::error!(detail, "The state of the stop is unreadable; everything is stopped");
    Stop::new(UNREADABLE.to_owned(), Cause::new("latch", "the state of the stop is unreadable"))
}

fn all_stopped(detail: &str) -> Book {
    Book { stops: vec![unreadable(detail)] }
}
