//! Text in a header value: as it is when that is safe, else `=?base64?…?=` over its UTF-8.
//!
//! A value that would read as the encoded form is encoded too, so that decoding is unambiguous.
//! What is neither safe text nor well encoded is not read at all.

use http::HeaderValue;

use crate::wire::base64;

const OPEN: &[u8] = b"=?base64?";
const CLOSE: &[u8] = b"?=";

/// `text` as a header value.
pub fn encode_value(text: &str) -> HeaderValue {
    let plain = is_safe(text).then(|| HeaderValue::from_str(text).ok()).flatten();
    plain.unwrap_or_else(|| {
        let mut coded = OPEN.to_vec();
        coded.extend_from_slice(base64::encode(text.as_bytes()).as_bytes());
        coded.extend_from_slice(CLOSE);
        // Base 64 is made of visible ASCII.
        HeaderValue::from_maybe_shared(bytes::Bytes::from(coded))
            .unwrap_or_else(|_| HeaderValue::from_static(""))
    })
}

/// What a header value says; none when it is neither safe text nor well encoded.
pub fn decode_value(value: &[u8]) -> Option<String> {
    match value.strip_prefix(OPEN).and_then(|rest| rest.strip_suffix(CLOSE)) {
        Some(coded) => String::from_utf8(base64::decode(coded)?).ok(),
        None => is_visible(value).then(|| String::from_utf8_lossy(value).into_owned()),
    }
}

/// Visible ASCII and inner blanks; not what would be trimmed, and not what looks encoded.
fn is_safe(text: &str) -> bool {
    let bytes = text.as_bytes();
    let trimmed =
        matches!(bytes.first(), Some(b' ' | b'\t')) || matches!(bytes.last(), Some(b' ' | b'\t'));
    let looks_encoded = bytes.starts_with(OPEN) && bytes.ends_with(CLOSE);
    is_visible(bytes) && !trimmed && !looks_encoded
}

fn is_visible(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{decode_value, encode_value};

    #[track_caller]
    fn check(text: &str, want: &str) {
        assert_eq!(encode_value(text), want);
        assert_eq!(decode_value(want.as_bytes()).as_deref(), Some(text));
    }

    #[test]
    fn values_are_said_as_the_specification_shows() {
        check("us-west1", "us-west1");
        check("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?=");
        check(" padded ", "=?base64?IHBhZGRlZCA=?=");
        check("line1\nline2", "=?base64?bGluZTEKbGluZTI=?=");
        check("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=");
        check("inner blank\tand tab", "inner blank\tand tab");
        check("", "");
    }

    #[test]
    fn what_is_neither_safe_nor_well_encoded_is_not_read() {
        for bad in [
            "=?base64?a?=",
            "=?base64?ab=?=",
            "=?base64?a===?=",
            "=?base64?_-__?=",
            "=?base64?YR==?=",
            "=?base64?Y=Q=?=",
            "=?base64?/w==?=",
        ] {
            assert_eq!(decode_value(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(decode_value("é".as_bytes()), None);
        assert_eq!(decode_value(b"\x7f"), None);
        // The markers are case-sensitive: this is literal text.
        assert_eq!(decode_value(b"=?BASE64?YQ==?=").as_deref(), Some("=?BASE64?YQ==?="));
    }

    proptest! {
        #[test]
        fn every_text_survives_a_header(text in "\\PC*|[ -~]*|(=\\?base64\\?)?[a-z]*(\\?=)?") {
            prop_assert_eq!(decode_value(encode_value(&text).as_bytes()), Some(text));
        }
    }
}
