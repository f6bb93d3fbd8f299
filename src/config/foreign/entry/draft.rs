//! A server on its way into a block: what was found so far, and how it is written in TOML.

use super::super::Block;

#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) command: Option<String>,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) cwd: Option<String>,
    pub(super) url: Option<String>,
    pub(super) bearer: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) env_headers: Vec<(String, String)>,
    pub(super) enabled_tools: Option<Vec<String>>,
    pub(super) disabled_tools: Vec<String>,
    pub(super) startup: Option<f64>,
    pub(super) tool_timeout: Option<f64>,
    pub(super) is_disabled: bool,
}

impl Draft {
    /// The last value counts.
    pub(super) fn put_env(&mut self, name: &str, value: String) {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value));
    }

    /// Takes them out of the first of the two.
    pub(super) fn tools_in_both_lists(&mut self) -> Vec<String> {
        let disabled = &self.disabled_tools;
        let enabled = self
            .enabled_tools
            .iter_mut()
            .flat_map(|enabled| enabled.extract_if(.., |tool| disabled.contains(tool)));
        enabled.collect()
    }

    /// In the order in which the sample has them.
    pub(super) fn into_block(self) -> Block {
        let mut block = Block { is_disabled: self.is_disabled, ..Block::default() };
        let mut set = |key, value: Option<String>| {
            if let Some(value) = value {
                block.set(key, value);
            }
        };
        set("command", self.command.as_deref().map(quoted));
        set("args", list(&self.args));
        set("env", table(&self.env));
        set("cwd", self.cwd.as_deref().map(quoted));
        set("url", self.url.as_deref().map(quoted));
        set("bearer_token_env_var", self.bearer.as_deref().map(quoted));
        set("http_headers", table(&self.headers));
        set("env_http_headers", table(&self.env_headers));
        let enabled = self.enabled_tools.map(|tools| list(&tools).unwrap_or("[]".to_owned()));
        set("enabled_tools", enabled);
        set("disabled_tools", list(&self.disabled_tools));
        set("startup_timeout_sec", self.startup.map(seconds));
        set("tool_timeout_sec", self.tool_timeout.map(seconds));
        block
    }
}

pub(super) fn seconds(seconds: f64) -> String {
    seconds.to_string()
}

fn list(texts: &[String]) -> Option<String> {
    let items = texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", ");
    (!texts.is_empty()).then(|| format!("[{items}]"))
}

fn table(entries: &[(String, String)]) -> Option<String> {
    let one = |(key, value): &(String, String)| format!("{} = {}", key_of(key), quoted(value));
    let items = entries.iter().map(one).collect::<Vec<_>>().join(", ");
    (!entries.is_empty()).then(|| format!("{{ {items} }}"))
}

fn key_of(key: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !key.is_empty() && key.chars().all(is_bare) { key.to_owned() } else { quoted(key) }
}

/// Always on one line, whatever is in it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
