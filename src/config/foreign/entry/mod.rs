//! One server as another program writes it, read into a block of `servers.toml`.
//!
//! The same key means the same in every dialect, so one table of keys serves all. A key that means
//! nothing here is dropped, and it is said why and what to do instead. Whether the block is right
//! is not judged here.

mod draft;
mod target;
mod value;

use super::{Block, Dialect, Fate, Remark, shown, tree::Node};
use crate::config::Surroundings;
use draft::Draft;

/// Whose entry it is.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) dialect: Dialect,
    /// As the server is called here.
    pub(super) name: &'a str,
    pub(super) inputs: &'a [(&'a str, &'a str)],
}

/// Where an entry is read into.
struct Reading<'a> {
    context: &'a Context<'a>,
    around: &'a Surroundings,
    remarks: &'a mut Vec<Remark>,
    draft: Draft,
    /// Variables that the entry sets.
    own: Vec<String>,
    has_holes: bool,
}

/// `None` if it is nothing that could be started or dialled; then a remark says why.
pub(super) fn read(
    node: &Node,
    context: &Context<'_>,
    around: &Surroundings,
    remarks: &mut Vec<Remark>,
) -> Option<Block> {
    let keys = flattened(node);
    if let Some(why) = out_of_reach(&keys, context.dialect) {
        remarks.push(Remark::new(Fate::Dropped, "", why));
        return None;
    }
    let own = own_variables(&keys);
    let draft = Draft::default();
    let mut reading = Reading { context, around, remarks, draft, own, has_holes: false };
    for (key, node) in keys {
        reading.key(key, node);
    }
    reading.finish()
}

/// Keys that only group others are opened.
fn flattened(node: &Node) -> Vec<(&str, &Node)> {
    let mut keys = Vec::new();
    for (key, node) in node.entries() {
        match (key.as_str(), node.is_table()) {
            ("config", true) => keys.extend(flattened(node)),
            // How Zed wrote it once.
            ("command", true) => keys.extend(flattened(node)),
            ("path", _) => keys.push(("command", node)),
            (key, _) => keys.push((key, node)),
        }
    }
    keys
}

/// Why this can be no server of ours, if it cannot.
fn out_of_reach(keys: &[(&str, &Node)], dialect: Dialect) -> Option<String> {
    let word = |key| keys.iter().find(|(name, _)| *name == key).and_then(|(_, node)| node.text());
    let has = |names: &[&str]| keys.iter().any(|(key, _)| names.contains(key));
    let kind = word("type").or(word("transport")).unwrap_or_default();
    match kind {
        "builtin" | "platform" | "frontend" | "inline_python" => {
            return Some(format!("`{kind}` is a part of the program that the file belongs to"));
        }
        "ws" | "websocket" | "websockets" => {
            return Some("websockets are not spoken: does it have an http endpoint?".to_owned());
        }
        _ => {}
    }
    if has(&["command", "cmd", "url", "serverUrl", "httpUrl", "uri"]) {
        return None;
    }
    if dialect == Dialect::Zed {
        return Some(
            "an extension of Zed knows how it is started, and the file does not".to_owned(),
        );
    }
    Some("neither a command nor a url is written".to_owned())
}

fn own_variables(keys: &[(&str, &Node)]) -> Vec<String> {
    let tables = keys.iter().filter(|(key, _)| ["env", "environment", "envs"].contains(key));
    tables.flat_map(|(_, node)| node.entries()).map(|(name, _)| name.clone()).collect()
}

