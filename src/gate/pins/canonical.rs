//! What a pin is a digest of: one canonical text for a definition, and how its server is reached.
//!
//! The text is RFC 8785, so that any other program computes the same digest. All of a definition
//! counts, with the name that its server gave it, but for what a resource tells of its present
//! content (`size`, `lastModified`), which changes as often as that does. Pure.

use std::fmt;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::scan::{Findings, scan};
use crate::{
    config::{Program, ServerConfig, Target},
    domain::ServerName,
    wire::List,
};

/// Each of the ways, one a replica: a command with its arguments, or an URL. Sorted, each once.
pub(super) type Reached = Vec<Vec<String>>;

/// Who lists something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub(super) server: ServerName,
    pub(super) reached: Reached,
}

/// SHA-256 of a definition together with its server: equal only if all of it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pin(pub [u8; 32]);

/// SHA-256 of a definition alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content([u8; 32]);

/// What is known of a definition before anybody has judged it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub pin: Pin,
    /// What is odd about its text, by itself.
    pub findings: Findings,
    pub(super) content: Content,
}

impl Origin {
    pub fn server(&self) -> &ServerName {
        &self.server
    }

    pub fn of(config: &ServerConfig) -> Self {
        let way = |target: &Target| match target {
            Target::Stdio(stdio) => {
                let program = match &stdio.program {
                    Program::SelfExe => "@self".to_owned(),
                    Program::Path(path) => path.display().to_string(),
                };
                std::iter::once(program).chain(stdio.args.iter().cloned()).collect()
            }
            Target::Http(http) => vec![http.url.to_string()],
        };
        let mut reached: Reached =
            config.replicas.iter().map(|replica| way(&replica.target)).collect();
        reached.sort();
        reached.dedup();
        Self { server: config.name.clone(), reached }
    }
}

impl Stamp {
    /// Of a definition as it is listed, whose server calls it `name`.
    pub fn of(origin: &Origin, list: List, name: &str, raw: &[u8]) -> Self {
        let text = canonical(list, name, raw);
        let content = Content::of(&text);
        let pin = Pin::of(origin, list, name, content);
        Self { pin, findings: Findings::of(&scan(&text)), content }
    }
}

impl Pin {
    pub(super) fn of(origin: &Origin, list: List, name: &str, content: Content) -> Self {
        let about = json!({
            "definition": hex(&content.0),
            "list": list.member(),
            "name": name,
            "reached": origin.reached,
            "server": origin.server.as_str(),
        });
        Self(Sha256::digest(jcs(&about).unwrap_or_default()).into())
    }

    pub fn parse(text: &str) -> Option<Self> {
        let nibble = |c: char| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let nibbles: Vec<u8> = text.chars().map(nibble).collect::<Option<_>>()?;
        let bytes: Vec<u8> = nibbles
            .chunks_exact(2)
            .filter_map(|pair| Some(pair.first()? << 4 | pair.last()?))
            .collect();
        (text.len() == 64).then(|| bytes.try_into().ok().map(Self)).flatten()
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl Content {
    pub(super) fn of(canonical: &str) -> Self {
        Self(Sha256::digest(canonical).into())
    }
}

/// The text that counts. What RFC 8785 has no form for (a number beyond all bounds) counts as it
/// was written.
pub(super) fn canonical(list: List, name: &str, raw: &[u8]) -> String {
    let as_written = || String::from_utf8_lossy(raw).into_owned();
    let Ok(mut value) = serde_json::from_slice::<Value>(raw) else { return as_written() };
    if let Some(members) = value.as_object_mut() {
        members.insert(list.key().to_owned(), name.into());
        match list {
            List::Resources => {
                members.remove("size");
                let annotations = members.get_mut("annotations").and_then(Value::as_object_mut);
                annotations.and_then(|annotations| annotations.remove("lastModified"));
            }
            List::Tools | List::Prompts | List::Templates => {}
        }
    }
    jcs(&value).unwrap_or_else(as_written)
}

fn jcs(value: &Value) -> Option<String> {
    serde_json_canonicalizer::to_string(value).ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
