//! A text as words that can be compared, whoever wrote it and however it is spelt.
//!
//! Case, hidden characters, full-width letters, quotation marks and the escapes of JSON inside a
//! text make no difference. What names something outside this text (an address, a URL, an account,
//! a path, a number) is told apart from plain words. Each word leaves as a keyed hash: nobody who
//! writes texts can choose where it falls.

use std::{
    fmt,
    hash::{DefaultHasher, Hasher as _},
};

use smallvec::SmallVec;

/// The key under which words are hashed; one a process.
#[derive(Clone)]
pub(in crate::gate::risk) struct Key(DefaultHasher);

/// What a word is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gate::risk) enum Sort {
    Plain,
    /// It names something: a file, a host, an id, a long number.
    Name,
    /// It names a place outside where something can be sent: a URL, an e-mail address, an IBAN.
    Address,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::gate::risk) struct Word {
    pub(in crate::gate::risk) hash: u64,
    pub(in crate::gate::risk) sort: Sort,
    /// The host of a URL.
    pub(in crate::gate::risk) host: Option<u64>,
    pub(in crate::gate::risk) chars: usize,
}

pub(in crate::gate::risk) type Words = SmallVec<[Word; 16]>;

/// An account number in groups of four has at least so many characters.
const GROUPED_CHARS_MIN: usize = 14;
const GROUP_CHARS: usize = 4;
const NUMBER_DIGITS_MIN: usize = 6;
const MIXED_CHARS_MIN: usize = 6;
const IBAN_CHARS_MIN: usize = 14;

impl Key {
    pub(in crate::gate::risk) fn new(secret: [u64; 2]) -> Self {
        let mut hasher = DefaultHasher::new();
        secret.iter().for_each(|part| hasher.write_u64(*part));
        Self(hasher)
    }

    pub(in crate::gate::risk) fn hash(&self, bytes: &[u8]) -> u64 {
        let mut hasher = self.0.clone();
        hasher.write(bytes);
        // Zero means an empty place.
        hasher.finish() | 1 << 63
    }
}

/// The secret is not shown.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

/// Three words in a row.
pub(in crate::gate::risk) fn triple([a, b, c]: [u64; 3]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    (a.wrapping_mul(ODD).rotate_left(31) ^ b).wrapping_mul(ODD).rotate_left(31) ^ c
}

/// Whether nobody sees the character where the text is shown. Joiners and variation selectors of
/// scripts and emoji are none of these.
pub(in crate::gate::risk) fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{1b}' | '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
        | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}'
        | '\u{e0000}'..='\u{e01ef}')
}

/// Reads `text` into words. `scratch` is room to write in.
pub(in crate::gate::risk) fn read(
    key: &Key,
    text: &str,
    scratch: &mut String,
    mut each: impl FnMut(Word),
) {
    scratch.clear();
    normalise(text, scratch);
    let mut grouped = String::new();
    for chunk in scratch.split(|c| !is_in_words(c)) {
        if chunk.contains("://") || chunk.starts_with("www.") {
            each(url(key, chunk));
            continue;
        }
        for part in chunk.split([':', '?', '&', '=', '#', '$', '*']) {
            let part = part.trim_start_matches(['.', '-', '+', '_']);
            let part = part.trim_end_matches(['.', '-', '+', '_', '/', '%']);
            if part.is_empty() {
                continue;
            }
            group(key, part, &mut grouped, &mut each);
            each(Word {
                hash: key.hash(part.as_bytes()),
                sort: sort(part),
                host: bare_host(part).map(|host| key.hash(host.as_bytes())),
                chars: part.len(),
            });
        }
    }
    group(key, "", &mut grouped, &mut each);
}

/// Letters, digits, and what stands in addresses.
fn is_in_words(c: char) -> bool {
    let is_mark = matches!(
        c,
        '@' | '.' | '_' | '-' | '+' | '%' | '/' | ':' | '?' | '&' | '=' | '#' | '~' | '$' | '*'
    );
    is_mark || c.is_alphanumeric()
}

/// Whether `read` finds more than one word in it, as far as that is seen at once.
pub(in crate::gate::risk) fn is_several(text: &str) -> bool {
    let is_word = |part: &&str| part.bytes().any(|b| b.is_ascii_alphanumeric());
    !text.contains('\\') && text.split(' ').filter(is_word).nth(1).is_some()
}

