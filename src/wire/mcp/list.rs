//! Pages of the four lists, and the definitions on them.
//!
//! A definition is kept as its bytes: what the client sees and what the pin covers is what the
//! server wrote. One broken definition is left out and counted, it does not cost the others. What
//! the lists differ in (method, members, capability) stands here once.

use bytes::Bytes;

use crate::{
    domain::limits::LIST_ITEMS_MAX,
    wire::{
        WireError,
        headers::{ParamHeader, parse_param_headers},
        json::{Object, elements},
    },
};

/// The lists that a server may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum List {
    Tools,
    Prompts,
    Resources,
    Templates,
}

/// One tool, prompt, resource or template as its server defines it.
#[derive(Clone, Debug)]
pub struct Item {
    /// Its name, URI or template.
    pub name: String,
    pub raw: Object,
}

#[derive(Clone, Debug)]
pub struct ListPage {
    pub items: Vec<Item>,
    pub next_cursor: Option<String>,
    /// Entries that are not an object with a name.
    pub broken: usize,
}

impl List {
    pub const ALL: [Self; 4] = [Self::Tools, Self::Prompts, Self::Resources, Self::Templates];

    pub fn parse(method: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|list| list.method() == method)
    }

    pub fn method(self) -> &'static str {
        match self {
            Self::Tools => "tools/list",
            Self::Prompts => "prompts/list",
            Self::Resources => "resources/list",
            Self::Templates => "resources/templates/list",
        }
    }

    /// The member of a result that holds the entries.
    pub fn member(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources => "resources",
            Self::Templates => "resourceTemplates",
        }
    }

    /// What one entry is called.
    pub fn entry(self) -> &'static str {
        match self {
            Self::Tools => "tool",
            Self::Prompts => "prompt",
            Self::Resources => "resource",
            Self::Templates => "template",
        }
    }

    /// The capability of a server that has such a list.
    pub fn capability(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Prompts => "prompts",
            Self::Resources | Self::Templates => "resources",
        }
    }

    /// The member that tells one entry from another.
    pub fn key(self) -> &'static str {
        match self {
            Self::Tools | Self::Prompts => "name",
            Self::Resources => "uri",
            Self::Templates => "uriTemplate",
        }
    }
}

/// Reads the result of the list's method.
pub fn parse_page(list: List, result: &Object) -> Result<ListPage, WireError> {
    let Some(entries) = result.get(list.member()) else {
        return Err(WireError::List { rule: "a page must hold its entries" });
    };
    let entries = elements(entries, LIST_ITEMS_MAX + 1)?;
    let n_entries = entries.len();
    if n_entries > LIST_ITEMS_MAX {
        return Err(WireError::List { rule: "a page holds at most 10,000 entries" });
    }
    let parsed = entries.into_iter().filter_map(|raw| Item::parse(list.key(), raw));
    let items: Vec<_> = parsed.collect();
    let broken = n_entries - items.len();
    Ok(ListPage { items, next_cursor: result.text("nextCursor"), broken })
}

impl Item {
    fn parse(key: &str, raw: Bytes) -> Option<Self> {
        let raw = Object::parse(raw).ok()?;
        Some(Self { name: raw.text(key)?, raw })
    }

    /// The text of a tool's `inputSchema`, if there is one.
    pub fn input_schema(&self) -> Option<Bytes> {
        self.raw.get("inputSchema")
    }

    /// Whether a tool of a legacy server can be called as a task only.
    pub fn needs_a_task(&self) -> bool {
        let execution = self.raw.object("execution");
        execution.is_some_and(|execution| execution.peek("taskSupport") == Some(b"\"required\""))
    }

    /// The arguments that an HTTP client repeats in headers; an error makes the tool unusable
    /// there.
    pub fn param_headers(&self) -> Result<Vec<ParamHeader>, WireError> {
        match self.raw.object("inputSchema") {
            Some(schema) => parse_param_headers(&schema),
            None => Ok(Vec::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{List, ListPage, Object, parse_page};

    fn page(text: &'static str) -> Result<ListPage, String> {
        let result = Object::parse(text.into()).unwrap();
        parse_page(List::Tools, &result).map_err(|error| error.to_string())
    }

    #[test]
    fn a_definition_is_kept_as_it_was_written() {
        let page = page(
            r#"{"tools":[ {"x":1.50,"name":"a\u002fb","inputSchema":{ }} ],"nextCursor":"\u0063"}"#,
        )
        .unwrap();
        let tool = &page.items[0];
        assert_eq!(tool.name, "a/b");
        assert_eq!(tool.raw.raw(), r#"{"x":1.50,"name":"a\u002fb","inputSchema":{ }}"#);
        assert_eq!(tool.input_schema().unwrap(), "{ }");
        assert_eq!(page.next_cursor.as_deref(), Some("c"));
        assert!(tool.param_headers().unwrap().is_empty());
    }

    #[test]
    fn one_broken_definition_does_not_cost_the_others() {
        let page = page(r#"{"tools":[7,{"name":"a"},{"name":1},{},{"name":"b"}]}"#).unwrap();
        let names: Vec<_> = page.items.iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!((names, page.broken), (vec!["a", "b"], 3));
    }

    #[test]
    fn a_page_is_bounded() {
        let of = |n: usize| {
            let tools = vec![r#"{"name":"a"}"#; n].join(",");
            let result = Object::parse(format!(r#"{{"tools":[{tools}]}}"#).into()).unwrap();
            parse_page(List::Tools, &result).map(|page| page.items.len()).ok()
        };
        assert_eq!(of(10_000), Some(10_000));
        assert_eq!(of(10_001), None);
    }

    #[test]
    fn a_page_without_tools_is_refused() {
        assert_eq!(page("{}").unwrap_err(), "invalid list: a page must hold its entries");
        assert_eq!(page(r#"{"tools":{}}"#).unwrap_err(), "value is not a JSON array");
    }

    #[test]
    fn every_list_has_its_own_members() {
        for (list, entry) in [
            (List::Prompts, r#"{"prompts":[{"uri":"b","name":"a"},{"uri":"c"}]}"#),
            (List::Resources, r#"{"resources":[{"uri":"a","name":"b"},{"name":"c"}]}"#),
            (List::Templates, r#"{"resourceTemplates":[{"uriTemplate":"a"},{"uri":"c"}]}"#),
        ] {
            let page = parse_page(list, &Object::parse(entry.into()).unwrap()).unwrap();
            assert_eq!((page.items[0].name.as_str(), page.items.len(), page.broken), ("a", 1, 1));
            assert_eq!(List::parse(list.method()), Some(list));
        }
    }
}
