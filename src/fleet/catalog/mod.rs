//! The merged lists of all servers: an immutable value, built aside and published whole.
//!
//! One entry a tool, prompt, resource or template with what the call path needs, and the texts of
//! the lists prebuilt, so that listing copies nothing. The whitelist decides here what is listed
//! and in the gate what is callable, through the same function. URIs are not rewritten: the
//! catalog knows whose they are (`docs/adr/0009-owners-of-resources.md`). Knows nothing of
//! connections.

mod listing;
mod shelf;
mod template;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use crate::{
    domain::{ExposedName, Kind, ResourceUri, ServerName, Subject},
    gate::{Definition, Policy},
    wire::{List, Tasks, headers::ParamHeader},
};

pub use listing::{Page, UnknownCursor};
pub(super) use shelf::{Headers, Lists, Reading, Shelf, Speech};

use listing::Listing;
use shelf::{Entry, Readable};
use template::Template;

/// The shelves by server: their order decides who owns a URI that two servers list.
pub(super) type Shelves = BTreeMap<ServerName, Arc<Shelf>>;

/// What a name means to the call path.
#[derive(Clone, Debug)]
pub struct Resolved<'a> {
    pub server: &'a ServerName,
    /// Under the server's own name.
    pub subject: Subject,
    pub definition: Definition<'a>,
    pub param_headers: Arc<[ParamHeader]>,
}

/// Everything that every server listed, as of one moment.
#[derive(Debug, Default)]
pub struct Catalog {
    tools: HashMap<ExposedName, Arc<Entry>>,
    /// Names that a server knows and that are not to be forwarded: of definitions that are not
    /// usable, and originals of tools that are judged under another name.
    barred: HashSet<String>,
    prompts: HashMap<ExposedName, Arc<Entry>>,
    resources: HashMap<ResourceUri, ServerName>,
    /// In the order of their servers.
    templates: Vec<(ResourceUri, Template, ServerName)>,
    /// Servers that have resources, listed or not.
    readers: Vec<ServerName>,
    /// Plain mode: the one server may know what it does not list.
    forward: Option<ServerName>,
    /// Whether any server has the tasks extension.
    keeps_tasks: bool,
    listings: Listings,
    clashes: Clashes,
}

#[derive(Debug, Default)]
struct Listings {
    tools: Listing,
    prompts: Listing,
    resources: Listing,
    templates: Listing,
}

/// URIs of a server that belong to another, in words for the operator.
pub(super) type Clashes = BTreeMap<ServerName, Vec<String>>;

impl Catalog {
    /// Merges the shelves. A tool or prompt that the policy hides stays resolvable, so that its
    /// refusal can name it in the audit, but is not listed.
    pub(super) fn merge(shelves: &Shelves, forward: Option<ServerName>, policy: &Policy) -> Self {
        // Before its first list nobody knows what the server would be asked for.
        let forward = forward.filter(|server| shelves.contains_key(server));
        let mut catalog = Self { forward, ..Self::default() };
        let tools = shelves.values().flat_map(|shelf| &shelf.tools);
        (catalog.tools, catalog.listings.tools) = merge_entries(tools, policy);
        let prompts = shelves.values().flat_map(|shelf| &shelf.prompts);
        (catalog.prompts, catalog.listings.prompts) = merge_entries(prompts, policy);
        catalog.keeps_tasks = shelves.values().any(|shelf| shelf.tasks == Tasks::Kept);
        catalog.barred = shelves.values().flat_map(|shelf| shelf.barred.iter().cloned()).collect();
        let visible = |server: &ServerName, subject: &Subject| policy.listed(server, subject);
        let resources = owned(
            "resources",
            shelves.iter().map(|(server, shelf)| (server, shelf.resources.as_slice())),
            |server, uri| visible(server, &Subject::Resource(uri.clone())),
            &mut catalog.clashes,
        );
        let templates = owned(
            "resource templates",
            shelves.iter().map(|(server, shelf)| (server, shelf.templates.as_slice())),
            |server, uri| visible(server, &Subject::TemplateArgument(uri.clone())),
            &mut catalog.clashes,
        );
        catalog.listings.resources = listed(&resources);
        catalog.listings.templates = listed(&templates);
        let owner = |(server, one): (&ServerName, &Readable<()>)| (one.uri.clone(), server.clone());
        catalog.resources = resources.into_iter().map(owner).collect();
        let owner = |(server, one): (&ServerName, &Readable<Template>)| {
            (one.uri.clone(), one.means.clone(), server.clone())
        };
        catalog.templates = templates.into_iter().map(owner).collect();
        let readers = shelves.iter().filter(|(_, shelf)| shelf.reading == Reading::Declared);
        catalog.readers = readers.map(|(server, _)| server.clone()).collect();
        catalog
    }

