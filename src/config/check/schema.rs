//! The JSON Schema of `servers.toml`, for editors, asked of the parser itself.
//!
//! A key that does not exist is put to the parser, which then names those that do; each of them is
//! given a date, which no key takes, and the parser says what it wanted instead; then a number or a
//! word that cannot be right, and it names the range or the words. So the schema knows what the
//! parser knows, and nothing has to be kept in step. Descriptions are those of the reference page.
//! What spans several keys is for `portcullis check` to say.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Exposure, Written, check};
use crate::config::{Code, Finding, Surroundings};

const PAGE: &str = include_str!("../../../docs/CONFIGURATION.md");
/// A key, a table and a word that nobody has.
const NOBODYS: &str = "zzz-nobodys";
/// Some keys are looked at in one kind of server only.
const KINDS: [&str; 3] = ["", "command = \"@self\"", "url = \"https://a.example/mcp\""];

/// For `#:schema` in the file.
pub fn schema() -> Value {
    let mut schema = object(&Place::default());
    if let Some(root) = schema.as_object_mut() {
        root.insert("$schema".to_owned(), "http://json-schema.org/draft-07/schema#".into());
        root.insert("title".to_owned(), "servers.toml of Portcullis".into());
    }
    schema
}

/// A table of the file.
#[derive(Clone, Debug, Default)]
struct Place {
    /// Names of tables, outermost first.
    path: Vec<String>,
    /// Whether it is one of many.
    is_item: bool,
    /// What opens the one of many that it is in.
    before: String,
}

impl Place {
    fn inner(&self, key: &str) -> Self {
        let path = [&self.path[..], &[key.to_owned()]].concat();
        let before = if self.is_item { self.header() } else { self.before.clone() };
        Self { path, is_item: false, before }
    }

    /// What the parser has to say about this line in this table of a server of that kind.
    fn ask(&self, kind: &str, line: &str) -> Vec<Finding> {
        let header = format!("{}{}", self.before, self.header());
        let text = match self.path.as_slice() {
            [servers, name] if servers == "servers" => format!("[servers.{name}]\n{kind}\n{line}"),
            [servers, name, ..] if servers == "servers" => {
                format!("[servers.{name}]\n{kind}\n{header}{line}")
            }
            _ => format!("{header}{line}"),
        };
        let shown = Path::new("/servers.toml");
        let exposure = Exposure::OwnerOrGroup;
        let written = Written { text: &text, shown, absolute: shown, exposure };
        let found = check(&written, None, &Surroundings::nowhere());
        let last = text.lines().count();
        let errors = found.err().map(|errors| errors.errors).unwrap_or_default();
        errors.into_iter().filter(|finding| finding.line == last).collect()
    }

    fn header(&self) -> String {
        match (self.path.join("."), self.is_item) {
            (path, _) if path.is_empty() => String::new(),
            (path, false) => format!("[{path}]\n"),
            (path, true) => format!("[[{path}]]\n"),
        }
    }

    /// The first answer of this code, of whatever kind of server.
    fn hear(&self, code: Code, line: &str) -> Option<Finding> {
        let heard = KINDS.iter().flat_map(|kind| self.ask(kind, line));
        heard.into_iter().find(|finding| finding.code == code)
    }

    /// The keys that there are; none if any will do.
    fn keys(&self) -> Option<Vec<String>> {
        let unknown = self.hear(Code::UnknownKey, &format!("{NOBODYS} = 1"))?;
        Some(words(&unknown))
    }

    /// What the parser wants of a key: `a boolean`.
    fn wants(&self, key: &str) -> Option<String> {
        let wrong = self.hear(Code::WrongType, &format!("{key} = 1979-05-27"))?;
        wrong.label.strip_prefix("expected ").map(str::to_owned).or_else(|| {
            // Of seconds it says so in the message only.
            wrong.message.contains("a number of seconds").then(|| "a number of seconds".to_owned())
        })
    }
}

/// The words of `one of a, b, c`.
fn words(finding: &Finding) -> Vec<String> {
    let help = finding.help.as_deref().unwrap_or_default();
    let list = help.strip_prefix("one of ").unwrap_or_default();
    list.split(", ").filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// `from 1 to 5`, in whatever sentence.
fn range(finding: &Finding) -> Option<(Value, Value)> {
    let help = finding.help.as_deref()?;
    let (_, range) = help.split_once("from ")?;
    let (low, high) = range.split_once(" to ")?;
    let number = |text: &str| serde_json::from_str(text.split(' ').next()?).ok();
    Some((number(low)?, number(high)?))
}

fn object(place: &Place) -> Value {
    let Some(keys) = place.keys() else {
        return json!({ "type": "object", "additionalProperties": value(place, NOBODYS) });
    };
    let described = |key: String| {
        let mut value = value(place, &key);
        if let (Some(value), Some(text)) = (value.as_object_mut(), description(place, &key)) {
            value.insert("description".to_owned(), text.into());
        }
        (key, value)
    };
    let properties: Map<String, Value> = keys.into_iter().map(described).collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

fn value(place: &Place, key: &str) -> Value {
    match place.wants(key).as_deref() {
        Some("a boolean") => json!({ "type": "boolean" }),
        Some("a string") => {
            let odd = place.hear(Code::UnknownWord, &format!("{key} = \"{NOBODYS}\""));
            match odd.map(|finding| words(&finding)).filter(|words| !words.is_empty()) {
                Some(words) => json!({ "type": "string", "enum": words }),
                None => json!({ "type": "string" }),
            }
        }
        Some("an array of strings") => json!({ "type": "array", "items": { "type": "string" } }),
        Some("an integer") => bounded(place, key, "integer"),
        Some("a number of seconds") => bounded(place, key, "number"),
        Some("a table") => object(&place.inner(key)),
        Some("an array of tables") => {
            let item = Place { is_item: true, ..place.inner(key) };
            json!({ "type": "array", "items": object(&item) })
        }
        Some(_) | None => json!({}),
    }
}

fn bounded(place: &Place, key: &str, kind: &str) -> Value {
    let odd = place.hear(Code::OutOfRange, &format!("{key} = -1"));
    match odd.as_ref().and_then(range) {
        Some((low, high)) => json!({ "type": kind, "minimum": low, "maximum": high }),
        None => json!({ "type": kind }),
    }
}

/// The last column of the key's row under the heading of its table.
fn description(place: &Place, key: &str) -> Option<String> {
    let table = place.path.first()?;
    let (_, section) = PAGE.split_once(&format!("\n## `{table}`\n"))?;
    let section = section.split("\n## ").next()?;
    let row = section.lines().find(|line| line.starts_with(&format!("| `{key}` |")))?;
    // What stands deeper has no rows of its own.
    let is_deep = place.path.len() > if table == "servers" { 2 } else { 1 };
    let cells = row.trim_end_matches(" |").rsplit(" | ").next();
    cells.filter(|_| !is_deep || place.is_item).map(str::to_owned)
}
