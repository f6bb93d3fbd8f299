//! What the arguments of a tool look like to a policy: types for the validator, values for a call.
//!
//! Made from the tool's own schema. What Cedar has no type for (unions, anything goes) is no part
//! of it: a policy that names it is a mistake, and is found when it is loaded. A value that does
//! not have its type cannot be judged.

use std::collections::BTreeMap;

use cedar_policy::RestrictedExpression;
use serde_json::{Map, Value, json, value::RawValue};

use crate::domain::limits::POLICY_TYPE_DEPTH_MAX;

/// The type of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gate::policy) enum Shape {
    Text,
    Whole,
    Truth,
    /// Any number, to four places.
    Decimal,
    Set(Box<Self>),
    Record(Members),
    /// Nobody said: by what it looks like.
    Any,
}

/// The typed members of an object, and which of them are always there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::gate::policy) struct Members(BTreeMap<String, (Shape, Presence)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gate::policy) enum Presence {
    Always,
    Maybe,
}

/// It has not the type that was said, or none that Cedar has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gate::policy) struct Untyped;

impl Members {
    /// Of an object's schema; `whole` is where local references point to.
    pub(in crate::gate::policy) fn of_schema(schema: &Value, whole: &Value) -> Self {
        Self::read(schema, whole, 0)
    }

    /// Texts that may all be missing, as a prompt's are.
    pub(in crate::gate::policy) fn of_texts<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        Self(names.map(|name| (name.to_owned(), (Shape::Text, Presence::Maybe))).collect())
    }

    fn read(schema: &Value, whole: &Value, depth: usize) -> Self {
        let required = schema.get("required").and_then(Value::as_array);
        let is_required = |name: &str| {
            required.is_some_and(|names| names.iter().any(|one| one.as_str() == Some(name)))
        };
        let properties = schema.get("properties").and_then(Value::as_object);
        let mut members = BTreeMap::new();
        for (name, schema) in properties.into_iter().flatten() {
            if let Some((shape, presence)) = read(schema, whole, depth) {
                let is_always = is_required(name) && presence == Presence::Always;
                let presence = if is_always { Presence::Always } else { Presence::Maybe };
                members.insert(name.clone(), (shape, presence));
            }
        }
        Self(members)
    }

    pub(in crate::gate::policy) fn get(&self, name: &str) -> Option<&Shape> {
        self.0.get(name).map(|(shape, _)| shape)
    }

    pub(in crate::gate::policy) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// As Cedar's schemas have it.
    pub(in crate::gate::policy) fn to_cedar(&self) -> Value {
        let member = |(name, (shape, presence)): (&String, &(Shape, Presence))| {
            let mut cedar = shape.to_cedar();
            if let Some(cedar) = cedar.as_object_mut() {
                cedar.insert("required".to_owned(), (*presence == Presence::Always).into());
            }
            (name.clone(), cedar)
        };
        let attributes: Map<_, _> = self.0.iter().map(member).collect();
        json!({ "type": "Record", "attributes": attributes })
    }
}

impl Shape {
    fn to_cedar(&self) -> Value {
        match self {
            Self::Text | Self::Any => json!({ "type": "String" }),
            Self::Whole => json!({ "type": "Long" }),
            Self::Truth => json!({ "type": "Boolean" }),
            Self::Decimal => json!({ "type": "Extension", "name": "decimal" }),
            Self::Set(of) => json!({ "type": "Set", "element": of.to_cedar() }),
            Self::Record(members) => members.to_cedar(),
        }
    }

