//! A scanned JSON object: looked up by key, handed on by its bytes.
//!
//! Cheap to clone and never copies: it is a slice of the message it came from, with a share of that
//! message's index. Values are given as the bytes they were written with; nothing is parsed into a
//! tree, so no number, order or spelling can change on the way.

use std::{borrow::Cow, fmt, sync::Arc};

use bytes::Bytes;

use super::{
    edit::Edit,
    fault,
    scan::{Index, Member, ROOT, Scanned, Span, Table, key, scan},
    text::Text,
};
use crate::wire::WireError;

/// A JSON object that has passed the strict scan.
#[derive(Clone)]
pub struct Object {
    raw: Bytes,
    /// Where `raw` begins in the text that `index` speaks of.
    base: u32,
    index: Arc<Index>,
    table: Table,
}

impl Object {
    /// Scans `raw` strictly. Blanks around the object and raw newlines within it are dropped.
    pub fn parse(raw: Bytes) -> Result<Self, WireError> {
        let (raw, index) = one_line(raw, 0)?;
        Self::root(raw, index).ok_or(WireError::NotAnObject)
    }

    /// An object without members, to be edited.
    pub fn empty() -> Self {
        let raw = Bytes::from_static(b"{}");
        Self { raw, base: 0, index: Arc::new(Index::default()), table: ROOT }
    }

    pub(super) fn root(raw: Bytes, index: Index) -> Option<Self> {
        let object = raw.first() == Some(&b'{');
        object.then(|| Self { raw, base: 0, index: Arc::new(index), table: ROOT })
    }

    /// The object as it was written.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The text of the value under `key`.
    pub fn get(&self, key: &str) -> Option<Bytes> {
        self.find(key).map(|member| self.value(member))
    }

    /// The same, borrowed: for a look that keeps nothing.
    pub fn peek(&self, key: &str) -> Option<&[u8]> {
        self.local(self.find(key)?.value).of(&self.raw)
    }

    /// The value under `key`, if it is an object.
    pub fn object(&self, key: &str) -> Option<Self> {
        let member = self.find(key)?;
        let raw = self.value(member);
        match member.table {
            Some(table) => {
                let index = Arc::clone(&self.index);
                Some(Self { raw, base: member.value.start, index, table })
            }
            None if raw.first() == Some(&b'{') => Self::parse(raw).ok(),
            None => None,
        }
    }

    /// The value under `key`, if it is a string that means something.
    pub fn text(&self, key: &str) -> Option<String> {
        self.str(key).map(|text| text.as_str().to_owned())
    }

    /// The same, sharing the bytes.
    pub fn str(&self, key: &str) -> Option<Text> {
        Text::of(self.peek(key)?, &self.raw)
    }

    /// The value under `key`, if it is written as a plain integer that fits.
    pub fn integer(&self, key: &str) -> Option<i64> {
        std::str::from_utf8(self.peek(key)?).ok()?.parse().ok()
    }

    pub fn contains(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    pub fn is_empty(&self) -> bool {
        self.table().is_empty()
    }

    /// Every key, unescaped, with the text of its value, in the order written.
    pub fn members(&self) -> impl Iterator<Item = (Cow<'_, str>, Bytes)> {
        self.table().iter().map(|member| (self.key(member), self.value(member)))
    }

    /// Every key, unescaped, in the order written.
    pub fn keys(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.table().iter().map(|member| self.key(member))
    }

    /// Starts a copy that differs from this object in a few members.
    pub fn edit(&self) -> Edit {
        Edit::of(self.clone())
    }

    pub(super) fn table(&self) -> &[Member] {
        self.index.members(self.table)
    }

    pub(super) fn key_is(&self, member: &Member, key: &str) -> bool {
        match self.local(member.key).of(&self.raw) {
            Some(written) if !member.escaped => written == key.as_bytes(),
            _ => self.key(member) == key,
        }
    }

    /// `span` as offsets into `raw`.
    pub(super) fn local(&self, span: Span) -> Span {
        let shift = |at: u32| at.saturating_sub(self.base);
        Span { start: shift(span.start), end: shift(span.end) }
    }

    fn find(&self, key: &str) -> Option<&Member> {
        self.table().iter().find(|member| self.key_is(member, key))
    }

    pub(super) fn key(&self, member: &Member) -> Cow<'_, str> {
        let local = Member { key: self.local(member.key), ..*member };
        match key(&self.raw, &local) {
            // The scan has checked the whole text, so nothing is lost.
            Cow::Borrowed(key) => Cow::Borrowed(std::str::from_utf8(key).unwrap_or_default()),
            Cow::Owned(key) => Cow::Owned(String::from_utf8(key).unwrap_or_default()),
        }
    }

    fn value(&self, member: &Member) -> Bytes {
        match self.local(member.value).of(&self.raw) {
            Some(value) => self.raw.slice_ref(value),
            None => Bytes::new(),
        }
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.raw))
    }
}

/// The elements of a scanned array, or none if `raw` is not an array.
pub(in crate::wire) fn elements(raw: Bytes, max: usize) -> Result<Vec<Bytes>, WireError> {
    let (raw, index) = one_line(raw, max)?;
    if raw.first() != Some(&b'[') {
        return Err(WireError::NotAnArray);
    }
    let values = index.members(ROOT).iter().filter_map(|element| element.value.of(&raw));
    Ok(values.map(|value| raw.slice_ref(value)).collect())
}

/// Scans `raw` and drops blanks around it and raw newlines between its tokens.
pub(super) fn one_line(raw: Bytes, elements_max: usize) -> Result<(Bytes, Index), WireError> {
    let raw = trim(raw);
    let Scanned { index, newlines } =
        scan(&raw, elements_max).map_err(|found| fault(&raw, found))?;
    if !newlines {
        return Ok((raw, index));
    }
    // Only now: joined first, `tr\nue` would have become a word. In a text that was accepted a
    // newline can only stand between two tokens, since a string cannot hold a raw one.
    let joined: Bytes = raw.iter().copied().filter(|byte| !matches!(byte, b'\n' | b'\r')).collect();
    let Scanned { index, .. } =
        scan(&joined, elements_max).map_err(|found| fault(&joined, found))?;
    Ok((joined, index))
}

fn trim(raw: Bytes) -> Bytes {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let start = raw.iter().position(|byte| !blank(byte)).unwrap_or(raw.len());
    let end = raw.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    raw.slice(start..end)
}
