//! Every change of the log on disk goes through here.
//!
//! Thin over the system calls, so that a test can make any single one of them fail: before it did
//! anything, or after it did some or all of it. Files are the owner's alone and links are never
//! followed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::fs::OFlags;

use crate::sys;

#[derive(Clone, Debug, Default)]
pub(in crate::audit) struct Disk {
    #[cfg(test)]
    pub(in crate::audit) faults: Faults,
}

impl Disk {
    pub(in crate::audit) fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.step(|| sys::create_private_dir(path))
    }

    /// A new file to be appended to; it must not be there yet.
    pub(in crate::audit) fn create(&self, path: &Path) -> io::Result<File> {
        self.step(|| private().create_new(true).append(true).open(path))
    }

    /// A file to be appended to, whether it is there or not.
    pub(in crate::audit) fn open_to_append(&self, path: &Path) -> io::Result<File> {
        self.step(|| private().create(true).append(true).open(path))
    }

    /// A file that says by its lock that somebody writes here.
    pub(in crate::audit) fn open_lock(&self, path: &Path) -> io::Result<File> {
        self.step(|| private().write(true).create(true).truncate(false).open(path))
    }

    /// A file that is there, to be appended to and cut.
    pub(in crate::audit) fn reopen(&self, path: &Path) -> io::Result<File> {
        self.step(|| private().read(true).append(true).open(path))
    }

    pub(in crate::audit) fn write(&self, mut file: &File, bytes: &[u8]) -> io::Result<()> {
        #[cfg(test)]
        if let Some(error) = self.faults.partial_write() {
            file.write_all(bytes.get(..bytes.len() / 2).unwrap_or_default())?;
            return Err(error);
        }
        self.step(|| file.write_all(bytes))
    }

    pub(in crate::audit) fn sync(&self, file: &File) -> io::Result<()> {
        self.step(|| file.sync_data())
    }

    pub(in crate::audit) fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.step(|| sys::sync_dir(path))
    }

    /// The old content or the new, and durable.
    pub(in crate::audit) fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.step(|| sys::replace_file(path, content))
    }

    /// What can be made again from the segments: not synced.
    pub(in crate::audit) fn put(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        self.step(|| {
            let file = private().write(true).create(true).truncate(true).open(path)?;
            (&file).write_all(content)
        })
    }

    /// Renames within one directory, durably.
    pub(in crate::audit) fn rename(&self, from: &Path, to: &Path) -> io::Result<bool> {
        self.step(|| sys::move_aside(from, to))
    }

    pub(in crate::audit) fn cut(&self, file: &File, bytes: u64) -> io::Result<()> {
        self.step(|| file.set_len(bytes).and_then(|()| file.sync_all()))
    }

    /// Overwrites a secret with zeros and syncs. Flash and copying file systems may keep the old
    /// blocks all the same.
    pub(in crate::audit) fn wipe(&self, path: &Path) -> io::Result<()> {
        self.step(|| {
            let file = private().write(true).open(path)?;
            let n = usize::try_from(file.metadata()?.len()).unwrap_or_default();
            (&file).write_all(&vec![b'0'; n])?;
            file.sync_all()
        })
    }

    /// Whether there was something to remove. Files only.
    pub(in crate::audit) fn remove(&self, path: &Path) -> io::Result<bool> {
        self.step(|| match fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        })
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "only tests make steps fail")]
    fn step<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        work()
    }

    #[cfg(test)]
    fn step<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        self.faults.step(work)
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

#[cfg(test)]
pub(in crate::audit) use faults::{Fault, Faults};

#[cfg(test)]
mod faults {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    /// Which step fails, how, and with what.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::audit) struct Fault {
        pub(in crate::audit) at: u64,
        /// Whether the step has done something when it fails.
        pub(in crate::audit) done: bool,
        pub(in crate::audit) errno: i32,
    }

    /// Counts the steps of one log, and makes one of them fail.
    #[derive(Clone, Debug, Default)]
    pub(in crate::audit) struct Faults(Arc<Mutex<(u64, Option<Fault>)>>);

    impl Faults {
        pub(in crate::audit) fn new(fault: Fault) -> Self {
            Self(Arc::new(Mutex::new((0, Some(fault)))))
        }

        pub(in crate::audit) fn steps(&self) -> u64 {
            self.0.lock().unwrap().0
        }

        /// The error of this step, if it fails, and whether it does something before. From the
        /// step that fails on, all do: a disk that is gone.
        fn next(&self) -> Option<(io::Error, bool)> {
            let state = self.0.lock().unwrap();
            let fault = state.1.filter(|fault| fault.at <= state.0)?;
            Some((io::Error::from_raw_os_error(fault.errno), fault.done && fault.at == state.0))
        }

        pub(super) fn partial_write(&self) -> Option<io::Error> {
            let (error, _) = self.next().filter(|(_, done)| *done)?;
            self.0.lock().unwrap().0 += 1;
            Some(error)
        }

        pub(super) fn step<T>(&self, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
            let fault = self.next();
            self.0.lock().unwrap().0 += 1;
            match fault {
                None => work(),
                Some((error, true)) => work().and(Err(error)),
                Some((error, false)) => Err(error),
            }
        }
    }
}
