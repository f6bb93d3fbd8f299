//! The lists as one caller sees them: prebuilt texts, without what is not for it.
//!
//! Callers who may see everything share one view; others get their own, made when they first ask
//! and kept as long as the catalog. The same rules decide here what is listed and in the gate what
//! is callable.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    Catalog, Clashes, Entry, List, Page, Shelves, UnknownCursor,
    listing::Listing,
    offers::{Offers, offered},
};
use crate::{
    domain::{Era, ExposedName, Principal, Rights, ServerName, Subject, limits::CATALOG_VIEWS_MAX},
    gate::Rules,
};

/// All lists, for one kind of caller.
#[derive(Debug, Default)]
pub struct View {
    tools: Listing,
    /// As legacy clients can read them, where that is another list.
    legacy_tools: Option<Listing>,
    prompts: Listing,
    resources: Listing,
    templates: Listing,
}

/// Those that callers have asked for.
#[derive(Debug, Default)]
pub(in crate::fleet) struct Views {
    made: Mutex<HashMap<Rights, Arc<View>>>,
}

/// Decides what is listed.
type Shows<'a> = &'a dyn Fn(&ServerName, &Subject) -> bool;

impl View {
    /// What `shows` lets through.
    pub(super) fn of(catalog: &Catalog, shelves: &Shelves, shows: Shows<'_>) -> Self {
        // The catalog has told the operator of them.
        let mut clashes = Clashes::new();
        let resources = shelves.iter().map(|(server, shelf)| (server, shelf.resources.as_slice()));
        let Offers { listing: resources, .. } = offered(
            List::Resources,
            resources,
            |server, uri| shows(server, &Subject::Resource(uri.clone())),
            &mut clashes,
        );
        let templates = shelves.iter().map(|(server, shelf)| (server, shelf.templates.as_slice()));
        let Offers { listing: templates, .. } = offered(
            List::Templates,
            templates,
            |server, uri| shows(server, &Subject::TemplateArgument(uri.clone())),
            &mut clashes,
        );
        let tools = shown(&catalog.tools, shows);
        let is_other = tools.iter().any(|entry| entry.legacy.is_some());
        Self {
            legacy_tools: is_other.then(|| {
                listing(&tools, |entry| entry.legacy.as_ref().unwrap_or(&entry.definition))
            }),
            tools: listing(&tools, |entry| &entry.definition),
            prompts: listing(&shown(&catalog.prompts, shows), |entry| &entry.definition),
            resources,
            templates,
        }
    }

    /// Whether applications would see no difference.
    pub fn lists_the_same(&self, other: &Self, list: List) -> bool {
        self.listing(list).text() == other.listing(list).text()
    }

    /// Whether they are the same for everybody.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let lists = [List::Tools, List::Prompts, List::Resources, List::Templates];
        lists.into_iter().all(|list| self.lists_the_same(other, list))
    }

    /// How many entries are listed.
    pub fn len(&self, list: List) -> usize {
        self.listing(list).len()
    }

    /// The page of a list, for a client of that era, that a cursor names; the first one without.
    pub fn page(&self, list: List, to: Era, cursor: Option<&str>) -> Result<Page, UnknownCursor> {
        match (list, to, &self.legacy_tools) {
            (List::Tools, Era::Legacy, Some(listing)) => listing.page(cursor),
            (_, Era::Legacy | Era::Modern, _) => self.listing(list).page(cursor),
        }
    }

    fn listing(&self, list: List) -> &Listing {
        match list {
            List::Tools => &self.tools,
            List::Prompts => &self.prompts,
            List::Resources => &self.resources,
            List::Templates => &self.templates,
        }
    }
}

impl Views {
    /// That of a principal.
    pub(in crate::fleet) fn of(
        &self,
        catalog: &Catalog,
        rules: &Rules,
        principal: &Principal,
    ) -> Arc<View> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let rights = principal.rights();
        if let Some(view) = made.get(&rights) {
            return view.clone();
        }
        if made.len() >= CATALOG_VIEWS_MAX {
            made.clear();
        }
        let view = catalog.view(&|server, subject| rules.shows(principal, server, subject));
        made.insert(rights, view.clone());
        view
    }
}

fn shown<'a>(entries: &'a HashMap<ExposedName, Arc<Entry>>, shows: Shows<'_>) -> Vec<&'a Entry> {
    let entries = entries.values().map(Arc::as_ref);
    entries.filter(|entry| shows(&entry.server, &entry.subject)).collect()
}

fn listing<'a>(entries: &[&'a Entry], text: impl Fn(&'a Entry) -> &'a bytes::Bytes) -> Listing {
    let named = entries.iter().map(|entry| (entry.exposed.as_str(), text(entry)));
    Listing::of(&named.collect::<BTreeMap<_, _>>())
}
