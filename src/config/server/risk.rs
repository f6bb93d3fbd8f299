//! `[servers.NAME.risk]`: what the tools of one server do.
//!
//! Owns the words for it. Whether there is a tool of that name nobody knows before the server
//! runs; what the words are worth is for `policies/risk.toml` to say.

use std::collections::BTreeMap;

use crate::{
    config::{
        Code, ServerRisk,
        report::{Note, Notes},
        section::{At, Section, quoted},
    },
    domain::{Labels, ToolName},
};

const KEYS: [&str; 3] = ["trust_annotations", "default", "labels"];

pub(super) fn read(server: &Section<'_>, notes: &mut Notes) -> ServerRisk {
    let table = server.section("risk", &format!("{} risk", server.title), notes);
    table.refuse_unknown(&KEYS, notes);
    let trust_annotations = table.boolean("trust_annotations", notes).unwrap_or(false);
    let default = table.texts("default", notes).map(|words| labels(&words, notes));
    let named = table.section("labels", &format!("{} risk.labels", server.title), notes);
    let mut tools = BTreeMap::new();
    for (tool, _) in named.entries() {
        let words = named.texts(tool.value, notes).unwrap_or_default();
        match ToolName::parse(tool.value) {
            Ok(name) => drop(tools.insert(name.as_str().to_owned(), labels(&words, notes))),
            Err(error) => {
                let note = Note::new(Code::BadName, tool.span, error.to_string());
                notes.push(note.label("not a tool name").help("write it as the server does"));
            }
        }
    }
    ServerRisk { trust_annotations, default, labels: tools }
}

fn labels(words: &[At<&str>], notes: &mut Notes) -> Labels {
    let mut labels = Labels::NONE;
    for word in words {
        match Labels::WORDS.iter().find(|(known, _)| *known == word.value) {
            Some((_, label)) => labels = labels.with(*label),
            None => {
                let known: Vec<_> = Labels::WORDS.iter().map(|(word, _)| *word).collect();
                let message = format!("{} is no label", quoted(word.value));
                let note = Note::new(Code::UnknownWord, word.span.clone(), message);
                let help = format!("one of {}; `[]` if it does nothing of that", known.join(", "));
                notes.push(note.label("unknown label").help(help));
            }
        }
    }
    labels
}
