//! A cgroup per server, when the system has delegated one to us.
//!
//! `Grove` is our own cgroup, below which every server gets a leaf; `cgroup.kill` of the leaf
//! then ends all of a server in one atomic step, fork bombs included. Without delegation (no v2
//! hierarchy, read-only, or not ours to shape) there is no grove, the log says so once, and the
//! keepers do the work alone. Sets no resource limits.

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, access, getxattr},
    io::Errno,
    process::{Pid, geteuid, getpid, test_kill_process},
};

use crate::domain::ServerName;

const PREFIX: &str = "portcullis-";

/// Our own cgroup's directory.
#[derive(Debug)]
pub(super) struct Grove(PathBuf);

/// The cgroup of one server.
#[derive(Debug)]
pub(super) struct Leaf {
    directory: PathBuf,
    /// Opened early: at the time of need we may be out of descriptors.
    kill: File,
}

impl Grove {
    /// Looks once, at the start; `None` is logged with its reason.
    pub(super) fn find() -> Option<Self> {
        match Self::look() {
            Ok(grove) => {
                tracing::info!(cgroup = %grove.0.display(), "Servers get their own cgroups");
                Some(grove)
            }
            Err(reason) => {
                tracing::info!(reason, "Servers share our cgroup");
                None
            }
        }
    }

    fn look() -> Result<Self, &'static str> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|_| "no mountinfo")?;
        let cgroups = fs::read_to_string("/proc/self/cgroup").map_err(|_| "no cgroups")?;
        let own = own_path(&cgroups).ok_or("no v2 hierarchy")?;
        let directory = locate(&mounts, own).ok_or("the v2 hierarchy is not mounted")?;
        // Root may write everywhere, but only what was delegated is ours; a whole hierarchy
        // that we see from its root (a container) has nobody else to shape it.
        if geteuid().is_root() && own != "/" && !is_marked(&directory) {
            return Err("our cgroup is not delegated");
        }
        let writable = |path: &Path| access(path, Access::WRITE_OK).is_ok();
        if !writable(&directory) || !writable(&directory.join("cgroup.procs")) {
            return Err("our cgroup is not writable");
        }
        let grove = Self(directory);
        grove.clear();
        let probe = grove.leaf("probe").map_err(|_| "no cgroup.kill (Linux 5.14 or later)")?;
        probe.remove();
        Ok(grove)
    }

    pub(super) fn plant(&self, server: &ServerName, number: u64) -> io::Result<Leaf> {
        self.leaf(&format!("{number}-{server}"))
    }

    fn leaf(&self, name: &str) -> io::Result<Leaf> {
        let us = getpid().as_raw_nonzero();
        let directory = self.0.join(format!("{PREFIX}{us}-{name}"));
        if let Err(error) = fs::create_dir(&directory) {
            if error.kind() != io::ErrorKind::AlreadyExists {
                return Err(error);
            }
            // Left by a gateway that had our number and died.
            fs::remove_dir(&directory).and_then(|()| fs::create_dir(&directory))?;
        }
        match OpenOptions::new().write(true).open(directory.join("cgroup.kill")) {
            Ok(kill) => Ok(Leaf { directory, kill }),
            Err(error) => fs::remove_dir(&directory).and(Err(error)),
        }
    }

    /// Removes the leaves of gateways that died without clearing up.
    fn clear(&self) {
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            if owner(&entry.file_name())
                .is_some_and(|pid| test_kill_process(pid) == Err(Errno::SRCH))
            {
                // One that is not empty yet stays for the next time.
                fs::remove_dir(entry.path()).ok();
            }
        }
    }
}

/// The gateway whose leaf has this name.
fn owner(name: &OsStr) -> Option<Pid> {
    let (pid, _) = name.to_str()?.strip_prefix(PREFIX)?.split_once('-')?;
    Pid::from_raw(pid.parse().ok()?)
}

impl Leaf {
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// SIGKILL for everything in it, as one step.
    pub(super) fn kill(&self) {
        if let Err(error) = (&self.kill).write_all(b"1") {
            tracing::warn!(cgroup = %self.directory.display(), %error, "Could not kill a cgroup");
        }
    }

    /// `false`: something is still in it.
    pub(super) fn remove(&self) -> bool {
        match fs::remove_dir(&self.directory) {
            Ok(()) => true,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

/// systemd marks what it delegates.
fn is_marked(directory: &Path) -> bool {
    ["user.delegate", "trusted.delegate"].iter().any(|mark| {
        let mut value = [0_u8; 1];
        getxattr(directory, *mark, &mut value[..]).is_ok() && value == *b"1"
    })
}

/// The path after `0::` in `/proc/self/cgroup`.
fn own_path(cgroups: &str) -> Option<&str> {
    cgroups.lines().find_map(|line| line.strip_prefix("0::"))
}

/// `… root mount-point options … - cgroup2 …`: where our own cgroup's directory is.
fn locate(mountinfo: &str, own: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        if !kind.starts_with("cgroup2 ") {
            return None;
        }
        let mut fields = mount.split_ascii_whitespace().skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let below = Path::new(own).strip_prefix(root).ok()?;
        // Joining nothing would leave a slash at the end.
        let point = Path::new(point);
        Some(if below.as_os_str().is_empty() { point.into() } else { point.join(below) })
    })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use rustix::process::Pid;

    use super::{locate, own_path, owner};

    const HYBRID: &str = "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                          41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
    const CONTAINER: &str =
        "41 31 0:38 /docker/1 /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

    #[track_caller]
    fn check(mountinfo: &str, own: &str, want: Option<&str>) {
        assert_eq!(locate(mountinfo, own), want.map(PathBuf::from));
    }

    #[test]
    fn own_cgroup_is_found_where_it_is_mounted() {
        check(HYBRID, "/", Some("/sys/fs/cgroup/unified"));
        check(
            HYBRID,
            "/system.slice/p.service",
            Some("/sys/fs/cgroup/unified/system.slice/p.service"),
        );
        check(CONTAINER, "/docker/1/x", Some("/sys/fs/cgroup/x"));
        check(CONTAINER, "/elsewhere", None);
        check("32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu", "/", None);
    }

    #[test]
    fn leaf_names_tell_their_gateway() {
        assert_eq!(owner("portcullis-42-7-my-files".as_ref()), Pid::from_raw(42));
        assert_eq!(owner("portcullis-x-7-files".as_ref()), None);
        assert_eq!(owner("init.scope".as_ref()), None);
    }

    #[test]
    fn only_the_v2_line_counts() {
        assert_eq!(own_path("9:name=systemd:/a\n0::/b\n"), Some("/b"));
        assert_eq!(own_path("9:name=systemd:/a\n"), None);
    }
}
