//! Text in a header value: as it is when that is safe, else `=?base64?…?=` over its UTF-8.
//!
//! A value that would read as the encoded form is encoded too, so that decoding is unambiguous.
//! What is neither safe text nor well encoded is not read at all.

use http::HeaderValue;

const OPEN: &[u8] = b"=?base64?";
const CLOSE: &[u8] = b"?=";
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// `text` as a header value.
pub fn encode_value(text: &str) -> HeaderValue {
    let plain = is_safe(text).then(|| HeaderValue::from_str(text).ok()).flatten();
    plain.unwrap_or_else(|| {
        let mut coded = OPEN.to_vec();
        base64(text.as_bytes(), &mut coded);
        coded.extend_from_slice(CLOSE);
        // Base 64 is made of visible ASCII.
        HeaderValue::from_maybe_shared(bytes::Bytes::from(coded))
            .unwrap_or_else(|_| HeaderValue::from_static(""))
    })
}

/// What a header value says; none when it is neither safe text nor well encoded.
pub fn decode_value(value: &[u8]) -> Option<String> {
    match value.strip_prefix(OPEN).and_then(|rest| rest.strip_suffix(CLOSE)) {
        Some(coded) => String::from_utf8(unbase64(coded)?).ok(),
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

fn base64(bytes: &[u8], out: &mut Vec<u8>) {
    let digit = |bits: u32| {
        let at = usize::try_from(bits & 63).unwrap_or_default();
        ALPHABET.get(at).copied().unwrap_or(b'A')
    };
    for group in bytes.chunks(3) {
        let mut three = group.iter().copied().map(u32::from).chain(std::iter::repeat(0));
        let mut next = || three.next().unwrap_or_default();
        let bits = next() << 16 | next() << 8 | next();
        out.push(digit(bits >> 18));
        out.push(digit(bits >> 12));
        out.push(if group.len() > 1 { digit(bits >> 6) } else { b'=' });
        out.push(if group.len() > 2 { digit(bits) } else { b'=' });
    }
}

fn unbase64(coded: &[u8]) -> Option<Vec<u8>> {
    if !coded.len().is_multiple_of(4) {
        return None;
    }
    let padding = coded.iter().rev().take_while(|byte| **byte == b'=').count();
    let digits = coded.get(..coded.len() - padding)?;
    if padding > 2 {
        return None;
    }
    let mut out = Vec::with_capacity(coded.len() / 4 * 3);
    for group in digits.chunks(4) {
        let mut bits = 0_u32;
        for byte in group {
            let digit = ALPHABET.iter().position(|known| known == byte)?;
            bits = bits << 6 | u32::try_from(digit).ok()?;
        }
        // The bits of a short group that make no whole byte must be zero: one spelling per text.
        let n_bytes = group.len().checked_sub(1).filter(|n| *n > 0)?;
        let spare = u32::try_from(group.len() * 6 - n_bytes * 8).ok()?;
        if bits & ((1 << spare) - 1) != 0 {
            return None;
        }
        let whole = (bits >> spare) << (8 * (4 - u32::try_from(n_bytes).ok()?));
        out.extend(whole.to_be_bytes().into_iter().take(n_bytes));
    }
    Some(out)
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
