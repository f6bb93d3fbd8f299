//! The places that the configuration names: addresses, directories, files, and who may read them.

use std::{
    fs,
    io::ErrorKind,
    net::TcpListener,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::Check;
use crate::{
    audit::{self, VerifyError, Wanted},
    cli::{ConfigArg, Ending, Failure},
    config::{Config, Gateway, Listen, distrusted},
    front::look_at_tls,
    sys::{self, Trust},
};

const SPACE_FAIL: u64 = 100 << 20;
const SPACE_WARN: u64 = 1 << 30;
/// What is verified whole; of a longer log the newest records are read.
const VERIFIED_BYTES_MAX: u64 = 256 << 20;
/// Files of the state that are looked at.
const FILES_MAX: usize = 2000;
const OTHERS_READ: u32 = 0o004;
const OTHERS_WRITE: u32 = 0o002;
const GROUP_OR_OTHERS: u32 = 0o077;
const HOUR_US: u64 = 3_600_000_000;
const DAY_S: u64 = 86_400;
/// What is good for fewer days should be replaced.
const CERTIFICATE_DAYS_MIN: u64 = 14;

pub(super) fn look(config: &ConfigArg, gateway: &Gateway, status: Option<&Value>) -> Vec<Check> {
    let mut checks = vec![
        listener("listen", &gateway.listen, status),
        listener("admin", &gateway.admin, status),
        file_mode(&config.config, gateway),
    ];
    checks.extend(secret_files(&config.config));
    checks.extend(state(&gateway.state_dir));
    checks.push(audit_log(&gateway.state_dir.join("audit")));
    checks
}

fn listener(what: &str, at: &Listen, running: Option<&Value>) -> Check {
    match at {
        Listen::Tcp(address) if running.is_some() => {
            Check::ok(what, format!("{address} is the gateway's"))
        }
        Listen::Tcp(address) => match TcpListener::bind(address) {
            Ok(_) => Check::ok(what, format!("{address} is free")),
            Err(error) => {
                let told = format!("{address} cannot be had: {error}");
                Check::fail(what, told, format!("end what has it, or write another `{what}`"))
            }
        },
        Listen::Unix(path) => socket(what, path, running),
    }
}

fn socket(what: &str, path: &Path, running: Option<&Value>) -> Check {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => Check::fail(
            what,
            format!("{shown} is there and is no socket"),
            "remove it, or write another path",
        ),
        Ok(found) if found.permissions().mode() & OTHERS_WRITE != 0 && what == "admin" => {
            let told = format!("everybody can connect to {shown}");
            Check::fail(what, told, format!("chmod 600 {shown}"))
        }
        Ok(_) if running.is_some() => Check::ok(what, format!("{shown} is the gateway's")),
        Ok(_) => Check::ok(what, format!("{shown} is left over; the next start replaces it")),
        Err(_) => Check::ok(what, format!("{shown} is free")),
    }
}

/// The certificate that the listener shows, and what goes with it.
pub(super) fn tls(config: &Config) -> Option<Check> {
    const WHAT: &str = "TLS";
    Some(match look_at_tls(config) {
        Ok(None) => return None,
        Ok(Some(0)) => Check::fail(WHAT, "the certificate is over", "put a new one in its place"),
        Ok(Some(left_s)) => {
            let told = format!("the certificate is good for {} days", left_s / DAY_S);
            match left_s / DAY_S {
                ..CERTIFICATE_DAYS_MIN => Check::warn(WHAT, told, "put a new one in its place"),
                _ => Check::ok(WHAT, told),
            }
        }
        Err(error) => {
            let told = Failure::of(Ending::Usage, &error).told.replace('\n', " ");
            Check::fail(WHAT, told, "look at [gateway.tls] and its files")
        }
    })
}

/// What decides who may come in.
pub(super) fn trust(config: &Config) -> Vec<Check> {
    const WHAT: &str = "trust";
    let wrong = distrusted(config);
    if wrong.is_empty() {
        let told = "nobody else can change what decides who may come in";
        return vec![Check::ok(WHAT, told)];
    }
    wrong.iter().map(|why| Check::fail(WHAT, why.to_string(), why.remedy())).collect()
}

fn file_mode(path: &Path, gateway: &Gateway) -> Check {
    const WHAT: &str = "servers.toml";
    let mode = fs::metadata(path).map(|found| found.permissions().mode()).unwrap_or_default();
    if mode & OTHERS_WRITE != 0 {
        let told = "everybody can write it, and with it name programs that we start";
        return Check::fail(WHAT, told, format!("chmod o-w {}", path.display()));
    }
    match Trust::of(&gateway.state_dir).look_at(path) {
        Ok(()) => Check::ok(WHAT, format!("mode {:o}", mode & 0o777)),
        Err(why) => {
            let told = "it names programs that we start, and others than us and root can write it";
            Check::warn(WHAT, told, why.remedy())
        }
    }
}

