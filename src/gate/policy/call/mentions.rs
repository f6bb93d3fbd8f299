//! Which parts of a call a policy looks at.
//!
//! Read off the policy itself, so that a call is taken apart only where somebody looks, and a value
//! that cannot be judged matters only to those that would have judged it.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::wire::folds_to;

/// What the policies of a slice ask for below `context`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::gate::policy) struct Mentions {
    /// Members of `context.input`.
    pub(in crate::gate::policy) input: Parts,
    /// Members of `context.paths`.
    pub(in crate::gate::policy) paths: Parts,
    /// Other members of `context`.
    pub(in crate::gate::policy) others: Parts,
}

/// Some members of a record, or all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gate::policy) enum Parts {
    Some(BTreeSet<String>),
    All,
}

impl Default for Parts {
    fn default() -> Self {
        Self::Some(BTreeSet::new())
    }
}

impl Parts {
    pub(in crate::gate::policy) fn has(&self, name: &str) -> bool {
        match self {
            Self::Some(names) => names.contains(name),
            Self::All => true,
        }
    }

    pub(in crate::gate::policy) fn is_empty(&self) -> bool {
        matches!(self, Self::Some(names) if names.is_empty())
    }

    /// Whether somebody takes `key` for one of them, which it is not.
    fn is_almost(&self, key: &str) -> bool {
        match self {
            Self::Some(names) => {
                !names.contains(key) && names.iter().any(|name| folds_to(key, name))
            }
            Self::All => false,
        }
    }

    fn add(&mut self, name: Option<&str>) {
        match (&mut *self, name) {
            (Self::Some(names), Some(name)) => {
                names.insert(name.to_owned());
            }
            (_, None) => *self = Self::All,
            (Self::All, Some(_)) => {}
        }
    }

    fn join(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Some(mine), Self::Some(names)) => mine.extend(names.iter().cloned()),
            (_, Self::All) => *self = Self::All,
            (Self::All, Self::Some(_)) => {}
        }
    }
}

impl Mentions {
    /// Of a policy in Cedar's JSON form.
    pub(in crate::gate::policy) fn of(policy: &Value) -> Self {
        let mut mentions = Self::default();
        for clause in policy.get("conditions").and_then(Value::as_array).into_iter().flatten() {
            mentions.walk(clause);
        }
        mentions
    }

    pub(in crate::gate::policy) fn join(&mut self, other: &Self) {
        self.input.join(&other.input);
        self.paths.join(&other.paths);
        self.others.join(&other.others);
    }

    /// Whether they depend on what the tool is.
    pub(in crate::gate::policy) fn is_typed(&self) -> bool {
        !self.input.is_empty() || !self.paths.is_empty()
    }

    /// Whether an argument of that name counts as one that is judged, although it is not.
    pub(in crate::gate::policy) fn is_almost(&self, key: &str) -> bool {
        self.input.is_almost(key) || self.paths.is_almost(key)
    }

    fn walk(&mut self, value: &Value) {
        if let Some(path) = path(value) {
            return self.note(&path);
        }
        match value {
            Value::Object(members) => members.values().for_each(|inner| self.walk(inner)),
            Value::Array(list) => list.iter().for_each(|inner| self.walk(inner)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    /// `path` begins below `context`.
    fn note(&mut self, path: &[&str]) {
        match path {
            [] => {
                for parts in [&mut self.input, &mut self.paths, &mut self.others] {
                    parts.add(None);
                }
            }
            ["input", rest @ ..] => self.input.add(rest.first().copied()),
            ["paths", rest @ ..] => self.paths.add(rest.first().copied()),
            [other, ..] => self.others.add(Some(other)),
        }
    }
}

/// The members below `context` that an expression names, if that is what it is.
fn path(value: &Value) -> Option<Vec<&str>> {
    if value.get("Var").and_then(Value::as_str) == Some("context") {
        return Some(Vec::new());
    }
    let step = value.get(".").or_else(|| value.get("has"))?;
    let mut names = path(step.get("left")?)?;
    match step.get("attr")? {
        Value::String(name) => names.push(name),
        Value::Array(several) => names.extend(several.iter().filter_map(Value::as_str)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return None,
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use cedar_policy::Policy;

    use super::{Mentions, Parts};

    #[track_caller]
    fn check(condition: &str, input: Option<&[&str]>, paths: Option<&[&str]>) {
        let text = format!("permit(principal, action, resource) when {{ {condition} }};");
        let mentions = Mentions::of(&Policy::from_str(&text).unwrap().to_json().unwrap());
        let parts = |names: Option<&[&str]>| match names {
            Some(names) => Parts::Some(names.iter().map(|name| (*name).to_owned()).collect()),
            None => Parts::All,
        };
        assert_eq!((&mentions.input, &mentions.paths), (&parts(input), &parts(paths)), "{text}");
    }

    #[test]
    fn a_policy_is_told_what_it_looks_at_and_no_more() {
        check("true", Some(&[]), Some(&[]));
        check("context.risk < 5 && context.client == \"x\"", Some(&[]), Some(&[]));
        check("context.input.path == \"a\"", Some(&["path"]), Some(&[]));
        check("context.input has a && context has input", None, Some(&[]));
        check("context.input has a.b", Some(&["a"]), Some(&[]));
        check("context.input[\"odd name\"].x > 1", Some(&["odd name"]), Some(&[]));
        check("context.paths.path like \"/a/*\"", Some(&[]), Some(&["path"]));
        check("context has paths.path", Some(&[]), Some(&["path"]));
        check("context.input == {\"a\": 1}", None, Some(&[]));
        check("context == {\"a\": context.input.b}", None, None);
        check("(if true then context else context).input.x", None, None);
    }
}
