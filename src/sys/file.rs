//! Files that are replaced whole: temporary file, fsync, rename, fsync of the directory.
//!
//! A reader, also after a crash, finds the old content or the new, never a mixture and never
//! nothing. Files are private to us (0600, directories 0700), but for one that was there already
//! and is somebody's own. Everything here blocks.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// What tells a file from one that took its place, or that was written or made another's since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStamp([u64; 2], [i64; 4]);

impl FileStamp {
    /// None if there is no such file, as far as we see.
    pub fn of(path: &Path) -> Option<Self> {
        let of = fs::metadata(path).ok()?;
        let times = [of.mtime(), of.mtime_nsec(), of.ctime(), of.ctime_nsec()];
        Some(Self([of.ino(), of.len()], times))
    }
}

/// Creates a directory and its parents for us alone; one that exists is left as it is.
pub fn create_private_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Puts `content` at `path` in one step and returns when it would survive a power cut.
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    put(path, content, File::sync_all)?;
    sync_dir(parent(path))
}

/// The same without waiting for the disk: our own end does not undo it, but a power cut may leave
/// nothing, or less than the content. For whoever syncs it afterwards.
pub fn place_file(path: &Path, content: &[u8]) -> io::Result<()> {
    put(path, content, |_| Ok(()))
}

/// The same as `replace_file`, as the owner of the directory would: for whoever acts for a service
/// that runs as somebody else.
pub fn replace_file_of_owner(path: &Path, content: &[u8]) -> io::Result<()> {
    let owner = fs::metadata(parent(path))?;
    put(path, content, |file| {
        fchown(file, Some(owner.uid()), Some(owner.gid()))?;
        file.sync_all()
    })?;
    sync_dir(parent(path))
}

/// Puts `content` into a file that is there already, in one step; it stays its owner's, and who
/// could read it still can.
pub fn rewrite_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let was = fs::metadata(path)?;
    put(path, content, |file| {
        fchown(file, Some(was.uid()), Some(was.gid()))?;
        file.set_permissions(was.permissions())?;
        file.sync_all()
    })?;
    sync_dir(parent(path))
}

/// The word in the file at `path`; a new one, if there is no such file.
pub fn secret_word(path: &Path) -> io::Result<String> {
    match fs::read_to_string(path) {
        Ok(word) if !word.trim().is_empty() => return Ok(word.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let word: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    replace_file(path, format!("{word}\n").as_bytes())?;
    Ok(word)
}

/// The content of a file that others write; one that is longer is an error.
pub fn read_bounded(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    if bytes.len() > bytes_max {
        return Err(io::Error::other(format!("it has more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

fn put(path: &Path, content: &[u8], sync: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let temporary = temporary_beside(path)?;
    let written = write_new(&temporary, content).and_then(|file| sync(&file));
    let result = written.and_then(|()| fs::rename(&temporary, path));
    if result.is_err() {
        // The first error is the one to tell; a left-over temporary file harms nobody.
        drop(fs::remove_file(&temporary));
    }
    result
}

/// Renames a file within one directory, durably. `Ok(false)`: there was no such file.
pub fn move_aside(from: &Path, to: &Path) -> io::Result<bool> {
    match fs::rename(from, to) {
        Ok(()) => sync_dir(parent(to)).map(|()| true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// A file without a name, which is there as long as somebody holds it.
pub fn memory_file(name: &str) -> io::Result<File> {
    use rustix::fs::{MemfdFlags, memfd_create};
    Ok(memfd_create(name, MemfdFlags::CLOEXEC)?.into())
}

/// The same file, to be written to as well.
pub fn open_again(file: &File) -> io::Result<File> {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    OpenOptions::new().read(true).write(true).open(path)
}

/// Makes creations, renames and removals in a directory survive a power cut.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    Ok(file)
}

/// A name of its own for each writer, so that two at once never share a temporary file.
fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    hidden.push(format!(".{}-{count}.tmp", std::process::id()));
    Ok(path.with_file_name(hidden))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        Some(_) | None => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::{
        create_private_dir, move_aside, place_file, replace_file, rewrite_file, secret_word,
    };

    #[test]
    fn a_secret_word_is_made_once_and_is_for_us_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        place_file(&path, b"").unwrap();
        let word = secret_word(&path).unwrap();
        assert!(word.len() == 64 && secret_word(&path).unwrap() == word);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_ne!(secret_word(&dir.path().join("other")).unwrap(), word);
    }

    #[test]
    fn a_replaced_file_is_private_whole_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        replace_file(&path, b"one").unwrap();
        replace_file(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_rewritten_file_stays_readable_for_whom_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("servers.toml");
        assert!(rewrite_file(&path, b"new").is_err(), "nobody's file");
        fs::write(&path, b"old").unwrap();
        for mode in [0o640, 0o604] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            rewrite_file(&path, b"new").unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode);
        }
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_replacement_keeps_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("kept"), b"old").unwrap();
        assert!(replace_file(&path, b"new").is_err(), "a file cannot replace a directory");
        assert_eq!(fs::read(path.join("kept")).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn moving_aside_tells_whether_there_was_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        assert!(!move_aside(&from, &to).unwrap());
        fs::write(&from, b"x").unwrap();
        assert!(move_aside(&from, &to).unwrap());
        assert_eq!(fs::read(&to).unwrap(), b"x");
        assert!(!from.exists());
    }

    #[test]
    fn a_created_directory_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        create_private_dir(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        create_private_dir(&path).unwrap();
    }
}
