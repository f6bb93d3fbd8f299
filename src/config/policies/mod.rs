//! The directory of policies as it is written: Cedar files, rules in TOML, groups, cases.
//!
//! Reads every file once, checks all TOML, and hands Cedar on as text: what that means is the
//! gate's affair. Promises a place for everything, so that whoever finds a mistake later can show
//! it where it stands. A directory that is not there is one without policies: nothing is allowed.

mod cases;
mod groups;
mod risk;
mod rules;

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest, Sha256};
use toml::de::DeTable;

use super::{
    Code, Finding, Surroundings, Warning,
    report::{Note, Notes},
    section::Section,
};
use crate::domain::limits::{POLICY_BYTES_MAX, POLICY_FILES_MAX};

pub use cases::{Case, Expect};
pub use groups::Groups;
pub use risk::RiskConfig;
pub use rules::{ArgRule, ArgTest, Effect, Rule, Scalar, What, Who};

/// Everything that stands in the directory of policies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// In the order of their names.
    pub cedar: Vec<Arc<Paper>>,
    pub rules: Vec<Rule>,
    pub groups: Groups,
    pub cases: Vec<Case>,
    pub risk: RiskConfig,
    /// SHA-256 over the names and bytes of all files.
    pub digest: [u8; 32],
}

/// One file.
#[derive(PartialEq, Eq)]
pub struct Paper {
    /// As it is shown: relative to where `servers.toml` was named.
    pub path: PathBuf,
    pub text: String,
}

impl Policies {
    /// Whether nothing says what is allowed.
    pub fn is_empty(&self) -> bool {
        self.cedar.is_empty() && self.rules.is_empty()
    }
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub paper: Arc<Paper>,
    pub span: Range<usize>,
}

impl Place {
    /// That of something that nobody wrote down.
    pub fn nowhere() -> Self {
        Self { paper: Arc::new(Paper { path: PathBuf::new(), text: String::new() }), span: 0..0 }
    }

    /// That what stands here did not come out.
    pub fn failure(&self, message: impl Into<String>, help: impl Into<String>) -> Finding {
        let note = Note::new(Code::FailedCase, self.span.clone(), message).help(help);
        self.paper.finding(note)
    }

    /// A mistake that was found here, for whoever has to mend it.
    pub fn mistake(&self, message: impl Into<String>, help: impl Into<String>) -> Finding {
        let note = Note::new(Code::BadPolicy, self.span.clone(), message).help(help);
        self.paper.finding(note)
    }

    /// The line, from 1.
    pub fn line(&self) -> usize {
        let before = self.paper.text.get(..self.span.start).unwrap_or_default();
        before.matches('\n').count() + 1
    }
}

/// `policies/files.cedar:12`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.paper.path.display(), self.line())
    }
}

impl Paper {
    fn finding(&self, note: Note) -> Finding {
        Finding::alone(note, &self.path, &self.text)
    }

    /// What the checks of this file noted.
    fn settle(&self, notes: Notes) -> (Vec<Finding>, Vec<Warning>) {
        notes.settle(&self.path, &self.text)
    }
}

/// The text may be long and is nobody's business in a log.
impl fmt::Debug for Paper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.path)
    }
}

/// What was read, and what is wrong with it.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) policies: Policies,
    pub(super) errors: Vec<Finding>,
}

const GROUPS: &str = "groups.toml";
const RISK: &str = "risk.toml";
const CASES: &str = "tests";

/// Reads and checks the directory; `shown` is how its owner calls it.
pub(super) fn read(dir: &Path, shown: &Path, around: &Surroundings) -> Checked {
    let mut checked = Checked::default();
    let mut digest = Sha256::new();
    let papers = collect(dir, shown, around, &mut checked.errors);
    for paper in &papers {
        digest.update(paper.path.file_name().unwrap_or_default().as_encoded_bytes());
        digest.update([0]);
        digest.update(Sha256::digest(&paper.text));
        let name = paper.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let within = paper.path.parent().and_then(|parent| parent.file_name());
        match (within.is_some_and(|within| within == CASES), name) {
            (true, _) => with_toml(paper, &mut checked, cases::read),
            (false, GROUPS) => with_toml(paper, &mut checked, groups::read),
            (false, RISK) => with_toml(paper, &mut checked, risk::read),
            (false, name) if name.ends_with(".cedar") => {
                checked.policies.cedar.push(paper.clone());
            }
            (false, _) => with_toml(paper, &mut checked, rules::read),
        }
    }
    checked.policies.digest = digest.finalize().into();
    checked
}

/// SHA-256 of what stands there now.
pub(super) fn digest(dir: &Path) -> [u8; 32] {
    read(dir, dir, &Surroundings::of_this_process()).policies.digest
}

fn collect(
    dir: &Path,
    shown: &Path,
    around: &Surroundings,
    errors: &mut Vec<Finding>,
) -> Vec<Arc<Paper>> {
    let (mut papers, mut n_bytes) = (Vec::new(), 0_usize);
    for (sub, wanted) in [("", &[".cedar", ".toml"][..]), (CASES, &[".toml"])] {
        let files = match around.read_directory(&dir.join(sub)) {
            Ok(files) => files,
            Err(error) => {
                errors.push(unreadable(&shown.join(sub), &error.to_string()));
                continue;
            }
        };
        for (name, text) in files {
            // What editors leave behind is not ours.
            if name.starts_with('.') || !wanted.iter().any(|ending| name.ends_with(ending)) {
                continue;
            }
            let path = shown.join(sub).join(&name);
            match text {
                Ok(text) => {
                    n_bytes = n_bytes.saturating_add(text.len());
                    papers.push(Arc::new(Paper { path, text }));
                }
                Err(error) => errors.push(unreadable(&path, &error.to_string())),
            }
        }
    }
    if n_bytes > POLICY_BYTES_MAX || papers.len() > POLICY_FILES_MAX {
        let why = format!(
            "there are {} files of {n_bytes} bytes in all; {POLICY_FILES_MAX} files and {POLICY_BYTES_MAX} bytes are allowed",
            papers.len()
        );
        errors.push(unreadable(shown, &why));
    }
    papers
}

fn unreadable(path: &Path, why: &str) -> Finding {
    let message = format!("`{}` is not taken: {why}", path.display());
    Finding::alone(Note::new(Code::Unreadable, 0..0, message), path, "")
}

fn with_toml(
    paper: &Arc<Paper>,
    checked: &mut Checked,
    read: fn(&Arc<Paper>, &Section<'_>, &mut Notes, &mut Policies),
) {
    let (tree, broken) = DeTable::parse_recoverable(&paper.text);
    let mut notes = Notes::default();
    match broken.first() {
        Some(first) => {
            let span = first.span().unwrap_or_default();
            notes.push(Note::new(Code::Syntax, span, first.message()).label("not TOML"));
        }
        None => {
            let top = Section::new("the file", 0..0, tree.get_ref());
            read(paper, &top, &mut notes, &mut checked.policies);
        }
    }
    checked.errors.extend(paper.settle(notes).0);
}
