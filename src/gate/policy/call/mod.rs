//! A call as policies see it: `context`, its types and its values.
//!
//! What a server says of a tool is read once, when it is listed. Of a call only what a policy of
//! its slice looks at is taken apart. A value that cannot be judged is an error that denies, never
//! a value that is left out.

mod mentions;
mod path;
mod typing;

use bytes::Bytes;
use cedar_policy::{Context, RestrictedExpression};
use serde_json::{Value, json};

use self::typing::{Fields, parse};
use super::{Asked, Taint, names::ActionName};
use crate::domain::{Era, Subject};

pub(super) use mentions::Mentions;
use mentions::Parts;
pub(super) use path::canonical;
use typing::{Members, Shape};

/// What is known of what an action takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Typed {
    input: Members,
    hints: Hints,
    /// Whether members that nobody typed are taken as they come.
    takes: Takes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Typed,
    Anything,
}

/// What the server says of a tool; what it does not say, as the specification assumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hints([(&'static str, bool); 4]);

/// An argument that a policy looks at and that cannot be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unjudged(pub(super) String);

const HINTS: [(&str, bool); 4] = [
    ("readOnlyHint", false),
    ("destructiveHint", true),
    ("idempotentHint", false),
    ("openWorldHint", true),
];

impl Typed {
    /// Of a tool or a prompt, by its definition.
    pub(super) fn of(action: &ActionName, definition: &Bytes) -> Self {
        let whole: Value = serde_json::from_slice(definition).unwrap_or_default();
        let input = match action {
            ActionName::Tool(..) => {
                let schema = whole.get("inputSchema").unwrap_or(&Value::Null);
                Members::of_schema(schema, schema)
            }
            ActionName::Prompt(..) => {
                let arguments = whole.get("arguments").and_then(Value::as_array);
                let names = arguments.into_iter().flatten();
                Members::of_texts(names.filter_map(|one| one.get("name")?.as_str()))
            }
            ActionName::Resources(_) => Members::default(),
        };
        let said = |(name, default): (&'static str, bool)| {
            let hint = whole.pointer(&format!("/annotations/{name}"));
            (name, hint.and_then(Value::as_bool).unwrap_or(default))
        };
        Self { input, hints: Hints(HINTS.map(said)), takes: Takes::Typed }
    }

    /// Of what no server has described.
    pub(super) fn unknown() -> Self {
        Self { input: Members::default(), hints: Hints(HINTS), takes: Takes::Anything }
    }

    /// The record type of `context`, in Cedar's JSON.
    pub(super) fn context_type(&self, action: &ActionName) -> Value {
        let text = json!({ "type": "String", "required": true });
        let truth = json!({ "type": "Boolean", "required": true });
        let hints: serde_json::Map<_, _> =
            HINTS.iter().map(|(name, _)| ((*name).to_owned(), truth.clone())).collect();
        let mut attributes = json!({
            "client": text, "era": text, "transport": text, "method": text,
            "risk": { "type": "Long", "required": true },
            "tainted": truth, "approved": truth,
            "annotations": { "type": "Record", "attributes": hints, "required": true },
            "input": self.input.to_cedar(),
            "paths": Members::of_texts(self.path_names(action)).to_cedar(),
        });
        if let (ActionName::Resources(_), Some(all)) = (action, attributes.as_object_mut()) {
            all.insert("uri".to_owned(), text);
        }
        json!({ "type": "Record", "attributes": attributes })
    }

    /// The arguments that are paths.
    fn path_names(&self, action: &ActionName) -> impl Iterator<Item = &str> {
        let uri = matches!(action, ActionName::Resources(_)).then_some("uri");
        let is_path = |name: &&str| {
            self.input.get(name) == Some(&Shape::Text) && path::is_named_like_one(name)
        };
        self.input.names().filter(is_path).chain(uri)
    }

    /// What the policies see of a call.
    pub(super) fn context(
        &self,
        asked: &Asked<'_>,
        mentions: &Mentions,
    ) -> Result<Context, Unjudged> {
        let mut pairs = Vec::new();
        for (name, value) in self.circumstances(asked) {
            if mentions.others.has(name) {
                pairs.push((name.to_owned(), value.value()?));
            }
        }
        if mentions.is_typed() {
            let taken = Taken::of(self, asked)?;
            // Of what has a schema, it has found these already.
            if let Some(name) = taken.fields.keys().find(|name| mentions.is_almost(name)) {
                return Err(Unjudged(format!("the argument `{name}`")));
            }
            pairs.push(("input".to_owned(), taken.input(&mentions.input)?));
            pairs.push(("paths".to_owned(), taken.paths(&mentions.paths)?));
        }
        Context::from_pairs(pairs).map_err(|_| Unjudged("the call".to_owned()))
    }

