//! The merged list of every server's tools: an immutable value, built aside and published whole.
//!
//! One entry a tool with what the call path needs (schema, header rules), and the text of
//! `tools/list` prebuilt, so that listing copies nothing. The whitelist decides here what is
//! listed and in the gate what is callable, through the same function. Order is by exposed name:
//! the same servers give the same bytes. Knows nothing of connections.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};

use crate::{
    config::Names,
    domain::{ExposedName, ServerName, ToolName, limits::TOOLS_PAGE_MAX},
    gate::{Definition, Policy, Schema},
    wire::{ToolDef, headers::ParamHeader, quote},
};

use super::naming::expose;

/// A tool that can be called.
#[derive(Debug)]
pub struct Tool {
    pub exposed: ExposedName,
    pub server: ServerName,
    pub tool: ToolName,
    pub schema: Schema,
    pub param_headers: Arc<[ParamHeader]>,
    definition: Bytes,
}

/// What a name means to the call path.
#[derive(Clone, Copy, Debug)]
pub enum Resolved<'a> {
    Tool(&'a Tool),
    /// Plain mode: the one server may know a tool that it does not list.
    Forward(&'a ServerName),
    Missing,
}

impl<'a> Resolved<'a> {
    /// What the gate needs of it.
    pub fn definition(&self) -> Definition<'a> {
        match self {
            Self::Tool(tool) => Definition::Known(&tool.schema),
            Self::Forward(_) => Definition::Forwarded,
            Self::Missing => Definition::Missing,
        }
    }
}

/// One page of `tools/list`: the comma-separated definitions, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub tools: Bytes,
    pub next: Option<String>,
}

/// A cursor that we did not give out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCursor;

/// Every tool of every server that answered, as of one moment.
#[derive(Debug, Default)]
pub struct Catalog {
    tools: HashMap<ExposedName, Arc<Tool>>,
    /// Names that a server lists but whose definition is not usable.
    broken: HashSet<ExposedName>,
    forward: Option<ServerName>,
    listing: Listing,
}

#[derive(Debug, Default)]
struct Listing {
    names: Vec<ExposedName>,
    text: Bytes,
    /// Where the definition of `names[i]` starts in `text`.
    starts: Vec<usize>,
}

/// One server's tools as it lists them, checked once.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    tools: Vec<Arc<Tool>>,
    broken: Vec<ExposedName>,
    /// Why tools were left out, for the operator.
    pub(super) problems: Vec<String>,
}

/// Whether the tool's arguments also travel in headers on their way to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Headers {
    Sent,
    NotSent,
}

impl Shelf {
    /// Checks what one server lists. A tool that cannot be used is left out and named.
    pub(super) fn stock(
        names: Names,
        server: &ServerName,
        listed: Vec<ToolDef>,
        headers: Headers,
    ) -> Self {
        let mut shelf = Self::default();
        let mut seen = HashSet::new();
        let mut kept = Vec::new();
        for definition in listed {
            match ToolName::parse(&definition.name) {
                Ok(name) if seen.insert(name.clone()) => kept.push((name, definition)),
                Ok(name) => shelf.problems.push(format!("tool `{name}` is listed twice")),
                Err(error) => shelf.problems.push(error.to_string()),
            }
        }
        let originals: Vec<ToolName> = kept.iter().map(|(name, _)| name.clone()).collect();
        let exposed = expose(names, server, &originals);
        for (exposed, (tool, definition)) in exposed.into_iter().zip(kept) {
            let exposed = match exposed {
                Ok(exposed) => exposed,
                Err(error) => {
                    shelf.problems.push(error.to_string());
                    continue;
                }
            };
            match check(&definition, headers) {
                Ok((schema, param_headers)) => shelf.tools.push(Arc::new(Tool {
                    definition: renamed(&definition, &exposed),
                    server: server.clone(),
                    exposed,
                    tool,
                    schema,
                    param_headers,
                })),
                Err(why) => {
                    shelf.problems.push(format!("tool `{tool}` is not offered: {why}"));
                    shelf.broken.push(exposed);
                }
            }
        }
        shelf
    }