/// Files from which secrets are read, as the text names them.
fn secret_files(config: &Path) -> Vec<Check> {
    let text = fs::read_to_string(config).unwrap_or_default();
    let base = config.parent().unwrap_or(Path::new("."));
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let named = lines.flat_map(|line| line.split("${file:").skip(1));
    let mut paths: Vec<PathBuf> =
        named.filter_map(|rest| Some(base.join(rest.split_once('}')?.0))).collect();
    paths.sort();
    paths.dedup();
    let is_open = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|found| found.permissions().mode() & OTHERS_READ != 0)
    };
    let open = paths.into_iter().filter(is_open);
    open.map(|path| {
        let shown = path.display();
        let told = format!("everybody on this machine can read {shown}");
        Check::fail("secret file", told, format!("chmod 600 {shown}"))
    })
    .collect()
}

fn state(dir: &Path) -> Vec<Check> {
    const WHAT: &str = "state directory";
    let shown = dir.display();
    let found = match fs::metadata(dir) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return vec![
                Check::ok(WHAT, format!("{shown} is made by the first start")),
                space(dir),
            ];
        }
        Err(error) => return vec![Check::fail(WHAT, format!("{shown}: {error}"), "see to it")],
    };
    let mut checks = Vec::new();
    if rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_err() {
        let told = format!("{shown} cannot be written by us");
        checks.push(Check::warn(WHAT, told, "look as the user that the gateway runs as"));
    }
    let mode = found.permissions().mode() & 0o777;
    if mode & GROUP_OR_OTHERS != 0 {
        let told = format!("others may look into {shown} (mode {mode:o})");
        checks.push(Check::warn(WHAT, told, format!("chmod 700 {shown}")));
    }
    let open = readable_by_all(dir);
    if let (Some(first), true) = (open.first(), mode & 0o001 != 0) {
        let told = format!("everybody can read {} files, such as {}", open.len(), first.display());
        checks.push(Check::fail(WHAT, told, format!("chmod -R o-rwx {shown}")));
    }
    if checks.is_empty() {
        checks.push(Check::ok(WHAT, format!("{shown} is ours alone")));
    }
    checks.push(space(dir));
    checks
}

fn readable_by_all(dir: &Path) -> Vec<PathBuf> {
    let (mut open, mut dirs, mut n_seen) = (Vec::new(), vec![dir.to_owned()], 0);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            n_seen += 1;
            let Ok(found) = entry.metadata() else { continue };
            if n_seen > FILES_MAX {
                return open;
            }
            if found.is_dir() {
                dirs.push(entry.path());
            } else if found.is_file() && found.permissions().mode() & OTHERS_READ != 0 {
                open.push(entry.path());
            }
        }
    }
    open
}

/// Of the file system that holds it, or will.
fn space(dir: &Path) -> Check {
    const WHAT: &str = "disk";
    let there = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let Ok(found) = rustix::fs::statvfs(there) else {
        return Check::warn(WHAT, "its room is not known", "look with df");
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let told = format!("{} MiB are free", free >> 20);
    let help = "make room, or lower audit.retention_days: without a record nothing is called";
    match free {
        ..SPACE_FAIL => Check::fail(WHAT, told, help),
        SPACE_FAIL..SPACE_WARN => Check::warn(WHAT, told, help),
        _ => Check::ok(WHAT, told),
    }
}

fn audit_log(dir: &Path) -> Check {
    const WHAT: &str = "audit log";
    if !dir.exists() {
        return Check::ok(WHAT, "it is begun by the first start, or by portcullis audit init");
    }
    if size(dir) > VERIFIED_BYTES_MAX {
        return newest(dir);
    }
    match audit::verify(dir, &Wanted::default()) {
        Ok(verified) if verified.signed_ts > sys::unix_micros().saturating_add(HOUR_US) => {
            let told = "its last signature is from the future: the clock was set back";
            Check::warn(WHAT, told, "see to the clock")
        }
        Ok(verified) => Check::ok(WHAT, format!("{} records, chain intact", verified.last)),
        Err(VerifyError::None { .. }) => Check::ok(WHAT, "it is begun by the first start"),
        Err(error @ VerifyError::Read { .. }) => {
            Check::warn(WHAT, error.to_string(), "look as the user that the gateway runs as")
        }
        Err(error) => {
            Check::fail(WHAT, error.to_string(), "portcullis audit verify; keep it as it is")
        }
    }
}

fn newest(dir: &Path) -> Check {
    const WHAT: &str = "audit log";
    let read = || {
        let mut records = audit::Records::recent(dir)?;
        let mut n = 0_usize;
        while records.read()?.is_some() {
            n += 1;
        }
        Ok::<_, std::io::Error>(n)
    };
    match read() {
        Ok(n) => Check::ok(WHAT, format!("its newest {n} records can be read; it is long: verify")),
        Err(error) => Check::fail(WHAT, error.to_string(), "portcullis audit verify"),
    }
}

fn size(dir: &Path) -> u64 {
    let segments = fs::read_dir(dir.join("current/seg")).into_iter().flatten().flatten();
    segments.filter_map(|entry| entry.metadata().ok()).map(|found| found.len()).sum()
}
