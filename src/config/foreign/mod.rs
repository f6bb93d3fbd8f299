//! The configuration files of other programs, and what `servers.toml` would say in their place.
//!
//! Owns which keys mean what elsewhere, and what becomes of those that mean nothing here. Promises
//! that every block it gives out has passed the check of `servers.toml`, that a secret of the file
//! stands in no block and no note, and that whatever was dropped or changed is said. Reads texts
//! only: starts nothing, asks nobody, writes nothing.

mod dialect;
mod entry;
mod naming;
#[cfg(test)]
mod tests;
mod tree;

use std::path::Path;

use toml::de::DeTable;

use super::{
    Code, Finding, Pinning, Surroundings, check::Check, report::Notes, section::Section, server,
};
pub use dialect::Dialect;
pub use naming::free_name;
use naming::valid_name;
use tree::Syntax;

/// Why nothing could be read from a file at all.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ForeignError {
    #[error("{line}:{column}: not {}: {what}", syntax.as_str())]
    Syntax { syntax: Syntax, line: usize, column: usize, what: String },
    #[error("no MCP servers found: looked for {looked_for}")]
    NoServers { looked_for: String },
    #[error("this is a servers.toml already: copy its [servers.NAME] tables")]
    OurOwn,
}

/// What a file says.
#[derive(Debug)]
pub struct Foreign {
    pub dialect: Dialect,
    pub servers: Vec<ForeignServer>,
    /// About the file as a whole.
    pub remarks: Vec<Remark>,
}

/// One server of it.
#[derive(Debug)]
pub struct ForeignServer {
    /// As the file calls it, and as it is called here unless somebody says otherwise.
    pub written: String,
    pub name: String,
    /// `None` if it cannot be had here; the remarks say why.
    pub block: Option<Block>,
    pub remarks: Vec<Remark>,
}

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    pub what: Fate,
    pub key: String,
    pub why: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Dropped,
    Changed,
    /// Taken as it is, but somebody should look at it.
    Warning,
}

impl Fate {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Changed => "changed",
            Self::Warning => "warning",
        }
    }
}

impl Remark {
    fn new(what: Fate, key: impl Into<String>, why: impl Into<String>) -> Self {
        Self { what, key: key.into(), why: why.into() }
    }
}

/// What stands in `[servers.NAME]`: keys and their values in TOML, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    lines: Vec<(&'static str, String)>,
    is_disabled: bool,
}

impl Block {
    pub fn to_toml(&self, name: &str) -> String {
        let mut text = format!("[servers.{name}]\n");
        for (key, value) in &self.lines {
            text.push_str(&format!("{key} = {value}\n"));
        }
        if self.is_disabled {
            text.push_str("enabled = false\n");
        }
        text
    }

    pub fn is_enabled(&self) -> bool {
        !self.is_disabled
    }

    fn set(&mut self, key: &'static str, value: String) {
        self.lines.push((key, value));
    }
}

/// Reads a file of `dialect`, or of whichever it is, into blocks for the `servers.toml` at `into`.
pub fn read_foreign(
    text: &str,
    dialect: Option<Dialect>,
    (into, around): (&Path, &Surroundings),
) -> Result<Foreign, ForeignError> {
    let (tree, syntax) = tree::parse(text, dialect)?;
    // Nobody else writes `servers` in TOML.
    if syntax == Syntax::Toml && tree.get("servers").is_some() {
        return Err(ForeignError::OurOwn);
    }
    let found = dialect::find(&tree, dialect)?;
    let mut servers = Vec::new();
    for (written, node) in &found.entries {
        let name = valid_name(written);
        let mut remarks = Vec::new();
        if name != *written {
            let why = format!("a server name here has letters, digits, - and _: now `{name}`");
            remarks.push(Remark::new(Fate::Changed, format!("name `{}`", shown(written)), why));
        }
        let context = entry::Context { dialect: found.dialect, name: &name, inputs: &found.inputs };
        let block = entry::read(node, &context, around, &mut remarks);
        let block = block.and_then(|block| settle(block, &name, (into, around), &mut remarks));
        servers.push(ForeignServer { written: written.clone(), name, block, remarks });
    }
    Ok(Foreign { dialect: found.dialect, servers, remarks: found.remarks })
}

/// The block as the check of `servers.toml` takes it: what is not there yet on this machine makes
/// it a disabled one, any other mistake makes it none.
fn settle(
    mut block: Block,
    name: &str,
    place: (&Path, &Surroundings),
    remarks: &mut Vec<Remark>,
) -> Option<Block> {
    let is_absence = |finding: &Finding| {
        matches!(finding.code, Code::NoProgram | Code::NoDirectory | Code::MissingSecret)
    };
    let (errors, _) = judge(&block.to_toml(name), place);
    if !errors.is_empty() && errors.iter().all(is_absence) {
        block.is_disabled = true;
        let told = errors.iter().map(|error| error.message.as_str()).collect::<Vec<_>>();
        let why = format!("set to false until it can start: {}", told.join("; "));
        remarks.push(Remark::new(Fate::Changed, "enabled", why));
    }
    let (errors, warnings) = judge(&block.to_toml(name), place);
    for finding in &warnings {
        let help = finding.help.as_deref().unwrap_or_default();
        remarks.push(Remark::new(Fate::Warning, "", format!("{}: {help}", finding.message)));
    }
    for finding in &errors {
        let help = finding.help.as_deref().unwrap_or_default();
        remarks.push(Remark::new(Fate::Dropped, "", format!("{}: {help}", finding.message)));
    }
    errors.is_empty().then_some(block)
}

/// Errors and warnings of one block that stands alone.
fn judge(text: &str, (into, around): (&Path, &Surroundings)) -> (Vec<Finding>, Vec<Finding>) {
    let base = into.parent().unwrap_or(Path::new("/"));
    let mut check = Check { base, around, notes: Notes::default() };
    let (tree, broken) = DeTable::parse_recoverable(text);
    super::check::note_syntax(&broken, &mut check.notes);
    let top = Section::new("the file", 0..0, tree.get_ref());
    let tables = top.section("servers", "[servers]", &mut check.notes);
    for (key, _) in tables.entries() {
        let title = format!("[servers.{}]", key.value);
        let section = tables.section(key.value, &title, &mut check.notes);
        let lookup = server::lookup(&section, &mut check.notes);
        drop(server::read(&key, &section, (lookup, Pinning::default()), &mut check));
    }
    check.notes.settle(into, text)
}

/// What others have written, fit for a line.
fn shown(text: &str) -> String {
    text.escape_debug().to_string()
}
