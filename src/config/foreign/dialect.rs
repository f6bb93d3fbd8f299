//! Where each program keeps its servers in its file.
//!
//! Most of them agree on `mcpServers`. What stands in one entry is read the same way for all
//! (`entry`), since the same key means the same wherever it occurs.

use super::{Fate, ForeignError, Remark, tree::Node};

/// Whose file it is, as far as its form tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// `mcpServers`: Claude Desktop and Code, Cursor, Windsurf, LM Studio, Gemini, Kiro, mcpo.
    McpServers,
    /// `servers` and `inputs`.
    VsCode,
    /// `[mcp_servers.NAME]`.
    Codex,
    /// `context_servers`.
    Zed,
    /// `mcp`, by name.
    Opencode,
    /// `extensions`, in YAML.
    Goose,
}

/// Where to look in which order: a file may hold more than its servers.
const DIALECTS: [(Dialect, &str, &[&str]); 8] = [
    (Dialect::McpServers, "mcp-servers", &["mcpServers"]),
    (Dialect::Codex, "codex", &["mcp_servers"]),
    (Dialect::Zed, "zed", &["context_servers"]),
    (Dialect::VsCode, "vscode", &["servers"]),
    (Dialect::VsCode, "vscode", &["mcp", "servers"]),
    (Dialect::Opencode, "opencode", &["mcp"]),
    (Dialect::Goose, "goose", &["extensions"]),
    // A piece of documentation that begins with the name of the server.
    (Dialect::McpServers, "mcp-servers", &[]),
];

impl Dialect {
    pub fn as_str(self) -> &'static str {
        let found = DIALECTS.iter().find(|(dialect, ..)| *dialect == self);
        found.map(|(_, name, _)| *name).unwrap_or_default()
    }
}

/// What a file holds.
#[derive(Debug)]
pub(super) struct Found<'t> {
    pub(super) dialect: Dialect,
    /// In the order of the file.
    pub(super) entries: Vec<(String, &'t Node)>,
    /// What VS Code would ask its user for: id and description.
    pub(super) inputs: Vec<(&'t str, &'t str)>,
    pub(super) remarks: Vec<Remark>,
}

pub(super) fn find(tree: &Node, wanted: Option<Dialect>) -> Result<Found<'_>, ForeignError> {
    let fits = |dialect: Dialect| wanted.is_none_or(|wanted| wanted == dialect);
    for (dialect, _, path) in DIALECTS.into_iter().filter(|(dialect, ..)| fits(*dialect)) {
        let place = path.iter().try_fold(tree, |node, key| node.get(key));
        let entries = place.map(entries).unwrap_or_default();
        if !entries.is_empty() {
            let remarks = elsewhere(tree);
            return Ok(Found { dialect, entries, inputs: inputs(tree), remarks });
        }
    }
    let paths = DIALECTS.iter().filter(|(dialect, _, path)| fits(*dialect) && !path.is_empty());
    let looked_for = paths.map(|(.., path)| format!("`{}`", path.join("."))).collect::<Vec<_>>();
    Err(ForeignError::NoServers { looked_for: looked_for.join(", ") })
}

/// A table by name, or a list whose items have a name.
fn entries(place: &Node) -> Vec<(String, &Node)> {
    let named = |node: &Node| node.get("name").and_then(Node::text).map(str::to_owned);
    let listed = place.items().iter().filter_map(|node| Some((named(node)?, node)));
    let by_name = place.entries().iter().map(|(name, node)| (name.clone(), node));
    by_name.chain(listed).filter(|(_, node)| is_server(node)).collect()
}

/// Settings of other kinds may stand beside servers.
fn is_server(node: &Node) -> bool {
    const SIGNS: [&str; 9] =
        ["command", "cmd", "url", "serverUrl", "httpUrl", "uri", "type", "settings", "source"];
    let holds = |node: &Node| SIGNS.iter().any(|key| node.get(key).is_some());
    holds(node) || node.get("config").is_some_and(holds)
}

fn inputs(tree: &Node) -> Vec<(&str, &str)> {
    let places = [tree.get("inputs"), tree.get("mcp").and_then(|mcp| mcp.get("inputs"))];
    let all = places.into_iter().flatten().flat_map(Node::items);
    all.map(|node| {
        let part = |key| node.get(key).and_then(Node::text).unwrap_or_default();
        (part("id"), part("description"))
    })
    .collect()
}

/// Servers that the file holds in other places.
fn elsewhere(tree: &Node) -> Vec<Remark> {
    let projects = tree.get("projects").map(Node::entries).unwrap_or_default();
    let held = projects.iter().filter(|(_, project)| {
        project.get("mcpServers").is_some_and(|servers| !servers.entries().is_empty())
    });
    let told = |(path, _): &(String, Node)| {
        let why = "servers of one project are not taken: write them to a file of their own";
        Remark::new(Fate::Dropped, format!("projects.{:?}.mcpServers", super::shown(path)), why)
    };
    held.map(told).collect()
}
