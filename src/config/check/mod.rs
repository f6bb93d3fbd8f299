//! From the text to a `Config`: parses, lets every section check itself, then judges the whole.
//!
//! Owns the top level of the file and the rules that span sections. Promises that a note of
//! severity error, wherever it was left, means no `Config`. Pure but for `Surroundings`.

mod schema;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use toml::de::DeTable;

pub use schema::schema;

use super::{
    Code, Config, ConfigErrors, Digests, Gateway, Names, Policies, Surroundings, auth,
    diff::needing_restart,
    gateway,
    policies::{self, Checked},
    remote,
    report::{Note, Notes},
    secret::Lookup,
    section::{Section, hide_values},
    server,
};

pub(super) const TOP_KEYS: [&str; 7] =
    ["gateway", "auth", "audit", "stop", "limits", "telemetry", "servers"];

/// The file to check.
#[derive(Debug)]
pub(super) struct Written<'a> {
    pub(super) text: &'a str,
    /// As the operator named it: used in messages.
    pub(super) shown: &'a Path,
    /// Its directory is what relative paths are relative to.
    pub(super) absolute: &'a Path,
    pub(super) exposure: Exposure,
}

/// Who can read the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exposure {
    OwnerOrGroup,
    Everybody,
    /// And write it.
    Writable,
}

/// What a check works with.
#[derive(Debug)]
pub(super) struct Check<'a> {
    /// The directory of the file.
    pub(super) base: &'a Path,
    pub(super) around: &'a Surroundings,
    pub(super) notes: Notes,
}

/// The whole file; as what follows `running`, if there is such a configuration.
pub(super) fn check(
    written: &Written<'_>,
    running: Option<&Config>,
    around: &Surroundings,
) -> Result<Config, ConfigErrors> {
    let base = written.absolute.parent().unwrap_or(Path::new("/"));
    let mut check = Check { base, around, notes: Notes::default() };
    let (tree, broken) = DeTable::parse_recoverable(written.text);
    hide_values(tree.get_ref(), 1, &mut check.notes);
    let top = Section::new("the file", 0..0, tree.get_ref());
    let draft = read(&top, &mut check);
    if let Some(running) = running {
        refuse_fixed(&top, needing_restart(running, &draft), &mut check.notes);
    }
    note_syntax(&broken, &mut check.notes);
    refuse_exposed(written.exposure, &mut check.notes);
    let dir = &draft.gateway.policies;
    let Checked { policies, errors: wrong } = policies::read(dir, &shown(dir, written), around);
    if policies.is_empty() && wrong.is_empty() {
        check.notes.push(no_policies(&top, dir));
    }
    let (mut errors, warnings) = check.notes.settle(written.shown, written.text);
    errors.extend(wrong);
    let file = Sha256::digest(written.text.as_bytes()).into();
    let digest = Digests { file, policies: policies.digest };
    if !errors.is_empty() {
        return Err(ConfigErrors { errors, warnings, digest: Some(digest) });
    }
    Ok(Config { policies, digest, source: written.absolute.to_owned(), warnings, ..draft })
}

/// The directory as it is called in messages: below what the operator named, if it is.
fn shown(dir: &Path, written: &Written<'_>) -> PathBuf {
    let base = written.absolute.parent().unwrap_or(Path::new("/"));
    match dir.strip_prefix(base) {
        Ok(below) => written.shown.parent().unwrap_or(Path::new("")).join(below),
        Err(_) => dir.to_owned(),
    }
}

fn no_policies(top: &Section<'_>, dir: &Path) -> Note {
    let section = top.section("gateway", "[gateway]", &mut Notes::default());
    let place = section.value_span("policies").unwrap_or_else(|| section.span.clone());
    let message = format!("there are no policies in `{}`, so no call is allowed", dir.display());
    Note::new(Code::NoPolicies, place, message)
        .label("nothing is allowed")
        .help("write a file there that allows something: docs/POLICIES.md")
}

/// Only `[gateway]`: what is wrong elsewhere does not matter, unless it makes that a guess.
pub(super) fn check_gateway(
    written: &Written<'_>,
    around: &Surroundings,
) -> Result<Gateway, ConfigErrors> {
    let base = written.absolute.parent().unwrap_or(Path::new("/"));
    let mut check = Check { base, around, notes: Notes::default() };
    let (tree, mut broken) = DeTable::parse_recoverable(written.text);
    hide_values(tree.get_ref(), 1, &mut check.notes);
    let top = Section::new("the file", 0..0, tree.get_ref());
    let section = top.section("gateway", "[gateway]", &mut check.notes);
    let gateway = gateway::read(&section, &mut check);
    // If no end of it is seen, what was not understood may be about it.
    let end = end_of_gateway(&top, &section, written.text);
    broken.retain(|error| {
        let start = error.span().unwrap_or_default().start;
        end.is_none_or(|end| start <= end)
    });
    note_syntax(&broken, &mut check.notes);
    let (errors, warnings) = check.notes.settle(written.shown, written.text);
    if errors.is_empty() {
        return Ok(gateway);
    }
    Err(ConfigErrors { errors, warnings, digest: None })
}

/// Where what is said of the gateway is over: where another table begins, for none can be opened
/// twice, or else with its last value.
fn end_of_gateway(top: &Section<'_>, section: &Section<'_>, text: &str) -> Option<usize> {
    let entries = top.entries();
    let (own, _) = entries.iter().find(|(key, _)| key.value == "gateway")?;
    let is_header = |at: &usize| text.get(..*at).is_some_and(|before| before.ends_with('['));
    let starts = entries.iter().map(|(key, _)| key.span.start);
    let next = starts.filter(|start| *start > own.span.start).filter(is_header).min();
    next.or_else(|| section.entries().iter().map(|(_, value)| value.span().end).max())
}

