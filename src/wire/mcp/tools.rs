//! Pages of `tools/list`, and the definitions on them.
//!
//! A definition is kept as its bytes: what the client sees and what the pin covers is what the
//! server wrote. One broken definition is left out and counted, it does not cost the others.

use bytes::Bytes;

use crate::{
    domain::limits::TOOLS_PER_SERVER_MAX,
    wire::{
        WireError,
        headers::{ParamHeader, parse_param_headers},
        json::{Object, elements},
    },
};

/// One tool as its server defines it.
#[derive(Clone, Debug)]
pub struct ToolDef {
    pub name: String,
    pub raw: Object,
}

#[derive(Clone, Debug)]
pub struct ToolsPage {
    pub tools: Vec<ToolDef>,
    pub next_cursor: Option<String>,
    /// Entries that are not an object with a name.
    pub broken: usize,
}

/// Reads the result of `tools/list`.
pub fn parse_tools_page(result: &Object) -> Result<ToolsPage, WireError> {
    let Some(tools) = result.get("tools") else {
        return Err(WireError::Tool { rule: "a tools page must hold `tools`" });
    };
    let entries = elements(tools, TOOLS_PER_SERVER_MAX)?;
    let n_entries = entries.len();
    let tools: Vec<_> = entries.into_iter().filter_map(ToolDef::parse).collect();
    let broken = n_entries - tools.len();
    Ok(ToolsPage { tools, next_cursor: result.text("nextCursor"), broken })
}

impl ToolDef {
    fn parse(raw: Bytes) -> Option<Self> {
        let raw = Object::parse(raw).ok()?;
        Some(Self { name: raw.text("name")?, raw })
    }

    /// The text of `inputSchema`, if there is one.
    pub fn input_schema(&self) -> Option<Bytes> {
        self.raw.get("inputSchema")
    }

    /// The arguments that an HTTP client repeats in headers; an error makes the tool unusable there.
    pub fn param_headers(&self) -> Result<Vec<ParamHeader>, WireError> {
        match self.raw.object("inputSchema") {
            Some(schema) => parse_param_headers(&schema),
            None => Ok(Vec::new()),
        }
    }
}