/// Account numbers are written in groups of four; an argument has them in one piece.
fn group(key: &Key, part: &str, grouped: &mut String, each: &mut impl FnMut(Word)) {
    let is_group = part.len() <= GROUP_CHARS && part.bytes().all(|b| b.is_ascii_alphanumeric());
    let begins = part.len() == GROUP_CHARS && is_iban_head(part);
    if is_group && !part.is_empty() && (begins || !grouped.is_empty()) {
        grouped.push_str(part);
    }
    if grouped.len() >= GROUPED_CHARS_MIN && (!is_group || part.len() < GROUP_CHARS) {
        let hash = key.hash(grouped.as_bytes());
        each(Word { hash, sort: Sort::Address, host: None, chars: grouped.len() });
    }
    if !is_group || part.len() < GROUP_CHARS {
        grouped.clear();
    }
}

fn normalise(text: &str, out: &mut String) {
    // What nearly every text is.
    if text.is_ascii() && !text.contains('\\') {
        out.push_str(text);
        out.make_ascii_lowercase();
        return;
    }
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = if c == '\\' { escaped(&mut chars) } else { c };
        match c {
            _ if c.is_ascii() => out.push(c.to_ascii_lowercase()),
            _ if is_hidden(c) => {}
            '\u{ff01}'..='\u{ff5e}' => {
                let narrow = u32::from(c) - 0xfee0;
                out.push(char::from_u32(narrow).unwrap_or(c).to_ascii_lowercase());
            }
            _ => out.extend(c.to_lowercase()),
        }
    }
}

/// A text often is JSON again, which its reader understands as well.
fn escaped(chars: &mut std::str::Chars<'_>) -> char {
    let ahead = chars.as_str();
    let code = ahead.strip_prefix('u').and_then(|hex| hex.get(..4));
    let code = code.and_then(|hex| u32::from_str_radix(hex, 16).ok()).and_then(char::from_u32);
    if let Some(meant) = code {
        *chars = ahead.get(5..).unwrap_or_default().chars();
        return meant;
    }
    match chars.next() {
        Some('n' | 'r' | 't' | 'b' | 'f') | None => ' ',
        Some(same) => same,
    }
}

/// A URL without its scheme, however it ends, and its host.
fn url(key: &Key, chunk: &str) -> Word {
    let rest = chunk.split_once("://").map_or(chunk, |(_, rest)| rest);
    let rest = rest.strip_prefix("www.").unwrap_or(rest);
    let rest = rest.trim_end_matches(['.', '/', '?', '#', ':', '-', '_', '*', '&', '=']);
    let host = rest.split(['/', '?', '#', ':']).next().unwrap_or(rest);
    let host = host.rsplit('@').next().unwrap_or(host);
    Word {
        hash: key.hash(rest.as_bytes()),
        sort: Sort::Address,
        host: Some(key.hash(host.as_bytes())),
        chars: rest.len(),
    }
}

/// The host of what may be a URL without scheme: `example.org/path`.
fn bare_host(part: &str) -> Option<&str> {
    let host = part.split('/').next()?;
    let (before, last) = host.rsplit_once('.')?;
    let is_label =
        !before.is_empty() && last.len() >= 2 && !last.bytes().any(|b| b.is_ascii_digit());
    (is_label && !host.contains('@')).then_some(host)
}

fn sort(part: &str) -> Sort {
    // What nearly every word is.
    if part.bytes().all(|b| b.is_ascii_lowercase()) {
        return Sort::Plain;
    }
    let is_mail = |(user, host): (&str, &str)| !user.is_empty() && bare_host(host) == Some(host);
    if part.rsplit_once('@').is_some_and(is_mail) || is_iban(part) {
        return Sort::Address;
    }
    let digits = part.bytes().filter(u8::is_ascii_digit).count();
    let has_letter = part.chars().any(char::is_alphabetic);
    let is_long = !has_letter && digits >= NUMBER_DIGITS_MIN && !is_date(part);
    let is_mixed = has_letter && digits > 0 && part.len() >= MIXED_CHARS_MIN;
    let is_path = part.contains('/') && has_letter;
    if is_long || is_mixed || is_path || bare_host(part).is_some() {
        return Sort::Name;
    }
    Sort::Plain
}

/// Two letters and two digits.
fn is_iban_head(part: &str) -> bool {
    let (country, check) = part.as_bytes().split_at_checked(2).unwrap_or_default();
    let check = check.get(..2).unwrap_or_default();
    country.iter().all(u8::is_ascii_lowercase)
        && check.len() == 2
        && check.iter().all(u8::is_ascii_digit)
}

fn is_iban(part: &str) -> bool {
    is_iban_head(part)
        && part.len() >= IBAN_CHARS_MIN
        && part.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Days are in every text.
fn is_date(part: &str) -> bool {
    let mut parts = part.split(['-', '/', '.']);
    let lens: SmallVec<[usize; 4]> = parts.by_ref().take(4).map(str::len).collect();
    matches!(lens.as_slice(), [4, 1 | 2, 1 | 2] | [1 | 2, 1 | 2, 2 | 4])
}
