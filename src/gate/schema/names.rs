//! The keys that a schema names, to tell those that are almost one of them.
//!
//! Some readers match keys without regard to case, width or composition: to them `Path` is `path`,
//! and the later of the two counts. Nothing would have judged it. So where the schema names a key,
//! another that such a reader takes for it does not fit; every other key is the tool's own affair.
//! Compiled once, and no deeper than the types that policies see.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use unicode_security::skeleton;

use super::refs::Refs;
use crate::{
    domain::limits::{POLICY_TYPE_DEPTH_MAX, SCHEMA_NAME_BYTES},
    wire::folded,
};

/// What is named at one place of a value, and below it.
#[derive(Debug, Default)]
pub(super) struct Names {
    members: BTreeMap<String, Self>,
    /// Their names as a careless reader has them.
    folded: BTreeSet<String>,
    /// What these look like.
    looks: BTreeSet<String>,
    /// Below members without a name, and below elements.
    others: Option<Box<Self>>,
}

struct Reading<'s> {
    refs: Refs<'s>,
    n_left: usize,
}

/// Schemas of the same value.
const IN_PLACE: [&str; 8] =
    ["$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "then", "else"];
/// Schemas of its elements and of members that are not named.
const BELOW: [&str; 6] = [
    "items",
    "prefixItems",
    "additionalItems",
    "contains",
    "additionalProperties",
    "unevaluatedProperties",
];

impl Names {
    /// `bytes` is the length of its text, beyond which references do not multiply it.
    pub(super) fn of(schema: &Value, bytes: usize) -> Self {
        let mut names = Self::default();
        let n_left = bytes / SCHEMA_NAME_BYTES;
        let reading = &mut Reading { refs: Refs::of(schema), n_left };
        names.read(schema, reading, 0);
        names
    }

    fn read<'s>(&mut self, schema: &'s Value, reading: &mut Reading<'s>, depth: usize) {
        let Some(n_left) = reading.n_left.checked_sub(1).filter(|_| depth <= POLICY_TYPE_DEPTH_MAX)
        else {
            return;
        };
        reading.n_left = n_left;
        let properties =
            || schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        // All of this place first: it matters more than what is deeper.
        for (name, _) in properties() {
            let folded = folded(name);
            self.looks.insert(skeleton(&folded).collect());
            self.folded.insert(folded);
            self.members.entry(name.clone()).or_default();
        }
        for key in IN_PLACE {
            for inner in reading.schemas(schema, key) {
                self.read(inner, reading, depth.saturating_add(1));
            }
        }
        for (name, inner) in properties() {
            let member = self.members.entry(name.clone()).or_default();
            member.read(inner, reading, depth.saturating_add(1));
        }
        for key in BELOW {
            for inner in reading.schemas(schema, key) {
                let others = self.others.get_or_insert_default();
                others.read(inner, reading, depth.saturating_add(1));
            }
        }
    }

    /// A key that is almost one that is named at its place.
    pub(super) fn near_miss<'v>(&self, value: &'v Value) -> Option<&'v str> {
        match value {
            Value::Object(members) => members.iter().find_map(|(key, inner)| {
                let names = match self.members.get(key) {
                    Some(names) => Some(names),
                    None if self.resembles(key) => return Some(key.as_str()),
                    None => self.others.as_deref(),
                };
                names?.near_miss(inner)
            }),
            Value::Array(elements) => {
                let names = self.others.as_deref()?;
                elements.iter().find_map(|element| names.near_miss(element))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        }
    }

    /// Letters of other scripts are held against what they look like.
    fn resembles(&self, key: &str) -> bool {
        let folded = folded(key);
        self.folded.contains(&folded)
            || !folded.is_ascii() && self.looks.contains(&skeleton(&folded).collect::<String>())
    }
}

impl<'s> Reading<'s> {
    /// The schemas under a keyword: one, a list of them, or what a reference points to.
    fn schemas(&self, schema: &'s Value, key: &str) -> Vec<&'s Value> {
        match schema.get(key) {
            Some(reference @ Value::String(_)) => self.refs.resolve(reference).unwrap_or_default(),
            Some(Value::Array(several)) => several.iter().collect(),
            Some(one) => vec![one],
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Names;

    #[track_caller]
    fn check(schema: &Value, arguments: &Value, want: Option<&str>) {
        let names = Names::of(schema, schema.to_string().len());
        assert_eq!(names.near_miss(arguments), want, "{schema} {arguments}");
    }

    #[test]
    fn a_key_is_held_against_the_names_at_its_own_place() {
        let schema = json!({
            "properties": {
                "path": {},
                "to": { "properties": { "account": {} } },
                "lines": { "items": { "$ref": "#/$defs/line" } },
                "either": { "anyOf": [{ "properties": { "left": {} } }, { "properties": { "right": {} } }] },
                "each": { "additionalProperties": { "properties": { "port": {} } } },
            },
            "$defs": { "line": { "properties": { "sum": {} } } },
            "allOf": [{ "then": { "properties": { "mode": {} } } }],
        });
        for (arguments, want) in [
            (json!({ "path": 1, "to": { "account": 2, "Path": 3 }, "Lines of it": [] }), None),
            (json!({ "Path": 1 }), Some("Path")),
            (json!({ "path": 1, "to": { "Account": 2 } }), Some("Account")),
            (json!({ "lines": [{ "sum": 1 }, { "SUM": 1 }] }), Some("SUM")),
            (json!({ "either": { "Right": 1 } }), Some("Right")),
            (json!({ "either": { "left": 1, "Up": 1 } }), None),
            (json!({ "each": { "Path": { "Port": 1 } } }), Some("Port")),
            (json!({ "Mode": 1 }), Some("Mode")),
            (json!({ "p\u{430}th": 1 }), Some("p\u{430}th")),
            (json!({ "surn": 1, "rnode": 1, "Iines": [] }), None),
        ] {
            check(&schema, &arguments, want);
        }
    }

    #[test]
    fn both_of_two_names_that_fold_alike_are_names() {
        let schema = json!({ "properties": { "id": {}, "ID": {} } });
        check(&schema, &json!({ "id": 1, "ID": 2 }), None);
        check(&schema, &json!({ "Id": 1 }), Some("Id"));
    }

    #[test]
    fn a_schema_that_refers_to_itself_is_read_so_far() {
        let schema = json!({ "properties": { "x": { "$ref": "#" } } });
        check(&schema, &json!({ "x": { "x": { "X": 1 } } }), Some("X"));
        check(&schema, &json!({ "x": { "x": { "x": { "x": { "X": 1 } } } } }), None);
        let branches: Vec<_> = (0..50).map(|_| json!({ "$ref": "#" })).collect();
        let schema = json!({ "properties": { "x": {} }, "allOf": branches });
        check(&schema, &json!({ "X": 1 }), Some("X"));
    }
}