/// Everything but what only `check` knows. Worth nothing if a note of an error was left.
fn read(top: &Section<'_>, check: &mut Check<'_>) -> Config {
    top.refuse_unknown(&TOP_KEYS, &mut check.notes);
    let gateway_section = top.section("gateway", "[gateway]", &mut check.notes);
    let gateway = gateway::read(&gateway_section, check);
    let auth_section = top.section("auth", "[auth]", &mut check.notes);
    let auth = auth::read(&auth_section, (&gateway_section, &gateway), check);
    let audit_section = top.section("audit", "[audit]", &mut check.notes);
    let audit = gateway::read_audit(&audit_section, &gateway.state_dir, check);
    let stop = gateway::read_stop(&top.section("stop", "[stop]", &mut check.notes), check);
    let limits = gateway::read_limits(&top.section("limits", "[limits]", &mut check.notes), check);
    let telemetry = top.section("telemetry", "[telemetry]", &mut check.notes);
    let telemetry = remote::telemetry::read(&telemetry, check);

    let tables = top.section("servers", "[servers]", &mut check.notes);
    let (mut servers, mut disabled) = (Vec::new(), Vec::new());
    let (mut n_enabled, mut second) = (0_usize, None);
    for (key, _) in tables.entries() {
        let title = format!("[servers.{}]", key.value.escape_debug());
        let mut section = tables.section(key.value, &title, &mut check.notes);
        section.span = key.span.clone();
        let lookup = server::lookup(&section, &mut check.notes);
        let server = server::read(&key, &section, (lookup, gateway.pinning), check);
        if lookup == Lookup::Resolve {
            n_enabled += 1;
            second = (n_enabled == 2).then(|| key.span.clone()).or(second);
            servers.extend(server);
        } else {
            disabled.extend(server.map(|server| server.name));
        }
    }
    if gateway.names == Names::Plain && n_enabled != 1 {
        let place = second.or_else(|| gateway_section.value_span("names")).unwrap_or_default();
        check.notes.push(plain_names(n_enabled, place));
    }
    if n_enabled == 0 && gateway.names == Names::Prefixed {
        let place = tables.span.clone();
        check.notes.push(
            Note::new(Code::NoServers, place, "no server is enabled, so there are no tools")
                .label("nothing to serve")
                .help("add a table [servers.NAME] with `command` or `url`"),
        );
    }
    servers.sort_by(|a, b| a.name.cmp(&b.name));
    disabled.sort();
    Config {
        gateway,
        auth,
        audit,
        stop,
        limits,
        telemetry,
        servers,
        disabled,
        policies: Policies::default(),
        digest: Digests::default(),
        source: check.base.to_owned(),
        warnings: Vec::new(),
    }
}

/// A key that was left out may differ as well: then its table is the place.
fn refuse_fixed(top: &Section<'_>, keys: Vec<(&str, &str)>, notes: &mut Notes) {
    for (table, key) in keys {
        // Its types have been checked.
        let section = top.section(table, table, &mut Notes::default());
        let place = section.value_span(key).unwrap_or_else(|| section.span.clone());
        if notes.refuses(&place) {
            continue;
        }
        let message = format!("`{table}.{key}` differs from what is running");
        notes.push(
            Note::new(Code::NeedsRestart, place, message)
                .label("cannot change while the gateway runs")
                .help("restart the gateway, or put the old value back; [servers] can be reloaded"),
        );
    }
}

fn plain_names(n_enabled: usize, place: std::ops::Range<usize>) -> Note {
    let message = format!("names = \"plain\" needs exactly one enabled server, found {n_enabled}");
    Note::new(Code::PlainNames, place, message)
        .label("plain names could collide")
        .help("write names = \"prefixed\", or enable one server only")
}

fn refuse_exposed(exposure: Exposure, notes: &mut Notes) {
    if exposure == Exposure::Writable {
        let message = "everybody on this machine can write this file";
        notes.push(
            Note::new(Code::OpenToWriters, 0..0, message)
                .label("whoever writes it names programs that we start")
                .help("run chmod o-w on the file"),
        );
    }
    let Some(span) = notes.first(Code::LiteralSecret) else { return };
    if exposure != Exposure::OwnerOrGroup {
        let message = "everybody on this machine can read the secrets in this file";
        notes.push(
            Note::new(Code::ExposedSecrets, span, message)
                .label("a literal secret in a world-readable file")
                .help("move it to ${env:…}, ${file:…} or ${cred:…}, or run chmod o-r on the file"),
        );
    }
}

/// Notes the first place where the text is not TOML. What was read after it is a guess, and so is
/// what seems to be missing: notes of that are taken back.
pub(super) fn note_syntax(broken: &[toml::de::Error], notes: &mut Notes) {
    let place = |error: &toml::de::Error| error.span().unwrap_or_default();
    let Some(first) = broken.iter().min_by_key(|error| place(error).start) else { return };
    let span = place(first);
    notes.retain(|code, certain| {
        let missing = [
            Code::NoTarget,
            Code::PlainNames,
            Code::NoServers,
            Code::NoStateDir,
            Code::NeedsRestart,
            Code::MissingKey,
        ];
        certain.end <= span.start && !missing.contains(&code)
    });
    let message = first.message().lines().collect::<Vec<_>>().join(", ");
    let note = Note::new(Code::Syntax, span, message).label("not TOML");
    notes.push(note.help("mistakes after this place are shown once it is right"));
}
