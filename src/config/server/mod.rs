//! `[servers.NAME]`: one server, and what of it may be used.
//!
//! Owns "exactly one of `command` and `url`" and which keys belong to which of the two; nobody
//! else asks. A disabled server is checked as written, but nothing of the machine (programs,
//! directories, secrets) has to be there for it.

mod http;
mod replicas;
mod risk;
mod stdio;

pub(super) use http::{headers_of, is_header_of_ours, is_loopback};

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
    time::Duration,
};

use super::{
    Code, Health, Isolation, Pinning, ProtocolPin, ServerConfig, ServerRates, Target, ToolFilter,
    check::Check,
    gateway::read_pinning,
    report::{Note, Notes, holds_key, holds_known_key},
    secret::{Lookup, ReferenceError, expand, has_reference},
    section::{At, Section, quoted, string},
};
use crate::domain::{
    ServerName, ToolName,
    limits::{
        HEALTH_GRACE_RANGE_S, HEALTH_INTERVAL_RANGE_S, HEALTH_TIMEOUT_RANGE_S, IN_FLIGHT_RANGE,
        QUEUE, QUEUE_RANGE, QUEUE_TIMEOUT, QUEUE_TIMEOUT_RANGE_S, SERVER_IN_FLIGHT,
        STARTUP_TIMEOUT, STARTUP_TIMEOUT_RANGE_S, TOOL_TIMEOUT, TOOL_TIMEOUT_RANGE_S,
    },
};

/// What is said of one replica, in the table of its server or in one of its own.
pub(super) const REPLICA_KEYS: [&str; 9] = [
    "command",
    "args",
    "env",
    "cwd",
    "url",
    "http_headers",
    "env_http_headers",
    "bearer_token_env_var",
    "weight",
];
/// What is said of a server as a whole.
pub(super) const SERVER_KEYS: [&str; 21] = [
    "enabled",
    "enabled_tools",
    "disabled_tools",
    "baggage",
    "startup_timeout_sec",
    "tool_timeout_sec",
    "protocol",
    "isolation",
    "in_flight",
    "replicas",
    "replica",
    "balance",
    "affinity",
    "queue",
    "queue_timeout_sec",
    "retry",
    "health",
    "risk",
    "rate",
    "pins",
    "scan",
];
const RETRY_KEYS: [&str; 1] = ["tools"];
const RATE_KEYS: [&str; 3] = ["all", "principal", "tools"];
const HEALTH_KEYS: [&str; 3] = ["interval_sec", "timeout_sec", "grace_sec"];
const STDIO_KEYS: [&str; 3] = ["args", "env", "cwd"];
const HTTP_KEYS: [&str; 3] = ["http_headers", "env_http_headers", "bearer_token_env_var"];

/// Whether the server is enabled, and with it whether its surroundings are looked at.
pub(super) fn lookup(section: &Section<'_>, notes: &mut Notes) -> Lookup {
    match section.boolean("enabled", notes) {
        Some(false) => Lookup::SpellingOnly,
        Some(true) | None => Lookup::Resolve,
    }
}

