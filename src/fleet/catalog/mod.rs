//! The merged lists of all servers: an immutable value, built aside and published whole.
//!
//! One entry a tool, prompt, resource or template with what the call path needs. What is listed to
//! whom is in the views. URIs keep their bytes, and the
//! catalog knows whose they are; only one that two servers list is prefixed, at the later one
//! (`docs/adr/0020-a-contested-uri-has-a-prefix.md`). Knows nothing of connections.

mod listing;
mod offers;
mod prefix;
mod shelf;
mod template;
#[cfg(test)]
mod tests;
mod view;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use smallvec::SmallVec;

use crate::{
    domain::{ExposedName, Kind, ResourceUri, ServerName, Subject},
    gate::{Definition, OddTools, Offer, Pin, Rules},
    telemetry::Meter,
    upstream::Manner,
    wire::{List, Tasks},
};

pub use listing::{Page, UnknownCursor};
pub(super) use shelf::{Headers, Likeness, Lists, Reading, Shelf};
pub use view::View;
pub(super) use view::Views;

use offers::{Offers, offered};
use shelf::{Entry, Held, Unlisted};
use template::Template;

/// The shelves by server: their order decides who owns a URI that two servers list.
pub(super) type Shelves = BTreeMap<ServerName, Arc<Shelf>>;

/// What the servers have, as the rules are told of it.
pub(super) fn offers<'a>(
    servers: &'a [ServerName],
    shelves: &'a Shelves,
    odd: &'a OddTools,
) -> Vec<Offer<'a>> {
    let offer = |server| Offer {
        server,
        listed: shelves.get(server).map(|shelf| shelf.defined().collect()),
        odd: odd.get(server),
    };
    servers.iter().map(offer).collect()
}

/// What a name means to the call path.
#[derive(Clone, Debug)]
pub struct Resolved<'a> {
    pub server: &'a ServerName,
    /// Under the server's own name.
    pub subject: Subject,
    pub definition: Definition<'a>,
    /// Of what is listed.
    pub pin: Option<&'a Pin>,
    pub manner: Manner,
    /// Of a tool that is listed.
    pub meter: Option<Meter>,
}

/// Everything that every server listed, as of one moment.
#[derive(Debug, Default)]
pub struct Catalog {
    tools: HashMap<ExposedName, Arc<Entry>>,
    /// What waits to be approved, by the name that applications would use.
    held: BTreeMap<List, HeldByName>,
    /// Names that a server knows and that are not to be forwarded: of definitions that are not
    /// usable, and originals of tools that are judged under another name.
    barred: HashSet<String>,
    prompts: HashMap<ExposedName, Arc<Entry>>,
    /// Whose each URI is: the first is meant by the URI alone.
    resources: HashMap<ResourceUri, SmallVec<[ServerName; 1]>>,
    /// In the order of their servers.
    templates: Vec<(ResourceUri, Template, ServerName)>,
    /// Servers that have resources, listed or not.
    readers: Vec<ServerName>,
    /// Plain mode: the one server may know what it does not list.
    forward: Option<ServerName>,
    /// Whether any server has the tasks extension.
    keeps_tasks: bool,
    shelves: Shelves,
    /// For who may see all that the whitelist has.
    everything: Arc<View>,
    clashes: Clashes,
}

/// Two servers may have the same URI.
type HeldByName = BTreeMap<String, SmallVec<[(ServerName, Held); 1]>>;

/// Finds the server of a URI, among all or only the one that is named.
type Whose = for<'a> fn(&'a Catalog, &str, Option<&ServerName>) -> Option<&'a ServerName>;

/// URIs of a server that mean another's, in words for the operator.
pub(super) type Clashes = BTreeMap<ServerName, Vec<String>>;