    /// What a caller's name or URI means, if anything.
    pub fn resolve(&self, kind: Kind, name: &str) -> Option<Resolved<'_>> {
        let found = match kind {
            Kind::Tool => entry(&self.tools, kind, name),
            Kind::Prompt | Kind::PromptArgument => entry(&self.prompts, kind, name),
            Kind::Resource => self.reader(name).and_then(|server| {
                Some(resolved(server, Subject::parse(kind, name).ok()?, Definition::Listed))
            }),
            Kind::TemplateArgument => self.completer(name).and_then(|server| {
                Some(resolved(server, Subject::parse(kind, name).ok()?, Definition::Listed))
            }),
            // No server lists them.
            Kind::Task(_) => None,
        };
        found.or_else(|| {
            let server = match kind {
                Kind::Task(_) => None,
                Kind::Tool if self.barred.contains(name) => None,
                Kind::Tool | Kind::Prompt | Kind::PromptArgument => self.forward.as_ref(),
                // Nobody else could know it.
                Kind::Resource | Kind::TemplateArgument => match self.readers.as_slice() {
                    [only] => Some(only),
                    [] | [_, _, ..] => None,
                },
            }?;
            Some(resolved(server, Subject::parse(kind, name).ok()?, Definition::Forwarded))
        })
    }

    /// Who has the resource: the server that lists it, else the one whose template says most.
    fn reader(&self, uri: &str) -> Option<&ServerName> {
        self.resources.get(uri).or_else(|| {
            let matching = self.templates.iter().filter(|(_, template, _)| template.matches(uri));
            // The last of equals is taken, so the first server comes last.
            let best = matching.rev().max_by_key(|(_, template, _)| template.literal_bytes());
            best.map(|(_, _, server)| server)
        })
    }

    /// Who completes the variables of a template, which may also be a plain URI.
    fn completer(&self, uri: &str) -> Option<&ServerName> {
        let same = self.templates.iter().find(|(template, _, _)| template.as_str() == uri);
        same.map(|(_, _, server)| server).or_else(|| self.resources.get(uri))
    }

    /// Whether applications would see no difference.
    pub fn lists_the_same(&self, other: &Self, list: List) -> bool {
        self.listing(list).text() == other.listing(list).text()
    }

    /// Whether a call may be answered with a task.
    pub fn keeps_tasks(&self) -> bool {
        self.keeps_tasks
    }

    /// How many entries are listed.
    pub fn len(&self, list: List) -> usize {
        self.listing(list).len()
    }

    /// The page of a list that a cursor names; the first one without.
    pub fn page(&self, list: List, cursor: Option<&str>) -> Result<Page, UnknownCursor> {
        self.listing(list).page(cursor)
    }

    pub(super) fn clashes(&self) -> &Clashes {
        &self.clashes
    }

    fn listing(&self, list: List) -> &Listing {
        match list {
            List::Tools => &self.listings.tools,
            List::Prompts => &self.listings.prompts,
            List::Resources => &self.listings.resources,
            List::Templates => &self.listings.templates,
        }
    }
}

fn merge_entries<'a>(
    entries: impl Iterator<Item = &'a Arc<Entry>>,
    policy: &Policy,
) -> (HashMap<ExposedName, Arc<Entry>>, Listing) {
    let (mut merged, mut listed) = (HashMap::new(), BTreeMap::new());
    for entry in entries {
        if policy.listed(&entry.server, &entry.subject) {
            listed.insert(entry.exposed.as_str(), &entry.definition);
        }
        merged.insert(entry.exposed.clone(), entry.clone());
    }
    (merged, Listing::of(listed))
}

/// Every visible URI with the first server that lists it. A later server that lists it too is told
/// of in one sentence for each owner, however many there are.
fn owned<'a, T>(
    what: &str,
    shelves: impl Iterator<Item = (&'a ServerName, &'a [Readable<T>])>,
    visible: impl Fn(&ServerName, &ResourceUri) -> bool,
    clashes: &mut Clashes,
) -> Vec<(&'a ServerName, &'a Readable<T>)> {
    let mut owners: HashMap<&ResourceUri, &ServerName> = HashMap::new();
    let mut owned = Vec::new();
    for (server, listed) in shelves {
        let mut lost: BTreeMap<&ServerName, (usize, &ResourceUri)> = BTreeMap::new();
        for one in listed.iter().filter(|one| visible(server, &one.uri)) {
            let owner = *owners.entry(&one.uri).or_insert(server);
            if owner == server {
                owned.push((server, one));
            } else {
                lost.entry(owner).or_insert((0, &one.uri)).0 += 1;
            }
        }
        for (owner, (n, first)) in lost {
            let sentence = format!("{n} {what} belong to server `{owner}`, such as `{first}`");
            clashes.entry(server.clone()).or_default().push(sentence);
        }
    }
    owned
}

fn listed<T>(owned: &[(&ServerName, &Readable<T>)]) -> Listing {
    Listing::of(owned.iter().map(|(_, one)| (one.uri.as_str(), &one.definition)).collect())
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
        param_headers: entry.param_headers.clone(),
    })
}

fn resolved<'a>(
    server: &'a ServerName,
    subject: Subject,
    definition: Definition<'a>,
) -> Resolved<'a> {
    Resolved { server, subject, definition, param_headers: Arc::default() }
}
