//! One server's lists as it gives them, checked once.
//!
//! What cannot be used is left out and named for the operator; it does not cost the rest. A
//! definition stays the server's own bytes but for the name under which applications see a tool or
//! a prompt; a resource keeps its URI.

mod held;

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use sha2::{Digest, Sha256};

pub(super) use held::{Held, Unlisted};

use super::template::Template;
use crate::{
    config::Names,
    domain::{
        ExposedName, Kind, NameError, ResourceUri, ServerName, Subject,
        limits::TEMPLATES_PER_SERVER_MAX,
    },
    fleet::naming::expose,
    gate::{Origin, Schema, SchemaBudget, Stamp},
    telemetry::Meter,
    upstream::{Manner, Runs},
    wire::{Item, List, Object, Tasks, for_legacy_clients, quote},
};

/// What a server answered when it was asked for its lists.
#[derive(Debug, Default)]
pub(in crate::fleet) struct Lists {
    pub(in crate::fleet) tools: Vec<Item>,
    pub(in crate::fleet) prompts: Vec<Item>,
    pub(in crate::fleet) resources: Vec<Item>,
    pub(in crate::fleet) templates: Vec<Item>,
    pub(in crate::fleet) reading: Reading,
    pub(in crate::fleet) tasks: Tasks,
    /// The lists that it did not give; those of the same name above are empty.
    pub(in crate::fleet) missing: Vec<List>,
    /// Why, for the operator.
    pub(in crate::fleet) problems: Vec<String>,
}

/// Whether a server has resources at all, listed or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::fleet) enum Reading {
    Declared,
    #[default]
    NotDeclared,
}

/// A tool or a prompt that can be called.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) exposed: ExposedName,
    pub(super) server: ServerName,
    pub(super) subject: Subject,
    /// Tools only.
    pub(super) schema: Option<Schema>,
    pub(super) manner: Manner,
    pub(super) definition: Bytes,
    pub(super) stamp: Stamp,
    /// Tools only.
    pub(super) meter: Option<Meter>,
    /// The same for legacy clients, where that is another.
    pub(super) legacy: Option<Bytes>,
}

/// A resource, or a template of them.
#[derive(Clone, Debug)]
pub(super) struct Readable<T> {
    pub(super) uri: ResourceUri,
    pub(super) means: T,
    pub(super) definition: Bytes,
    pub(super) stamp: Stamp,
}

#[derive(Clone, Debug, Default)]
pub(in crate::fleet) struct Shelf {
    pub(super) tools: Vec<Arc<Entry>>,
    /// Names under which no tool may be forwarded.
    pub(super) barred: Vec<String>,
    pub(super) prompts: Vec<Arc<Entry>>,
    pub(super) resources: Vec<Readable<()>>,
    pub(super) templates: Vec<Readable<Template>>,
    pub(super) reading: Reading,
    pub(super) tasks: Tasks,
    /// What was taken off it, until it is approved.
    pub(super) held: Vec<Held>,
    pub(super) unlisted: Unlisted,
    missing: Vec<List>,
    likeness: Likeness,
    /// Why something was left out, for the operator.
    pub(in crate::fleet) problems: Vec<String>,
}

/// The tools of a shelf, comparable: what replicas of one server must have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::fleet) struct Likeness(pub(in crate::fleet) [u8; 32]);

/// Whether a tool's arguments also travel in headers on their way to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fleet) enum Headers {
    Sent,
    NotSent,
}

impl Entry {
    /// The schema is a part of the definition.
    fn is_like(&self, other: &Self) -> bool {
        (&self.exposed, &self.server, &self.subject, &self.manner, &self.definition)
            == (&other.exposed, &other.server, &other.subject, &other.manner, &other.definition)
    }
}

impl Likeness {
    fn of(tools: &[Arc<Entry>]) -> Self {
        let mut sorted: Vec<_> =
            tools.iter().map(|tool| (&tool.exposed, &tool.definition)).collect();
        sorted.sort();
        let mut hash = Sha256::new();
        for (exposed, definition) in sorted {
            for bytes in [exposed.as_str().as_bytes(), definition] {
                hash.update(bytes.len().to_le_bytes());
                hash.update(bytes);
            }
        }
        Self(hash.finalize().into())
    }
}

