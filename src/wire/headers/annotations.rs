//! `x-mcp-header` in the input schema of a tool: which arguments are repeated in headers.
//!
//! The annotation stands on a property that is a string, an integer or a boolean and is reached
//! through `properties` alone. Its name is an HTTP token and unique without regard to case. One
//! broken annotation makes the tool unusable over HTTP, so it is an error. Pure.

use bytes::Bytes;
use http::HeaderName;

use super::params::{MCP_PARAM_PREFIX, ParamHeader, ParamKind};
use crate::{
    domain::limits::PARAM_HEADERS_MAX,
    wire::{
        WireError,
        json::{Object, elements},
    },
};

const ANNOTATION: &str = "x-mcp-header";

/// Reads the annotations of an input schema.
pub fn parse_param_headers(schema: &Object) -> Result<Vec<ParamHeader>, WireError> {
    let mut found = Vec::new();
    if memchr::memmem::find(schema.raw(), b"x-mcp-").is_none()
        && memchr::memchr(b'\\', schema.raw()).is_none()
    {
        return Ok(found);
    }
    properties(schema, &mut Vec::new(), &mut found)?;
    Ok(found)
}

fn properties(
    schema: &Object,
    path: &mut Vec<String>,
    found: &mut Vec<ParamHeader>,
) -> Result<(), WireError> {
    for (key, value) in schema.members() {
        match key.as_ref() {
            // The root is not a property.
            ANNOTATION if path.is_empty() => return Err(misplaced()),
            ANNOTATION => {}
            "properties" => {
                for (name, property) in Object::parse(value)?.members() {
                    let Ok(property) = Object::parse(property) else { continue };
                    path.push(name.into_owned());
                    if property.contains(ANNOTATION) {
                        found.push(annotated(&property, path, found)?);
                    }
                    properties(&property, path, found)?;
                    path.pop();
                }
            }
            keyword => elsewhere(keyword, value)?,
        }
    }
    Ok(())
}

fn annotated(
    property: &Object,
    path: &[String],
    found: &[ParamHeader],
) -> Result<ParamHeader, WireError> {
    let refuse = |rule| WireError::Tool { rule };
    let name = property.str(ANNOTATION).filter(|name| !name.is_empty());
    let name = name.ok_or(refuse("`x-mcp-header` must be a name"))?;
    let header = HeaderName::from_bytes(format!("{MCP_PARAM_PREFIX}{name}").as_bytes())
        .map_err(|_| refuse("`x-mcp-header` must be an HTTP token"))?;
    let kind = kind_of(property).ok_or(refuse(
        "`x-mcp-header` must stand on a property of type string, integer or boolean",
    ))?;
    // Header names are kept in lower case, so this is without regard to case.
    if found.len() >= PARAM_HEADERS_MAX {
        return Err(refuse("at most 64 properties may have an `x-mcp-header`"));
    }
    if found.iter().any(|other| other.header == header) {
        return Err(refuse("two properties share one `x-mcp-header`"));
    }
    Ok(ParamHeader { header, path: path.to_vec(), kind })
}

/// Whatever stands under another keyword than `properties` must not be annotated.
fn elsewhere(keyword: &str, value: Bytes) -> Result<(), WireError> {
    match (keyword, value.first()) {
        // Data, not schemas.
        ("const" | "default" | "enum" | "examples", _) => Ok(()),
        // Schemas by name; the names are no keywords.
        (
            "properties" | "patternProperties" | "dependentSchemas" | "$defs" | "definitions",
            Some(b'{'),
        ) => Object::parse(value)?.members().try_for_each(|(_, schema)| unannotated(schema)),
        _ => unannotated(value),
    }
}

fn unannotated(schema: Bytes) -> Result<(), WireError> {
    match schema.first() {
        Some(b'{') => {
            let schema = Object::parse(schema)?;
            if schema.contains(ANNOTATION) {
                return Err(misplaced());
            }
            schema.members().try_for_each(|(keyword, value)| elsewhere(&keyword, value))
        }
        Some(b'[') => elements(schema, usize::MAX)?.into_iter().try_for_each(unannotated),
        _ => Ok(()),
    }
}

fn misplaced() -> WireError {
    WireError::Tool { rule: "`x-mcp-header` must be reached through `properties` alone" }
}