    /// The value as policies see it; `None` for what counts as not there. From its own text: what
    /// is judged is what is written, digit by digit.
    pub(in crate::gate::policy) fn take(
        &self,
        value: &RawValue,
    ) -> Result<Option<RestrictedExpression>, Untyped> {
        let text = value.get();
        let first = text.bytes().next().ok_or(Untyped)?;
        Ok(Some(match (self, first) {
            (_, b'n') => return Ok(None),
            (Self::Text | Self::Any, b'"') => {
                RestrictedExpression::new_string(parse::<String>(text)?)
            }
            (Self::Truth | Self::Any, b't' | b'f') => RestrictedExpression::new_bool(parse(text)?),
            (Self::Decimal, b'-' | b'0'..=b'9') => decimal(text).ok_or(Untyped)?,
            (Self::Whole, b'-' | b'0'..=b'9') => whole(text).ok_or(Untyped)?,
            (Self::Any, b'-' | b'0'..=b'9') => {
                whole(text).or_else(|| decimal(text)).ok_or(Untyped)?
            }
            (Self::Set(of), b'[') => set(of, text)?,
            (Self::Any, b'[') => set(self, text)?,
            (Self::Record(members), b'{') => record(text, |name| members.get(name))?,
            (Self::Any, b'{') => record(text, |_| Some(self))?,
            (
                Self::Text
                | Self::Whole
                | Self::Truth
                | Self::Decimal
                | Self::Set(_)
                | Self::Record(_)
                | Self::Any,
                _,
            ) => return Err(Untyped),
        }))
    }
}

/// The members of an object, each as it is written.
pub(in crate::gate::policy) type Fields<'a> = BTreeMap<String, &'a RawValue>;

pub(in crate::gate::policy) fn parse<'a, T: serde::Deserialize<'a>>(
    text: &'a str,
) -> Result<T, Untyped> {
    serde_json::from_str(text).map_err(|_| Untyped)
}

fn set(of: &Shape, text: &str) -> Result<RestrictedExpression, Untyped> {
    let list: Vec<&RawValue> = parse(text)?;
    let one = |value| of.take(value)?.ok_or(Untyped);
    let all: Vec<_> = list.into_iter().map(one).collect::<Result<_, _>>()?;
    Ok(RestrictedExpression::new_set(all))
}

fn record<'s>(
    text: &str,
    shape: impl Fn(&str) -> Option<&'s Shape>,
) -> Result<RestrictedExpression, Untyped> {
    let mut fields = Vec::new();
    for (name, value) in parse::<Fields<'_>>(text)? {
        let Some(shape) = shape(&name) else { continue };
        if let Some(value) = shape.take(value)? {
            fields.push((name, value));
        }
    }
    RestrictedExpression::new_record(fields).map_err(|_| Untyped)
}

/// JSON Schema calls `5.0` an integer as well.
fn whole(text: &str) -> Option<RestrictedExpression> {
    let text = match text.split_once('.') {
        Some((whole, zeros)) if zeros.bytes().all(|digit| digit == b'0') => whole,
        Some(_) => return None,
        None => text,
    };
    text.parse().ok().map(RestrictedExpression::new_long)
}

/// Exactly, or not at all.
fn decimal(text: &str) -> Option<RestrictedExpression> {
    const PLACES: usize = 4;
    // Cedar's decimal is an i64 of ten-thousandths.
    const WHOLE_MAX: u64 = 900_000_000_000_000;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let fraction = match fraction.trim_end_matches('0') {
        "" => "0",
        fraction => fraction,
    };
    let is_plain = fraction.bytes().all(|c| c.is_ascii_digit()) && fraction.len() <= PLACES;
    let fits = whole.parse::<i64>().is_ok_and(|whole| whole.unsigned_abs() < WHOLE_MAX);
    (is_plain && fits).then(|| RestrictedExpression::new_decimal(format!("{whole}.{fraction}")))
}

/// A schema's type, and whether a value that is there may still count as missing.
fn read(schema: &Value, whole: &Value, depth: usize) -> Option<(Shape, Presence)> {
    if depth > POLICY_TYPE_DEPTH_MAX {
        return None;
    }
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = whole.pointer(reference.strip_prefix('#')?)?;
        return read(target, whole, depth + 1);
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(choices) = schema.get(key).and_then(Value::as_array) {
            let is_null = |one: &&Value| one.get("type").and_then(Value::as_str) == Some("null");
            let others: Vec<_> = choices.iter().filter(|one| !is_null(one)).collect();
            // Anything else is a union.
            let [only] = others.as_slice() else { return None };
            return Some((read(only, whole, depth + 1)?.0, Presence::Maybe));
        }
    }
    match schema.get("type") {
        Some(Value::String(name)) => Some((named(name, schema, whole, depth)?, Presence::Always)),
        Some(Value::Array(names)) => {
            let names: Vec<_> = names.iter().filter_map(Value::as_str).collect();
            let others: Vec<_> = names.iter().filter(|name| **name != "null").collect();
            let [only] = others.as_slice() else { return None };
            let presence =
                if names.len() == others.len() { Presence::Always } else { Presence::Maybe };
            Some((named(only, schema, whole, depth)?, presence))
        }
        _ => None,
    }
}

