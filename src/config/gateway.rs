//! `[gateway]`, `[audit]`, `[stop]` and `[limits]`: where we listen, where we keep things, when we
//! stop, how much.
//!
//! Owns the defaults of directories (systemd's first, then the user's). What other machines may
//! reach is judged in `auth`; the admin surface never is, for it. Each reader
//! returns a usable value even after a mistake: the note that it left refuses the whole file.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use http::uri::Authority;
use sha2::{Digest, Sha256};

use super::{
    AuditConfig, Code, Durability, Gateway, Limits, Listen, Names, Payloads, PinMode, Pinning,
    PolicyMode, ScanMode, StopConfig, auth,
    check::Check,
    remote::witness,
    report::{Note, Notes},
    section::{At, Section},
};
use crate::domain::limits::{
    AUDIT_RETENTION_DAYS, AUDIT_RETENTION_DAYS_RANGE, BODY_BYTES_RANGE, CONNECTIONS_RANGE,
    DENIALS_PER_MINUTE_RANGE, HEARTBEAT, HEARTBEAT_RANGE_S, IN_FLIGHT_RANGE, SESSIONS_RANGE,
    SOCKET_PATH_BYTES_MAX,
};

pub(super) const GATEWAY_KEYS: [&str; 12] = [
    "listen",
    "admin",
    "tls",
    "names",
    "policies",
    "policy_mode",
    "state_dir",
    "hosts",
    "origins",
    "legacy_sse",
    "pins",
    "scan",
];
pub(super) const AUDIT_KEYS: [&str; 5] =
    ["durability", "payloads", "retention_days", "witness_file", "witness"];
pub(super) const STOP_KEYS: [&str; 4] =
    ["auto_resume", "heartbeat_sec", "heartbeat_file", "denials_per_minute"];
pub(super) const LIMITS_KEYS: [&str; 5] =
    ["body_bytes", "in_flight", "sessions", "connections", "principal_rate"];

const LISTEN_PORT: u16 = 7411;
const POLICIES: &str = "policies";
const ADMIN_SOCKET: &str = "admin.sock";

pub(super) fn read(section: &Section<'_>, check: &mut Check<'_>) -> Gateway {
    section.refuse_unknown(&GATEWAY_KEYS, &mut check.notes);
    let state_dir = state_dir(section, check);
    let runtime_dir = runtime_dir(check, &state_dir);
    let listen = section.text("listen", &mut check.notes);
    let listen = listen.and_then(|text| address("listen", &text, &runtime_dir, &mut check.notes));
    let admin_text = section.text("admin", &mut check.notes);
    let admin =
        admin_text.as_ref().and_then(|text| address("admin", text, &runtime_dir, &mut check.notes));
    let listen = listen.unwrap_or(Listen::Tcp((Ipv4Addr::LOCALHOST, LISTEN_PORT).into()));
    let admin = admin.unwrap_or_else(|| Listen::Unix(runtime_dir.join(ADMIN_SOCKET)));
    // Port 0 is any free one, so two of them are two addresses.
    if listen == admin && !matches!(listen, Listen::Tcp(tcp) if tcp.port() == 0) {
        let place = admin_text.map_or_else(|| section.span.clone(), |text| text.span);
        check.notes.push(
            Note::new(Code::SetTwice, place, "`listen` and `admin` are the same address")
                .label("already used by `listen`")
                .help("the admin surface has a listener of its own"),
        );
    }
    let modes = [("enforce", PolicyMode::Enforce), ("shadow", PolicyMode::Shadow)];
    let words = [("prefixed", Names::Prefixed), ("plain", Names::Plain)];
    Gateway {
        listen,
        admin,
        tls: auth::read_tls(section, check),
        names: section.word("names", &words, &mut check.notes).unwrap_or(Names::Prefixed),
        policies: policies(section, check),
        policy_mode: section.word("policy_mode", &modes, &mut check.notes).unwrap_or_default(),
        state_dir,
        hosts: values(section, "hosts", host, &mut check.notes),
        origins: values(section, "origins", origin, &mut check.notes),
        legacy_sse: section.boolean("legacy_sse", &mut check.notes).unwrap_or(false),
        pinning: read_pinning(section, Pinning::default(), &mut check.notes),
    }
}

/// What a server leaves out is as it is for all.
pub(super) fn read_pinning(section: &Section<'_>, others: Pinning, notes: &mut Notes) -> Pinning {
    let modes = [
        ("trust-on-first-use", PinMode::TrustOnFirstUse),
        ("locked", PinMode::Locked),
        ("off", PinMode::Off),
    ];
    let scans = [
        ("quarantine", ScanMode::Quarantine),
        ("risk", ScanMode::Risk),
        ("warn", ScanMode::Warn),
        ("off", ScanMode::Off),
    ];
    Pinning {
        mode: section.word("pins", &modes, notes).unwrap_or(others.mode),
        scan: section.word("scan", &scans, notes).unwrap_or(others.scan),
    }
}

