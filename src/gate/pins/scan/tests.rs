//! What the scan finds in two collections of definitions: real ones, in which there is nothing to
//! find, and poisoned ones.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};

use super::{Class, Finding, Neighbours, scan};
use crate::{domain::ServerName, gate::pins::canonical::canonical, wire::List};

/// One definition of a collection.
struct Sample {
    server: ServerName,
    list: List,
    definition: Value,
    row: Value,
}

fn collection(file: &str) -> Vec<Sample> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/definitions").join(file);
    let sample = |line: &str| {
        let row: Value = serde_json::from_str(line).unwrap();
        let server = row["server"].as_str().unwrap_or("poisoned");
        let list = List::ALL.into_iter().find(|list| row["list"] == list.member()).unwrap();
        let server = ServerName::parse(server).unwrap();
        Sample { server, list, definition: row["definition"].clone(), row }
    };
    fs::read_to_string(path).unwrap().lines().map(sample).collect()
}

impl Sample {
    fn name(&self) -> &str {
        self.definition[self.list.key()].as_str().unwrap()
    }

    fn findings(&self, neighbours: &Neighbours<'_>) -> Vec<Finding> {
        let text = canonical(self.list, self.name(), self.definition.to_string().as_bytes());
        let tool = (self.list == List::Tools).then(|| self.name());
        [scan(&text), neighbours.scan(&self.server, tool, &text)].concat()
    }
}

/// All real tools, as if one gateway had all of their servers.
fn neighbours<'a>(real: &'a [Sample], exposed: &'a [String]) -> Neighbours<'a> {
    let mut neighbours = Neighbours::default();
    for (one, exposed) in real.iter().zip(exposed).filter(|(one, _)| one.list == List::Tools) {
        neighbours.add(&one.server, one.name(), exposed);
    }
    neighbours
}

#[test]
fn nothing_is_found_in_what_real_servers_define() {
    let real = collection("real.jsonl");
    let exposed: Vec<_> =
        real.iter().map(|one| format!("{}__{}", one.server, one.name())).collect();
    let neighbours = neighbours(&real, &exposed);
    assert!(real.len() >= 200);
    let odd = real.iter().filter_map(|one| {
        let findings = one.findings(&neighbours);
        (!findings.is_empty()).then(|| format!("{} {}: {findings:?}", one.server, one.name()))
    });
    assert_eq!(odd.collect::<Vec<_>>(), [""; 0]);
}

/// The table in docs/RISK.md.
#[test]
fn poisoned_definitions_are_found_class_by_class() {
    let (real, poisoned) = (collection("real.jsonl"), collection("poisoned.jsonl"));
    let exposed: Vec<_> =
        real.iter().map(|one| format!("{}__{}", one.server, one.name())).collect();
    let neighbours = neighbours(&real, &exposed);
    let mut counts = BTreeMap::<&str, [usize; 2]>::new();
    let mut wrong = Vec::new();
    for one in &poisoned {
        let class = one.row["class"].as_str().unwrap();
        let found = one.findings(&neighbours);
        let is_found = found.iter().any(|finding| finding.class.as_str() == class);
        let [all, hits] = counts.entry(class).or_default();
        (*all, *hits) = (*all + 1, *hits + usize::from(is_found));
        if is_found != one.row["missed"].is_null() {
            wrong.push(format!("{class}, {}: {found:?}", one.row["what"]));
        }
    }
    assert_eq!(wrong, [""; 0]);
    let rows: Vec<_> =
        counts.iter().map(|(of, [all, hits])| format!("| {of} | {all} | {hits} |")).collect();
    let told = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/RISK.md"));
    let told = told.unwrap_or_default();
    for row in rows {
        assert!(told.contains(&row), "not in docs/RISK.md: {row}");
    }
}

#[test]
fn scripts_and_emoji_that_need_joiners_are_at_home() {
    for text in [
        "⚠️ careful",
        "👨‍💻 and 👩‍🚀",
        "1️⃣",
        "می‌خواهم",
        "क्‍ष",
        "שלום \u{200f}(1)",
        "©️",
        "tabs\tand\nlines",
    ] {
        let found = scan(&json!({ "description": text }).to_string());
        assert!(found.is_empty(), "{text}: {found:?}");
    }
}

#[test]
fn one_server_cannot_make_another_look_odd() {
    let [good, evil] = ["good", "evil"].map(|name| ServerName::parse(name).unwrap());
    let mut neighbours = Neighbours::default();
    for (server, name) in [(&good, "send_email"), (&evil, "send_ernail"), (&evil, "send_emai1")] {
        neighbours.add(server, name, name);
    }
    let class = |server, name| neighbours.scan(server, Some(name), "{}").first().map(|f| f.class);
    assert_eq!(class(&good, "send_email"), None);
    assert_eq!(class(&evil, "send_ernail"), Some(Class::Confusable));
    assert_eq!(class(&evil, "send_emai1"), Some(Class::Confusable));
    // Its own tools it may name.
    let text = json!({ "description": "Undoes send_email." }).to_string();
    assert!(neighbours.scan(&good, None, &text).is_empty());
    assert_eq!(neighbours.scan(&evil, None, &text).len(), 1);
}
