//! How a definition differs from the one that was approved, in lines that a person reads.
//!
//! Member by member, by its path. Nothing is cut: what was not shown cannot be approved. What a
//! terminal would hide or act upon is escaped. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::scan::is_unseen;

/// Lines that begin with `-` or `+` and a path. Without an approved one, all of it is new.
pub(super) fn difference(approved: Option<&str>, offered: &str) -> Vec<String> {
    let (before, after) = (leaves(approved.unwrap_or("{}")), leaves(offered));
    let mut lines = Vec::new();
    for path in before.keys().chain(after.keys().filter(|path| !before.contains_key(*path))) {
        let (old, new) = (before.get(path), after.get(path));
        if old == new {
            continue;
        }
        let line = |mark, value: &String| format!("{mark} {}: {}", shown(path), shown(value));
        lines.extend(old.map(|value| line('-', value)));
        lines.extend(new.map(|value| line('+', value)));
    }
    lines
}

/// The text with everything that is not seen written out.
pub fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unseen(c) || c.is_control() {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Every value that holds no other, by its path.
fn leaves(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    match serde_json::from_str::<Value>(text) {
        Ok(value) => collect(String::new(), &value, &mut found),
        Err(_) => drop(found.insert(String::new(), text.to_owned())),
    }
    found
}

/// No two members have the same path, whatever they are called.
fn step(key: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '$');
    let plain = !key.is_empty() && key.chars().all(is_plain);
    if plain { key.to_owned() } else { Value::from(key).to_string() }
}

fn collect(path: String, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, value) in members {
                let key = step(key);
                let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                collect(path, value, found);
            }
        }
        Value::Array(values) if !values.is_empty() => {
            for (n, value) in values.iter().enumerate() {
                collect(format!("{path}[{n}]"), value, found);
            }
        }
        Value::Object(_)
        | Value::Array(_)
        | Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_) => {
            found.insert(path, value.to_string());
        }
    }
}
