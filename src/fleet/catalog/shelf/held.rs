//! What of a shelf may be used, as the pins say.

use std::sync::Arc;

use super::{Entry, Readable, Shelf};
use crate::{
    domain::ServerName,
    gate::{Listed, Offered, Quarantine},
    wire::List,
};

/// A definition that waits to be approved.
#[derive(Clone, Debug)]
pub(in crate::fleet::catalog) struct Held {
    pub(in crate::fleet::catalog) list: List,
    pub(in crate::fleet::catalog) exposed: String,
    /// As the server calls it.
    pub(in crate::fleet::catalog) name: String,
}

/// What becomes of names that the server may know and does not list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::fleet::catalog) enum Unlisted {
    #[default]
    Forwarded,
    Refused,
}

impl Shelf {
    /// All of it, to be judged.
    pub(in crate::fleet) fn listed<'a>(&'a self, server: &'a ServerName) -> Listed<'a> {
        let entries = |list, entries: &'a [Arc<Entry>]| {
            entries.iter().map(move |one| Offered {
                list,
                name: one.subject.as_str(),
                exposed: one.exposed.as_str(),
                stamp: &one.stamp,
                definition: &one.definition,
            })
        };
        let tools = entries(List::Tools, &self.tools);
        let named = tools.chain(entries(List::Prompts, &self.prompts));
        let resources = self.resources.iter().map(|one| one.offered(List::Resources));
        let templates = self.templates.iter().map(|one| one.offered(List::Templates));
        let given = List::ALL.into_iter().filter(|list| !self.missing.contains(list));
        let definitions = named.chain(resources).chain(templates).collect();
        Listed { server, lists: given.collect(), definitions }
    }

    /// What of it may be used, if that is less than all.
    pub(in crate::fleet) fn without_held(
        &self,
        server: &ServerName,
        quarantine: &Quarantine,
    ) -> Option<Self> {
        let unlisted = match quarantine.is_locked(server) {
            true => Unlisted::Refused,
            false => Unlisted::Forwarded,
        };
        if unlisted == self.unlisted && !quarantine.holds_any(server) {
            return None;
        }
        let holds = |list, name: &str| quarantine.holds(server, list, name);
        let held = |one: &Offered<'_>| {
            let (list, exposed, name) = (one.list, one.exposed.to_owned(), one.name.to_owned());
            holds(list, &name).then_some(Held { list, exposed, name })
        };
        let held = self.listed(server).definitions.iter().filter_map(held).collect();
        let mut free = Self { held, unlisted, ..self.clone() };
        free.tools.retain(|one| !holds(List::Tools, one.subject.as_str()));
        free.prompts.retain(|one| !holds(List::Prompts, one.subject.as_str()));
        free.resources.retain(|one| !holds(List::Resources, one.uri.as_str()));
        free.templates.retain(|one| !holds(List::Templates, one.uri.as_str()));
        Some(free)
    }
}

impl<T> Readable<T> {
    fn offered(&self, list: List) -> Offered<'_> {
        let (name, stamp, definition) = (self.uri.as_str(), &self.stamp, &self.definition);
        Offered { list, name, exposed: name, stamp, definition }
    }
}