fn kind_of(schema: &Object) -> Option<ParamKind> {
    match schema.str("type")?.as_str() {
        "string" => Some(ParamKind::String),
        "integer" => Some(ParamKind::Integer),
        "boolean" => Some(ParamKind::Boolean),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Object, ParamHeader, parse_param_headers};

    fn object(text: &str) -> Object {
        Object::parse(text.to_owned().into()).unwrap()
    }

    /// The headers that a schema asks for, or why it cannot.
    fn parsed(schema: &str) -> Result<Vec<String>, String> {
        let headers = parse_param_headers(&object(schema)).map_err(|error| error.to_string())?;
        let show = |header: &ParamHeader| {
            format!("{}={}:{:?}", header.header, header.path.join("."), header.kind)
        };
        Ok(headers.iter().map(show).collect())
    }

    #[track_caller]
    fn refused(schema: &str, rule: &str) {
        let want = format!("invalid tool definition: `x-mcp-header` {rule}");
        assert_eq!(parsed(schema).unwrap_err(), want, "{schema}");
    }

    #[test]
    fn annotations_are_found_through_properties_alone() {
        let nested = r#"{"type":"object","properties":{
            "region":{"type":"string","x-mcp-header":"Region"},
            "where":{"type":"object","properties":{"limit":{"x-mcp-header":"limit","type":"integer"}}},
            "x-mcp-header":{"type":"boolean"},
            "plain":{"default":{"x-mcp-header":"data"},"enum":[{"x-mcp-header":1}]},
            "list":{"items":{"const":{"x-mcp-header":"data"},
                "properties":{"x-mcp-header":{"type":"string"}}}}},
            "$defs":{"x-mcp-header":{"type":"string"}}}"#;
        let want = ["mcp-param-region=region:String", "mcp-param-limit=where.limit:Integer"];
        assert_eq!(parsed(nested).unwrap(), want);
        assert!(parsed(r#"{"properties":{"a":{"type":"number"}}}"#).unwrap().is_empty());
    }

    #[test]
    fn a_broken_annotation_breaks_the_tool() {
        for schema in [
            r#"{"x-mcp-header":"A","type":"string"}"#,
            r#"{"items":{"type":"string","x-mcp-header":"A"}}"#,
            r#"{"oneOf":[{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}]}"#,
            r#"{"$defs":{"a":{"type":"string","x-mcp-header":"A"}}}"#,
            r#"{"properties":{"a":{"items":{"type":"string","x-mcp-header":"A"}}}}"#,
            r#"{"if":{"properties":{"a":{"type":"string","x-mcp\u002dheader":"A"}}}}"#,
        ] {
            refused(schema, "must be reached through `properties` alone");
        }
        let one = |annotated: &str| format!(r#"{{"properties":{{"a":{{{annotated}}}}}}}"#);
        let kind = "must stand on a property of type string, integer or boolean";
        refused(&one(r#""type":"number","x-mcp-header":"A""#), kind);
        refused(&one(r#""type":"object","x-mcp-header":"A""#), kind);
        refused(&one(r#""x-mcp-header":"A""#), kind);
        refused(&one(r#""type":"string","x-mcp-header":"""#), "must be a name");
        refused(&one(r#""type":"string","x-mcp-header":7"#), "must be a name");
        refused(&one(r#""type":"string","x-mcp-header":"a b""#), "must be an HTTP token");
        refused(&one(r#""type":"string","x-mcp-header":"a\r\nb""#), "must be an HTTP token");
        refused(&one(r#""type":"string","x-mcp-header":"ä""#), "must be an HTTP token");
        let twice = r#"{"properties":{"a":{"type":"string","x-mcp-header":"A"},
            "b":{"type":"string","x-mcp-header":"a"}}}"#;
        let shared = "invalid tool definition: two properties share one `x-mcp-header`";
        assert_eq!(parsed(twice).unwrap_err(), shared);
    }

    #[test]
    fn annotations_are_bounded() {
        let many = |n: usize| {
            let one = |nth| format!(r#""p{nth}":{{"type":"string","x-mcp-header":"P{nth}"}}"#);
            let all: Vec<_> = (0..n).map(one).collect();
            parsed(&format!(r#"{{"properties":{{{}}}}}"#, all.join(",")))
        };
        assert_eq!(many(64).unwrap().len(), 64);
        assert!(
            many(65).unwrap_err().ends_with("at most 64 properties may have an `x-mcp-header`")
        );
    }
}
