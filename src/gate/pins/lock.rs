//! `pins.lock`: what was approved, one JSON object a line, sorted; a person can read, compare and
//! mend it.
//!
//! A line is a server (how it is reached, which of its lists have been seen) or one of its
//! definitions with its pin. A pin that is not the digest of what stands beside it refuses the
//! whole file, as does anything else that is not understood: then nothing is approved. Blocks;
//! knows nothing of modes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{
    PinError,
    canonical::{Content, Origin, Pin, Reached, canonical},
};
use crate::{
    domain::{ServerName, limits::PINS_FILE_BYTES_MAX},
    sys,
    wire::List,
};

pub(super) const NAME: &str = "pins.lock";
const HEADER: &str = "\
# What servers may define, as it was approved. Written by portcullis; see `portcullis pins --help`.
# Lines may be removed or taken from another pins.lock; a pin belongs to the definition beside it.
";

/// What is approved of one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Section<T> {
    pub(super) reached: Reached,
    /// Which of its lists had their first use.
    pub(super) lists: BTreeSet<List>,
    pub(super) pinned: BTreeMap<List, BTreeMap<String, T>>,
}

pub(super) type Sections<T> = BTreeMap<ServerName, Section<T>>;

/// The file's whole content: definitions in their canonical text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lock {
    pub(super) servers: Sections<String>,
}

/// What becomes of definitions that are not added again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    Kept,
    IfReachedAlike,
}

/// A line of either kind.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    server: &'a str,
    reached: Option<Reached>,
    lists: Option<Vec<String>>,
    list: Option<String>,
    name: Option<String>,
    pin: Option<String>,
    #[serde(borrow)]
    definition: Option<&'a RawValue>,
}

/// Where the file is: beside `servers.toml`, but in the state directory if it is there already, or
/// if nothing can be written beside.
pub fn locate(config_dir: &Path, state_dir: &Path) -> PathBuf {
    let (beside, kept) = (config_dir.join(NAME), state_dir.join(NAME));
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    let can_write = || rustix::fs::access(config_dir, rustix::fs::Access::WRITE_OK).is_ok();
    if is_there(&beside) || (!is_there(&kept) && can_write()) { beside } else { kept }
}

impl<T> Section<T> {
    pub(super) fn get(&self, list: List, name: &str) -> Option<&T> {
        self.pinned.get(&list)?.get(name)
    }

    /// Whether adding these would change nothing; those of the same name are the same.
    pub(super) fn has_all_of<U>(&self, other: &Section<U>) -> bool {
        self.reached == other.reached
            && other.lists.is_subset(&self.lists)
            && other.pinned.values().all(BTreeMap::is_empty)
    }
}

impl Lock {
    /// An absent file approves nothing.
    pub(super) fn read(path: &Path) -> Result<Self, PinError> {
        let failed = |source| PinError::Unreadable { path: path.to_owned(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error)),
        };
        let mut text = String::new();
        file.take(PINS_FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
        if u64::try_from(text.len()).is_ok_and(|len| len > PINS_FILE_BYTES_MAX) {
            return Err(PinError::TooLarge { path: path.to_owned() });
        }
        Self::parse(&text).map_err(|(line, why)| PinError::Line {
            path: path.to_owned(),
            line,
            why,
        })
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), PinError> {
        let text = self.render();
        if u64::try_from(text.len()).is_ok_and(|len| len > PINS_FILE_BYTES_MAX) {
            return Err(PinError::TooLarge { path: path.to_owned() });
        }
        let failed = |source| PinError::Unwritable { path: path.to_owned(), source };
        sys::replace_file(path, text.as_bytes()).map_err(failed)
    }

    /// The file, or the first line that is wrong (from 1), and why.
    pub(super) fn parse(text: &str) -> Result<Self, (usize, String)> {
        let (mut lock, mut pins) = (Self::default(), Vec::new());
        for (n, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let taken = lock.take(line).map_err(|why| (n + 1, why))?;
            pins.extend(taken.map(|(server, list, name, pin)| (n + 1, server, list, name, pin)));
        }
        // The line of its server may stand behind it.
        for (n, server, list, name, pin) in pins {
            if lock.pin(&server, list, &name) != Some(pin) {
                let why = "`pin` is not that of the definition and its server: one of them was \
                           changed by hand; remove the line and approve the definition again";
                return Err((n, why.to_owned()));
            }
        }
        Ok(lock)
    }

