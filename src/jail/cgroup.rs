//! A cgroup per server, when the system has delegated one to us.
//!
//! `Grove` is our own cgroup, below which every server gets a leaf; `cgroup.kill` of the leaf
//! then ends all of a server in one atomic step, fork bombs included, and `cgroup.freeze` holds all
//! of them before the first is killed. Without delegation (no v2 hierarchy, read-only, or not ours
//! to shape) there is no grove, the log says so once, and the keepers do the work alone. Several
//! gateways may share one, also from different PID namespaces: whose leaf is in use is told by a
//! lock that ends with its process, never by a number. Sets no resource limits.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, access, getxattr},
    process::geteuid,
};

use crate::domain::{ServerName, limits::LEAF_TRIES_MAX};

const PREFIX: &str = "portcullis-";

/// Our own cgroup's directory.
#[derive(Debug)]
pub(super) struct Grove {
    directory: PathBuf,
    /// Sets the names of our leaves apart from those of any other gateway.
    instance: u64,
}

/// The cgroup of one server.
#[derive(Debug)]
pub(super) struct Leaf {
    directory: PathBuf,
    /// Locked: as long as we live, other gateways know that it is in use.
    _lock: File,
    /// Opened early: at the time of need we may be out of descriptors.
    kill: File,
    freeze: File,
}

impl Grove {
    /// Looks once, at the start; `None` is logged with its reason.
    pub(super) fn find() -> Option<Self> {
        match Self::look() {
            Ok(grove) => {
                tracing::info!(cgroup = %grove.directory.display(), "Servers get their own cgroups");
                Some(grove)
            }
            Err(reason) => {
                tracing::info!(reason, "Servers share our cgroup");
                None
            }
        }
    }

    pub(super) fn look() -> Result<Self, &'static str> {
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
        let instance = getrandom::u64().map_err(|_| "no randomness")?;
        let grove = Self { directory, instance };
        grove.clear();
        let probe = grove.leaf("probe").map_err(|_| "no cgroup.kill (Linux 5.14 or later)")?;
        probe.remove();
        Ok(grove)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn plant(&self, server: &ServerName, number: u64) -> io::Result<Leaf> {
        self.leaf(&format!("{number}-{server}"))
    }

    /// A gateway that clears up may take a new leaf for a dead one's, in the moment before it is
    /// locked: then another is made.
    fn leaf(&self, name: &str) -> io::Result<Leaf> {
        let mut lost = io::Error::from(io::ErrorKind::NotFound);
        for nth in 0..LEAF_TRIES_MAX {
            let name = format!("{PREFIX}{:016x}-{nth}-{name}", self.instance);
            match Leaf::make(self.directory.join(name)) {
                Ok(leaf) => return Ok(leaf),
                Err(error) => lost = error,
            }
        }
        Err(lost)
    }

    /// Removes the leaves of gateways that died without clearing up.
    fn clear(&self) {
        for entry in fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            if !entry.file_name().to_str().is_some_and(is_of_a_gateway) {
                continue;
            }
            let locked = File::open(entry.path()).map(|leaf| leaf.try_lock().map(|()| leaf));
            if let Ok(Ok(_lock)) = locked {
                // One that is not empty yet stays for the next time.
                fs::remove_dir(entry.path()).ok();
            }
        }
    }
}

/// Whether a cgroup of this name is the leaf of some gateway: `portcullis-INSTANCE-…`.
fn is_of_a_gateway(name: &str) -> bool {
    let instance = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
    instance.is_some_and(|(instance, _)| {
        instance.len() == 16 && instance.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

impl Leaf {
    fn make(directory: PathBuf) -> io::Result<Self> {
        fs::create_dir(&directory)?;
        let claim = || {
            let lock = File::open(&directory)?;
            lock.try_lock()?;
            // Only one that still stands has this file.
            let [kill, freeze] = ["cgroup.kill", "cgroup.freeze"]
                .map(|file| OpenOptions::new().write(true).open(directory.join(file)));
            Ok((lock, kill?, freeze?))
        };
        match claim() {
            Ok((lock, kill, freeze)) => Ok(Self { directory, _lock: lock, kill, freeze }),
            Err(error) => {
                // Whoever took it for a dead one's may be faster.
                fs::remove_dir(&directory).ok();
                Err(error)
            }
        }
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Nothing in it runs any more. Killing it does not need it to be thawed.
    pub(super) fn freeze(&self) {
        if let Err(error) = (&self.freeze).write_all(b"1") {
            tracing::warn!(cgroup = %self.directory.display(), %error, "Could not freeze a cgroup");
        }
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
    use std::{
        path::PathBuf,
        sync::atomic::{AtomicBool, Ordering},
    };

    use super::{Grove, ServerName, is_of_a_gateway, locate, own_path};

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
    fn a_leaf_is_told_from_other_cgroups_by_its_name() {
        let check = |name, want| assert_eq!(is_of_a_gateway(name), want, "{name}");
        check("portcullis-00ffe1234567890a-0-7-my-files", true);
        check("portcullis-42-7-files", false);
        check("portcullis-00ffe1234567890a", false);
        check("init.scope", false);
    }

    /// Two gateways in one cgroup, as far as there is one that we may shape.
    fn two_gateways() -> Option<[Grove; 2]> {
        let (one, other) = (Grove::find()?, Grove::find()?);
        assert_ne!(one.instance, other.instance);
        Some([one, other])
    }

    fn server() -> ServerName {
        ServerName::parse("some-server").unwrap()
    }

    #[test]
    fn an_empty_leaf_is_cleared_by_others_only_when_its_gateway_is_gone() {
        let Some([one, other]) = two_gateways() else { return };
        let leaf = one.plant(&server(), 1).unwrap();
        let directory = leaf.directory().to_owned();
        other.clear();
        assert!(directory.exists(), "somebody is about to use it");
        // As the end of its process would: the lock goes, the cgroup stays.
        drop(leaf);
        other.clear();
        assert!(!directory.exists());
    }

    #[test]
    fn a_leaf_that_is_lost_before_it_is_used_is_made_again() {
        let Some([one, other]) = two_gateways() else { return };
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    other.clear();
                }
            });
            let leaves: Vec<_> = (0..500).map(|number| one.plant(&server(), number)).collect();
            done.store(true, Ordering::Relaxed);
            for leaf in leaves {
                let leaf = leaf.unwrap();
                assert!(leaf.directory().exists() && leaf.remove());
            }
        });
    }

    #[test]
    fn only_the_v2_line_counts() {
        assert_eq!(own_path("9:name=systemd:/a\n0::/b\n"), Some("/b"));
        assert_eq!(own_path("9:name=systemd:/a\n"), None);
    }
}