impl Catalog {
    /// Merges the shelves. A tool or prompt that the whitelist hides stays resolvable, so that its
    /// refusal can name it in the audit, but is not listed.
    pub(super) fn merge(shelves: Shelves, forward: Option<ServerName>, rules: &Rules) -> Self {
        // Before its first list nobody knows what the server would be asked for.
        let may_forward = |shelf: &Arc<Shelf>| shelf.unlisted == Unlisted::Forwarded;
        let forward = forward.filter(|server| shelves.get(server).is_some_and(may_forward));
        let mut catalog = Self { forward, ..Self::default() };
        for (server, shelf) in &shelves {
            for held in &shelf.held {
                let of_list = catalog.held.entry(held.list).or_default();
                let of_name = of_list.entry(held.exposed.clone()).or_default();
                of_name.push((server.clone(), held.clone()));
            }
        }
        catalog.tools = by_name(shelves.values().flat_map(|shelf| &shelf.tools));
        catalog.prompts = by_name(shelves.values().flat_map(|shelf| &shelf.prompts));
        catalog.keeps_tasks = shelves.values().any(|shelf| shelf.tasks == Tasks::Kept);
        catalog.barred = shelves.values().flat_map(|shelf| shelf.barred.iter().cloned()).collect();
        let visible = |server: &ServerName, subject: &Subject| rules.listed(server, subject);
        let resources = shelves.iter().map(|(server, shelf)| (server, shelf.resources.as_slice()));
        let Offers { all, .. } = offered(
            List::Resources,
            resources,
            |server, uri| visible(server, &Subject::Resource(uri.clone())),
            &mut catalog.clashes,
        );
        for (server, one) in all {
            catalog.resources.entry(one.uri.clone()).or_default().push(server.clone());
        }
        let templates = shelves.iter().map(|(server, shelf)| (server, shelf.templates.as_slice()));
        let Offers { all, .. } = offered(
            List::Templates,
            templates,
            |server, uri| visible(server, &Subject::TemplateArgument(uri.clone())),
            &mut catalog.clashes,
        );
        let owned = all.into_iter();
        catalog.templates = owned
            .map(|(server, one)| (one.uri.clone(), one.means.clone(), server.clone()))
            .collect();
        let readers = shelves.iter().filter(|(_, shelf)| shelf.reading == Reading::Declared);
        catalog.readers = readers.map(|(server, _)| server.clone()).collect();
        if let [only] = catalog.readers.as_slice()
            && !shelves.get(only).is_some_and(may_forward)
        {
            catalog.readers.clear();
        }
        catalog.everything = View::of(&catalog, &shelves, &visible).into();
        catalog.shelves = shelves;
        catalog
    }

    /// The lists without what `shows` leaves out.
    pub(super) fn view(&self, shows: &dyn Fn(&ServerName, &Subject) -> bool) -> Arc<View> {
        let view = View::of(self, &self.shelves, shows);
        if view.is_like(&self.everything) { self.everything.clone() } else { view.into() }
    }

    /// The lists as who may see everything sees them.
    pub fn everything(&self) -> &View {
        &self.everything
    }