fn named(name: &str, schema: &Value, whole: &Value, depth: usize) -> Option<Shape> {
    Some(match name {
        "string" => Shape::Text,
        "integer" => Shape::Whole,
        "boolean" => Shape::Truth,
        "number" => Shape::Decimal,
        "array" => {
            let (of, presence) = read(schema.get("items")?, whole, depth + 1)?;
            // A null among the elements has no type.
            (presence == Presence::Always).then(|| Shape::Set(Box::new(of)))?
        }
        "object" => Shape::Record(Members::read(schema, whole, depth + 1)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json, value::RawValue};

    use super::Members;

    fn members(schema: &Value) -> Members {
        Members::of_schema(schema, schema)
    }

    #[test]
    fn a_schema_becomes_types_and_what_has_none_is_left_out() {
        let schema = json!({
            "type": "object",
            "properties": {
                "path": { "type": "string" },
                "depth": { "type": "integer" },
                "deep": { "type": ["boolean", "null"] },
                "ratio": { "anyOf": [{ "type": "number" }, { "type": "null" }] },
                "tags": { "type": "array", "items": { "type": "string" } },
                "where": { "$ref": "#/$defs/Place" },
                "either": { "anyOf": [{ "type": "string" }, { "type": "integer" }] },
                "anything": {},
                "loop": { "$ref": "#/$defs/Loop" },
            },
            "required": ["path", "deep", "where"],
            "$defs": {
                "Place": { "type": "object", "properties": { "x": { "type": "integer" } } },
                "Loop": { "$ref": "#/$defs/Loop" },
            },
        });
        let cedar = members(&schema).to_cedar();
        let attributes = cedar["attributes"].as_object().unwrap();
        let told = |(name, of): (&String, &Value)| {
            let kind = of["name"].as_str().or(of["type"].as_str()).unwrap().to_owned();
            let mark = if of["required"] == true { "" } else { "?" };
            format!("{name}{mark}: {kind}")
        };
        let told: Vec<_> = attributes.iter().map(told).collect();
        let want = [
            "deep?: Boolean",
            "depth?: Long",
            "path: String",
            "ratio?: decimal",
            "tags?: Set",
            "where: Record",
        ];
        assert_eq!(told, want);
    }

    #[test]
    fn a_value_has_its_type_or_is_not_judged() {
        let table = [
            (json!({ "type": "integer" }), "5", "ok"),
            (json!({ "type": "integer" }), "5.0", "ok"),
            (json!({ "type": "integer" }), "5.5", "untyped"),
            (json!({ "type": "integer" }), "9223372036854775808", "untyped"),
            (json!({ "type": "integer" }), "\"5\"", "untyped"),
            (json!({ "type": "number" }), "0.1", "ok"),
            (json!({ "type": "number" }), "-12.34560", "ok"),
            (json!({ "type": "number" }), "0.12345", "untyped"),
            (json!({ "type": "number" }), "1e3", "untyped"),
            (json!({ "type": "number" }), "1.00000000000000000001", "untyped"),
            (json!({ "type": "string" }), "null", "missing"),
            (json!({ "type": "string" }), "7", "untyped"),
            (json!({ "type": "array", "items": { "type": "integer" } }), "[1,2]", "ok"),
            (json!({ "type": "array", "items": { "type": "integer" } }), "[1,\"2\"]", "untyped"),
            (json!({ "type": "array", "items": { "type": "integer" } }), "[1,null]", "untyped"),
            (json!({ "type": "object", "properties": {} }), "{\"x\":[]}", "ok"),
        ];
        for (schema, text, want) in table {
            let whole = json!({ "properties": { "a": schema } });
            let members = members(&whole);
            let raw = RawValue::from_string(text.to_owned()).unwrap();
            let got = match members.get("a").unwrap().take(&raw) {
                Ok(Some(_)) => "ok",
                Ok(None) => "missing",
                Err(_) => "untyped",
            };
            assert_eq!(got, want, "{schema} {text}");
        }
    }
}