/// `None` after a mistake without which there is no server at all.
pub(super) fn read(
    key: &At<&str>,
    section: &Section<'_>,
    (lookup, others): (Lookup, Pinning),
    check: &mut Check<'_>,
) -> Option<ServerConfig> {
    let keys = [&REPLICA_KEYS[..], &SERVER_KEYS].concat();
    let meant = section.refuse_unknown(&keys, &mut check.notes);
    let name = ServerName::parse(key.value)
        .map_err(|error| {
            let note = Note::new(Code::BadName, key.span.clone(), error.to_string());
            check.notes.push(note.label("not a server name").help("rename the table"));
        })
        .ok();
    let replicas = replicas::read(section, &meant, lookup, check);
    let notes = &mut check.notes;
    let filter = filter(section, notes);
    let pinning = read_pinning(section, others, notes);
    let baggage = baggage(section, notes);
    let words = [
        ("auto", ProtocolPin::Auto),
        ("modern", ProtocolPin::Modern),
        ("legacy", ProtocolPin::Legacy),
    ];
    let protocol = section.word("protocol", &words, notes).unwrap_or(ProtocolPin::Auto);
    let words = [
        ("shared", Isolation::Shared),
        ("per-principal", Isolation::PerPrincipal),
        ("per-session", Isolation::PerSession),
    ];
    let isolation = section.word("isolation", &words, notes).unwrap_or(Isolation::Shared);
    let mut seconds =
        |key, range, default: Duration| section.seconds(key, range, notes).unwrap_or(default);
    let startup_timeout = seconds("startup_timeout_sec", STARTUP_TIMEOUT_RANGE_S, STARTUP_TIMEOUT);
    let tool_timeout = seconds("tool_timeout_sec", TOOL_TIMEOUT_RANGE_S, TOOL_TIMEOUT);
    let queue_timeout = seconds("queue_timeout_sec", QUEUE_TIMEOUT_RANGE_S, QUEUE_TIMEOUT);
    let queue = section.count("queue", QUEUE_RANGE, notes).unwrap_or(QUEUE);
    let in_flight = section.count("in_flight", IN_FLIGHT_RANGE, notes).unwrap_or(SERVER_IN_FLIGHT);
    let (balance, affinity) =
        (replicas::balance(section, notes), replicas::affinity(section, notes));
    let repeatable = repeatable(section, notes);
    let health = health(section, notes);
    let risk = risk::read(section, notes);
    let rates = rates(section, notes);
    Some(ServerConfig {
        name: name?,
        replicas: (!replicas.is_empty()).then_some(replicas)?,
        filter,
        pinning,
        baggage,
        protocol,
        isolation,
        startup_timeout,
        tool_timeout,
        in_flight,
        queue,
        queue_timeout,
        balance,
        affinity,
        repeatable,
        health,
        risk,
        rates,
    })
}

fn target(
    section: &Section<'_>,
    meant: &[&str],
    lookup: Lookup,
    check: &mut Check<'_>,
) -> Option<Target> {
    let title = &section.title;
    let note = match (section.key_span("command"), section.key_span("url")) {
        (Some(_), None) => {
            refuse_misplaced(section, &HTTP_KEYS, "url", &mut check.notes);
            return stdio::read(section, lookup, check).map(Target::Stdio);
        }
        (None, Some(_)) => {
            refuse_misplaced(section, &STDIO_KEYS, "command", &mut check.notes);
            return http::read(section, lookup, check).map(Target::Http);
        }
        // Misspelt, which has been said.
        (None, None) if meant.contains(&"command") || meant.contains(&"url") => None,
        (None, None) => {
            let message = format!("{title} has neither `command` nor `url`");
            let note = Note::new(Code::NoTarget, section.span.clone(), message);
            Some(
                note.label("how is it reached?")
                    .help("write `command` to start a program, or `url` to use one that runs"),
            )
        }
        (Some(command), Some(url)) => {
            let later = if command.start > url.start { command } else { url };
            let message = format!("{title} has both `command` and `url`");
            let note = Note::new(Code::NoTarget, later, message);
            Some(
                note.label("the second way to reach it")
                    .help("keep one of the two; make two servers if you need both"),
            )
        }
    };
    if let Some(note) = note {
        check.notes.push(note);
    }
    // There is no target, but its other keys may have mistakes as well.
    drop(stdio::read(section, lookup, check));
    drop(http::read(section, lookup, check));
    None
}

fn refuse_misplaced(section: &Section<'_>, keys: &[&str], owner: &str, notes: &mut Notes) {
    for key in keys {
        if let Some(span) = section.key_span(key) {
            let message = format!("`{key}` in {} needs `{owner}`", section.title);
            notes.push(
                Note::new(Code::MisplacedKey, span, message)
                    .label(format!("only for servers with `{owner}`"))
                    .help("remove it"),
            );
        }
    }
}

fn filter(section: &Section<'_>, notes: &mut Notes) -> ToolFilter {
    let enabled = section.texts("enabled_tools", notes);
    let disabled = section.texts("disabled_tools", notes).unwrap_or_default();
    let enabled = enabled.map(|list| tools(&list, notes));
    for tool in &disabled {
        if enabled.as_ref().is_some_and(|enabled| enabled.contains(tool.value)) {
            let shown = tool.value.escape_debug();
            let message = format!("tool `{shown}` is both enabled and disabled");
            notes.push(
                Note::new(Code::ToolConflict, tool.span.clone(), message)
                    .label("also in `enabled_tools`")
                    .help("keep it in one of the two lists"),
            );
        }
    }
    ToolFilter { enabled, disabled: tools(&disabled, notes) }
}

