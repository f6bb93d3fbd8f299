//! `*.toml`: rules for those who do not know Cedar.
//!
//! `[[allow]]` and `[[deny]]` say who may do what with which arguments. The gate writes them in
//! Cedar, and `policy show` prints that.

use std::sync::Arc;

use toml::{Spanned, de::DeValue};

use super::{Paper, Place, Policies};
use crate::{
    config::{
        Code,
        report::{Note, Notes},
        section::{Section, expect, quoted, tables},
    },
    domain::{Kind, ServerName, Subject},
};

/// One `[[allow]]` or `[[deny]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub effect: Effect,
    pub name: Option<String>,
    pub place: Place,
    /// Empty: everybody.
    pub who: Vec<Who>,
    /// Empty: everything.
    pub what: Vec<What>,
    /// All of them.
    pub arguments: Vec<ArgRule>,
    /// A condition in Cedar.
    pub when: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Allow,
    Deny,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    Group(String),
    Principal(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Everything that the server has.
    Server(ServerName),
    /// All its tools.
    Tools(ServerName),
    /// All its resources.
    Resources(ServerName),
    /// One tool or prompt.
    One(ServerName, Subject),
}

/// What an argument must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgRule {
    pub argument: String,
    pub test: ArgTest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArgTest {
    /// A path in this directory, or the directory itself.
    Under(String),
    /// Any other path.
    Outside(String),
    Is(Scalar),
    OneOf(Vec<Scalar>),
    /// With `*` for anything.
    Like(String),
    AtLeast(i64),
    AtMost(i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scalar {
    Text(String),
    Whole(i64),
    Truth(bool),
}

impl Effect {
    /// The key of its tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

const KEYS: [&str; 9] =
    ["name", "groups", "principals", "servers", "tools", "prompts", "resources", "args", "when"];
const TESTS: [&str; 7] = ["under", "outside", "is", "one_of", "like", "at_least", "at_most"];

pub(super) fn read(
    paper: &Arc<Paper>,
    top: &Section<'_>,
    notes: &mut Notes,
    policies: &mut Policies,
) {
    top.refuse_unknown(&["allow", "deny"], notes);
    for effect in [Effect::Allow, Effect::Deny] {
        let title = format!("[[{}]]", effect.as_str());
        for section in tables(top, effect.as_str(), &title, notes) {
            section.refuse_unknown(&KEYS, notes);
            let place = Place { paper: paper.clone(), span: section.span.clone() };
            let rule = Rule {
                effect,
                name: section.text("name", notes).map(|at| at.value.to_owned()),
                place,
                who: who(&section, notes),
                what: what(&section, notes),
                arguments: arguments(&section, notes),
                when: section.text("when", notes).map(|at| at.value.to_owned()),
            };
            policies.rules.push(rule);
        }
    }
    // As they stand in the file, not by what they say.
    policies.rules.sort_by(|a, b| {
        let key = |rule: &Rule| (rule.place.paper.path.clone(), rule.place.span.start);
        key(a).cmp(&key(b))
    });
}

fn who(section: &Section<'_>, notes: &mut Notes) -> Vec<Who> {
    let mut who = Vec::new();
    for at in section.texts("groups", notes).unwrap_or_default() {
        who.push(Who::Group(at.value.to_owned()));
    }
    for at in section.texts("principals", notes).unwrap_or_default() {
        who.push(Who::Principal(at.value.to_owned()));
    }
    for key in ["groups", "principals"] {
        refuse_empty(section, key, notes);
    }
    who
}

/// An empty list would read as everybody or everything.
fn refuse_empty(section: &Section<'_>, key: &str, notes: &mut Notes) {
    let Some((_, value)) = section.entry(key) else { return };
    if value.get_ref().as_array().is_some_and(|list| list.is_empty()) {
        let note = Note::new(Code::BadValue, value.span(), format!("`{key}` names nobody"));
        notes.push(note.label("empty").help("leave the key out, or name at least one"));
    }
}

fn what(section: &Section<'_>, notes: &mut Notes) -> Vec<What> {
    let mut what = Vec::new();
    for (key, kind) in [
        ("tools", Some(Kind::Tool)),
        ("prompts", Some(Kind::Prompt)),
        ("resources", None),
        ("servers", None),
    ] {
        refuse_empty(section, key, notes);
        for at in section.texts(key, notes).unwrap_or_default() {
            let found = match kind {
                Some(kind) => one(kind, at.value),
                None => ServerName::parse(at.value).ok().map(|server| match key {
                    "servers" => What::Server(server),
                    _ => What::Resources(server),
                }),
            };
            if found.is_none() {
                let shown = at.value.escape_debug();
                let note =
                    Note::new(Code::BadName, at.span, format!("`{shown}` is none of `{key}`"));
                let help = match kind {
                    Some(_) => "write server/name, or server/* for all tools of a server",
                    None => "write the name of a server",
                };
                notes.push(note.label("not a name").help(help));
            }
            what.extend(found);
        }
    }
    what
}

fn one(kind: Kind, text: &str) -> Option<What> {
    let (server, name) = text.split_once('/')?;
    let server = ServerName::parse(server).ok()?;
    if name == "*" && kind == Kind::Tool {
        return Some(What::Tools(server));
    }
    Some(What::One(server, Subject::parse(kind, name).ok()?))
}

fn arguments(section: &Section<'_>, notes: &mut Notes) -> Vec<ArgRule> {
    let table = section.section("args", "args", notes);
    let mut rules = Vec::new();
    for (argument, _) in table.entries() {
        let title = format!("args.{}", argument.value.escape_debug());
        let tests = table.section(argument.value, &title, notes);
        tests.refuse_unknown(&TESTS, notes);
        for (key, value) in tests.entries() {
            let test = test(key.value, &tests, value, notes);
            let argument = argument.value.to_owned();
            rules.extend(test.map(|test| ArgRule { argument, test }));
        }
    }
    rules
}

fn test(
    key: &str,
    tests: &Section<'_>,
    value: &Spanned<DeValue<'_>>,
    notes: &mut Notes,
) -> Option<ArgTest> {
    let text = |notes: &mut Notes| tests.text(key, notes).map(|at| at.value.to_owned());
    match key {
        "under" => text(notes).map(ArgTest::Under),
        "outside" => text(notes).map(ArgTest::Outside),
        "like" => text(notes).map(ArgTest::Like),
        "is" => scalar(key, value, notes).map(ArgTest::Is),
        "one_of" => {
            let list = expect(&quoted(key), value, "an array", DeValue::as_array, notes)?;
            let scalars = list.iter().map(|one| scalar("an element", one, notes));
            scalars.collect::<Option<_>>().map(ArgTest::OneOf)
        }
        "at_least" => whole(key, value, notes).map(ArgTest::AtLeast),
        "at_most" => whole(key, value, notes).map(ArgTest::AtMost),
        _ => None,
    }
}

fn whole(key: &str, value: &Spanned<DeValue<'_>>, notes: &mut Notes) -> Option<i64> {
    let number = expect(&quoted(key), value, "an integer", DeValue::as_integer, notes)?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn scalar(key: &str, value: &Spanned<DeValue<'_>>, notes: &mut Notes) -> Option<Scalar> {
    if let Some(text) = value.get_ref().as_str() {
        return Some(Scalar::Text(text.to_owned()));
    }
    if let Some(truth) = value.get_ref().as_bool() {
        return Some(Scalar::Truth(truth));
    }
    whole(key, value, notes).map(Scalar::Whole)
}
