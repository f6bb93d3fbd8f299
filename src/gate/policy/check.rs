//! Whether policies can be right, by the types of what they are about.
//!
//! Each slice is validated strictly for its own action. A policy that is wrong for one of its
//! actions is wrong, and one that no call of any of its actions can fulfil is a mistake as well.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use cedar_policy::{Schema, ValidationMode, ValidationWarning, Validator};
use miette::Diagnostic;
use serde_json::{Map, Value, json};

use super::{
    names::{ActionName, GROUPS, NAMESPACE},
    slice::Slice,
    source::{Source, Statement, span_of},
};
use crate::config::{Finding, Place};

/// What the validator says of a policy, for one action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Remark {
    /// No call of this action fulfils it.
    Impossible {
        statement: usize,
    },
    Wrong {
        statement: usize,
        span: Option<Range<usize>>,
        message: String,
        help: String,
    },
}

impl Remark {
    pub(super) fn is_wrong(&self) -> bool {
        matches!(self, Self::Wrong { .. })
    }
}

/// Validates the policies of a slice.
pub(super) fn remarks(source: &Source, slice: &Slice) -> Vec<Remark> {
    let number =
        |id: &cedar_policy::PolicyId| AsRef::<str>::as_ref(id).parse::<usize>().unwrap_or_default();
    let schema = match Schema::from_json_value(schema(source, slice)) {
        Ok(schema) => schema,
        Err(error) => {
            let wrong = |statement| {
                let message = format!("`{}` cannot be typed: {error}", slice.action.id());
                Remark::Wrong { statement, span: None, message, help: String::new() }
            };
            return slice.selection.statements.first().map(|n| wrong(*n)).into_iter().collect();
        }
    };
    let result = Validator::new(schema).validate(&slice.selection.set, ValidationMode::Strict);
    let wrong = |error: &cedar_policy::ValidationError| {
        let text = error.to_string();
        let prefix = format!("for policy `{}`, ", error.policy_id());
        let message = text.strip_prefix(&prefix).unwrap_or(&text);
        Remark::Wrong {
            statement: number(error.policy_id()),
            span: span_of(error),
            message: format!("{message} (for `{}`)", slice.action.id()),
            help: error.help().map(|help| help.to_string()).unwrap_or_default(),
        }
    };
    let mut remarks: Vec<_> = result.validation_errors().map(wrong).collect();
    for warning in result.validation_warnings() {
        if let ValidationWarning::ImpossiblePolicy(_) = warning {
            remarks.push(Remark::Impossible { statement: number(warning.policy_id()) });
        }
    }
    remarks
}

/// One action with its types; the others that the policies name, by name only.
fn schema(source: &Source, slice: &Slice) -> Value {
    let own = slice.action.id();
    let statements = slice.selection.statements.iter().filter_map(|n| source.statements.get(*n));
    let named: BTreeSet<_> = statements.flat_map(|statement| statement.actions()).collect();
    let others = named.into_iter().filter(|id| *id != own).chain(GROUPS.map(str::to_owned));
    let mut actions: Map<_, _> = others.map(|id| (id, json!({}))).collect();
    let action = json!({
        "memberOf": [{ "id": slice.action.group() }],
        "appliesTo": {
            "principalTypes": ["User"], "resourceTypes": ["Server"],
            "context": slice.typed.context_type(&slice.action),
        },
    });
    actions.insert(own, action);
    json!({
        NAMESPACE: {
            "entityTypes": {
                "User": { "memberOfTypes": ["Group"] }, "Group": {}, "Server": {},
            },
            "actions": actions,
        },
    })
}

/// The mistakes that all slices together show. That a policy is about nothing is one only if
/// everything is `known` that it could be about.
pub(super) fn mistakes<'a>(
    source: &Source,
    slices: impl Iterator<Item = &'a Slice>,
    (known, is_missing): (Known, impl Fn(&ActionName) -> bool),
) -> Vec<Finding> {
    let (mut uses, mut told, mut mistakes) = (Uses::default(), BTreeSet::new(), Vec::new());
    for slice in slices {
        uses.count(slice);
        for remark in &slice.remarks {
            let Remark::Wrong { statement, span, message, help } = remark else { continue };
            let Some(of) = source.statements.get(*statement) else { continue };
            // The same mistake in every tool is one.
            if told.insert((*statement, span.clone().map(|span| span.start))) {
                let span = span.clone().filter(|_| of.is_cedar());
                let span = span.unwrap_or(of.place.span.clone());
                let place = Place { span, ..of.place.clone() };
                mistakes.push(place.mistake(message.clone(), help.clone()));
            }
        }
    }
    for (n, statement) in source.statements.iter().enumerate() {
        let named = statement.actions();
        let is_missing = |id: &&String| ActionName::parse(id).is_some_and(|one| is_missing(&one));
        let missing: Vec<_> = named.iter().filter(is_missing).collect();
        for id in &missing {
            let help = "see what there is with `portcullis tools`";
            mistakes.push(statement.mistake(format!("there is no `{id}`"), help));
        }
        if known == Known::All && missing.is_empty() {
            mistakes.extend(uses.mistake(n, statement));
        }
    }
    mistakes
}

/// Whether every server has listed what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    All,
    Some,
}

/// For how many actions each policy is there, and for how many of them in vain.
#[derive(Default)]
struct Uses(BTreeMap<usize, (usize, usize)>);

impl Uses {
    fn count(&mut self, slice: &Slice) {
        for statement in &slice.selection.statements {
            self.0.entry(*statement).or_default().0 += 1;
        }
        for remark in &slice.remarks {
            if let Remark::Impossible { statement } = remark {
                self.0.entry(*statement).or_default().1 += 1;
            }
        }
    }

    fn mistake(&self, n: usize, statement: &Statement) -> Option<Finding> {
        match self.0.get(&n) {
            None => {
                let message = "there is nothing that this policy could be about";
                Some(statement.mistake(message, "look at its action and resource"))
            }
            Some((all, in_vain)) if all == in_vain => {
                let message = "no call can fulfil this policy";
                Some(statement.mistake(message, "change its conditions, or remove it"))
            }
            Some(_) => None,
        }
    }
}
