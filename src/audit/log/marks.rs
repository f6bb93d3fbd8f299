//! Copies of the checkpoint outside the log's directory.
//!
//! Whoever can change the log may not be able to change these: a file in the runtime directory, one
//! on another mount if the operator names one, and a piece of memory that the service manager keeps
//! for us over restarts, which has no name on any disk. A log that does not contain what a copy
//! says was cut back or replaced. A copy that cannot be written is alarmed and tried again with
//! the next checkpoint: it never holds up the log.

use std::{fs::File, io, os::unix::fs::FileExt, path::PathBuf, sync::Arc};

use super::{NOTE_BYTES_MAX, read_small};
use crate::{audit::tlog::Checkpoint, sys};

#[derive(Clone, Debug, Default)]
pub(in crate::audit) struct Marks {
    paths: Vec<PathBuf>,
    held: Option<Arc<File>>,
}

/// What is told of the one that has no path.
const HELD: &str = "the service manager";

impl Marks {
    pub(in crate::audit) fn new(paths: Vec<PathBuf>, held: Option<Arc<File>>) -> Self {
        Self { paths, held }
    }

    /// What each copy that is there says. One that cannot be read says nothing, with a warning.
    pub(super) fn read(&self) -> Vec<(String, Checkpoint)> {
        let held = self.held.iter().map(|file| (HELD.to_owned(), read_held(file)));
        let files = self.paths.iter().map(|path| (path.display().to_string(), read_small(path)));
        let mut found = Vec::new();
        for (name, note) in held.chain(files) {
            let told = note.and_then(|note| {
                note.map(|note| Checkpoint::peek(&note).map_err(io::Error::other)).transpose()
            });
            match told {
                Ok(checkpoint) => found.extend(checkpoint.map(|told| (name, told))),
                Err(error) => tracing::error!(name, %error, "Audit mark is unreadable"),
            }
        }
        found
    }

    pub(in crate::audit) fn write(&self, note: &str) {
        if let Some(Err(error)) = self.held.as_ref().map(|file| write_held(file, note)) {
            tracing::error!(name = HELD, %error, "Audit mark was not written");
        }
        for path in &self.paths {
            let parent = path.parent().map_or(Ok(()), sys::create_private_dir);
            let written = parent.and_then(|()| sys::replace_file(path, note.as_bytes()));
            if let Err(error) = written {
                tracing::error!(path = %path.display(), %error, "Audit mark was not written");
            }
        }
    }
}

/// Its length in four bytes, and the note; nothing at all before the first.
fn read_held(file: &File) -> io::Result<Option<String>> {
    if file.metadata()?.len() == 0 {
        return Ok(None);
    }
    let mut length = [0; 4];
    file.read_exact_at(&mut length, 0)?;
    let length = u64::from(u32::from_be_bytes(length)).min(NOTE_BYTES_MAX);
    let mut note = vec![0; usize::try_from(length).unwrap_or_default()];
    file.read_exact_at(&mut note, 4)?;
    String::from_utf8(note).map(Some).map_err(io::Error::other)
}

/// In one write, which no signal cuts in two.
fn write_held(file: &File, note: &str) -> io::Result<()> {
    let length = u32::try_from(note.len()).unwrap_or(u32::MAX).to_be_bytes();
    file.write_all_at(&[&length[..], note.as_bytes()].concat(), 0)
}
