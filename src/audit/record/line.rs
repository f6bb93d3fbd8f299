//! One record's bytes: a JSON object in canonical form (RFC 8785).
//!
//! Owns the order of members, how strings of strangers are cut and escaped, and the room that is
//! left for what only the writer knows: `seq`, `prev` and commitments. Numbers stay below
//! 2^53. Control characters never get in, so a terminal may show the log. Knows nothing of what a
//! record means.

use std::fmt::Write as _;

use bytes::Bytes;
use smallvec::SmallVec;

use super::Step;
use crate::{
    audit::vault::Content,
    domain::{CallId, limits},
};

/// A line but for its number and its predecessor.
#[derive(Debug, Default)]
pub(in crate::audit) struct Rendered {
    pub(in crate::audit) bytes: Vec<u8>,
    /// Where 64 zeros stand for the hash of the line before.
    pub(in crate::audit) prev_at: usize,
    /// Where the digits of the number are missing. After `prev_at`.
    pub(in crate::audit) seq_at: usize,
    pub(in crate::audit) step: Option<Step>,
    /// What it commits to.
    pub(in crate::audit) contents: SmallVec<[Content; 1]>,
}

/// Members in any order, each `"key":value`.
pub(super) struct Line {
    text: String,
    starts: SmallVec<[usize; MEMBERS_USUAL]>,
    contents: SmallVec<[(&'static str, Content); 1]>,
}

/// Room for an intent with ordinary names, so that rendering allocates twice.
const TYPICAL_BYTES: usize = 512;
const MEMBERS_USUAL: usize = 24;
const PREV: &str = "\"prev\":\"";
const SEQ: &str = "\"seq\":";
/// What follows a hash.
const CLOSE: &str = "\"";

impl Line {
    pub(super) fn new() -> Self {
        Self {
            text: String::with_capacity(TYPICAL_BYTES),
            starts: SmallVec::new(),
            contents: SmallVec::new(),
        }
    }

    /// Puts the members in order and leaves room for the writer's.
    pub(super) fn finish(mut self, step: Option<Step>) -> Rendered {
        self.hex("prev", &[0; 32]);
        self.key("seq");
        let ends = self.starts.iter().skip(1).copied().chain([self.text.len()]);
        let mut members: SmallVec<[&str; MEMBERS_USUAL]> = self
            .starts
            .iter()
            .zip(ends)
            .map(|(start, end)| self.text.get(*start..end).unwrap_or_default())
            .collect();
        // Keys are unique and end with a quote, which sorts before anything in a key.
        members.sort_unstable();
        let mut rendered = Rendered { step, ..Rendered::default() };
        let mut bytes = Vec::with_capacity(self.text.len() + members.len() + SPARE_BYTES);
        for member in members {
            bytes.push(if bytes.is_empty() { b'{' } else { b',' });
            if member.starts_with(PREV) {
                rendered.prev_at = bytes.len() + PREV.len();
            }
            bytes.extend_from_slice(member.as_bytes());
            if member.starts_with(SEQ) {
                rendered.seq_at = bytes.len();
            }
            for (key, content) in &mut self.contents {
                if member.strip_prefix('"').is_some_and(|member| member.starts_with(*key)) {
                    content.at = bytes.len() - CLOSE.len() - 64;
                }
            }
        }
        bytes.push(b'}');
        rendered.bytes = bytes;
        rendered.contents = self.contents.into_iter().map(|(_, content)| content).collect();
        rendered
    }

    /// `key` is always a word of ours that needs no escaping.
    fn key(&mut self, key: &str) {
        self.starts.push(self.text.len());
        self.text.push('"');
        self.text.push_str(key);
        self.text.push_str("\":");
    }

    pub(super) fn number(&mut self, key: &str, value: u64) {
        self.key(key);
        // Writing to a string cannot fail.
        write!(self.text, "{}", value.min(EXACT_MAX)).unwrap_or_default();
    }

    pub(super) fn id(&mut self, key: &str, id: CallId) {
        self.key(key);
        write!(self.text, "\"{id}\"").unwrap_or_default();
    }

    pub(super) fn ids(&mut self, key: &str, ids: &[CallId]) {
        self.key(key);
        for (n, id) in ids.iter().enumerate() {
            let before = if n == 0 { '[' } else { ',' };
            write!(self.text, "{before}\"{id}\"").unwrap_or_default();
        }
        self.text.push_str(if ids.is_empty() { "[]" } else { "]" });
    }

    pub(super) fn hex(&mut self, key: &str, digest: &[u8; 32]) {
        self.key(key);
        self.text.push('"');
        self.text.push_str(std::str::from_utf8(&hex_digits(digest)).unwrap_or_default());
        self.text.push('"');
    }

    /// What stands in for content, once the writer has it.
    pub(super) fn commit(&mut self, (key, size): (&'static str, &str), content: &Bytes) {
        self.hex(key, &[0; 32]);
        self.number(size, u64::try_from(content.len()).unwrap_or(u64::MAX));
        self.contents.push((key, Content::new(content.clone())));
    }

    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.text.push('"');
        let cut = value.floor_char_boundary(limits::AUDIT_TEXT_BYTES_MAX);
        let (kept, rest) = value.split_at_checked(cut).unwrap_or((value, ""));
        let plain = |b: u8| (b' '..0x7f).contains(&b) && b != b'"' && b != b'\\';
        if kept.bytes().all(plain) {
            self.text.push_str(kept);
        } else {
            kept.chars().for_each(|c| self.escaped(c));
        }
        if !rest.is_empty() {
            self.text.push('…');
        }
        self.text.push('"');
    }

    /// The canonical form has no escape for the control characters from U+007F on.
    fn escaped(&mut self, c: char) {
        match c {
            '"' => self.text.push_str("\\\""),
            '\\' => self.text.push_str("\\\\"),
            '\u{8}' => self.text.push_str("\\b"),
            '\t' => self.text.push_str("\\t"),
            '\n' => self.text.push_str("\\n"),
            '\u{c}' => self.text.push_str("\\f"),
            '\r' => self.text.push_str("\\r"),
            c if c < ' ' => write!(self.text, "\\u{:04x}", u32::from(c)).unwrap_or_default(),
            c if c.is_control() => self.text.push(char::REPLACEMENT_CHARACTER),
            c => self.text.push(c),
        }
    }
}

/// For the number, the braces and the line feed.
const SPARE_BYTES: usize = 24;

/// The largest integer that every reader of JSON reads alike.
const EXACT_MAX: u64 = (1 << 53) - 1;

pub(in crate::audit) fn hex_digits(digest: &[u8; 32]) -> [u8; 64] {
    let mut text = [b'0'; 64];
    for (pair, byte) in text.chunks_exact_mut(2).zip(digest) {
        for (digit, nibble) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
            *digit = HEX_DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
        }
    }
    text
}

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";
