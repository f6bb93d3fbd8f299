//! `x-mcp-header`: arguments that a modern HTTP client repeats in `Mcp-Param-*` headers.
//!
//! The annotation stands on a property of a tool's input schema that is a string, an integer or a
//! boolean and is reached through `properties` alone. Its name is an HTTP token and unique without
//! regard to case. One broken annotation makes the tool unusable over HTTP, so it is an error.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    Mismatch,
    value::{decode_value, encode_value},
};
use crate::wire::{
    WireError,
    json::{Object, Text, elements},
};

const ANNOTATION: &str = "x-mcp-header";
pub const MCP_PARAM_PREFIX: &str = "mcp-param-";

/// One argument that is repeated in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamHeader {
    pub header: HeaderName,
    /// The keys that lead from the arguments object to the value.
    pub path: Vec<String>,
    pub kind: ParamKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    String,
    Integer,
    Boolean,
}

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

/// The headers that repeat `arguments`; an absent or null argument has none.
pub fn param_headers(
    headers: &[ParamHeader],
    arguments: &Object,
) -> Vec<(HeaderName, HeaderValue)> {
    let said = |header: &ParamHeader| {
        Some((header.header.clone(), encode_value(&header.spoken(arguments)?)))
    };
    headers.iter().filter_map(said).collect()
}

/// Whether `sent` repeats `arguments` as the tool demands.
pub fn check_param_headers(
    headers: &[ParamHeader],
    arguments: &Object,
    sent: &HeaderMap,
) -> Result<(), Mismatch> {
    for header in headers {
        let mut values = sent.get_all(&header.header).iter();
        let mismatch = || Mismatch { header: header.header.clone() };
        let same = match (header.spoken(arguments), values.next()) {
            (None, None) => true,
            (Some(want), Some(value)) => {
                decode_value(value.as_bytes()).is_some_and(|said| header.kind.same(&want, &said))
            }
            (None, Some(_)) | (Some(_), None) => false,
        };
        if !same || values.next().is_some() {
            return Err(mismatch());
        }
    }
    Ok(())
}

impl ParamHeader {
    /// The argument as a header says it; none when it is absent, null, or not of the kind.
    fn spoken(&self, arguments: &Object) -> Option<String> {
        let (last, parents) = self.path.split_last()?;
        let mut at = arguments.clone();
        for key in parents {
            at = at.object(key)?;
        }
        let value = at.get(last)?;
        match (self.kind, value.first()?) {
            (ParamKind::String, b'"') => Text::of(&value).map(|text| text.as_str().to_owned()),
            (ParamKind::Boolean, b't' | b'f') => Some(String::from_utf8_lossy(&value).into_owned()),
            (ParamKind::Integer, b'-' | b'0'..=b'9') => {
                let written = String::from_utf8_lossy(&value);
                Some(integer(&written).map_or(written.into_owned(), |number| number.to_string()))
            }
            (ParamKind::String | ParamKind::Boolean | ParamKind::Integer, _) => None,
        }
    }
}

impl ParamKind {
    fn of(schema: &Object) -> Option<Self> {
        match schema.str("type")?.as_str() {
            "string" => Some(Self::String),
            "integer" => Some(Self::Integer),
            "boolean" => Some(Self::Boolean),
            _ => None,
        }
    }

    /// Whether a header that says `said` means the argument that is spoken as `want`.
    fn same(self, want: &str, said: &str) -> bool {
        let numbers = || integer(want).zip(integer(said)).is_some_and(|(a, b)| a == b);
        want == said || self == Self::Integer && numbers()
    }
}

/// What `text` says as an integer, also when written `42.0` or `4.2e1`. Exact or none: beyond 2^53 a
/// fraction or an exponent is not read, since two numbers could become one.
fn integer(text: &str) -> Option<i64> {
    if let Ok(number) = text.parse::<i64>() {
        return (!text.starts_with('+')).then_some(number);
    }
    const EXACT_MAX: f64 = 9_007_199_254_740_991.0;
    let fraction = text.parse::<f64>().ok()?;
    let plain =
        text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    let exact = plain && fraction.fract() == 0.0 && fraction.abs() <= EXACT_MAX;
    if !exact { None } else { format!("{fraction:.0}").parse().ok() }
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
            // Data, not schemas.
            ANNOTATION | "const" | "default" | "enum" | "examples" => {}
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
            _ => unannotated(value)?,
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
    let kind = ParamKind::of(property).ok_or(refuse(
        "`x-mcp-header` must stand on a property of type string, integer or boolean",
    ))?;
    // Header names are kept in lower case, so this is without regard to case.
    if found.iter().any(|other| other.header == header) {
        return Err(refuse("two properties share one `x-mcp-header`"));
    }
    Ok(ParamHeader { header, path: path.to_vec(), kind })
}

/// Anything below another keyword than `properties` must not be annotated.
fn unannotated(value: Bytes) -> Result<(), WireError> {
    match value.first() {
        Some(b'{') => {
            let object = Object::parse(value)?;
            if object.contains(ANNOTATION) {
                return Err(misplaced());
            }
            object.members().try_for_each(|(_, value)| unannotated(value))
        }
        Some(b'[') => elements(value, usize::MAX)?.into_iter().try_for_each(unannotated),
        _ => Ok(()),
    }
}

fn misplaced() -> WireError {
    WireError::Tool { rule: "`x-mcp-header` must be reached through `properties` alone" }
}