pub(super) fn read_audit(
    section: &Section<'_>,
    state_dir: &Path,
    check: &mut Check<'_>,
) -> AuditConfig {
    section.refuse_unknown(&AUDIT_KEYS, &mut check.notes);
    let words =
        [("group", Durability::Group), ("sync", Durability::Sync), ("cached", Durability::Cached)];
    let durability = section.word("durability", &words, &mut check.notes);
    let payloads =
        section.word("payloads", &Payloads::ALL.map(|one| (one.as_str(), one)), &mut check.notes);
    let days = section.count("retention_days", AUDIT_RETENTION_DAYS_RANGE, &mut check.notes);
    let days = u64::try_from(days.unwrap_or(AUDIT_RETENTION_DAYS)).unwrap_or(u64::MAX);
    let witness = section.text("witness_file", &mut check.notes);
    if let Some(text) = witness.as_ref().filter(|text| text.value.is_empty()) {
        let note = Note::new(Code::BadValue, text.span.clone(), "`witness_file` is not a path");
        check.notes.push(note.label("not a path").help("name a file, or leave it out"));
    }
    AuditConfig {
        durability: durability.unwrap_or(Durability::Group),
        retention: Duration::from_secs(days.saturating_mul(DAY_SECONDS)),
        payloads: payloads.unwrap_or_default(),
        witness_file: witness.map(|text| check.base.join(text.value)),
        witness: witness::read(section, check),
        mark: mark(&runtime_dir(check, state_dir), state_dir),
    }
}

pub(super) fn read_stop(section: &Section<'_>, check: &mut Check<'_>) -> StopConfig {
    let notes = &mut check.notes;
    section.refuse_unknown(&STOP_KEYS, notes);
    let within = section.seconds("heartbeat_sec", HEARTBEAT_RANGE_S, notes);
    let file = section.text("heartbeat_file", notes);
    let file = file.map(|file| check.base.join(file.value));
    StopConfig {
        auto_resume: section.boolean("auto_resume", notes).unwrap_or(false),
        heartbeat: within.or(file.as_ref().map(|_| HEARTBEAT)),
        heartbeat_file: file,
        denials_per_minute: section.count("denials_per_minute", DENIALS_PER_MINUTE_RANGE, notes),
        memory: memory(check),
    }
}

pub(super) fn read_limits(section: &Section<'_>, check: &mut Check<'_>) -> Limits {
    let notes = &mut check.notes;
    section.refuse_unknown(&LIMITS_KEYS, notes);
    let standard = Limits::default();
    let principal_rate = section.rate("principal_rate", notes);
    let mut count = |key, range, default| section.count(key, range, notes).unwrap_or(default);
    Limits {
        body_bytes: count("body_bytes", BODY_BYTES_RANGE, standard.body_bytes),
        in_flight: count("in_flight", IN_FLIGHT_RANGE, standard.in_flight),
        sessions: count("sessions", SESSIONS_RANGE, standard.sessions),
        connections: count("connections", CONNECTIONS_RANGE, standard.connections),
        principal_rate,
    }
}

fn policies(section: &Section<'_>, check: &mut Check<'_>) -> PathBuf {
    let Some(text) = section.text("policies", &mut check.notes) else {
        return check.base.join(POLICIES);
    };
    if text.value.is_empty() || text.value.contains('\0') {
        let note = Note::new(Code::BadValue, text.span, "`policies` is not a path");
        check.notes.push(note.label("not a path").help("name a directory, or leave it out"));
    }
    check.base.join(text.value)
}

/// The key, else systemd's directory, else the user's.
fn state_dir(section: &Section<'_>, check: &mut Check<'_>) -> PathBuf {
    if let Some(text) = section.text("state_dir", &mut check.notes) {
        if text.value.is_empty() || text.value.contains('\0') {
            let note = Note::new(Code::BadValue, text.span, "`state_dir` is not a path");
            check.notes.push(note.label("not a path").help("name a directory, or leave it out"));
        }
        return check.base.join(text.value);
    }
    let absolute = |name| check.around.variable(name).and_then(first_absolute);
    absolute("STATE_DIRECTORY")
        .or_else(|| absolute("XDG_STATE_HOME").map(|dir| dir.join("portcullis")))
        .or_else(|| absolute("HOME").map(|dir| dir.join(".local/state/portcullis")))
        .unwrap_or_else(|| {
            let message = "there is no place for the state: `state_dir` is not written";
            check.notes.push(
                Note::new(Code::NoStateDir, section.span.clone(), message)
                    .label("`state_dir` is missing")
                    .help("write state_dir, or set $STATE_DIRECTORY, $XDG_STATE_HOME or $HOME"),
            );
            PathBuf::new()
        })
}