    pub(super) fn len(&self) -> usize {
        self.tools.len()
    }
}

fn check(definition: &ToolDef, headers: Headers) -> Result<(Schema, Arc<[ParamHeader]>), String> {
    let input = definition.input_schema().ok_or("it has no inputSchema")?;
    let schema = Schema::compile(&input).map_err(|error| error.to_string())?;
    let param_headers = match (definition.param_headers(), headers) {
        (Ok(param_headers), _) => param_headers,
        // Over stdio nothing is repeated in headers, so a broken annotation harms nobody.
        (Err(_), Headers::NotSent) => Vec::new(),
        (Err(error), Headers::Sent) => return Err(error.to_string()),
    };
    Ok((schema, param_headers.into()))
}

/// The definition under the name that applications see; all else is the server's own bytes.
fn renamed(definition: &ToolDef, exposed: &ExposedName) -> Bytes {
    definition.raw.edit().set("name", quote(exposed.as_str())).finish().into_bytes()
}

impl Catalog {
    /// Merges the shelves. What the policy hides stays resolvable, so that its refusal can name
    /// it in the audit, but is not listed.
    pub(super) fn merge(
        shelves: &BTreeMap<ServerName, Arc<Shelf>>,
        forward: Option<ServerName>,
        policy: &Policy,
    ) -> Self {
        let mut catalog = Self { forward, ..Self::default() };
        let mut listed: BTreeMap<&ExposedName, &Tool> = BTreeMap::new();
        for shelf in shelves.values() {
            catalog.broken.extend(shelf.broken.iter().cloned());
            for tool in &shelf.tools {
                if policy.listed(&tool.server, &tool.tool) {
                    listed.insert(&tool.exposed, tool);
                }
                catalog.tools.insert(tool.exposed.clone(), tool.clone());
            }
        }
        catalog.listing = Listing::of(listed.into_values());
        catalog
    }

    pub fn resolve(&self, name: &str) -> Resolved<'_> {
        if let Some(tool) = self.tools.get(name) {
            return Resolved::Tool(tool);
        }
        match &self.forward {
            Some(server) if !self.broken.contains(name) => Resolved::Forward(server),
            Some(_) | None => Resolved::Missing,
        }
    }

    /// Whether applications would see no difference.
    pub fn lists_the_same(&self, other: &Self) -> bool {
        self.listing.text == other.listing.text
    }

    /// How many tools are listed.
    pub fn len(&self) -> usize {
        self.listing.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The page that a cursor names; the first one without. A cursor is a name, so a list that
    /// changed between two pages neither repeats nor loses what stayed.
    pub fn page(&self, cursor: Option<&str>) -> Result<Page, UnknownCursor> {
        let Listing { names, text, starts } = &self.listing;
        let from = match cursor {
            None => 0,
            Some(cursor) => {
                let after = cursor.strip_prefix(CURSOR_PREFIX).ok_or(UnknownCursor)?;
                let after = ExposedName::parse(after).map_err(|_| UnknownCursor)?;
                names.partition_point(|name| *name <= after)
            }
        };
        let to = names.len().min(from.saturating_add(TOOLS_PAGE_MAX));
        let start = starts.get(from).copied().unwrap_or(text.len());
        let end = starts.get(to).map_or(text.len(), |next| next.saturating_sub(1));
        let last = to.checked_sub(1).and_then(|last| names.get(last));
        let more = to < names.len();
        let next = last.filter(|_| more).map(|name| format!("{CURSOR_PREFIX}{name}"));
        Ok(Page { tools: text.slice(start.min(end)..end), next })
    }
}

const CURSOR_PREFIX: &str = "after.";

impl Listing {
    fn of<'a>(tools: impl Iterator<Item = &'a Tool>) -> Self {
        let (mut names, mut starts, mut text) = (Vec::new(), Vec::new(), BytesMut::new());
        for tool in tools {
            if !text.is_empty() {
                text.extend_from_slice(b",");
            }
            starts.push(text.len());
            text.extend_from_slice(&tool.definition);
            names.push(tool.exposed.clone());
        }
        Self { names, text: text.freeze(), starts }
    }
}
