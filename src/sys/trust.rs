//! Who may change a file that trust hangs on.
//!
//! Such a file must be root's or our own, and so must the directory that it is in, or others could
//! put another in its place: nobody else may write either. Says what to do about one that is not
//! so. What is not there is nobody's; whoever needs it says that.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::process::geteuid;

/// Whose word counts: root's, ours, and that of whoever owns the state, for whom we may only look.
#[derive(Clone, Copy, Debug)]
pub struct Trust([u32; 3]);

/// Why a file is not to be trusted, and what to run.
#[derive(Debug, thiserror::Error)]
pub enum Distrust {
    #[error(
        "{who} can write `{path}` (mode {mode:o}), and who may come in hangs on it; run `{}`",
        self.remedy()
    )]
    Written { path: PathBuf, who: &'static str, mode: u32 },
    #[error(
        "`{path}` belongs to uid {uid}, who is neither root nor the gateway's user, and who may \
         come in hangs on it; run `{}`",
        self.remedy()
    )]
    Foreign { path: PathBuf, uid: u32 },
}

const STICKY: u32 = 0o1000;
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;

impl Trust {
    /// Of the gateway with that state directory.
    pub fn of(state_dir: &Path) -> Self {
        let own = geteuid().as_raw();
        Self([0, own, fs::metadata(state_dir).map_or(own, |found| found.uid())])
    }

    /// Whether it belongs to one of them.
    pub fn is_of(self, found: &Metadata) -> bool {
        self.0.contains(&found.uid())
    }

    #[cfg(test)]
    pub(crate) fn among_strangers() -> Self {
        Self([4711, 4712, 4713])
    }

    /// Looks at a file, and at the directory that it is in; through links, at both ends.
    pub fn look(self, path: &Path) -> Result<(), Distrust> {
        self.look_at(path)?;
        let real = fs::canonicalize(path).unwrap_or_default();
        let dirs =
            [path, &real].map(|path| path.parent().filter(|dir| !dir.as_os_str().is_empty()));
        dirs.into_iter().flatten().try_for_each(|dir| self.look_at(dir))
    }

    /// Looks at a file or a directory alone.
    pub fn look_at(self, path: &Path) -> Result<(), Distrust> {
        let Ok(found) = fs::metadata(path) else { return Ok(()) };
        let (uid, mode) = (found.uid(), found.permissions().mode() & 0o7777);
        let path = || path.to_owned();
        if !self.is_of(&found) {
            return Err(Distrust::Foreign { path: path(), uid });
        }
        // In such a directory nobody can take away what is another's.
        let is_shared = found.is_dir() && mode & STICKY != 0;
        let who = match () {
            () if mode & OTHERS_WRITE != 0 => "everybody",
            () if mode & GROUP_WRITES != 0 => "its group",
            () => return Ok(()),
        };
        if is_shared { Ok(()) } else { Err(Distrust::Written { path: path(), who, mode }) }
    }
}

impl Distrust {
    /// The command that mends it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Written { path, .. } => format!("chmod go-w {}", path.display()),
            Self::Foreign { path, .. } => format!("chown root {}", path.display()),
        }
    }
}

impl From<Distrust> for io::Error {
    fn from(why: Distrust) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, why)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::Path};

    use super::{Distrust, Trust};

    fn put(path: &Path, mode: u32) {
        if !path.exists() {
            fs::write(path, "").unwrap();
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_others_could_change_or_replace_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let trust = Trust::of(dir.path());
        let file = dir.path().join("ca.pem");
        assert!(trust.look(&file).is_ok(), "it is nobody's");
        for (mode, of_dir, want) in [
            (0o600, 0o700, None),
            (0o644, 0o755, None),
            (0o440, 0o1777, None),
            (0o664, 0o700, Some("its group can write")),
            (0o646, 0o700, Some("everybody can write")),
            (0o600, 0o770, Some("its group can write")),
            (0o600, 0o757, Some("everybody can write")),
            (0o666, 0o1777, Some("everybody can write")),
        ] {
            put(&file, mode);
            put(dir.path(), of_dir);
            let told = trust.look(&file).err().map(|why| why.to_string());
            let is_it = match (&told, want) {
                (Some(told), Some(want)) => {
                    told.contains(want) && told.contains("run `chmod go-w ")
                }
                (None, None) => true,
                (Some(_), None) | (None, Some(_)) => false,
            };
            assert!(is_it, "{mode:o} {of_dir:o} {told:?}");
        }
    }

    #[test]
    fn a_link_is_trusted_as_far_as_both_of_its_ends_are() {
        let (dir, far) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (link, real) = (dir.path().join("ca.pem"), far.path().join("real.pem"));
        put(&real, 0o600);
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let trust = Trust::of(dir.path());
        assert!(trust.look(&link).is_ok());
        put(far.path(), 0o770);
        let why = trust.look(&link).unwrap_err();
        let shown = far.path().canonicalize().unwrap().display().to_string();
        assert!(why.to_string().contains(&shown), "{why}");
    }

    #[test]
    fn what_belongs_to_a_stranger_is_not_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys.json");
        put(&file, 0o600);
        let trust = Trust::among_strangers();
        let why = trust.look(&file).unwrap_err();
        assert!(matches!(why, Distrust::Foreign { .. }), "{why}");
        assert!(why.to_string().contains("run `chown root "), "{why}");
    }
}
