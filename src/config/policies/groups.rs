//! `groups.toml`: who belongs together.
//!
//! `[groups]` names the members of each group: principals, as the audit names them. Keys and tokens
//! add groups of their own.

use std::{collections::BTreeMap, sync::Arc};

use super::{Paper, Policies};
use crate::{
    config::{
        Code,
        report::{Note, Notes},
        section::Section,
    },
    domain::Principal,
};

/// The groups of each principal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    of: BTreeMap<String, Vec<String>>,
    names: Vec<String>,
}

impl Groups {
    /// In the order of the file.
    pub fn of(&self, principal: &str) -> &[String] {
        self.of.get(principal).map_or(&[], Vec::as_slice)
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn principals(&self) -> impl Iterator<Item = &str> {
        self.of.keys().map(String::as_str)
    }
}

pub(super) fn read(_: &Arc<Paper>, top: &Section<'_>, notes: &mut Notes, policies: &mut Policies) {
    top.refuse_unknown(&["groups"], notes);
    let table = top.section("groups", "[groups]", notes);
    for (name, _) in table.entries() {
        if Principal::is_scope_group(name.value) {
            let message = format!("`{}` is who has a scope", name.value.escape_debug());
            let note =
                Note::new(Code::BadName, name.span, message).label("given by tokens and keys");
            notes.push(note.help("give the group another name"));
            continue;
        }
        let members = table.texts(name.value, notes).unwrap_or_default();
        policies.groups.names.push(name.value.to_owned());
        for member in members {
            if member.value.is_empty() {
                let note = Note::new(Code::BadName, member.span, "a principal has a name");
                notes.push(note.label("nobody"));
                continue;
            }
            let groups = policies.groups.of.entry(member.value.to_owned()).or_default();
            if !groups.iter().any(|group| group == name.value) {
                groups.push(name.value.to_owned());
            }
        }
    }
}