fn runtime_dir(check: &Check<'_>, state_dir: &Path) -> PathBuf {
    let absolute = |name| check.around.variable(name).and_then(first_absolute);
    absolute("RUNTIME_DIRECTORY")
        .or_else(|| absolute("XDG_RUNTIME_DIR").map(|dir| dir.join("portcullis")))
        .unwrap_or_else(|| state_dir.to_owned())
}

/// systemd's directory for us outlives our end, and what of ours is in the other may not. Not the
/// user's: it is there at one start and not at another.
fn memory(check: &Check<'_>) -> Vec<PathBuf> {
    let ours = check.around.variable("RUNTIME_DIRECTORY").and_then(first_absolute);
    ours.into_iter().chain([PathBuf::from(SHARED_MEMORY)]).collect()
}

const SHARED_MEMORY: &str = "/dev/shm";
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// One runtime directory may serve several gateways, each with a state of its own.
fn mark(runtime_dir: &Path, state_dir: &Path) -> PathBuf {
    let digest = Sha256::digest(state_dir.as_os_str().as_encoded_bytes());
    let id: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    runtime_dir.join(format!("audit-{id}.checkpoint"))
}

/// systemd joins several directories with `:`; the first is ours.
fn first_absolute(value: &str) -> Option<PathBuf> {
    let first = Path::new(value.split(':').next()?);
    first.is_absolute().then(|| first.to_owned())
}

fn address(key: &str, text: &At<&str>, runtime_dir: &Path, notes: &mut Notes) -> Option<Listen> {
    const FORMS: &str = "write \"127.0.0.1:7411\", \"[::1]:7411\" or \"unix:/path/to.sock\"";
    let shown = text.value.escape_debug();
    let refuse = |code, message: String| Note::new(code, text.span.clone(), message);
    if let Some(path) = text.value.strip_prefix("unix:") {
        let path = runtime_dir.join(path);
        let n_bytes = path.as_os_str().len();
        if text.value == "unix:" || text.value.ends_with('/') || text.value.contains('\0') {
            let note = refuse(Code::BadAddress, format!("`{shown}` names no socket"));
            notes.push(note.label("no file name").help(FORMS));
            return None;
        }
        if n_bytes > SOCKET_PATH_BYTES_MAX {
            let message = format!("socket path `{}` has {n_bytes} bytes", path.display());
            let note = refuse(Code::BadAddress, message).label("too long for the kernel");
            notes.push(note.help(format!("at most {SOCKET_PATH_BYTES_MAX} bytes are allowed")));
            return None;
        }
        return Some(Listen::Unix(path));
    }
    let Ok(tcp) = text.value.parse::<SocketAddr>() else {
        let note = refuse(Code::BadAddress, format!("`{shown}` is not an address for `{key}`"));
        notes.push(note.label("expected IP:PORT or unix:PATH").help(FORMS));
        return None;
    };
    if key == "admin" && !tcp.ip().to_canonical().is_loopback() {
        let message = format!("`{key}` on {tcp} would be reachable from other machines");
        notes.push(refuse(Code::ExposedAddress, message).label("not a loopback address").help(
            "the admin surface has no TLS: listen on 127.0.0.1, [::1] or a unix socket, and \
                 come by a tunnel that has",
        ));
        return None;
    }
    Some(Listen::Tcp(tcp))
}

fn values(
    section: &Section<'_>,
    key: &str,
    parse: fn(&str) -> Result<String, &'static str>,
    notes: &mut Notes,
) -> Vec<String> {
    let mut values = Vec::new();
    for text in section.texts(key, notes).unwrap_or_default() {
        match parse(text.value) {
            Ok(value) if values.contains(&value) => {}
            Ok(value) => values.push(value),
            Err(help) => {
                let shown = text.value.escape_debug();
                let message = format!("`{shown}` is not a value of `{key}`");
                let note = Note::new(Code::BadValue, text.span, message).label("never matches");
                notes.push(note.help(help));
            }
        }
    }
    values
}

fn host(text: &str) -> Result<String, &'static str> {
    const RULE: &str = "write a host name, with a port if it has one: \"gate.example:7411\"";
    let authority: Authority = text.parse().map_err(|_| RULE)?;
    let odd = text.contains(['@', '*']) || authority.host().is_empty();
    if odd { Err(RULE) } else { Ok(text.to_ascii_lowercase()) }
}

fn origin(text: &str) -> Result<String, &'static str> {
    const RULE: &str = "write scheme and host as browsers send them: \"https://chat.example\"";
    let (scheme, authority) = text.split_once("://").ok_or(RULE)?;
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    if scheme.is_empty() || !scheme.chars().all(letter) {
        return Err(RULE);
    }
    host(authority).map_err(|_| RULE)?;
    Ok(text.to_ascii_lowercase())
}
