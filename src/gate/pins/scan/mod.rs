//! What is odd about a definition, before anybody trusts it.
//!
//! Looks at every text in it, at any depth: descriptions, keys, enum values, defaults. Finds what
//! is usual in poisoned definitions, class by class; that it finds nothing proves nothing. Pure.

mod hidden;
mod names;
mod phrases;
#[cfg(test)]
mod tests;

use serde_json::Value;

pub(super) use hidden::is_unseen;
pub(super) use names::Neighbours;

use crate::domain::limits::{FINDINGS_MAX, SCAN_TEXT_BYTES_MAX};

/// Kinds of oddity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Characters that are not seen.
    Hidden,
    /// Characters that change the direction of reading.
    Direction,
    /// Escape sequences and other control characters.
    Control,
    /// What a page would not show.
    Comment,
    /// Words to the model.
    Instruction,
    /// Files in which secrets are.
    Secret,
    /// The name of another server's tool.
    CrossReference,
    /// A name that looks like another.
    Confusable,
}

/// One of them, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub class: Class,
    /// Path of the text within the definition.
    pub at: String,
    pub what: String,
}

/// How many there are of each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Findings([u8; Class::ALL.len()]);

impl Class {
    pub const ALL: [Self; 8] = [
        Self::Hidden,
        Self::Direction,
        Self::Control,
        Self::Comment,
        Self::Instruction,
        Self::Secret,
        Self::CrossReference,
        Self::Confusable,
    ];

    /// The word in status and audit.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hidden => "hidden",
            Self::Direction => "direction",
            Self::Control => "control",
            Self::Comment => "comment",
            Self::Instruction => "instruction",
            Self::Secret => "secret",
            Self::CrossReference => "cross_reference",
            Self::Confusable => "confusable",
        }
    }
}

impl Findings {
    pub(super) fn of(findings: &[Finding]) -> Self {
        let count = |class| findings.iter().filter(|finding| finding.class == class).count();
        Self(Class::ALL.map(|class| u8::try_from(count(class)).unwrap_or(u8::MAX)))
    }

    pub fn count(self, class: Class) -> u8 {
        let counts = Class::ALL.into_iter().zip(self.0);
        counts.filter(|(of, _)| *of == class).map(|(_, n)| n).sum()
    }

    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// What is odd about a definition by itself; at most so much.
pub(super) fn scan(canonical: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    each_text(canonical, Keys::Too, |at, text| {
        let odd = match text.len() > SCAN_TEXT_BYTES_MAX {
            true => vec![(Class::Instruction, "too long to be looked at".to_owned())],
            false => [hidden::hidden(text), phrases::phrases(text)].concat(),
        };
        let room = FINDINGS_MAX.saturating_sub(found.len());
        let odd = odd.into_iter().take(room);
        found.extend(odd.map(|(class, what)| Finding { class, at: at.to_owned(), what }));
    });
    found
}

/// Whether the keys of a definition are looked at as well.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keys {
    Too,
    Not,
}

/// Every text of a definition with its path.
fn each_text(canonical: &str, keys: Keys, mut look: impl FnMut(&str, &str)) {
    match serde_json::from_str::<Value>(canonical) {
        Ok(value) => visit("", &value, keys, &mut look),
        Err(_) => look("", canonical),
    }
}

fn visit(at: &str, value: &Value, keys: Keys, look: &mut impl FnMut(&str, &str)) {
    match value {
        Value::String(text) => look(at, text),
        Value::Object(members) => {
            for (key, value) in members {
                let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                if keys == Keys::Too {
                    look(&at, key);
                }
                visit(&at, value, keys, look);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| visit(at, value, keys, look)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