    /// What a caller's name or URI means, if anything.
    pub fn resolve(&self, kind: Kind, name: &str) -> Option<Resolved<'_>> {
        let (list, entries) = match kind {
            Kind::Tool => (List::Tools, &self.tools),
            Kind::Prompt | Kind::PromptArgument => (List::Prompts, &self.prompts),
            Kind::Resource => return self.readable(kind, name, Self::reader),
            Kind::TemplateArgument => return self.readable(kind, name, Self::completer),
            // No server lists them.
            Kind::Task(_) => return None,
        };
        let found = entry(entries, kind, name);
        found.or_else(|| self.held_back(list, (kind, name), None)).or_else(|| {
            let is_barred = list == List::Tools && self.barred.contains(name);
            let server = self.forward.as_ref().filter(|_| !is_barred)?;
            resolved(server, (kind, name), Definition::Forwarded)
        })
    }

    fn held_back(
        &self,
        list: List,
        (kind, name): (Kind, &str),
        within: Option<&ServerName>,
    ) -> Option<Resolved<'_>> {
        let mut held = self.held.get(&list)?.get(name)?.iter();
        let is_meant = |server| within.is_none_or(|within| within == server);
        let (server, held) = held.find(|(server, _)| is_meant(server))?;
        resolved(server, (kind, &held.name), Definition::HeldBack)
    }

    /// Whose a URI is, and what it is called there.
    fn readable(&self, kind: Kind, uri: &str, whose: Whose) -> Option<Resolved<'_>> {
        let (within, own) = match prefix::split(uri) {
            Some((server, own)) => (Some(server), own),
            None => (None, uri),
        };
        let within = within.as_ref();
        if self.owner(own, within).is_none() {
            // A template is no resource, but both may be completed.
            let held = [List::Templates, List::Resources].into_iter();
            let mut held = held.filter_map(|list| self.held_back(list, (kind, own), within));
            if let Some(held) = held.next() {
                return Some(held);
            }
        }
        if let Some(server) = whose(self, own, within) {
            return resolved(server, (kind, own), Definition::Listed);
        }
        match self.readers.as_slice() {
            // Nobody else could know it.
            [only] if within.is_none_or(|server| server == only) => {
                resolved(only, (kind, own), Definition::Forwarded)
            }
            [] | [_, ..] => None,
        }
    }

    /// Who has the resource: the server that lists it, else the one whose template says most.
    fn reader(&self, uri: &str, within: Option<&ServerName>) -> Option<&ServerName> {
        self.owner(uri, within).or_else(|| {
            let may_be = |server| within.is_none_or(|within| within == server);
            let templates = self.templates.iter().filter(|(_, _, server)| may_be(server));
            let matching = templates.filter(|(_, template, _)| template.matches(uri));
            // The last of equals is taken, so the first server comes last.
            let best = matching.rev().max_by_key(|(_, template, _)| template.literal_bytes());
            best.map(|(_, _, server)| server)
        })
    }

    /// Who completes the variables of a template, which may also be a plain URI.
    fn completer(&self, uri: &str, within: Option<&ServerName>) -> Option<&ServerName> {
        let same = |(template, _, server): &&(ResourceUri, Template, ServerName)| {
            template.as_str() == uri && within.is_none_or(|within| within == server)
        };
        let template = self.templates.iter().find(same);
        template.map(|(_, _, server)| server).or_else(|| self.owner(uri, within))
    }

    /// Who lists the URI: the first, or the one that is named.
    fn owner(&self, uri: &str, within: Option<&ServerName>) -> Option<&ServerName> {
        let owners = self.resources.get(uri)?;
        owners.iter().find(|owner| within.is_none_or(|within| within == *owner))
    }

    /// Whether a call may be answered with a task.
    pub fn keeps_tasks(&self) -> bool {
        self.keeps_tasks
    }

    pub(super) fn clashes(&self) -> &Clashes {
        &self.clashes
    }
}

fn by_name<'a>(entries: impl Iterator<Item = &'a Arc<Entry>>) -> HashMap<ExposedName, Arc<Entry>> {
    entries.map(|entry| (entry.exposed.clone(), entry.clone())).collect()
}

fn entry<'a>(
    entries: &'a HashMap<ExposedName, Arc<Entry>>,
    kind: Kind,
    name: &str,
) -> Option<Resolved<'a>> {
    let entry = entries.get(name)?;
    let definition = entry.schema.as_ref().map_or(Definition::Listed, Definition::Known);
    Some(Resolved {
        server: &entry.server,
        // The same name, but what is asked of it may be a completion.
        subject: Subject::parse(kind, entry.subject.as_str()).ok()?,
        definition,
        pin: Some(&entry.stamp.pin),
        manner: entry.manner.clone(),
        meter: entry.meter,
    })
}

fn resolved<'a>(
    server: &'a ServerName,
    (kind, name): (Kind, &str),
    definition: Definition<'a>,
) -> Option<Resolved<'a>> {
    let subject = Subject::parse(kind, name).ok()?;
    let (pin, manner, meter) = (None, Manner::default(), None);
    Some(Resolved { server, subject, definition, pin, manner, meter })
}
