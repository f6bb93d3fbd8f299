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

    /// The same without its message, for whoever keeps it when the message is done with.
    pub fn detached(&self) -> Result<Self, WireError> {
        Self::parse(Bytes::copy_from_slice(&self.raw))
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

    /// The same as bytes.
    pub(in crate::wire) fn keys_as_bytes(&self) -> impl Iterator<Item = Cow<'_, [u8]>> {
        self.table().iter().map(|member| self.key_bytes(member))
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

    pub(super) fn key_bytes(&self, member: &Member) -> Cow<'_, [u8]> {
        let local = Member { key: self.local(member.key), ..*member };
        key(&self.raw, &local)
    }

    pub(super) fn key(&self, member: &Member) -> Cow<'_, str> {
        match self.key_bytes(member) {
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

/// Up to `max` elements of an array, all of which is scanned.
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

/// What may stand between two tokens.
pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn trim(raw: Bytes) -> Bytes {
    let blank = |byte: &u8| is_blank(*byte);
    let start = raw.iter().position(|byte| !blank(byte)).unwrap_or(raw.len());
    let end = raw.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    raw.slice(start..end)
}

#[cfg(test)]
mod tests {
    use super::{Object, elements};

    fn object(text: &str) -> Object {
        Object::parse(text.to_owned().into()).unwrap()
    }

    #[test]
    fn members_are_found_at_any_depth_and_in_any_spelling() {
        // Deeper than the index reaches, and by names that it does not know.
        for key in ["_meta", "params", "x", "\\u005fmeta"] {
            let text =
                (0..60).fold("{}".to_owned(), |inner, _| format!("{{ \"{key}\" : {inner}}}"));
            let name = if key.starts_with('\\') { "_meta" } else { key };
            let mut at = object(&text);
            for depth in (0..60).rev() {
                let inner = at.object(name).unwrap();
                assert_eq!(at.get(name).unwrap(), inner.raw(), "{key} {depth}");
                assert!(at.contains(name) && !at.contains("other"));
                at = inner;
            }
            assert!(at.is_empty());
        }
    }

    #[test]
    fn what_the_scan_indexed_is_not_scanned_again() {
        let root = object(r#"{"params":{"_meta":{"a":1},"arguments":{"_meta":{}}}}"#);
        let shares = |object: &Object| std::sync::Arc::ptr_eq(&object.index, &root.index);
        let params = root.object("params").unwrap();
        assert!(shares(&params) && shares(&params.object("_meta").unwrap()));
        assert!(!shares(&params.object("arguments").unwrap()));
    }

    #[test]
    fn a_look_answers_only_for_the_right_type() {
        let object =
            object(r#"{"s":"a","i":-7,"f":7.0,"big":9223372036854775808,"o":{},"n":null}"#);
        assert_eq!(object.text("s").as_deref(), Some("a"));
        assert_eq!(object.text("i"), None);
        assert_eq!(object.integer("i"), Some(-7));
        assert_eq!(
            (object.integer("f"), object.integer("big"), object.integer("s")),
            (None, None, None)
        );
        assert!(object.object("o").is_some() && object.object("n").is_none());
        assert_eq!(object.peek("n"), Some(b"null".as_slice()));
        assert_eq!(object.get("absent"), None);
    }

    #[test]
    fn blanks_around_and_newlines_within_are_dropped() {
        assert_eq!(object(" \n{\r\n\t\"a\":\n1 }\t\r").raw(), "{\t\"a\":1 }");
    }

    #[test]
    fn elements_are_counted_off_and_the_rest_is_checked() {
        let some = |text: &'static str, max| elements(text.into(), max);
        assert_eq!(some("[1 , [2,3],\"x\" ]", 9).unwrap(), ["1", "[2,3]", "\"x\""]);
        assert_eq!(some("[1,22,333,4444]", 2).unwrap(), ["1", "22"]);
        assert!(some("[1,22,333,4444,]", 2).is_err());
        assert!(some("[]", 2).unwrap().is_empty());
        assert!(some("{}", 2).is_err());
    }
}