impl Shelf {
    pub(in crate::fleet) fn stock(
        names: Names,
        origin: &Origin,
        lists: Lists,
        headers: Headers,
    ) -> Self {
        let server = origin.server();
        let Lists { tools, prompts, resources, templates, reading, tasks, missing, problems } =
            lists;
        let mut shelf = Self { reading, tasks, missing, problems, ..Self::default() };
        let (mut budget, mut over) = (SchemaBudget::open(), Vec::new());
        for (exposed, subject, item) in shelf.named(names, server, Kind::Tool, tools) {
            match check(&item, (tasks, headers), &mut budget) {
                Ok((schema, manner)) => {
                    if exposed.as_str() != subject.as_str() {
                        shelf.barred.push(subject.as_str().to_owned());
                    }
                    let definition = renamed(&item.raw, &exposed, manner.runs);
                    let stamp = Stamp::of(origin, List::Tools, subject.as_str(), &definition);
                    let legacy = for_legacy_clients(&item.raw);
                    let legacy = legacy.map(|raw| renamed(&raw, &exposed, manner.runs));
                    shelf.tools.push(Arc::new(Entry {
                        meter: Some(Meter::of_tool(server, subject.as_str())),
                        exposed,
                        server: server.clone(),
                        subject,
                        schema: Some(schema),
                        manner,
                        definition,
                        stamp,
                        legacy,
                    }));
                }
                Err(why) => {
                    let tool = subject.as_str();
                    match why {
                        Unusable::Budget(why) => over.push(why),
                        Unusable::Itself(why) => {
                            shelf.problems.push(format!("tool `{tool}` is not offered: {why}"));
                        }
                    }
                    shelf.barred.extend([tool.to_owned(), exposed.as_str().to_owned()]);
                }
            }
        }
        if let Some(why) = over.first() {
            shelf.problems.push(format!("{} tools are not offered: {why}", over.len()));
        }
        for (exposed, subject, item) in shelf.named(names, server, Kind::Prompt, prompts) {
            let definition = renamed(&item.raw, &exposed, Runs::Plainly);
            shelf.prompts.push(Arc::new(Entry {
                stamp: Stamp::of(origin, List::Prompts, subject.as_str(), &definition),
                definition,
                meter: None,
                legacy: None,
                exposed,
                server: server.clone(),
                subject,
                schema: None,
                manner: Manner::default(),
            }));
        }
        shelf.likeness = Likeness::of(&shelf.tools);
        let stamp = |list, item: &Item| Stamp::of(origin, list, &item.name, item.raw.raw());
        let of_resource = |item: &Item| stamp(List::Resources, item);
        shelf.resources = shelf.readable(List::Resources, resources, (|_| Some(()), of_resource));
        let of_template = |item: &Item| stamp(List::Templates, item);
        shelf.templates =
            shelf.readable(List::Templates, templates, (Template::parse, of_template));
        if shelf.templates.len() > TEMPLATES_PER_SERVER_MAX {
            shelf.templates.truncate(TEMPLATES_PER_SERVER_MAX);
            let most = TEMPLATES_PER_SERVER_MAX;
            shelf.problems.push(format!("it has more than {most} resource templates"));
        }
        shelf
    }

    /// What the server did not list this time is what it listed before.
    pub(in crate::fleet) fn keep_missing(&mut self, before: &Self) {
        for list in &self.missing {
            match list {
                // A server that does not list its tools has no shelf.
                List::Tools => {}
                List::Prompts => self.prompts.clone_from(&before.prompts),
                List::Resources => self.resources.clone_from(&before.resources),
                List::Templates => self.templates.clone_from(&before.templates),
            }
        }
    }

    /// Tools that are the same as before are kept once: replicas list the same, and most of what a
    /// shelf takes in memory are schemas.
    pub(in crate::fleet) fn share(&mut self, before: &Self) {
        for (now, then) in self.tools.iter_mut().zip(&before.tools) {
            if now.is_like(then) {
                *now = then.clone();
            }
        }
    }

    /// Tools and prompts with their definitions.
    pub(super) fn defined(&self) -> impl Iterator<Item = (&Subject, &Bytes)> {
        self.tools.iter().chain(&self.prompts).map(|entry| (&entry.subject, &entry.definition))
    }

