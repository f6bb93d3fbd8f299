//! Request ids and progress tokens: the same thing, a string or an integer, kept as written.
//!
//! An id is echoed byte for byte, so it is never turned into a number. Two ids are the same when
//! they are written the same. Ours are plain decimal numbers.

use std::fmt;

use bytes::Bytes;

use crate::domain::limits::ID_BYTES_MAX;

/// The JSON text of an id.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RequestId(Bytes);

/// What ties a progress notification to its request.
pub type ProgressToken = RequestId;

impl RequestId {
    /// Takes `value`, the text of a scanned JSON value, if it is a string or an integer of bearable
    /// length. Fractions and exponents are refused even where they denote an integer.
    pub fn parse(value: &Bytes) -> Option<Self> {
        if value.len() > ID_BYTES_MAX {
            return None;
        }
        let digits = value.strip_prefix(b"-").unwrap_or(value);
        let integer = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        (integer || value.first() == Some(&b'"')).then(|| Self(value.clone()))
    }

    pub fn from_u64(number: u64) -> Self {
        Self(Bytes::from(number.to_string()))
    }

    /// The same without its message, for whoever keeps it when the message is done with.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// The number, if it is written as `from_u64` writes it.
    pub fn as_u64(&self) -> Option<u64> {
        let plain = self.0.first().is_some_and(u8::is_ascii_digit)
            && (self.0.len() == 1 || self.0.first() != Some(&b'0'));
        plain.then(|| std::str::from_utf8(&self.0).ok()?.parse().ok()).flatten()
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text as shared bytes, to be put into an object.
    pub fn to_bytes(&self) -> Bytes {
        self.0.clone()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::RequestId;

    #[test]
    fn an_id_is_a_string_or_an_integer_as_written() {
        for written in ["0", "-7", "12345678901234567890123", "\"\"", "\"\\u0061\""] {
            let id = RequestId::parse(&written.into()).unwrap();
            assert_eq!(id.as_bytes(), written.as_bytes());
        }
        for written in ["1.0", "1e2", "-", "null", "true", "{}", "[]", ""] {
            assert_eq!(RequestId::parse(&written.into()), None, "{written}");
        }
    }

    #[test]
    fn only_numbers_as_we_write_them_are_ours() {
        let number = |written: &'static str| RequestId::parse(&written.into()).unwrap().as_u64();
        assert_eq!(number("18446744073709551615"), Some(u64::MAX));
        assert_eq!(number("0"), Some(0));
        for written in ["18446744073709551616", "-1", "\"1\""] {
            assert_eq!(number(written), None, "{written}");
        }
        assert_eq!(RequestId::from_u64(7).as_u64(), Some(7));
    }
}