    fn take(&mut self, line: &str) -> Result<Option<(ServerName, List, String, Pin)>, String> {
        let line: Line<'_> = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let server = ServerName::parse(line.server).map_err(|error| error.to_string())?;
        let section = self.servers.entry(server.clone()).or_default();
        match line {
            Line {
                reached: Some(reached),
                lists: Some(lists),
                list: None,
                name: None,
                pin: None,
                definition: None,
                ..
            } => {
                if !section.reached.is_empty() {
                    return Err(format!("server `{server}` stands here twice"));
                }
                section.reached = reached;
                for list in lists {
                    section.lists.insert(list_of(&list)?);
                }
                Ok(None)
            }
            Line {
                reached: None,
                lists: None,
                list: Some(list),
                name: Some(name),
                pin: Some(pin),
                definition: Some(definition),
                ..
            } => {
                let pin = Pin::parse(&pin).ok_or("`pin` is not 64 hexadecimal digits")?;
                let list = list_of(&list)?;
                let text = canonical(list, &name, definition.get().as_bytes());
                let pinned = section.pinned.entry(list).or_default();
                if pinned.insert(name.clone(), text).is_some() {
                    return Err(format!("`{name}` stands here twice"));
                }
                Ok(Some((server, list, name, pin)))
            }
            Line { .. } => Err("a line has `server`, `reached` and `lists`, or `server`, `list`, \
                                `name`, `pin` and `definition`"
                .to_owned()),
        }
    }

    pub(super) fn render(&self) -> String {
        let mut text = HEADER.to_owned();
        for (server, section) in &self.servers {
            let lists: Vec<_> = section.lists.iter().map(|list| list.member()).collect();
            let about =
                json!({ "server": server.as_str(), "reached": section.reached, "lists": lists });
            // Writing to a string cannot fail.
            writeln!(text, "{about}").unwrap_or_default();
            for (list, name, definition) in section.entries() {
                let pin = self.pin(server, list, name).map(|pin| pin.to_string());
                let about = json!({ "server": server.as_str(), "list": list.member(), "name": name, "pin": pin });
                let about = about.to_string();
                let about = about.strip_suffix('}').unwrap_or_default();
                writeln!(text, "{about},\"definition\":{definition}}}").unwrap_or_default();
            }
        }
        text
    }

    pub(super) fn pin(&self, server: &ServerName, list: List, name: &str) -> Option<Pin> {
        let section = self.servers.get(server)?;
        Some(section.pin(server, (list, name), section.get(list, name)?))
    }

    pub(super) fn add(&mut self, server: ServerName, added: Section<String>, kept: Others) {
        let section = self.servers.entry(server).or_default();
        if kept == Others::IfReachedAlike && section.reached != added.reached {
            section.pinned.clear();
        }
        section.reached = added.reached;
        section.lists.extend(added.lists);
        for (list, definitions) in added.pinned {
            section.pinned.entry(list).or_default().extend(definitions);
        }
    }

    /// What has to be in memory to judge by.
    pub(super) fn index(&self) -> Sections<Content> {
        let section = |section: &Section<String>| {
            let contents = |of: &BTreeMap<String, String>| {
                of.iter().map(|(name, text)| (name.clone(), Content::of(text))).collect()
            };
            let pinned = section.pinned.iter().map(|(list, of)| (*list, contents(of))).collect();
            Section { reached: section.reached.clone(), lists: section.lists.clone(), pinned }
        };
        self.servers.iter().map(|(name, of)| (name.clone(), section(of))).collect()
    }
}

impl Section<String> {
    pub(super) fn take(&mut self, list: List, name: &str, definition: &str) {
        let of_list = self.pinned.entry(list).or_default();
        of_list.insert(name.to_owned(), definition.to_owned());
    }

    pub(super) fn pins(&self, server: &ServerName) -> Vec<Pin> {
        let entries = self.entries();
        entries.map(|(list, name, text)| self.pin(server, (list, name), text)).collect()
    }

    fn pin(&self, server: &ServerName, (list, name): (List, &str), definition: &str) -> Pin {
        let origin = Origin { server: server.clone(), reached: self.reached.clone() };
        Pin::of(&origin, list, name, Content::of(definition))
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (List, &str, &str)> {
        self.pinned.iter().flat_map(|(list, of)| {
            of.iter().map(|(name, text)| (*list, name.as_str(), text.as_str()))
        })
    }
}

fn list_of(word: &str) -> Result<List, String> {
    let known = || List::ALL.map(List::member).join(", ");
    let found = List::ALL.into_iter().find(|list| list.member() == word);
    found.ok_or_else(|| format!("`{word}` is not a list; there are {}", known()))
}