    pub(in crate::fleet) fn likeness(&self) -> Likeness {
        self.likeness
    }

    /// How many tools can be called.
    pub(in crate::fleet) fn n_tools(&self) -> usize {
        self.tools.len()
    }

    /// Those with a name that can be exposed; each once.
    fn named(
        &mut self,
        names: Names,
        server: &ServerName,
        kind: Kind,
        listed: Vec<Item>,
    ) -> Vec<(ExposedName, Subject, Item)> {
        let parse = |name: &str| Subject::parse(kind, name);
        let kept = self.distinct(kind.as_str(), listed, parse);
        let originals: Vec<&str> = kept.iter().map(|(subject, _)| subject.as_str()).collect();
        let exposed = expose(names, server, &originals);
        let mut named = Vec::with_capacity(kept.len());
        for (exposed, (subject, item)) in exposed.into_iter().zip(kept) {
            match exposed {
                Ok(exposed) => named.push((exposed, subject, item)),
                Err(error) => self.problems.push(error.to_string()),
            }
        }
        named
    }

    fn readable<T>(
        &mut self,
        list: List,
        listed: Vec<Item>,
        (means, stamp): (impl Fn(&str) -> Option<T>, impl Fn(&Item) -> Stamp),
    ) -> Vec<Readable<T>> {
        let what = list.entry();
        let mut readable = Vec::with_capacity(listed.len());
        for (uri, item) in self.distinct(what, listed, ResourceUri::parse) {
            match means(uri.as_str()) {
                Some(means) => {
                    let (stamp, definition) = (stamp(&item), item.raw.raw().clone());
                    readable.push(Readable { uri, means, definition, stamp });
                }
                None => self.problems.push(format!("{what} `{uri}` is not one")),
            }
        }
        readable
    }

    /// Those whose name is one, and stands here for the first time.
    fn distinct<N: Clone + Eq + std::hash::Hash>(
        &mut self,
        what: &str,
        listed: Vec<Item>,
        parse: impl Fn(&str) -> Result<N, NameError>,
    ) -> Vec<(N, Item)> {
        let (mut seen, mut kept) = (HashSet::new(), Vec::new());
        for item in listed {
            match parse(&item.name) {
                Ok(name) if seen.insert(name.clone()) => kept.push((name, item)),
                Ok(_) => self.problems.push(format!("{what} `{}` is listed twice", item.name)),
                Err(error) => self.problems.push(error.to_string()),
            }
        }
        kept
    }
}

/// Why a tool cannot be called.
enum Unusable {
    Itself(String),
    /// Its server lists too much.
    Budget(String),
}

fn check(
    item: &Item,
    (tasks, headers): (Tasks, Headers),
    budget: &mut SchemaBudget,
) -> Result<(Schema, Manner), Unusable> {
    // What modern servers have is another thing, and is not declared here.
    let runs = match tasks == Tasks::Legacy && item.needs_a_task() {
        true => Runs::AsTask,
        false => Runs::Plainly,
    };
    let input = item.input_schema();
    let input = input.ok_or_else(|| Unusable::Itself("it has no inputSchema".to_owned()))?;
    let schema = Schema::compile_within(&input, budget).map_err(|error| {
        let kind = if error.is_budget() { Unusable::Budget } else { Unusable::Itself };
        kind(error.to_string())
    })?;
    let param_headers = match (item.param_headers(), headers) {
        (Ok(param_headers), _) => param_headers,
        // Over stdio nothing is repeated in headers, so a broken annotation harms nobody.
        (Err(_), Headers::NotSent) => Vec::new(),
        (Err(error), Headers::Sent) => return Err(Unusable::Itself(error.to_string())),
    };
    Ok((schema, Manner { param_headers: param_headers.into(), runs }))
}

/// The definition under the name that applications see; all else is the server's own bytes, but for
/// how a tool runs that runs otherwise for them.
fn renamed(raw: &Object, exposed: &ExposedName, runs: Runs) -> Bytes {
    let edit = raw.edit().set("name", quote(exposed.as_str()));
    let edit = match runs {
        Runs::Plainly => edit,
        Runs::AsTask => edit.remove("execution"),
    };
    edit.finish().into_bytes()
}
