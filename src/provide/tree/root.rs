//! The only door to the file system: one directory, opened once, and nothing beside it.
//!
//! Every open is an `openat2` relative to that directory with RESOLVE_BENEATH and
//! RESOLVE_NO_MAGICLINKS, so the kernel itself refuses `..`, absolute links and link swaps, also
//! while somebody renames things under our feet. A path is looked at (O_PATH) before it is
//! opened, so that a fifo or a device is never opened at all; should one slip in between, the
//! open does not block and the second look refuses it. Only ever reads. Kernel file systems
//! (proc, sysfs and their kin) are not served even when they are mounted beneath the root.

use std::{fs::File, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{Dir, FileType, Mode, OFlags, ResolveFlags, Stat},
    io::Errno,
};

use super::{error::FileError, path::RelPath};
use crate::domain::limits::FILES_DIRECTORY_ENTRIES_MAX;

/// The served directory.
#[derive(Debug)]
pub(crate) struct Root {
    fd: OwnedFd,
}

/// What a name stands for. Links are told apart only where they are not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Info {
    pub kind: Kind,
    pub size: u64,
    pub modified_unix_s: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub name: Vec<u8>,
    pub kind: Kind,
}

/// The entries of one directory in byte order of their names, without `.` and `..`.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    pub list: Vec<Entry>,
    /// There are more than are kept.
    pub truncated: bool,
}

/// Whether the last name of a path is followed when it is a symbolic link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    Follow,
    Show,
}

/// Why a directory cannot be served.
#[derive(Debug)]
pub(crate) enum RootError {
    Open(Errno),
    /// No usable `openat2`: there is no safe way to serve files then.
    NoOpenat2(Errno),
    KernelFiles,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::Other => "other",
        }
    }

    fn of(file_type: FileType) -> Self {
        match file_type {
            FileType::RegularFile => Self::File,
            FileType::Directory => Self::Directory,
            FileType::Symlink => Self::Symlink,
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Self::Other,
        }
    }
}

const LOOK: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
const READ: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);
/// A rename somewhere in the tree makes the kernel give up on a link with `..`; it asks us to
/// try again, and an attacker must not make that for ever.
const RETRIES_MAX: usize = 32;

impl Root {
    pub(crate) fn open(path: &Path) -> Result<Self, RootError> {
        let flags = LOOK | OFlags::DIRECTORY;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(RootError::Open)?;
        let root = Self { fd };
        match root.openat2(b".", READ | OFlags::DIRECTORY) {
            Ok(probe) if is_kernel_file(&probe) => Err(RootError::KernelFiles),
            Ok(_) => Ok(root),
            // Some container filters answer EPERM for calls that they do not know.
            Err(errno @ (Errno::NOSYS | Errno::PERM)) => Err(RootError::NoOpenat2(errno)),
            Err(errno) => Err(RootError::Open(errno)),
        }
    }

    /// Looks at what `path` leads to, without opening it.
    pub(crate) fn info(&self, path: &RelPath, last: Last) -> Result<Info, FileError> {
        let flags = match last {
            Last::Follow => LOOK,
            Last::Show => LOOK | OFlags::NOFOLLOW,
        };
        let (_, stat) = self.look(path, flags)?;
        Ok(info(&stat))
    }

    /// Opens a regular file; everything else is refused by kind.
    pub(crate) fn file(&self, path: &RelPath) -> Result<(File, Info), FileError> {
        let (_, seen) = self.look(path, LOOK)?;
        must_be(Kind::File, &seen, path)?;
        let fd = self
            .openat2(path.as_bytes(), READ)
            .map_err(|errno| FileError::from_errno(path, errno))?;
        let stat = rustix::fs::fstat(&fd).map_err(|errno| FileError::from_errno(path, errno))?;
        must_be(Kind::File, &stat, path)?;
        if is_kernel_file(&fd) {
            return Err(FileError::KernelFile { path: path.clone() });
        }
        Ok((File::from(fd), info(&stat)))
    }

    pub(crate) fn entries(&self, path: &RelPath) -> Result<Entries, FileError> {
        let failed = |errno| FileError::from_errno(path, errno);
        let (_, seen) = self.look(path, LOOK)?;
        must_be(Kind::Directory, &seen, path)?;
        let fd = self.openat2(path.as_bytes(), READ | OFlags::DIRECTORY).map_err(failed)?;
        if is_kernel_file(&fd) {
            return Err(FileError::KernelFile { path: path.clone() });
        }
        let mut entries = Entries::default();
        let mut dir = Dir::new(fd).map_err(failed)?;
        while let Some(entry) = dir.read() {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if entries.list.len() == FILES_DIRECTORY_ENTRIES_MAX {
                entries.truncated = true;
                break;
            }
            let kind = self.entry_kind(path, name, entry.file_type());
            entries.list.push(Entry { name: name.to_vec(), kind });
        }
        entries.list.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Not every file system tells the type while listing.
    fn entry_kind(&self, parent: &RelPath, name: &[u8], told: FileType) -> Kind {
        if told != FileType::Unknown {
            return Kind::of(told);
        }
        self.info(&parent.join(name), Last::Show).map_or(Kind::Other, |info| info.kind)
    }

    fn look(&self, path: &RelPath, flags: OFlags) -> Result<(OwnedFd, Stat), FileError> {
        let failed = |errno| FileError::from_errno(path, errno);
        let fd = self.openat2(path.as_bytes(), flags).map_err(failed)?;
        let stat = rustix::fs::fstat(&fd).map_err(failed)?;
        Ok((fd, stat))
    }

    /// The one place that opens anything. INVARIANT: no other call of this room takes a path.
    fn openat2(&self, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let mut result = Err(Errno::AGAIN);
        for _ in 0..RETRIES_MAX {
            result = rustix::fs::openat2(&self.fd, path, flags, Mode::empty(), resolve);
            if !matches!(result, Err(Errno::AGAIN | Errno::INTR)) {
                break;
            }
        }
        result
    }
}

fn must_be(wanted: Kind, stat: &Stat, path: &RelPath) -> Result<(), FileError> {
    let found = Kind::of(FileType::from_raw_mode(stat.st_mode));
    if found == wanted {
        return Ok(());
    }
    Err(FileError::Kind { path: path.clone(), wanted, found })
}

fn info(stat: &Stat) -> Info {
    Info {
        kind: Kind::of(FileType::from_raw_mode(stat.st_mode)),
        size: u64::try_from(stat.st_size).unwrap_or_default(),
        modified_unix_s: stat.st_mtime,
    }
}

/// Files whose reading shows the kernel's or this process's own insides, or has side effects.
fn is_kernel_file(fd: &OwnedFd) -> bool {
    const PROC: u64 = 0x9fa0;
    const SYSFS: u64 = 0x6265_6572;
    const DEBUGFS: u64 = 0x6462_6720;
    const TRACEFS: u64 = 0x7472_6163;
    const SECURITYFS: u64 = 0x7363_6673;
    const BPF: u64 = 0xcafe_4a11;
    const CGROUP: u64 = 0x0027_e0eb;
    const CGROUP2: u64 = 0x6367_7270;
    const KERNEL: [u64; 8] = [PROC, SYSFS, DEBUGFS, TRACEFS, SECURITYFS, BPF, CGROUP, CGROUP2];
    // What cannot say where it lives is not served.
    rustix::fs::fstatfs(fd)
        .map_or(true, |fs| u64::try_from(fs.f_type).is_ok_and(|magic| KERNEL.contains(&magic)))
}
