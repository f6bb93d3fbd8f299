//! What the machine offers: limits, kernel, clock, and who starts services on it.

use std::{fs, path::Path};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    process::{PidfdFlags, Resource, getpid, getrlimit, pidfd_open},
};

use super::Check;
use crate::{jail, sys};

/// Enough for the connections of the default limits, twice over, and for servers.
const OPEN_FILES_MIN: u64 = 4096;
const WATCHES_MIN: u64 = 8192;
const INSTANCES_MIN: u64 = 128;
/// This program was not there before: 2026-11-01.
const EARLIEST_US: u64 = 1_793_491_200_000_000;

pub(super) fn look() -> Vec<Check> {
    vec![
        open_files(),
        watches(),
        clock(),
        pidfd(),
        openat2(),
        cgroup(),
        namespaces(),
        landlock(),
        systemd(),
    ]
}

fn open_files() -> Check {
    const WHAT: &str = "open files";
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < OPEN_FILES_MIN => Check::warn(
            WHAT,
            format!("at most {limit}, so connections are refused early"),
            format!("LimitNOFILE={OPEN_FILES_MIN} or more, or ulimit -n"),
        ),
        Some(limit) => Check::ok(WHAT, format!("at most {limit}")),
        None => Check::ok(WHAT, "any number"),
    }
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn watches() -> Check {
    const WHAT: &str = "file watches";
    let watches = number("/proc/sys/fs/inotify/max_user_watches");
    let instances = number("/proc/sys/fs/inotify/max_user_instances");
    match (watches, instances) {
        (Some(watches), Some(instances)) => {
            let told = format!("{watches} watches, {instances} instances for each user");
            if watches < WATCHES_MIN || instances < INSTANCES_MIN {
                let help = "raise fs.inotify in sysctl; until then changes are seen every 5 s";
                return Check::warn(WHAT, told, help);
            }
            Check::ok(WHAT, told)
        }
        (None, _) | (_, None) => Check::warn(WHAT, "inotify is not there", "a newer kernel"),
    }
}

fn clock() -> Check {
    const WHAT: &str = "clock";
    if sys::unix_micros() < EARLIEST_US {
        let told = "it is before this program was made; records would bear wrong times";
        return Check::fail(WHAT, told, "set the clock, and have NTP keep it");
    }
    let is_synchronised = Path::new("/run/systemd/timesync/synchronized").exists();
    Check::ok(WHAT, if is_synchronised { "plausible, kept by timesyncd" } else { "plausible" })
}

fn pidfd() -> Check {
    const WHAT: &str = "pidfd";
    match pidfd_open(getpid(), PidfdFlags::empty()) {
        Ok(_) => Check::ok(WHAT, "a process is told from its successor"),
        Err(error) => Check::fail(WHAT, error.to_string(), "Linux 5.3 or later is needed"),
    }
}

fn openat2() -> Check {
    const WHAT: &str = "openat2";
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::openat2(rustix::fs::CWD, "/", flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)
    {
        Ok(_) => Check::ok(WHAT, "the file server cannot be led out of its directory"),
        Err(error) => Check::fail(WHAT, error.to_string(), "Linux 5.6 or later is needed"),
    }
}

/// As the jail finds it.
fn cgroup() -> Check {
    const WHAT: &str = "cgroups";
    match jail::cgroup() {
        Ok(directory) => {
            Check::ok(WHAT, format!("each server gets its own below {}", directory.display()))
        }
        Err(why) => {
            let help = "in the unit: Delegate=yes; without it keepers end servers one by one";
            Check::warn(WHAT, format!("servers get none of their own: {why}"), help)
        }
    }
}

fn namespaces() -> Check {
    const WHAT: &str = "user namespaces";
    let most = number("/proc/sys/user/max_user_namespaces").unwrap_or_default();
    let is_barred = number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0)
        || number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(1);
    match (most, is_barred) {
        (0, _) => Check::warn(WHAT, "there are none", "user.max_user_namespaces in sysctl"),
        (_, true) => Check::warn(
            WHAT,
            "only for root, or for programs that AppArmor lets",
            "allow them for portcullis, if servers are to be sandboxed by them",
        ),
        (most, false) => Check::ok(WHAT, format!("up to {most}")),
    }
}

/// Its version can only be asked for by the call that uses it.
fn landlock() -> Check {
    const WHAT: &str = "Landlock";
    match fs::read_to_string("/sys/kernel/security/lsm") {
        Ok(modules) if modules.contains("landlock") => Check::ok(WHAT, "the kernel has it on"),
        Ok(modules) => {
            let told = format!("the kernel runs without it (lsm: {})", modules.trim());
            Check::warn(WHAT, told, "add landlock to lsm= on the kernel's command line")
        }
        Err(_) => Check::ok(WHAT, "not known: securityfs is not mounted, or not for us to read"),
    }
}

fn systemd() -> Check {
    const WHAT: &str = "systemd";
    let told = match (Path::new("/run/systemd/system").exists(), std::env::var("INVOCATION_ID")) {
        (true, Ok(_)) => "it is here and has started this command",
        (true, Err(_)) => "it is here",
        (false, _) => "it is not here: something else has to start the gateway again",
    };
    Check::ok(WHAT, told)
}
