//! What a word is: a plain one, the name of something, or an address outside.
//!
//! Pure. What names something outside this text (an address, a URL, an account, a path, a number)
//! is told apart from plain words, by the kinds of characters in it: a reader collects them as it
//! goes, so that a word is only looked at again where they leave a question.

use smallvec::SmallVec;

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gate::risk) enum Sort {
    Plain,
    /// It names something: a file, a host, an id, a long number.
    Name,
    /// It names a place outside where something can be sent: a URL, an e-mail address, an IBAN.
    Address,
}

/// Which kinds of characters there are in a piece of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinds(u8);

/// So much of a long word is looked at in one step.
pub(super) const BLOCK: usize = 32;
/// And of a very long one: what a step finds is put together once for all of its bytes.
const WIDE_BLOCK: usize = 256;

const NUMBER_DIGITS_MIN: usize = 6;
const MIXED_CHARS_MIN: usize = 6;
const IBAN_CHARS_MIN: usize = 14;
/// ISO 13616.
pub(super) const IBAN_CHARS_MAX: usize = 34;

/// The kind of every character of ASCII.
#[expect(clippy::indexing_slicing, reason = "a mistake in a constant does not compile")]
static ASCII: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        kinds[byte as usize] = match byte {
            b'a'..=b'z' | b'A'..=b'Z' => Kinds::LETTER.0,
            b'0'..=b'9' => Kinds::DIGIT.0,
            b'.' => Kinds::DOT.0,
            b'@' => Kinds::AT.0,
            b'/' => Kinds::SLASH.0,
            b':' => Kinds::COLON.0,
            b'?' | b'&' | b'=' | b'#' | b'$' | b'*' => Kinds::SPLITS.0,
            b'_' | b'-' | b'+' | b'%' | b'~' => Kinds::MARK.0,
            _ => 0,
        };
        byte += 1;
    }
    kinds
};

impl Kinds {
    /// Of a character that is in no word.
    pub(super) const NONE: Self = Self(0);
    pub(super) const LETTER: Self = Self(1);
    /// Of ASCII.
    pub(super) const DIGIT: Self = Self(1 << 1);
    pub(super) const DOT: Self = Self(1 << 2);
    pub(super) const AT: Self = Self(1 << 3);
    pub(super) const SLASH: Self = Self(1 << 4);
    pub(super) const COLON: Self = Self(1 << 5);
    /// What parts words in an address, beside the colon.
    pub(super) const SPLITS: Self = Self(1 << 6);
    pub(super) const PARTS: Self = Self::COLON.with(Self::SPLITS);
    /// What else stands in words; other numbers too.
    pub(super) const MARK: Self = Self(1 << 7);

    pub(super) fn of_byte(byte: u8) -> Self {
        Self(ASCII.get(usize::from(byte)).copied().unwrap_or_default())
    }

    /// Of a character beyond ASCII, which has so many bytes.
    pub(super) fn of(c: char) -> (Self, usize) {
        let kind = match c {
            _ if c.is_alphabetic() => Self::LETTER,
            _ if c.is_alphanumeric() => Self::MARK,
            _ => Self::NONE,
        };
        (kind, c.len_utf8())
    }

    /// How much at the head of `bytes` is, block by block, what long words are made of, and the
    /// kinds in it.
    pub(super) fn of_blocks(bytes: &[u8]) -> (usize, Self) {
        let (n_wide, wide) = Self::of_blocks_of::<WIDE_BLOCK>(bytes);
        let (n_bytes, kinds) = Self::of_blocks_of::<BLOCK>(bytes.get(n_wide..).unwrap_or_default());
        (n_wide + n_bytes, wide.with(kinds))
    }

    fn of_blocks_of<const N: usize>(bytes: &[u8]) -> (usize, Self) {
        let (mut n_bytes, mut kinds) = (0, Self::NONE);
        let (blocks, _) = bytes.as_chunks::<N>();
        for block in blocks {
            // Without a branch and without the table, so that it is done for many bytes at once.
            let (mut all, mut any) = (0xff, 0);
            for byte in block {
                let kind = (u8::from(byte.is_ascii_alphabetic()) * Self::LETTER.0)
                    | (u8::from(byte.is_ascii_digit()) * Self::DIGIT.0)
                    | (u8::from(*byte == b'/') * Self::SLASH.0)
                    | (u8::from(matches!(byte, b'+' | b'-' | b'_')) * Self::MARK.0);
                all &= 0_u8.wrapping_sub(u8::from(kind != 0));
                any |= kind;
            }
            if all == 0 {
                break;
            }
            (n_bytes, kinds) = (n_bytes + N, kinds.with(Self(any)));
        }
        (n_bytes, kinds)
    }

