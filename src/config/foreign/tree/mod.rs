//! Any JSON, TOML or YAML as one kind of tree, in the order of the file (TOML: of its keys).
//!
//! A key that stands twice is refused: programs do not agree on which of the two counts. Numbers
//! keep their digits, since most of them become texts again.

mod jsonc;
mod yaml;

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{Dialect, ForeignError, shown};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Nothing,
    Flag(bool),
    Number(String),
    Text(String),
    List(Vec<Node>),
    Table(Vec<(String, Node)>),
}

impl Node {
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entries().iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// Keys and values; of anything but a table, none.
    pub(super) fn entries(&self) -> &[(String, Self)] {
        if let Self::Table(entries) = self { entries } else { &[] }
    }

    /// Of anything but a list, none.
    pub(super) fn items(&self) -> &[Self] {
        if let Self::List(items) = self { items } else { &[] }
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self, Self::Table(_))
    }

    /// What a program would pass on as a variable.
    pub(super) fn scalar(&self) -> Option<String> {
        match self {
            Self::Text(text) | Self::Number(text) => Some(text.clone()),
            Self::Flag(flag) => Some(flag.to_string()),
            Self::Nothing | Self::List(_) | Self::Table(_) => None,
        }
    }
}

/// What a file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Syntax {
    Json,
    Toml,
    Yaml,
}

impl Syntax {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Toml => "TOML",
            Self::Yaml => "YAML",
        }
    }
}

/// Reads the text as what its dialect is written in; without one, as what it looks like.
pub(super) fn parse(text: &str, dialect: Option<Dialect>) -> Result<(Node, Syntax), ForeignError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let json = |text| Ok((parse_json(text)?, Syntax::Json));
    let yaml = |text| Ok((yaml::parse(text)?, Syntax::Yaml));
    let toml = |text| Ok((parse_toml(text)?, Syntax::Toml));
    match dialect {
        Some(Dialect::Codex) => toml(text),
        Some(Dialect::Goose) => yaml(text),
        Some(_) => json(text),
        None if jsonc::looks_like_json(text) => json(text),
        None => {
            let as_toml = toml(text);
            match yaml(text) {
                Ok((Node::Table(entries), syntax)) if as_toml.is_err() => {
                    Ok((Node::Table(entries), syntax))
                }
                Ok(_) | Err(_) => as_toml,
            }
        }
    }
}

fn parse_json(text: &str) -> Result<Node, ForeignError> {
    serde_json::from_str(&jsonc::without_comments(text)).map_err(|error| {
        let told = error.to_string();
        let what = told.split(" at line ").next().unwrap_or_default().to_owned();
        let (line, column) = (error.line(), error.column());
        ForeignError::Syntax { syntax: Syntax::Json, line, column, what }
    })
}

fn parse_toml(text: &str) -> Result<Node, ForeignError> {
    toml::from_str(text).map_err(|error: toml::de::Error| {
        let before = text.get(..error.span().unwrap_or_default().start).unwrap_or_default();
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        let line = before.matches('\n').count() + 1;
        let what = error.message().lines().collect::<Vec<_>>().join(", ");
        ForeignError::Syntax { syntax: Syntax::Toml, line, column, what }
    })
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Node, E> {
        Ok(Node::Flag(flag))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Node, E> {
        Ok(Node::Number(number.to_string()))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Node, E> {
        Ok(Node::Number(number.to_string()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Node, E> {
        Ok(Node::Number(number.to_string()))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Node::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, Node>()? {
            if entries.iter().any(|(known, _)| *known == key) {
                return Err(de::Error::custom(format!("`{}` stands twice", shown(&key))));
            }
            entries.push((key, value));
        }
        Ok(Node::Table(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::{Node, parse};
    use crate::config::foreign::Dialect;

    /// The tree on one line, whatever it was written in.
    fn line(node: &Node) -> String {
        match node {
            Node::Nothing => "null".to_owned(),
            Node::Flag(flag) => flag.to_string(),
            Node::Number(digits) => format!("#{digits}"),
            Node::Text(text) => format!("{text:?}"),
            Node::List(items) => {
                format!("[{}]", items.iter().map(line).collect::<Vec<_>>().join(" "))
            }
            Node::Table(entries) => {
                let one = |(key, node): &(String, Node)| format!("{key}={}", line(node));
                format!("{{{}}}", entries.iter().map(one).collect::<Vec<_>>().join(" "))
            }
        }
    }

    #[track_caller]
    fn reads(text: &str, want: &str) {
        assert_eq!(line(&parse(text, None).unwrap().0), want, "{text}");
    }

    #[track_caller]
    fn fails(text: &str, dialect: Option<Dialect>, want: &str) {
        let error = parse(text, dialect).unwrap_err().to_string();
        assert!(error.starts_with(want), "{error}");
    }

    #[test]
    fn three_languages_make_one_tree() {
        let want = "{z=[#1 \"b\" true] a={n=null x=\"1\"}}";
        reads(r#"{"z":[1,"b",true],"a":{"n":null,"x":"1"}}"#, want);
        reads(
            "\u{feff}// a\n{\"z\":[1,/*,*/\"b\",true,],\"a\":{\"n\":null,\"x\":\"1\",},}\n",
            want,
        );
        reads("z:\n  - 1\n  - b\n  - true\na: {n: null, x: '1'}\n", want);
        reads("z = [1, \"b\", true]\n[a]\nx = \"1\"", "{a={x=\"1\"} z=[#1 \"b\" true]}");
        // What stands in texts is no comment, and YAML's words are only words when they are bare.
        reads(r#"{"u":"http://a/*b*/,]"}"#, r#"{u="http://a/*b*/,]"}"#);
        reads("a: \"yes\"\nb: ~\nc: off\nd: 1.5\n", r##"{a="yes" b=null c="off" d=#1.5}"##);
        reads("e: |\n  one\n  two\n", r#"{e="one\ntwo\n"}"#);
    }

    #[test]
    fn mistakes_have_a_place_and_doubles_are_mistakes() {
        fails("{\n  \"a\": nope\n}", None, "2:9: not JSON: expected");
        fails("{\"a\":1,\n\"a\":2}", None, "2:6: not JSON: `a` stands twice");
        fails("a = 1\nb = ]", None, "2:5: not TOML: ");
        fails("a = 1\nb = ]", Some(Dialect::Codex), "2:5: not TOML: ");
        fails("a:\n  b: 1\n  b: 2\n", Some(Dialect::Goose), "3:3: not YAML: `b` stands twice");
        fails("a: [1\n", Some(Dialect::Goose), "2:1: not YAML: ");
        fails("a: &x 1\nb: *x\n", Some(Dialect::Goose), "1:4: not YAML: anchors and aliases");
        let deep = "[".repeat(100);
        fails(&deep, Some(Dialect::Goose), "1:65: not YAML: more than 64 levels");
        fails(&format!("{{\"a\":{}", "[".repeat(200)), None, "1:132: not JSON: recursion limit");
    }
}
