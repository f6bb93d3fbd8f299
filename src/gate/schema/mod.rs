//! Whether a call's arguments fit the tool's `inputSchema`.
//!
//! The schema comes from a server and is not trusted: its size, depth and expressions are
//! bounded, nothing outside it is ever fetched, and one that does not compile leaves the tool
//! uncallable. What is checked is what its reader has: a number that not everybody reads alike, if
//! the schema says which fit, does not, nor does a key that somebody takes for one that the schema
//! names. Patterns run in linear time where they can.

mod budget;
mod cost;
mod names;
mod numbers;
mod refs;
#[cfg(test)]
mod tests;

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

use crate::domain::limits;
pub use budget::SchemaBudget;
use cost::{Cost, Extent};
use names::Names;

/// A compiled `inputSchema`.
#[derive(Debug)]
pub struct Schema {
    /// `None`: everything that is an object fits.
    checker: Option<Checker>,
}

#[derive(Debug)]
struct Checker {
    validator: Validator,
    cost: Cost,
    names: Names,
    judges_numbers: bool,
    engine: Engine,
}

/// Why a schema cannot be used; its tool cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("the schema has {bytes} bytes; at most {} are allowed", limits::SCHEMA_BYTES_MAX)]
    TooBig { bytes: usize },
    #[error("the schema is not JSON that we can read")]
    Json { source: serde_json::Error },
    #[error("the schema names the dialect {dialect}; known are {DIALECTS}")]
    Dialect { dialect: String },
    #[error("the schema {what}")]
    Unbounded { what: &'static str },
    #[error("the schemas of its server {what}")]
    Budget { what: &'static str },
    #[error("the schema cannot be compiled: {reason}")]
    Compile { reason: String },
}

impl SchemaError {
    /// Whether the schemas before this one have used up what their server may cost.
    pub fn is_budget(&self) -> bool {
        matches!(self, Self::Budget { .. })
    }
}

impl Schema {
    /// One schema alone.
    pub fn compile(input_schema: &[u8]) -> Result<Self, SchemaError> {
        Self::compile_within(input_schema, &mut SchemaBudget::open())
    }

    /// One of the schemas of a server.
    pub fn compile_within(
        input_schema: &[u8],
        budget: &mut SchemaBudget,
    ) -> Result<Self, SchemaError> {
        let over = |what| SchemaError::Budget { what };
        budget.draw(input_schema.len()).map_err(over)?;
        if input_schema.len() > limits::SCHEMA_BYTES_MAX {
            return Err(SchemaError::TooBig { bytes: input_schema.len() });
        }
        let schema: Value =
            serde_json::from_slice(input_schema).map_err(|source| SchemaError::Json { source })?;
        if accepts_every_object(&schema) {
            return Ok(Self { checker: None });
        }
        let draft = dialect(&schema)?;
        let n_patterns = regexes(&schema);
        if n_patterns > limits::SCHEMA_REGEXES_MAX {
            return Err(SchemaError::Unbounded { what: "has too many patterns" });
        }
        let cost = Cost::of(&schema).map_err(|what| SchemaError::Unbounded { what })?;
        let mut reason = String::new();
        for (engine, each) in attempts(n_patterns) {
            budget.draw_patterns(n_patterns, each).map_err(over)?;
            match build(&schema, draft, engine, each) {
                Ok(validator) => {
                    let checker = Checker {
                        validator,
                        cost,
                        names: Names::of(&schema, input_schema.len()),
                        judges_numbers: numbers::are_judged(&schema),
                        engine,
                    };
                    return Ok(Self { checker: Some(checker) });
                }
                Err(why) if reason.is_empty() => reason = why,
                Err(_) => {}
            }
        }
        Err(SchemaError::Compile { reason })
    }

    /// `arguments` is the text of one JSON object. The error is a sentence for the caller.
    pub fn check(&self, arguments: &[u8]) -> Result<(), String> {
        let Some(checker) = &self.checker else { return Ok(()) };
        let Ok(value) = serde_json::from_slice::<Value>(arguments) else {
            return Err("the arguments are not JSON that can be checked".to_owned());
        };
        let long = checker.engine == Engine::Backtracking
            && arguments.len() > limits::SCHEMA_BACKTRACK_BYTES_MAX;
        let extent = Extent::of(&value);
        if long || !checker.cost.allows(extent) {
            return Err("the arguments are too large or too deep for the tool's schema".to_owned());
        }
        if checker.judges_numbers && extent.has_doubles && !numbers::are_exact(arguments) {
            return Err("a number has more digits, or is larger, than everybody reads".to_owned());
        }
        if let Some(key) = checker.names.near_miss(&value) {
            let key = shown(key);
            return Err(format!("`{key}` is nearly, but not, a name in the tool's schema"));
        }
        if checker.validator.is_valid(&value) {
            return Ok(());
        }
        Err(checker.validator.validate(&value).map_or_else(
            |error| sentence(error.instance_path().as_str(), error.kind().keyword()),
            |()| sentence("", "schema"),
        ))
    }
}

/// What the patterns run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    /// Time in proportion to the text, whatever the pattern.
    Linear,
    /// What look-around needs; counted and cut off.
    Backtracking,
}

