//! The replicas of a server: what its own table starts or dials, and its `[[…replica]]` tables.
//!
//! A replica's table holds a target and a weight. What it does not say of headers, environment or
//! directory it has from the server's table, so that a second address needs one line. Whether two
//! replicas really are the same server is not known here: they are compared by what they list.

use toml::de::DeValue;

use super::{HTTP_KEYS, REPLICA_KEYS, STDIO_KEYS, target};
use crate::config::{
    Affinity, Balance, Code, ReplicaConfig, Target,
    check::Check,
    report::{Note, Notes},
    secret::Lookup,
    section::{Section, expect, quoted},
};
use crate::domain::limits::{REPLICA_WEIGHT_RANGE, REPLICAS_MAX};

/// All of them, the server's own first; empty after a mistake.
pub(super) fn read(
    section: &Section<'_>,
    meant: &[&str],
    lookup: Lookup,
    check: &mut Check<'_>,
) -> Vec<ReplicaConfig> {
    let more = tables(section, check);
    let stands_alone = more.is_empty() || ["command", "url"].iter().any(|key| section.has(key));
    let own = stands_alone.then(|| target(section, meant, lookup, check)).flatten();
    let n = copies(section, check);
    let weight = weight(section, check);
    let own = own.map(|target| ReplicaConfig { target, weight });
    let mut all: Vec<_> = std::iter::repeat_n(own.clone(), n).flatten().collect();
    for table in &more {
        let meant = table.refuse_unknown(&REPLICA_KEYS, &mut check.notes);
        let weight = self::weight(table, check);
        if let Some(mut target) = target(table, &meant, lookup, check) {
            inherit(&mut target, table, own.as_ref().map(|own| &own.target));
            all.push(ReplicaConfig { target, weight });
        }
    }
    if all.len() > REPLICAS_MAX {
        let message = format!("{} has more than {REPLICAS_MAX} replicas", section.title);
        let note = Note::new(Code::OutOfRange, section.span.clone(), message);
        check.notes.push(note.label("too many").help("split it into several servers"));
    }
    all
}

/// Identical ones of the server's own table.
fn copies(section: &Section<'_>, check: &mut Check<'_>) -> usize {
    let n = section.count("replicas", 1..=REPLICAS_MAX, &mut check.notes).unwrap_or(1);
    if let (Some(span), false) = (section.key_span("replicas"), section.has("command")) {
        let message = format!("`replicas` in {} needs `command`", section.title);
        let note = Note::new(Code::MisplacedKey, span, message).label("copies of a program only");
        let help = format!("write a [[{}.replica]] table for each further address", bare(section));
        check.notes.push(note.help(help));
    }
    n
}

/// By default as the weights say, which without weights is in turn.
pub(super) fn balance(section: &Section<'_>, notes: &mut Notes) -> Balance {
    let words = [
        ("round-robin", Balance::RoundRobin),
        ("weighted", Balance::Weighted),
        ("least-connections", Balance::LeastConnections),
    ];
    section.word("balance", &words, notes).unwrap_or(Balance::Weighted)
}

pub(super) fn affinity(section: &Section<'_>, notes: &mut Notes) -> Affinity {
    let Some(written) = section.text("affinity", notes) else { return Affinity::None };
    match (written.value, written.value.strip_prefix("arg:")) {
        ("none", _) => Affinity::None,
        ("principal", _) => Affinity::Principal,
        ("session", _) => Affinity::Session,
        (_, Some(name)) if !name.is_empty() => Affinity::Argument(name.to_owned()),
        (other, _) => {
            let message = format!("`{}` is not a value of `affinity`", other.escape_debug());
            let note = Note::new(Code::UnknownWord, written.span, message).label("unknown word");
            notes.push(note.help("one of: none, principal, session, arg:NAME of an argument"));
            Affinity::None
        }
    }
}

fn weight(section: &Section<'_>, check: &mut Check<'_>) -> u16 {
    let weight = section.count("weight", REPLICA_WEIGHT_RANGE, &mut check.notes);
    weight.and_then(|weight| u16::try_from(weight).ok()).unwrap_or(1)
}

fn tables<'d>(section: &Section<'d>, check: &mut Check<'_>) -> Vec<Section<'d>> {
    let Some((span, value)) = section.entry("replica") else { return Vec::new() };
    let notes = &mut check.notes;
    let list = expect(&quoted("replica"), value, "an array of tables", DeValue::as_array, notes);
    let title = format!("[[{}.replica]]", bare(section));
    let mut tables = Vec::new();
    for item in list.into_iter().flat_map(|list| list.iter()) {
        if let Some(table) = expect(&title, item, "a table", DeValue::as_table, notes) {
            let place = if item.span().is_empty() { span.clone() } else { item.span() };
            tables.push(Section::new(title.clone(), place, table));
        }
    }
    tables
}

fn bare(section: &Section<'_>) -> String {
    section.title.trim_matches(['[', ']']).to_owned()
}

fn inherit(target: &mut Target, table: &Section<'_>, own: Option<&Target>) {
    match (target, own) {
        (Target::Http(target), Some(Target::Http(own))) => {
            if !HTTP_KEYS.iter().any(|key| table.has(key)) {
                target.headers.clone_from(&own.headers);
            }
        }
        (Target::Stdio(target), Some(Target::Stdio(own))) => {
            let [_args, env, cwd] = STDIO_KEYS;
            if !table.has(env) {
                target.env.clone_from(&own.env);
            }
            if !table.has(cwd) {
                target.cwd.clone_from(&own.cwd);
            }
        }
        (Target::Http(_) | Target::Stdio(_), _) => {}
    }
}
