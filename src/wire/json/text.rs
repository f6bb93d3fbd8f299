//! JSON strings: what one means, and how to write one.
//!
//! `Text` is a decoded string that shares the message's bytes when it was written without escapes.
//! A value with a lone surrogate has no meaning as text and is refused; a key with one is read with
//! U+FFFD in its place, so that keys can always be compared.

use std::{borrow::Cow, fmt, ops::Deref};

use bytes::Bytes;

/// A short decoded string that shares the bytes it was read from.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Text(Bytes);

impl Text {
    /// Reads `value`, a scanned JSON value and a part of `whole`; none if it is not a string.
    pub(in crate::wire) fn of(value: &[u8], whole: &Bytes) -> Option<Self> {
        let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        match unescape(std::str::from_utf8(inner).ok()?)? {
            Cow::Borrowed(_) => Some(Self(whole.slice_ref(inner))),
            Cow::Owned(text) => Some(Self(text.into())),
        }
    }

    pub fn as_str(&self) -> &str {
        // INVARIANT: only `of` and `From` build one, both from UTF-8.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// `text` as a JSON string, quotes included.
pub fn quote(text: &str) -> Bytes {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_quoted(&mut out, text);
    out.into()
}

pub(in crate::wire) fn write_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    // Nearly every text is one plain run.
    while let Some(at) = rest.iter().position(|byte| must_be_escaped(*byte)) {
        let (plain, behind) = rest.split_at(at);
        out.extend_from_slice(plain);
        rest = behind.split_first().map_or(&[][..], |(byte, behind)| {
            write_escaped(out, *byte);
            behind
        });
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn must_be_escaped(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\' | 0..b' ' | 0x7f)
}

fn write_escaped(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
        _ => {
            let digit = |n: u8| HEX.get(usize::from(n)).copied().unwrap_or(b'0');
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// What the content of a scanned string means; none when a surrogate stands alone in it.
pub(super) fn unescape(written: &str) -> Option<Cow<'_, str>> {
    unescape_with(written, None)
}

/// The same, with U+FFFD for a lone surrogate.
pub(super) fn unescape_lossy(written: &str) -> Cow<'_, str> {
    unescape_with(written, Some(char::REPLACEMENT_CHARACTER)).unwrap_or_default()
}

fn unescape_with(written: &str, lone: Option<char>) -> Option<Cow<'_, str>> {
    // Most texts have none, and some are long.
    if memchr::memchr(b'\\', written.as_bytes()).is_none() {
        return Some(Cow::Borrowed(written));
    }
    let (plain, mut rest) = written.split_once('\\')?;
    let mut out = String::with_capacity(written.len());
    out.push_str(plain);
    loop {
        let (meant, behind) = escape(rest)?;
        out.push(meant.or(lone)?);
        match behind.split_once('\\') {
            None => {
                out.push_str(behind);
                return Some(Cow::Owned(out));
            }
            Some((plain, next)) => {
                out.push_str(plain);
                rest = next;
            }
        }
    }
}

/// The character that the escape at the head of `rest` (behind its `\`) means, `None` inside for a
/// lone surrogate, and what follows it.
fn escape(rest: &str) -> Option<(Option<char>, &str)> {
    let mut chars = rest.chars();
    let meant = match chars.next()? {
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => return unicode_escape(chars.as_str()),
        same => same,
    };
    Some((Some(meant), chars.as_str()))
}

fn unicode_escape(rest: &str) -> Option<(Option<char>, &str)> {
    let (first, behind) = hex4(rest)?;
    if !(0xd800..0xdc00).contains(&first) {
        return Some((char::from_u32(first), behind));
    }
    let low = behind.strip_prefix("\\u").and_then(hex4);
    match low {
        Some((second, behind)) if (0xdc00..0xe000).contains(&second) => {
            let scalar = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            Some((char::from_u32(scalar), behind))
        }
        _ => Some((None, behind)),
    }
}

fn hex4(rest: &str) -> Option<(u32, &str)> {
    let (digits, behind) = rest.split_at_checked(4)?;
    Some((u32::from_str_radix(digits, 16).ok()?, behind))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::{Text, quote, unescape_lossy};

    fn read(value: &str) -> Option<String> {
        let value = Bytes::from(value.to_owned());
        Text::of(&value, &value).map(|text| text.as_str().to_owned())
    }

    proptest! {
        #[test]
        fn a_string_means_what_serde_json_says(
            pieces in prop::collection::vec(
                prop_oneof![
                    "[a-z é]{0,4}",
                    Just("\\n\\t\\r\\b\\f\\/\\\\\\\"".to_owned()),
                    any::<char>().prop_map(|c| {
                        let mut units = [0; 2];
                        c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04X}")).collect()
                    }),
                    any::<u16>().prop_map(|unit| format!("\\u{unit:04x}")),
                ],
                0..8,
            )
        ) {
            let value = format!("\"{}\"", pieces.concat());
            prop_assert_eq!(read(&value), serde_json::from_str(&value).ok());
        }

        #[test]
        fn what_is_quoted_is_read_back(text in any::<String>()) {
            let value = quote(&text);
            prop_assert_eq!(&read(std::str::from_utf8(&value).unwrap()), &Some(text.clone()));
            prop_assert_eq!(serde_json::from_slice::<String>(&value).unwrap(), text);
        }
    }

    #[test]
    fn a_lone_surrogate_is_no_text_but_a_comparable_key() {
        for lone in
            ["\\ud800", "\\udfff", "\\ud800x", "\\ud800\\ud800", "\\ud800\\n", "a\\udc00\\ud800"]
        {
            assert_eq!(read(&format!("\"{lone}\"")), None, "{lone}");
        }
        assert_eq!(unescape_lossy("\\ud800\\ud83d\\ude00\\udc00x"), "\u{fffd}😀\u{fffd}x");
        assert_eq!(unescape_lossy("\\ud800\\u0041"), "\u{fffd}A");
    }

    #[test]
    fn a_text_without_escapes_shares_its_bytes() {
        let value = Bytes::from_static(b"\"abc\"");
        let text = Text::of(&value, &value).unwrap();
        assert_eq!(text.as_bytes().as_ptr(), value[1..].as_ptr());
        assert_eq!(Text::of(b"7", &value), None);
    }
}
