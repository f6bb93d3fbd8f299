//! Definitions that speak of another server's tools, and names that are mistaken for others.
//!
//! A word counts as a name only if it could hardly be anything else: with a mark or a capital
//! inside, or in quotes beside the word "tool". Pure.

use std::collections::{BTreeMap, HashMap, HashSet};

use unicode_security::{MixedScript, skeleton};

use super::{Class, Finding, Keys, each_text};
use crate::domain::{ServerName, limits::SCAN_TEXT_BYTES_MAX};

/// The names of all tools, by which a definition is looked at.
#[derive(Debug, Default)]
pub(in crate::gate::pins) struct Neighbours<'a> {
    /// Whose each name is, as the servers write it and as applications do.
    owners: HashMap<&'a str, HashSet<&'a ServerName>>,
    /// The names that look alike.
    looks: BTreeMap<String, HashSet<&'a str>>,
}

impl<'a> Neighbours<'a> {
    pub(in crate::gate::pins) fn add(
        &mut self,
        server: &'a ServerName,
        name: &'a str,
        exposed: &'a str,
    ) {
        for name in [name, exposed] {
            self.owners.entry(name).or_default().insert(server);
        }
        self.looks.entry(skeleton(name).collect()).or_default().insert(name);
    }

    /// What is odd about a definition of this server beside the others; `tool` is its name, if it
    /// is one of a tool.
    pub(in crate::gate::pins) fn scan(
        &self,
        server: &ServerName,
        tool: Option<&str>,
        canonical: &str,
    ) -> Vec<Finding> {
        let mut found = tool.map(|tool| self.confusable(tool)).unwrap_or_default();
        let mut foreign = None;
        each_text(canonical, Keys::Not, |at, text| {
            if foreign.is_none() && text.len() <= SCAN_TEXT_BYTES_MAX {
                let word = mentioned(text).find(|word| self.is_foreign(server, word));
                foreign = word.map(|word| (at.to_owned(), word.to_owned()));
            }
        });
        found.extend(foreign.map(|(at, what)| Finding { class: Class::CrossReference, at, what }));
        found
    }

    fn is_foreign(&self, server: &ServerName, word: &str) -> bool {
        self.owners.get(word).is_some_and(|owners| !owners.contains(server))
    }

    fn confusable(&self, name: &str) -> Vec<Finding> {
        let finding =
            |what: String| Finding { class: Class::Confusable, at: "name".to_owned(), what };
        if !name.is_ascii() && !name.is_single_script() {
            return vec![finding("letters of several scripts".to_owned())];
        }
        let alike = self.looks.get(&skeleton(name).collect::<String>());
        // Of two that look alike, the one that is plain is not to blame for the other.
        let other = alike
            .into_iter()
            .flatten()
            .find(|other| **other != name && plainness(other) <= plainness(name));
        other.map(|other| finding(format!("looks like `{other}`"))).into_iter().collect()
    }
}

fn plainness(name: &str) -> [usize; 4] {
    let count = |odd: fn(&char) -> bool| name.chars().filter(odd).count();
    [
        count(|c| !c.is_ascii()),
        count(char::is_ascii_digit),
        count(char::is_ascii_uppercase),
        name.len(),
    ]
}

/// Words of a text that can only be names, and those that are said to be tools.
fn mentioned(text: &str) -> impl Iterator<Item = &str> {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let parts = text.split(move |c: char| !is_letter(c));
    let names =
        parts.map(|word| word.trim_matches(['.', '-', '/', '_'])).filter(|word| is_a_name(word));
    names.chain(said_to_be_tools(text))
}

fn is_a_name(word: &str) -> bool {
    let inner = word.get(1..).unwrap_or_default();
    word.contains(['_', '-', '/', '.'])
        || inner.contains(|c: char| c.is_ascii_uppercase())
            && word.contains(|c: char| c.is_ascii_lowercase())
}

/// `name` tool, tool `name`.
fn said_to_be_tools(text: &str) -> impl Iterator<Item = &str> {
    const QUOTES: [char; 3] = ['`', '\'', '"'];
    let parts: Vec<&str> = text.split(QUOTES).collect();
    let is_said = |before: &str, after: &str| {
        let before = before.trim_end().to_ascii_lowercase();
        let after = after.trim_start().to_ascii_lowercase();
        ["tool", "function"].iter().any(|word| before.ends_with(word) || after.starts_with(word))
    };
    let triples = parts.windows(3).filter_map(|three| match three {
        [before, name, after] if is_said(before, after) => Some(*name),
        _ => None,
    });
    triples.collect::<Vec<_>>().into_iter()
}
