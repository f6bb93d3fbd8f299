//! A text as words that can be compared, whoever wrote it and however it is spelt.
//!
//! Case, hidden characters, full-width letters, quotation marks and the escapes of JSON inside a
//! text make no difference. Each word leaves as a keyed hash: nobody who writes texts can choose
//! where it falls. A text is gone through once, since every word of every call and answer passes
//! here; what a word is has its own file.

use std::{
    fmt,
    hash::{DefaultHasher, Hasher as _},
};

use memchr::{memchr, memchr3, memmem};
use smallvec::SmallVec;

use super::kinds::{BLOCK, IBAN_CHARS_MAX, Kinds, Sort, bare_host, is_iban_head, sort};
use crate::domain::limits::RISK_WORD_BYTES_MAX;

/// The key under which words are hashed; one a process.
#[derive(Clone)]
pub(in crate::gate::risk) struct Key(DefaultHasher);

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

    /// Of a very long word its ends and its length: another with the same is taken for it.
    fn hash_word(&self, word: &str) -> u64 {
        const END: usize = RISK_WORD_BYTES_MAX / 2;
        let bytes = word.as_bytes();
        if bytes.len() <= RISK_WORD_BYTES_MAX {
            return self.hash(bytes);
        }
        let mut hasher = self.0.clone();
        let (head, tail) = (bytes.get(..END), bytes.get(bytes.len().saturating_sub(END)..));
        hasher.write(head.unwrap_or_default());
        hasher.write(tail.unwrap_or_default());
        hasher.write_usize(bytes.len());
        hasher.finish() | 1 << 63
    }
}

/// The secret is not shown.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

impl Word {
    /// Whether no other word has its hash. What is taken for another speaks against a call, and
    /// never for one.
    pub(super) fn is_told_apart(&self) -> bool {
        self.chars <= RISK_WORD_BYTES_MAX
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
    each: impl FnMut(Word),
) {
    scratch.clear();
    normalise(text, scratch);
    let mut reader = Reader { key, grouped: String::new(), each };
    pieces(scratch, Kinds::NONE, |chunk, kinds| reader.chunk(chunk, kinds));
    reader.end_of_group();
}

/// Whether `read` may find an address in it and nothing else, as far as that is seen at once.
pub(in crate::gate::risk) fn may_be_address(text: &str) -> bool {
    let bytes = text.as_bytes();
    let has_scheme = || memchr(b':', bytes).is_some() && memmem::find(bytes, b"://").is_some();
    if text.is_ascii() && memchr3(b'@', b'.', b'\\', bytes).is_none() && !has_scheme() {
        // What is left is an account: from its first character to its last, if it is alone.
        let core = text.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        return core.len() <= IBAN_CHARS_MAX;
    }
    !is_several(text)
}

/// Whether `read` finds more than one word in it, as far as that is seen at once.
fn is_several(text: &str) -> bool {
    let is_word = |part: &&str| part.bytes().any(|b| b.is_ascii_alphanumeric());
    memchr(b'\\', text.as_bytes()).is_none() && text.split(' ').filter(is_word).nth(1).is_some()
}

struct Reader<'a, F> {
    key: &'a Key,
    /// The account number that is being read in groups.
    grouped: String,
    each: F,
}

impl<F: FnMut(Word)> Reader<'_, F> {
    /// What stands between two characters that are in no word.
    fn chunk(&mut self, chunk: &str, kinds: Kinds) {
        let is_url = kinds.has(Kinds::COLON) && memmem::find(chunk.as_bytes(), b"://").is_some();
        if is_url || kinds.has(Kinds::DOT) && chunk.starts_with("www.") {
            (self.each)(url(self.key, chunk));
        } else if kinds.has(Kinds::PARTS) {
            pieces(chunk, Kinds::PARTS, |part, kinds| self.part(part, kinds));
        } else {
            self.part(chunk, kinds);
        }
    }

    /// A word, with the kinds in it.
    fn part(&mut self, part: &str, kinds: Kinds) {
        let part = if kinds.is_letters_and_digits() { part } else { trimmed(part) };
        if part.is_empty() {
            return;
        }
        if !self.grouped.is_empty() || part.len() == GROUP_CHARS && kinds.has(Kinds::DIGIT) {
            self.group(part);
        }
        let host = if kinds.has(Kinds::DOT) { bare_host(part) } else { None };
        (self.each)(Word {
            hash: self.key.hash_word(part),
            sort: sort(part, kinds, host),
            host: host.map(|host| self.key.hash_word(host)),
            chars: part.len(),
        });
    }

    /// Account numbers are written in groups of four; an argument has them in one piece.
    fn group(&mut self, part: &str) {
        let is_group = part.len() <= GROUP_CHARS && part.bytes().all(|b| b.is_ascii_alphanumeric());
        let begins = part.len() == GROUP_CHARS && is_iban_head(part);
        if is_group && (begins || !self.grouped.is_empty()) {
            self.grouped.push_str(part);
        }
        if !is_group || part.len() < GROUP_CHARS {
            self.end_of_group();
        }
    }

    fn end_of_group(&mut self) {
        if self.grouped.len() >= GROUPED_CHARS_MIN {
            let hash = self.key.hash(self.grouped.as_bytes());
            let chars = self.grouped.len();
            (self.each)(Word { hash, sort: Sort::Address, host: None, chars });
        }
        self.grouped.clear();
    }
}

/// What stands between characters that are in no word or one of `ends`, with the kinds in it.
fn pieces(text: &str, ends: Kinds, mut each: impl FnMut(&str, Kinds)) {
    let bytes = text.as_bytes();
    let (mut from, mut at, mut kinds) = (0, 0, Kinds::NONE);
    let mut long = BLOCK;
    while let Some(byte) = bytes.get(at) {
        let (kind, n_bytes) = match byte {
            0..0x80 => (Kinds::of_byte(*byte), 1),
            _ => text
                .get(at..)
                .and_then(|rest| rest.chars().next())
                .map_or((Kinds::NONE, 1), Kinds::of),
        };
        if kind == Kinds::NONE || ends.has(kind) {
            if from < at {
                each(text.get(from..at).unwrap_or_default(), kinds);
            }
            at += n_bytes;
            (from, kinds, long) = (at, Kinds::NONE, at + BLOCK);
            continue;
        }
        (at, kinds) = (at + n_bytes, kinds.with(kind));
        if at >= long {
            let (plain, within) = Kinds::of_blocks(bytes.get(at..).unwrap_or_default());
            (at, kinds) = (at + plain, kinds.with(within));
            long = at + BLOCK;
        }
    }
    if from < at {
        each(text.get(from..).unwrap_or_default(), kinds);
    }
}

/// Without what stands around words.
fn trimmed(part: &str) -> &str {
    let part = part.trim_start_matches(['.', '-', '+', '_']);
    part.trim_end_matches(['.', '-', '+', '_', '/', '%'])
}

fn normalise(text: &str, out: &mut String) {
    // What nearly every text is.
    if text.is_ascii() && memchr(b'\\', text.as_bytes()).is_none() {
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
        hash: key.hash_word(rest),
        sort: Sort::Address,
        host: Some(key.hash_word(host)),
        chars: rest.len(),
    }
}
