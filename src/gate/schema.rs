//! Whether a call's arguments fit the tool's `inputSchema`.
//!
//! The schema comes from a server and is not trusted: its size, depth and expressions are
//! bounded, nothing outside it is ever fetched, and one that does not compile leaves the tool
//! uncallable. Integers beyond 64 bits are compared as doubles here; the bytes that are
//! forwarded stay as they were written.

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

use crate::domain::limits;

/// A compiled `inputSchema`.
#[derive(Debug)]
pub struct Schema {
    /// `None`: everything that is an object fits.
    validator: Option<Validator>,
}

/// Why a schema cannot be used; its tool cannot be called.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("the schema has {bytes} bytes; at most {} are allowed", limits::SCHEMA_BYTES_MAX)]
    TooBig { bytes: usize },
    #[error("the schema is not JSON that we can read")]
    Json { source: serde_json::Error },
    #[error(
        "the schema names the dialect {dialect}; known are 2020-12, 2019-09 and draft-07, -06, -04"
    )]
    Dialect { dialect: String },
    #[error("the schema cannot be compiled: {reason}")]
    Compile { reason: String },
}

impl Schema {
    pub fn compile(input_schema: &[u8]) -> Result<Self, SchemaError> {
        if input_schema.len() > limits::SCHEMA_BYTES_MAX {
            return Err(SchemaError::TooBig { bytes: input_schema.len() });
        }
        let schema: Value =
            serde_json::from_slice(input_schema).map_err(|source| SchemaError::Json { source })?;
        if accepts_every_object(&schema) {
            return Ok(Self { validator: None });
        }
        let validator = jsonschema::options()
            .with_draft(dialect(&schema)?)
            .offline()
            .with_pattern_options(
                PatternOptions::regex()
                    .size_limit(limits::SCHEMA_REGEX_BYTES_MAX)
                    .dfa_size_limit(limits::SCHEMA_REGEX_BYTES_MAX),
            )
            .build(&schema)
            .map_err(|e| SchemaError::Compile { reason: shown(&e.to_string()) })?;
        Ok(Self { validator: Some(validator) })
    }

    /// `arguments` is the text of one JSON object. The error is a sentence for the caller.
    pub fn check(&self, arguments: &[u8]) -> Result<(), String> {
        let Some(validator) = &self.validator else { return Ok(()) };
        let Ok(arguments) = serde_json::from_slice::<Value>(arguments) else {
            return Err("the arguments are not JSON that can be checked".to_owned());
        };
        validator.validate(&arguments).map_err(|error| {
            let place = shown(error.instance_path().as_str());
            let place = if place.is_empty() { "the arguments".to_owned() } else { place };
            format!("{place} does not satisfy `{}` of the tool's schema", error.kind().keyword())
        })
    }
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

const SHOWN_CHARS_MAX: usize = 64;
