//! The latch on disk: `estop.json` while engaged, `estop.last.json` after a reset, and a bare
//! file `STOP` that anybody with a shell can create.
//!
//! Promises: what is there but cannot be understood is read as engaged. Writers take turns and
//! each saves the newest state, so that the file ends up as the last of them left the latch.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use tokio::sync::watch;

use super::{LatchState, ResetError, Stop};
use crate::sys;

pub(super) struct LatchFile {
    dir: PathBuf,
    turn: Mutex<()>,
}

const ENGAGED: &str = "estop.json";
const LAST: &str = "estop.last.json";
const BARE: &str = "STOP";

impl LatchFile {
    pub(super) fn at(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), turn: Mutex::new(()) }
    }

    pub(super) fn read(&self) -> LatchState {
        if let Err(error) = sys::create_private_dir(&self.dir) {
            return unreadable(&error.to_string());
        }
        match fs::read(self.dir.join(ENGAGED)) {
            Ok(text) => match serde_json::from_slice::<Stop>(&text) {
                Ok(stop) if !stop.id.is_empty() => LatchState::Engaged(stop),
                Ok(_) | Err(_) => unreadable("malformed"),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => self.read_bare(),
            Err(error) => unreadable(&error.to_string()),
        }
    }

    fn read_bare(&self) -> LatchState {
        match fs::symlink_metadata(self.dir.join(BARE)) {
            Ok(_) => engaged(BARE, "file", "a file STOP stands in the state directory"),
            Err(e) if e.kind() == io::ErrorKind::NotFound => LatchState::Clear,
            Err(error) => unreadable(&error.to_string()),
        }
    }

    /// Saves what the book says at the moment of writing.
    pub(super) fn write(&self, book: &watch::Sender<LatchState>) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let state = book.borrow().clone();
        let LatchState::Engaged(stop) = state else { return Ok(()) };
        let mut text = serde_json::to_vec(&stop)?;
        text.push(b'\n');
        sys::replace_file(&self.dir.join(ENGAGED), &text)
    }

    /// Sets the engaged file aside and, before anybody else may write it, does `then`.
    pub(super) fn clear<T>(&self, then: impl FnOnce() -> T) -> Result<T, ResetError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let bare = self.dir.join(BARE);
        match fs::symlink_metadata(&bare) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Ok(_) => return Err(ResetError::CauseStands { file: bare.display().to_string() }),
            Err(source) => return Err(ResetError::Disk { source }),
        }
        sys::move_aside(&self.dir.join(ENGAGED), &self.dir.join(LAST))
            .map_err(|source| ResetError::Disk { source })?;
        Ok(then())
    }
}

fn unreadable(detail: &str) -> LatchState {
    tracing::error!(detail, "Latch file is unreadable; the stop is engaged");
    engaged("unreadable", "latch", "latch file unreadable")
}

fn engaged(id: &str, who: &str, why: &str) -> LatchState {
    LatchState::Engaged(Stop {
        id: id.to_owned(),
        who: who.to_owned(),
        why: why.to_owned(),
        at_us: sys::unix_micros(),
    })
}
