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
use crate::{
    domain::limits::PARAM_HEADERS_MAX,
    wire::{
        WireError,
        json::{Object, Text, elements},
    },
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
            (ParamKind::String, b'"') => {
                Text::of(&value, &value).map(|text| text.as_str().to_owned())
            }
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

/// What `text` says as an integer, also when written `42.0` or `4.2e1`. Exact or none: beyond 2^53
/// a fraction or an exponent is not read, since two numbers could become one.
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
    if found.len() >= PARAM_HEADERS_MAX {
        return Err(refuse("at most 64 properties may have an `x-mcp-header`"));
    }
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

#[cfg(test)]
mod tests {
    use super::{
        HeaderMap, HeaderName, HeaderValue, Object, ParamHeader, check_param_headers,
        param_headers, parse_param_headers,
    };

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
            "plain":{"default":{"x-mcp-header":"data"},"enum":[{"x-mcp-header":1}]}}}"#;
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

    const SCHEMA: &str = r#"{"properties":{
        "s":{"type":"string","x-mcp-header":"S"},
        "n":{"type":"object","properties":{"i":{"type":"integer","x-mcp-header":"I"}}},
        "b":{"type":"boolean","x-mcp-header":"B"}}}"#;

    #[test]
    fn arguments_are_said_in_headers() {
        let headers = parse_param_headers(&object(SCHEMA)).unwrap();
        let show = |(name, value): &(HeaderName, HeaderValue)| {
            format!("{name}: {}", value.to_str().unwrap())
        };
        let said = |arguments: &str| -> Vec<String> {
            param_headers(&headers, &object(arguments)).iter().map(show).collect()
        };
        assert_eq!(
            said(r#"{"s":"\u00e9","n":{"i":42.0},"b":true}"#),
            ["mcp-param-s: =?base64?w6k=?=", "mcp-param-i: 42", "mcp-param-b: true"]
        );
        assert!(said(r#"{"s":null,"n":{},"i":1}"#).is_empty());
        assert!(said(r#"{"s":7,"n":7,"b":"true"}"#).is_empty(), "not of the kind: nothing is said");
    }

    #[track_caller]
    fn check(arguments: &str, sent: &[(&'static str, &str)], want: Result<(), &str>) {
        let headers = parse_param_headers(&object(SCHEMA)).unwrap();
        let mut map = HeaderMap::new();
        for (name, value) in sent {
            map.append(*name, value.parse().unwrap());
        }
        let got = check_param_headers(&headers, &object(arguments), &map);
        let got = got.map_err(|mismatch| mismatch.header.to_string());
        assert_eq!(got, want.map_err(str::to_owned), "{arguments} {sent:?}");
    }

    #[test]
    fn headers_must_repeat_the_arguments() {
        check("{}", &[], Ok(()));
        check("{}", &[("mcp-param-s", "a")], Err("mcp-param-s"));
        check(r#"{"s":null}"#, &[], Ok(()));
        check(r#"{"s":null}"#, &[("mcp-param-s", "null")], Err("mcp-param-s"));
        check(r#"{"s":"a"}"#, &[], Err("mcp-param-s"));
        check(r#"{"s":"a"}"#, &[("mcp-param-s", "a")], Ok(()));
        check(r#"{"s":"a"}"#, &[("mcp-param-s", "A")], Err("mcp-param-s"));
        check(r#"{"s":"a"}"#, &[("mcp-param-s", "a"), ("mcp-param-s", "a")], Err("mcp-param-s"));
        check(r#"{"s":"é"}"#, &[("mcp-param-s", "=?base64?w6k=?=")], Ok(()));
        check(r#"{"s":"é"}"#, &[("mcp-param-s", "=?base64?w6k?=")], Err("mcp-param-s"));
        check(r#"{"s":"42"}"#, &[("mcp-param-s", "42.0")], Err("mcp-param-s"));
        check(r#"{"b":true}"#, &[("mcp-param-b", "true")], Ok(()));
        check(r#"{"b":true}"#, &[("mcp-param-b", "True")], Err("mcp-param-b"));
        check(r#"{"other":1}"#, &[("mcp-param-other", "2")], Ok(()));
    }

    #[test]
    fn a_header_of_other_characters_is_refused() {
        let headers = parse_param_headers(&object(SCHEMA)).unwrap();
        for bytes in ["é".as_bytes(), b"a\xff"] {
            let value = HeaderValue::from_bytes(bytes).unwrap();
            let sent = HeaderMap::from_iter([(HeaderName::from_static("mcp-param-s"), value)]);
            let refused = check_param_headers(&headers, &object(r#"{"s":"é"}"#), &sent);
            assert_eq!(refused.unwrap_err().header, "mcp-param-s");
        }
    }

    #[test]
    fn integers_are_compared_as_numbers_and_exactly() {
        let check = |written: &str, said: &str, same: bool| {
            let want = if same { Ok(()) } else { Err("mcp-param-i") };
            check(&format!(r#"{{"n":{{"i":{written}}}}}"#), &[("mcp-param-i", said)], want);
        };
        check("42", "42", true);
        check("42", "42.0", true);
        check("4.2e1", "42", true);
        check("-0", "0", true);
        check("42", "43", false);
        check("42", "+42", false);
        check("42", "42x", false);
        check("42", "nan", false);
        check("9007199254740993", "9007199254740993", true);
        check("9007199254740993", "9007199254740992", false);
        check("9007199254740993", "9007199254740992.0", false);
        check("9007199254740992", "9007199254740993.0", false);
        check("9007199254740991", "9007199254740991.0", true);
        check("99999999999999999999", "99999999999999999999", true);
        check("99999999999999999999", "99999999999999999998", false);
        check("1e400", "1e401", false);
    }
}
