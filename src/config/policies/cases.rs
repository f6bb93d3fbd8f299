//! `tests/*.toml`: calls with the answer that the policies must give.
//!
//! They are run by `policy test` and before a reload is accepted.

use std::sync::Arc;

use super::{Paper, Place, Policies};
use crate::{
    config::{
        Code,
        report::{Note, Notes},
        section::{Section, tables},
    },
    domain::{Caller, Era, Kind, Principal, ServerName, Subject, Transport},
};

/// One call, and what must come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub name: String,
    pub place: Place,
    pub principal: String,
    pub client: String,
    pub era: Era,
    pub transport: Transport,
    pub server: ServerName,
    pub subject: Subject,
    /// JSON text.
    pub arguments: String,
    pub risk: u8,
    pub tainted: bool,
    pub expect: Expect,
}

/// What the policies say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Allow,
    Deny,
    /// Not even listed: no argument would make a difference.
    Hidden,
}

impl Expect {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Hidden => "hidden",
        }
    }
}

impl Case {
    /// Who calls.
    pub fn caller(&self) -> Caller {
        Caller {
            principal: Principal::new(&self.principal),
            client: self.client.as_str().into(),
            conversation: None,
            era: self.era,
            transport: self.transport,
        }
    }
}

const KEYS: [&str; 10] = [
    "name",
    "principal",
    "client",
    "tool",
    "prompt",
    "resource",
    "args",
    "risk",
    "tainted",
    "expect",
];

pub(super) fn read(
    paper: &Arc<Paper>,
    top: &Section<'_>,
    notes: &mut Notes,
    policies: &mut Policies,
) {
    top.refuse_unknown(&["case"], notes);
    for section in tables(top, "case", "[[case]]", notes) {
        section.refuse_unknown(&KEYS, notes);
        let place = Place { paper: paper.clone(), span: section.span.clone() };
        policies.cases.extend(case(place, &section, notes));
    }
}

fn case(place: Place, section: &Section<'_>, notes: &mut Notes) -> Option<Case> {
    let words = [("allow", Expect::Allow), ("deny", Expect::Deny), ("hidden", Expect::Hidden)];
    let expect = section.word("expect", &words, notes);
    let target = target(section, notes);
    let missing = |what: &str, notes: &mut Notes| {
        let message = format!("a case needs {what}");
        notes.push(Note::new(Code::NoTarget, place.span.clone(), message).label("missing"));
    };
    if !section.has("expect") {
        missing("`expect`: \"allow\", \"deny\" or \"hidden\"", notes);
    }
    let text = |key, notes: &mut Notes| section.text(key, notes).map(|at| at.value.to_owned());
    let (name, principal) = (text("name", notes), text("principal", notes));
    let client = text("client", notes).unwrap_or_default();
    let risk = section.count("risk", 0..=100, notes).unwrap_or_default();
    let tainted = section.boolean("tainted", notes).unwrap_or_default();
    let arguments = section.json("args", notes).unwrap_or_else(|| "{}".to_owned());
    if principal.is_none() {
        missing("`principal`", notes);
    }
    let (server, subject) = target?;
    let arguments = match &subject {
        Subject::Resource(uri) => uri.as_str().to_owned(),
        Subject::Tool(_)
        | Subject::Prompt(_)
        | Subject::PromptArgument(_)
        | Subject::TemplateArgument(_)
        | Subject::Task(..) => arguments,
    };
    let name = name.unwrap_or_else(|| format!("{server}/{}", subject.as_str()));
    Some(Case {
        name,
        place,
        principal: principal?,
        client,
        era: Era::Modern,
        transport: Transport::Http,
        server,
        subject,
        arguments,
        risk: u8::try_from(risk).unwrap_or(u8::MAX),
        tainted,
        expect: expect?,
    })
}

/// Exactly one of `tool`, `prompt` and `resource`, each with its server before the first slash.
fn target(section: &Section<'_>, notes: &mut Notes) -> Option<(ServerName, Subject)> {
    let kinds = [("tool", Kind::Tool), ("prompt", Kind::Prompt), ("resource", Kind::Resource)];
    let written: Vec<_> = kinds
        .into_iter()
        .filter_map(|(key, kind)| section.text(key, notes).map(|at| (kind, at)))
        .collect();
    let [(kind, at)] = written.as_slice() else {
        let message = "a case needs exactly one of `tool`, `prompt` and `resource`";
        notes.push(Note::new(Code::NoTarget, section.span.clone(), message).label("not one"));
        return None;
    };
    let parsed = at.value.split_once('/').and_then(|(server, name)| {
        Some((ServerName::parse(server).ok()?, Subject::parse(*kind, name).ok()?))
    });
    if parsed.is_none() {
        let note = Note::new(Code::BadName, at.span.clone(), "not a server and a name of it");
        notes.push(note.label("not a name").help("write server/name, for example files/read_file"));
    }
    parsed
}
