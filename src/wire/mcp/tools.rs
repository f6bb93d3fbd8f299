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

#[cfg(test)]
mod tests {
    use super::{Object, ToolsPage, parse_tools_page};

    fn page(text: &'static str) -> Result<ToolsPage, String> {
        let result = Object::parse(text.into()).unwrap();
        parse_tools_page(&result).map_err(|error| error.to_string())
    }

    #[test]
    fn a_definition_is_kept_as_it_was_written() {
        let page = page(
            r#"{"tools":[ {"x":1.50,"name":"a\u002fb","inputSchema":{ }} ],"nextCursor":"\u0063"}"#,
        )
        .unwrap();
        let tool = &page.tools[0];
        assert_eq!(tool.name, "a/b");
        assert_eq!(tool.raw.raw(), r#"{"x":1.50,"name":"a\u002fb","inputSchema":{ }}"#);
        assert_eq!(tool.input_schema().unwrap(), "{ }");
        assert_eq!(page.next_cursor.as_deref(), Some("c"));
        assert!(tool.param_headers().unwrap().is_empty());
    }

    #[test]
    fn one_broken_definition_does_not_cost_the_others() {
        let page = page(r#"{"tools":[7,{"name":"a"},{"name":1},{},{"name":"b"}]}"#).unwrap();
        let names: Vec<_> = page.tools.iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!((names, page.broken), (vec!["a", "b"], 3));
    }

    #[test]
    fn a_page_without_tools_is_refused() {
        assert!(page("{}").is_err());
        assert_eq!(page(r#"{"tools":{}}"#).unwrap_err(), "value is not a JSON array");
    }
}
