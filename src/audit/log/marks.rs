//! Copies of the checkpoint outside the log's directory.
//!
//! Whoever can change the log may not be able to change these: a file in the runtime directory,
//! and one on another mount if the operator names one. A log that does not contain what a copy
//! says was cut back or replaced. A copy that cannot be written is alarmed and tried again with
//! the next checkpoint: it never holds up the log.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::read_small;
use crate::{audit::tlog::Checkpoint, sys};

#[derive(Clone, Debug, Default)]
pub(in crate::audit) struct Marks(Vec<PathBuf>);

impl Marks {
    pub(in crate::audit) fn new(paths: Vec<PathBuf>) -> Self {
        Self(paths)
    }

    /// What each copy that is there says. One that cannot be read says nothing, with a warning.
    pub(super) fn read(&self) -> Vec<(&Path, Checkpoint)> {
        let read = |path: &PathBuf| -> io::Result<Option<Checkpoint>> {
            let Some(note) = read_small(path)? else { return Ok(None) };
            Checkpoint::peek(&note).map(Some).map_err(io::Error::other)
        };
        let mut found = Vec::new();
        for path in &self.0 {
            match read(path) {
                Ok(checkpoint) => found.extend(checkpoint.map(|told| (path.as_path(), told))),
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "Audit mark is unreadable");
                }
            }
        }
        found
    }

    pub(in crate::audit) fn write(&self, note: &str) {
        for path in &self.0 {
            let parent = path.parent().map_or(Ok(()), sys::create_private_dir);
            let written = parent.and_then(|()| sys::replace_file(path, note.as_bytes()));
            if let Err(error) = written {
                tracing::error!(path = %path.display(), %error, "Audit mark was not written");
            }
        }
    }
}
