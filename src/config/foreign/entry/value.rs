//! Values with placeholders of other programs in them, and literals that are secrets.
//!
//! A reference is resolved in `env` and `http_headers` only. Elsewhere what a placeholder stands
//! for cannot be known, and a hole is left for whoever knows it: `<NAME>`. What looks like a
//! secret is never repeated, neither in the block nor in what is said about it.

use super::super::{Dialect, shown};
use crate::config::{
    Surroundings,
    report::{holds_key, sounds_secret, without_secrets},
    secret::{has_reference, is_variable_name},
};

/// Where a value is to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    /// References are resolved there.
    Resolved,
    /// They are not.
    Plain,
}

/// What a value has become.
#[derive(Debug, Default)]
pub(super) struct Rewritten {
    pub(super) text: String,
    /// What was put in place of what, as far as it differs.
    pub(super) changes: Vec<String>,
    /// What somebody has to fill in.
    pub(super) holes: Vec<String>,
}

/// What is known about the placeholders of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known<'a> {
    pub(super) dialect: Dialect,
    pub(super) inputs: &'a [(&'a str, &'a str)],
    /// Variables that the same entry sets: in arguments they are the program's own business.
    pub(super) own: &'a [String],
    pub(super) around: &'a Surroundings,
}

/// What a placeholder stands for.
enum Meaning<'t> {
    Variable { name: String, default: Option<&'t str>, about: String },
    File(&'t str),
    Text(String),
    Unknown,
}

pub(super) fn rewrite(text: &str, known: Known<'_>, spot: Spot) -> Rewritten {
    let mut out = Rewritten::default();
    if let Some(name) = text.strip_prefix('$').filter(|name| is_variable_name(name)) {
        let name = name.to_owned();
        let meaning = Meaning::Variable { name, default: None, about: String::new() };
        put(text, meaning, (known, spot), &mut out);
        return out;
    }
    let mut rest = text;
    while let Some((before, opening, after)) = next_placeholder(rest, known.dialect) {
        out.text.push_str(before);
        let Some((inner, tail)) = after.split_once('}') else {
            rest = after;
            put(opening, Meaning::Unknown, (known, spot), &mut out);
            continue;
        };
        let whole = format!("{opening}{inner}}}");
        put(&whole, meaning(inner, known), (known, spot), &mut out);
        rest = tail;
    }
    out.text.push_str(rest);
    out
}

/// What stands before the next placeholder, how that begins, and what follows.
fn next_placeholder(text: &str, dialect: Dialect) -> Option<(&str, &'static str, &str)> {
    let openings: &[(&str, &str)] = match dialect {
        Dialect::Opencode => &[("${", "${"), ("{env:", "{"), ("{file:", "{")],
        Dialect::McpServers | Dialect::VsCode | Dialect::Codex | Dialect::Zed | Dialect::Goose => {
            &[("${", "${")]
        }
    };
    let found = openings.iter().filter_map(|(sign, opening)| Some((text.find(sign)?, *opening)));
    let (at, opening) = found.min_by_key(|(at, _)| *at)?;
    Some((text.get(..at)?, opening, text.get(at + opening.len()..)?))
}

fn meaning<'t>(inner: &'t str, known: Known<'_>) -> Meaning<'t> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    if let Some(id) = inner.strip_prefix("input:") {
        let about = known.inputs.iter().find(|(known, _)| *known == id);
        let about = about.map(|(_, about)| shown(about)).unwrap_or_default();
        return Meaning::Variable { name: variable_like(id), default: None, about };
    }
    let bare = name.strip_prefix("env:").unwrap_or(name);
    match inner {
        // Not a secret, and the same for everything on this machine.
        "userHome" | "HOME" | "env:HOME" => match known.around.variable("HOME") {
            Some(home) => Meaning::Text(home.to_owned()),
            None => Meaning::Unknown,
        },
        "/" | "pathSeparator" => Meaning::Text("/".to_owned()),
        _ if inner.starts_with("file:") && inner.len() > "file:".len() => {
            Meaning::File(inner.get("file:".len()..).unwrap_or_default())
        }
        "workspaceFolder" | "workspaceRoot" | "workspaceFolderBasename" | "cwd" => Meaning::Unknown,
        _ if is_variable_name(bare) => {
            Meaning::Variable { name: bare.to_owned(), default, about: String::new() }
        }
        _ => Meaning::Unknown,
    }
}

fn put(whole: &str, meaning: Meaning<'_>, (known, spot): (Known<'_>, Spot), out: &mut Rewritten) {
    let told = shown(whole);
    match (meaning, spot) {
        (Meaning::Text(text), _) => {
            out.changes.push(format!("`{told}` is `{}` now", shown(&text)));
            out.text.push_str(&text);
        }
        // What the program itself does with its own variables.
        (Meaning::Variable { name, .. }, Spot::Plain)
            if known.own.contains(&name) && !has_reference(whole) =>
        {
            out.text.push_str(whole);
        }
        (Meaning::Variable { name, default: Some(default), .. }, spot)
            if spot == Spot::Plain || known.around.variable(&name).is_none() =>
        {
            out.changes.push(format!("`${{{name}…}}` is its default now"));
            out.text.push_str(default);
        }
        (Meaning::Variable { name, about, .. }, Spot::Resolved) => {
            let reference = format!("${{env:{name}}}");
            if whole != reference {
                let about = if about.is_empty() { about } else { format!(" ({about})") };
                let told =
                    format!("`{told}`{about} is `{reference}` now: set {name} for the gateway");
                out.changes.push(told);
            }
            out.text.push_str(&reference);
        }
        (Meaning::File(path), Spot::Resolved) => {
            let path = at_home(path, known.around).unwrap_or_else(|| path.to_owned());
            out.text.push_str(&format!("${{file:{path}}}"));
        }
        (Meaning::Variable { name, .. }, Spot::Plain) => {
            out.text.push_str(&format!("<{name}>"));
            out.holes.push(told);
        }
        (Meaning::File(_) | Meaning::Unknown, _) => {
            out.text.push_str("<?>");
            out.holes.push(told);
        }
    }
}

/// What a path below `~` is, which has no meaning here.
pub(super) fn at_home(path: &str, around: &Surroundings) -> Option<String> {
    let home = around.variable("HOME")?;
    path.strip_prefix("~/").map(|rest| format!("{}/{rest}", home.trim_end_matches('/')))
}

/// `api-key` asks for what `API_KEY` may hold.
fn variable_like(id: &str) -> String {
    let letter = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let name: String = id.chars().map(letter).collect();
    if is_variable_name(&name) { name } else { format!("INPUT_{name}") }
}

/// The variable that a secret of this server would be in.
pub(super) fn variable_for(server: &str, key: &str) -> String {
    variable_like(&format!("{server}_{key}"))
}

/// Whether a literal under this name is a secret, by the look of it or by the sound of the name.
pub(super) fn is_secret(name: &str, value: &str) -> bool {
    if has_reference(value) || value.is_empty() {
        return false;
    }
    let is_plain = |value: &str| {
        value.starts_with(['/', '.', '~', '<', '$'])
            || value.chars().all(|c| c.is_ascii_digit())
            || ["true", "false", "none", "null"].contains(&&*value.to_ascii_lowercase())
    };
    looks_secret(value) || (sounds_secret(name) && !is_plain(value))
}

/// The same of a value of which nothing else is known.
pub(super) fn looks_secret(value: &str) -> bool {
    holds_key(value) || without_secrets(value).is_some()
}