    /// All but the arguments.
    fn circumstances<'a>(
        &self,
        asked: &'a Asked<'_>,
    ) -> impl Iterator<Item = (&'static str, Circumstance<'a>)> {
        let era = match asked.caller.era {
            Era::Modern => "modern",
            Era::Legacy => "legacy",
        };
        let uri = match asked.subject {
            Subject::Resource(uri) | Subject::TemplateArgument(uri) => Some(uri.as_str()),
            Subject::Tool(_)
            | Subject::Prompt(_)
            | Subject::PromptArgument(_)
            | Subject::Task(..) => None,
        };
        [
            ("client", Circumstance::Text(&asked.caller.client)),
            ("era", Circumstance::Text(era)),
            ("transport", Circumstance::Text(asked.caller.transport.as_str())),
            ("method", Circumstance::Text(asked.method)),
            ("risk", Circumstance::Number(asked.facts.risk)),
            ("tainted", Circumstance::Truth(asked.facts.taint == Taint::Tainted)),
            ("approved", Circumstance::Truth(asked.facts.is_approved)),
            ("annotations", Circumstance::Hints(self.hints)),
        ]
        .into_iter()
        .chain(uri.map(|uri| ("uri", Circumstance::Text(uri))))
    }
}

/// One member of `context`.
enum Circumstance<'a> {
    Text(&'a str),
    Number(u8),
    Truth(bool),
    Hints(Hints),
}

impl Circumstance<'_> {
    fn value(&self) -> Result<RestrictedExpression, Unjudged> {
        Ok(match self {
            Self::Text(text) => RestrictedExpression::new_string((*text).to_owned()),
            Self::Number(number) => RestrictedExpression::new_long((*number).into()),
            Self::Truth(truth) => RestrictedExpression::new_bool(*truth),
            Self::Hints(Hints(hints)) => {
                let hint = |(name, truth): &(&str, bool)| {
                    ((*name).to_owned(), RestrictedExpression::new_bool(*truth))
                };
                return record(hints.iter().map(hint).collect());
            }
        })
    }
}

/// The arguments of one call, taken apart.
struct Taken<'a> {
    typed: &'a Typed,
    fields: Fields<'a>,
    /// What was asked for, where that is a URI.
    uri: Option<&'a str>,
}

impl<'a> Taken<'a> {
    fn of(typed: &'a Typed, asked: &'a Asked<'_>) -> Result<Self, Unjudged> {
        let none = |uri| Ok(Self { typed, fields: Fields::new(), uri });
        match asked.subject {
            Subject::Resource(uri) | Subject::TemplateArgument(uri) => none(Some(uri.as_str())),
            // What is completed is no argument yet.
            Subject::PromptArgument(_) | Subject::Task(..) => none(None),
            Subject::Tool(_) | Subject::Prompt(_) => {
                let text = std::str::from_utf8(asked.arguments).ok();
                let fields = text.and_then(|text| parse(text).ok());
                let fields = fields.ok_or_else(|| Unjudged("the arguments".to_owned()))?;
                Ok(Self { typed, fields, uri: None })
            }
        }
    }

    fn shape(&self, name: &str) -> Option<&Shape> {
        match self.typed.takes {
            Takes::Typed => self.typed.input.get(name),
            Takes::Anything => Some(&Shape::Any),
        }
    }

    fn input(&self, wanted: &Parts) -> Result<RestrictedExpression, Unjudged> {
        let mut members = Vec::new();
        for (name, value) in self.fields.iter().filter(|(name, _)| wanted.has(name)) {
            let Some(shape) = self.shape(name) else { continue };
            let taken =
                shape.take(value).map_err(|_| Unjudged(format!("the argument `{name}`")))?;
            members.extend(taken.map(|taken| (name.clone(), taken)));
        }
        record(members)
    }

    fn paths(&self, wanted: &Parts) -> Result<RestrictedExpression, Unjudged> {
        let mut members = Vec::new();
        for (name, value) in self.fields.iter().filter(|(name, _)| wanted.has(name)) {
            let is_text = matches!(self.shape(name), Some(Shape::Text | Shape::Any));
            if !is_text || !path::is_named_like_one(name) || value.get() == "null" {
                continue;
            }
            let unjudged = || Unjudged(format!("the path `{name}`"));
            let text: String = parse(value.get()).map_err(|_| unjudged())?;
            let path = canonical(&text).map_err(|_| unjudged())?;
            members.push((name.clone(), RestrictedExpression::new_string(path)));
        }
        if let Some(uri) = self.uri.filter(|_| wanted.has("uri"))
            && uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("file:"))
        {
            let path = canonical(uri).map_err(|_| Unjudged("the path of the URI".to_owned()))?;
            members.push(("uri".to_owned(), RestrictedExpression::new_string(path)));
        }
        record(members)
    }
}

fn record(members: Vec<(String, RestrictedExpression)>) -> Result<RestrictedExpression, Unjudged> {
    RestrictedExpression::new_record(members).map_err(|_| Unjudged("the arguments".to_owned()))
}
