//! Arguments that a modern HTTP client repeats in `Mcp-Param-*` headers.
//!
//! What a header says of an argument, and whether headers that came say the same: integers as
//! numbers, and none that is not safe. Which arguments they are stands in `annotations`. Pure.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    Mismatch,
    value::{decode_value, encode_value},
};
use crate::wire::json::{Object, Text};

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

/// The headers that repeat `arguments`; an absent or null argument has none.
pub fn param_headers(
    headers: &[ParamHeader],
    arguments: &Object,
) -> Vec<(HeaderName, HeaderValue)> {
    let said = |header: &ParamHeader| match header.spoken(arguments) {
        Spoken::As(text) => Some((header.header.clone(), encode_value(&text))),
        Spoken::Nothing | Spoken::Unsafe => None,
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
            (Spoken::Nothing, None) => true,
            (Spoken::As(want), Some(value)) => {
                decode_value(value.as_bytes()).is_some_and(|said| header.kind.same(&want, &said))
            }
            (Spoken::Nothing, Some(_)) | (Spoken::As(_), None) | (Spoken::Unsafe, _) => false,
        };
        if !same || values.next().is_some() {
            return Err(mismatch());
        }
    }
    Ok(())
}

/// What a header says of an argument.
#[derive(Debug)]
enum Spoken {
    /// It is absent, null, or not of the kind.
    Nothing,
    As(String),
    /// An integer that the specification keeps out of headers, because not everybody reads it
    /// exactly. No header repeats it, so no request with it is right.
    Unsafe,
}

impl ParamHeader {
    fn spoken(&self, arguments: &Object) -> Spoken {
        let Some(value) = self.argument(arguments) else { return Spoken::Nothing };
        match (self.kind, value.first()) {
            (ParamKind::String, Some(b'"')) => match Text::of(&value, &value) {
                Some(text) => Spoken::As(text.as_str().to_owned()),
                None => Spoken::Nothing,
            },
            (ParamKind::Boolean, Some(b't' | b'f')) => {
                Spoken::As(String::from_utf8_lossy(&value).into_owned())
            }
            (ParamKind::Integer, Some(b'-' | b'0'..=b'9')) => {
                let number = integer(&String::from_utf8_lossy(&value));
                number.map_or(Spoken::Unsafe, |number| Spoken::As(number.to_string()))
            }
            (ParamKind::String | ParamKind::Boolean | ParamKind::Integer, _) => Spoken::Nothing,
        }
    }

    /// The text of the value at the path.
    fn argument(&self, arguments: &Object) -> Option<Bytes> {
        let (last, parents) = self.path.split_last()?;
        let mut at = arguments.clone();
        for key in parents {
            at = at.object(key)?;
        }
        at.get(last)
    }
}

impl ParamKind {
    /// Whether a header that says `said` means the argument that is spoken as `want`.
    fn same(self, want: &str, said: &str) -> bool {
        let numbers = || integer(want).zip(integer(said)).is_some_and(|(a, b)| a == b);
        want == said || self == Self::Integer && numbers()
    }
}

/// Beyond it two integers can be one to whoever reads them as floating-point numbers.
const SAFE_MAX: i64 = 9_007_199_254_740_991;

/// What `text` says as a safe integer, also when written `42.0` or `4.2e1`.
fn integer(text: &str) -> Option<i64> {
    let number = match text.parse::<i64>() {
        Ok(number) => Some(number).filter(|_| !text.starts_with('+')),
        Err(_) => {
            let plain = |byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
            let fraction = text.parse::<f64>().ok().filter(|_| text.bytes().all(plain))?;
            let whole = Some(fraction).filter(|fraction| fraction.fract() == 0.0)?;
            format!("{whole:.0}").parse().ok()
        }
    };
    number.filter(|number| (-SAFE_MAX..=SAFE_MAX).contains(number))
}

#[cfg(test)]
mod tests {
    use super::{
        super::parse_param_headers, HeaderMap, HeaderName, HeaderValue, Object,
        check_param_headers, param_headers,
    };

    fn object(text: &str) -> Object {
        Object::parse(text.to_owned().into()).unwrap()
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
        check("9007199254740991", "9007199254740991.0", true);
        check("-9007199254740991", "-9.007199254740991e15", true);
        check("1", "9007199254740993", false);
    }

    #[test]
    fn an_integer_that_is_not_safe_is_in_no_header_and_no_request() {
        let headers = parse_param_headers(&object(SCHEMA)).unwrap();
        for written in
            ["9007199254740992", "-9007199254740992", "9007199254740992.0", "1e400", "1.5"]
        {
            let arguments = format!(r#"{{"n":{{"i":{written}}}}}"#);
            assert!(param_headers(&headers, &object(&arguments)).is_empty(), "{written}");
            check(&arguments, &[], Err("mcp-param-i"));
            check(&arguments, &[("mcp-param-i", written)], Err("mcp-param-i"));
        }
    }
}