fn tools(list: &[At<&str>], notes: &mut Notes) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for tool in list {
        match ToolName::parse(tool.value) {
            Ok(name) => {
                names.insert(name.as_str().to_owned());
            }
            Err(error) => {
                let note = Note::new(Code::BadName, tool.span.clone(), error.to_string());
                notes.push(note.label("not a tool name").help("write it as the server does"));
            }
        }
    }
    names
}

fn repeatable(section: &Section<'_>, notes: &mut Notes) -> BTreeSet<String> {
    let retry = section.section("retry", &format!("{} retry", section.title), notes);
    retry.refuse_unknown(&RETRY_KEYS, notes);
    tools(&retry.texts("tools", notes).unwrap_or_default(), notes)
}

fn health(section: &Section<'_>, notes: &mut Notes) -> Health {
    let table = section.section("health", &format!("{} health", section.title), notes);
    table.refuse_unknown(&HEALTH_KEYS, notes);
    let default = Health::default();
    let mut seconds =
        |key, range, default: Duration| table.seconds(key, range, notes).unwrap_or(default);
    Health {
        interval: seconds("interval_sec", HEALTH_INTERVAL_RANGE_S, default.interval),
        timeout: seconds("timeout_sec", HEALTH_TIMEOUT_RANGE_S, default.timeout),
        grace: seconds("grace_sec", HEALTH_GRACE_RANGE_S, default.grace),
    }
}

fn rates(section: &Section<'_>, notes: &mut Notes) -> ServerRates {
    let table = section.section("rate", &format!("{} rate", section.title), notes);
    table.refuse_unknown(&RATE_KEYS, notes);
    let named = table.section("tools", &format!("{} rate.tools", section.title), notes);
    let mut rates = BTreeMap::new();
    for (tool, _) in named.entries() {
        tools(std::slice::from_ref(&tool), notes);
        rates.extend(named.rate(tool.value, notes).map(|rate| (tool.value.to_owned(), rate)));
    }
    ServerRates {
        all: table.rate("all", notes),
        principal: table.rate("principal", notes),
        tools: rates,
    }
}

/// Keys as W3C Baggage writes them.
fn baggage(section: &Section<'_>, notes: &mut Notes) -> Arc<[String]> {
    let is_token = |text: &str| {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !text.is_empty() && text.bytes().all(letter)
    };
    let mut keys = Vec::new();
    for key in section.texts("baggage", notes).unwrap_or_default() {
        if is_token(key.value) {
            keys.push(key.value.to_owned());
            continue;
        }
        let message = format!("`{}` is not a key of baggage", key.value.escape_debug());
        let note = Note::new(Code::BadValue, key.span, message).label("never matches");
        notes.push(note.help("write the key alone, without value or properties: \"tenant-id\""));
    }
    keys.into()
}

/// The values of a table of strings in which secrets are resolved.
fn secrets<'d>(
    section: &Section<'d>,
    lookup: Lookup,
    check: &mut Check<'_>,
) -> Vec<(At<&'d str>, At<super::Secret>)> {
    let mut found = Vec::new();
    for (key, value) in section.entries() {
        let Some(text) = string(&quoted(key.value), value, &mut check.notes) else { continue };
        if holds_key(text.value) {
            check.notes.push(literal(key.value, text.span.clone()));
        }
        match expand(text.value, check.base, check.around, lookup) {
            Ok(secret) => found.push((key, At::new(secret, text.span))),
            Err(error) => check.notes.push(unresolved(error, text.span)),
        }
    }
    found
}

fn literal(key: &str, span: Range<usize>) -> Note {
    let message = format!("the value of `{}` looks like a key", key.escape_debug());
    Note::new(Code::LiteralSecret, span, message)
        .label("a literal secret")
        .help("write `${env:NAME}`, `${file:/path}` or `${cred:NAME}` instead")
}

/// A key where no reference is resolved, because the place is visible to others.
fn literal_in_the_open(key: &str, span: Range<usize>, notes: &mut Notes) {
    notes.hide(span.clone());
    let note = literal(key, span).help("pass it as a reference in `env` or `http_headers`");
    notes.push(note);
}

fn unresolved(error: ReferenceError, span: Range<usize>) -> Note {
    Note::new(error.code, span, error.message).label("cannot be resolved").help(error.help)
}
