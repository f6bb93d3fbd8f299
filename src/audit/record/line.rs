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
    members: SmallVec<[Member; MEMBERS_USUAL]>,
    /// Which member each of them is for.
    contents: SmallVec<[(usize, Content); 1]>,
}

/// It ends where the next one begins.
struct Member {
    key: &'static str,
    at: usize,
}

/// Room for an intent with ordinary names, so that rendering allocates twice.
const TYPICAL_BYTES: usize = 768;
const MEMBERS_USUAL: usize = 24;
const PREV: &str = "\"prev\":\"";
/// Where a hash will be.
const HASH: &str = "\"0000000000000000000000000000000000000000000000000000000000000000\"";

impl Line {
    pub(super) fn new() -> Self {
        Self {
            text: String::with_capacity(TYPICAL_BYTES),
            members: SmallVec::new(),
            contents: SmallVec::new(),
        }
    }

    /// Puts the members in order and leaves room for the writer's.
    pub(super) fn finish(mut self, step: Option<Step>) -> Rendered {
        let prev = self.hash("prev");
        let seq = self.key("seq");
        let mut rendered = Rendered { step, ..Rendered::default() };
        let mut bytes = Vec::with_capacity(self.text.len() + self.members.len() + SPARE_BYTES);
        for which in self.in_order() {
            bytes.push(if bytes.is_empty() { b'{' } else { b',' });
            if which == prev {
                rendered.prev_at = bytes.len() + PREV.len();
            }
            bytes.extend_from_slice(self.member(which).as_bytes());
            if which == seq {
                rendered.seq_at = bytes.len();
            }
            for (of, content) in &mut self.contents {
                if *of == which {
                    content.at = bytes.len() - HASH.len() + 1;
                }
            }
        }
        bytes.push(b'}');
        rendered.bytes = bytes;
        rendered.contents = self.contents.into_iter().map(|(_, content)| content).collect();
        rendered
    }

    /// By their keys, whose first bytes tell most of them apart.
    fn in_order(&self) -> impl Iterator<Item = usize> + use<> {
        let ranked = |(which, member): (usize, &Member)| (rank(member.key), member.key, which);
        let mut order: SmallVec<[_; MEMBERS_USUAL]> =
            self.members.iter().enumerate().map(ranked).collect();
        order.sort_unstable();
        order.into_iter().map(|(_, _, which)| which)
    }

    fn member(&self, which: usize) -> &str {
        let begins =
            |which| self.members.get(which).map_or(self.text.len(), |member: &Member| member.at);
        self.text.get(begins(which)..begins(which.saturating_add(1))).unwrap_or_default()
    }

    /// `key` is always a word of ours that needs no escaping, and is there once. Says which
    /// member it is.
    fn key(&mut self, key: &'static str) -> usize {
        let which = self.members.len();
        self.members.push(Member { key, at: self.text.len() });
        self.text.push('"');
        self.text.push_str(key);
        self.text.push_str("\":");
        which
    }

    pub(super) fn number(&mut self, key: &'static str, value: u64) {
        self.key(key);
        self.text.push_str(itoa::Buffer::new().format(value.min(EXACT_MAX)));
    }

    pub(super) fn id(&mut self, key: &'static str, id: CallId) {
        self.key(key);
        self.quoted_id(id);
    }

    pub(super) fn ids(&mut self, key: &'static str, ids: &[CallId]) {
        self.key(key);
        for (n, id) in ids.iter().enumerate() {
            self.text.push(if n == 0 { '[' } else { ',' });
            self.quoted_id(*id);
        }
        self.text.push_str(if ids.is_empty() { "[]" } else { "]" });
    }

    fn quoted_id(&mut self, id: CallId) {
        self.text.push('"');
        self.text.push_str(std::str::from_utf8(&id.characters()).unwrap_or_default());
        self.text.push('"');
    }

    pub(super) fn hex(&mut self, key: &'static str, digest: &[u8; 32]) {
        self.key(key);
        self.text.push('"');
        self.text.push_str(std::str::from_utf8(&hex_digits(digest)).unwrap_or_default());
        self.text.push('"');
    }

    /// Room for a hash that only the writer knows.
    fn hash(&mut self, key: &'static str) -> usize {
        let which = self.key(key);
        self.text.push_str(HASH);
        which
    }

    /// What stands in for content, once the writer has it.
    pub(super) fn commit(&mut self, (key, size): (&'static str, &'static str), content: &Bytes) {
        let which = self.hash(key);
        self.number(size, u64::try_from(content.len()).unwrap_or(u64::MAX));
        self.contents.push((which, Content::new(content.clone())));
    }

    pub(super) fn text(&mut self, key: &'static str, value: &str) {
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

/// The first bytes of a key: keys with different ranks are in the order of these.
fn rank(key: &str) -> u64 {
    let mut first = [0; size_of::<u64>()];
    for (slot, byte) in first.iter_mut().zip(key.bytes()) {
        *slot = byte;
    }
    u64::from_be_bytes(first)
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