    pub(super) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn has(self, kind: Self) -> bool {
        self.0 & kind.0 != 0
    }

    pub(super) const fn is_letters_and_digits(self) -> bool {
        self.0 & !Self::LETTER.with(Self::DIGIT).0 == 0
    }
}

/// What a word is in which there are no kinds but `kinds`; `host` is its bare host.
pub(super) fn sort(part: &str, kinds: Kinds, host: Option<&str>) -> Sort {
    // What nearly every word is.
    if kinds == Kinds::LETTER {
        return Sort::Plain;
    }
    let is_mail = |(user, host): (&str, &str)| !user.is_empty() && bare_host(host) == Some(host);
    let is_address = kinds.has(Kinds::AT) && part.rsplit_once('@').is_some_and(is_mail);
    if is_address || is_iban(part) {
        return Sort::Address;
    }
    let has_letter = kinds.has(Kinds::LETTER) && part.chars().any(char::is_alphabetic);
    let is_named = if has_letter {
        let has_digit = kinds.has(Kinds::DIGIT) && part.bytes().any(|b| b.is_ascii_digit());
        let is_path = kinds.has(Kinds::SLASH) && part.contains('/');
        has_digit && part.len() >= MIXED_CHARS_MIN || is_path
    } else {
        n_digits(part) >= NUMBER_DIGITS_MIN && !is_date(part)
    };
    if is_named || host.is_some() {
        return Sort::Name;
    }
    Sort::Plain
}

/// The host of what may be a URL without scheme: `example.org/path`.
pub(super) fn bare_host(part: &str) -> Option<&str> {
    let bytes = part.as_bytes();
    let end = bytes.iter().position(|b| *b == b'/').unwrap_or(bytes.len());
    let host = bytes.get(..end)?;
    let dot = host.iter().rposition(|b| *b == b'.')?;
    let last = host.get(dot + 1..)?;
    let is_label = dot > 0 && last.len() >= 2 && !last.iter().any(u8::is_ascii_digit);
    if is_label && !host.contains(&b'@') { part.get(..end) } else { None }
}

/// Two letters and two digits.
pub(super) fn is_iban_head(part: &str) -> bool {
    let (country, check) = part.as_bytes().split_at_checked(2).unwrap_or_default();
    let check = check.get(..2).unwrap_or_default();
    country.iter().all(u8::is_ascii_lowercase)
        && check.len() == 2
        && check.iter().all(u8::is_ascii_digit)
}

fn is_iban(part: &str) -> bool {
    is_iban_head(part)
        && (IBAN_CHARS_MIN..=IBAN_CHARS_MAX).contains(&part.len())
        && part.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn n_digits(part: &str) -> usize {
    part.bytes().filter(u8::is_ascii_digit).count()
}

/// Days are in every text.
fn is_date(part: &str) -> bool {
    let mut parts = part.split(['-', '/', '.']);
    let lens: SmallVec<[usize; 4]> = parts.by_ref().take(4).map(str::len).collect();
    matches!(lens.as_slice(), [4, 1 | 2, 1 | 2] | [1 | 2, 1 | 2, 2 | 4])
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, Kinds, WIDE_BLOCK};

    #[test]
    fn many_bytes_at_once_are_what_each_of_them_is() {
        for (byte, at) in (0..=u8::MAX).flat_map(|byte| [0, 3, 300, 600].map(|at| (byte, at))) {
            let kind = Kinds::of_byte(byte);
            let (n_bytes, kinds) = Kinds::of_blocks(&[byte; WIDE_BLOCK + 2 * BLOCK + 1]);
            assert!((n_bytes, kinds) == (WIDE_BLOCK + 2 * BLOCK, kind) || n_bytes == 0, "{byte}");
            let mut mixed = [b'a'; 2 * WIDE_BLOCK + 3 * BLOCK + 1];
            mixed[at] = byte;
            let (n_bytes, kinds) = Kinds::of_blocks(&mixed);
            let whole = (2 * WIDE_BLOCK + 3 * BLOCK, Kinds::LETTER.with(kind));
            let before = if at < BLOCK { Kinds::NONE } else { Kinds::LETTER };
            let up_to_it = (at / BLOCK * BLOCK, before);
            assert!((n_bytes, kinds) == whole || (n_bytes, kinds) == up_to_it, "{byte} {at}");
        }
        let (n_bytes, kinds) = Kinds::of_blocks(&[b'7'; BLOCK]);
        assert!(n_bytes == BLOCK && kinds == Kinds::DIGIT);
        let (n_bytes, kinds) = Kinds::of_blocks(&[b'7'; WIDE_BLOCK]);
        assert!(n_bytes == WIDE_BLOCK && kinds == Kinds::DIGIT);
    }
}