/// Nearly every pattern is small: only one that is not gets, and costs its server, more room.
fn attempts(n_patterns: usize) -> [(Engine, usize); 3] {
    let share = limits::SCHEMA_REGEXES_BYTES_MAX / n_patterns.max(1);
    let most = share.min(limits::SCHEMA_REGEX_BYTES_MAX);
    let little = most.min(limits::SCHEMA_REGEX_BYTES_USUAL);
    [(Engine::Linear, little), (Engine::Linear, most), (Engine::Backtracking, most)]
}

fn build(schema: &Value, draft: Draft, engine: Engine, bytes: usize) -> Result<Validator, String> {
    // Formats are notes to the reader here, as 2020-12 has it: the server judges them itself.
    let options = jsonschema::options().with_draft(draft).should_validate_formats(false).offline();
    let options = match engine {
        Engine::Linear => options
            .with_pattern_options(PatternOptions::regex().size_limit(bytes).dfa_size_limit(bytes)),
        Engine::Backtracking => options.with_pattern_options(
            PatternOptions::fancy_regex()
                .backtrack_limit(limits::SCHEMA_BACKTRACKS_MAX)
                .size_limit(bytes)
                .dfa_size_limit(bytes),
        ),
    };
    options.build(schema).map_err(|error| shown(&error.to_string()))
}

/// How many expressions a schema has; a few that are none are counted, too.
fn regexes(value: &Value) -> usize {
    match value {
        Value::Object(members) => members.iter().fold(0, |sum, (key, member)| {
            let here = match (key.as_str(), member) {
                ("pattern", Value::String(_)) => 1,
                ("patternProperties", Value::Object(patterns)) => patterns.len(),
                _ => 0,
            };
            sum.saturating_add(here).saturating_add(regexes(member))
        }),
        Value::Array(items) => items.iter().map(regexes).fold(0, usize::saturating_add),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Names the place and the rule, never the value.
fn sentence(pointer: &str, keyword: &str) -> String {
    let rule = shown(keyword);
    if pointer.is_empty() {
        return format!("the arguments do not satisfy `{rule}` of the tool's schema");
    }
    format!("argument `{}` does not satisfy `{rule}` of the tool's schema", shown(pointer))
}

fn accepts_every_object(schema: &Value) -> bool {
    match schema {
        Value::Bool(all) => *all,
        Value::Object(members) => members.is_empty(),
        Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) => false,
    }
}

fn dialect(schema: &Value) -> Result<Draft, SchemaError> {
    let Some(named) = schema.get("$schema") else { return Ok(Draft::Draft202012) };
    let name = named.as_str().unwrap_or_default();
    match name.trim_end_matches('#') {
        "https://json-schema.org/draft/2020-12/schema" => Ok(Draft::Draft202012),
        "https://json-schema.org/draft/2019-09/schema" => Ok(Draft::Draft201909),
        "http://json-schema.org/draft-07/schema" | "https://json-schema.org/draft-07/schema" => {
            Ok(Draft::Draft7)
        }
        "http://json-schema.org/draft-06/schema" => Ok(Draft::Draft6),
        "http://json-schema.org/draft-04/schema" => Ok(Draft::Draft4),
        _ => Err(SchemaError::Dialect { dialect: shown(&named.to_string()) }),
    }
}

/// A stranger's text as it may appear in a sentence of ours.
fn shown(text: &str) -> String {
    let escaped = text.escape_debug().to_string();
    if escaped.chars().count() <= SHOWN_CHARS_MAX {
        return escaped;
    }
    escaped.chars().take(SHOWN_CHARS_MAX).chain(['…']).collect()
}

const DIALECTS: &str = "2020-12, 2019-09 and draft-07, -06, -04";
const SHOWN_CHARS_MAX: usize = 64;