impl Reading<'_> {
    fn key(&mut self, key: &str, node: &Node) {
        match key {
            "command" | "cmd" => self.command(key, node),
            "args" => self.args(key, node),
            "env" | "environment" | "envs" => self.env(key, node),
            "env_keys" | "env_vars" => self.passed_on(key, node),
            "cwd" | "workingDirectory" => self.cwd(key, node),
            "url" | "serverUrl" | "httpUrl" | "uri" => self.url(key, node),
            "headers" | "http_headers" => self.headers(key, node),
            "env_http_headers" => self.variable_headers(key, node),
            "bearer_token_env_var" => self.draft.bearer = self.text(key, node),
            "enabled" | "disabled" if *node == Node::Flag(key == "disabled") => {
                self.draft.is_disabled = true;
                self.change("enabled", "set to false, as it is there");
            }
            "enabled" | "disabled" => {}
            "enabled_tools" | "includeTools" | "available_tools" => {
                let tools = self.texts(key, node);
                // An empty list is how Goose says all of them.
                self.draft.enabled_tools = (!tools.is_empty()).then_some(tools);
            }
            "disabled_tools" | "excludeTools" | "disabledTools" => {
                self.draft.disabled_tools = self.texts(key, node);
            }
            "timeout" | "tool_timeout_sec" | "startup_timeout_sec" | "startup_timeout_ms" => {
                self.timeouts(key, node);
            }
            "type" | "transport" => self.kind(key, node),
            _ => self.drop_key(key, node),
        }
    }

    /// Nothing is dropped in silence but what says nothing.
    fn drop_key(&mut self, key: &str, node: &Node) {
        let is_said_already = match key {
            "source" => node.text() == Some("custom"),
            "name" | "display_name" => true,
            _ => matches!(node, Node::Nothing) || is_empty(node),
        };
        if !is_said_already {
            self.drop(key, meant_elsewhere(key));
        }
    }

    fn drop(&mut self, key: &str, why: impl Into<String>) {
        self.remarks.push(Remark::new(Fate::Dropped, shown(key), why));
    }

    fn change(&mut self, key: impl Into<String>, why: impl Into<String>) {
        self.remarks.push(Remark::new(Fate::Changed, key, why));
    }

    /// A text; anything else is dropped.
    fn text(&mut self, key: &str, node: &Node) -> Option<String> {
        let text = node.text();
        if text.is_none() && *node != Node::Nothing {
            self.drop(key, "it is no text");
        }
        text.map(str::to_owned)
    }

    /// The texts of a list; whatever else stands in it is dropped.
    fn texts(&mut self, key: &str, node: &Node) -> Vec<String> {
        let texts: Vec<String> = node.items().iter().filter_map(Node::scalar).collect();
        let is_list = matches!(node, Node::List(_) | Node::Nothing);
        if !is_list || texts.len() < node.items().len() {
            self.drop(key, "it is no list of texts");
        }
        texts
    }

    fn finish(mut self) -> Option<Block> {
        if self.has_holes && !self.draft.is_disabled {
            self.draft.is_disabled = true;
            self.change("enabled", "set to false until what stands in <> is filled in");
        }
        let both = self.draft.tools_in_both_lists();
        if !both.is_empty() {
            let why = format!("{} is disabled as well, which counts", shown(&both.join(", ")));
            self.change("enabled_tools", why);
        }
        Some(self.draft.into_block())
    }
}

fn is_empty(node: &Node) -> bool {
    match node {
        Node::List(items) => items.is_empty(),
        Node::Table(entries) => entries.is_empty(),
        Node::Text(text) => text.is_empty(),
        Node::Nothing | Node::Flag(_) | Node::Number(_) => false,
    }
}

/// What to do instead of a key that means nothing here.
fn meant_elsewhere(key: &str) -> &'static str {
    match key {
        "autoApprove" | "alwaysAllow" | "trust" | "tools" | "default_tools_approval_mode" => {
            "policies say which calls need nobody's consent: docs/POLICIES.md"
        }
        "envFile" => "set its variables for the gateway and name them in env as ${env:NAME}",
        "oauth" | "auth" | "authProviderType" | "headersHelper" | "scopes" => {
            "no login is carried out: send a token with bearer_token_env_var or http_headers"
        }
        "sandbox" | "sandboxEnabled" => "the sandbox of another program is not taken over",
        "required" => "the gateway serves without a server that is down",
        "description" | "icon" | "gallery" | "version" | "bundled" | "dev" | "$schema" => {
            "it changes nothing about calls"
        }
        "settings" => "these are for an extension of Zed",
        _ => "nothing here is like it",
    }
}
