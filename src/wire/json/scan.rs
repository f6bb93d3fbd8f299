//! The strict scan: one pass over the bytes of one JSON text.
//!
//! Promises that an accepted text is one RFC 8259 value, in UTF-8, no deeper than
//! `JSON_DEPTH_MAX`, with no key twice in any object; and it hands out an `Index` of where the
//! members that we look up later begin and end, so that nothing is scanned again. It keeps its own
//! stack (hostile nesting cannot exhaust ours) and its work is linear in the bytes but for a sort
//! of the keys of large objects. Knows nothing of JSON-RPC beyond the few names it indexes.

use smallvec::SmallVec;

use super::{keys, lex};
use crate::domain::limits::JSON_DEPTH_MAX;

/// A range of byte offsets into the scanned text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// One member of an indexed object, or one element of an indexed array (which has no key).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Member {
    /// The key as written, between its quotes.
    pub(super) key: Span,
    pub(super) value: Span,
    /// Whether the key is written with escapes.
    pub(super) escaped: bool,
    /// The table of the value's own members, when they are indexed too.
    pub(super) table: Option<Table>,
}

/// Which group of members in an `Index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Table(u8);

/// Where the members are that may be looked up later.
#[derive(Debug, Default)]
pub(super) struct Index {
    members: SmallVec<[Member; 16]>,
    /// For each table its range in `members`.
    tables: SmallVec<[Span; 4]>,
    /// Whether a raw newline stands between two tokens.
    pub(super) newlines: bool,
}

/// Why a text was refused, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) rule: Rule,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Utf8,
    Size,
    Syntax(&'static str),
    Depth,
    DuplicateKey,
}

/// Objects under these names are indexed along with the root, as long as their parent is.
const INDEXED: [&[u8]; 6] = [
    b"params",
    b"_meta",
    b"result",
    b"error",
    b"io.modelcontextprotocol/clientInfo",
    b"io.modelcontextprotocol/clientCapabilities",
];
/// The root, then at most this many objects below it.
const TABLES_MAX: usize = 16;

pub(super) const ROOT: Table = Table(0);

impl Index {
    pub(super) fn members(&self, table: Table) -> &[Member] {
        let range = self.tables.get(usize::from(table.0)).copied().unwrap_or_default();
        slice(&self.members, range).unwrap_or_default()
    }
}

/// Scans `text`. Up to `elements_max` elements of a root array are indexed; the rest is only checked.
pub(super) fn scan(text: &[u8], elements_max: usize) -> Result<Index, Fault> {
    if u32::try_from(text.len()).is_err() {
        return Err(Fault { at: 0, rule: Rule::Size });
    }
    if let Err(error) = std::str::from_utf8(text) {
        return Err(Fault { at: error.valid_up_to(), rule: Rule::Utf8 });
    }
    let mut scanner = Scanner {
        text,
        at: 0,
        open: SmallVec::new(),
        pending: SmallVec::new(),
        index: Index::default(),
        elements_max,
    };
    scanner.text()?;
    Ok(scanner.index)
}

pub(super) fn slice<T>(items: &[T], span: Span) -> Option<&[T]> {
    items.get(usize::try_from(span.start).ok()?..usize::try_from(span.end).ok()?)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Object,
    Array,
    /// The root array, whose elements are indexed.
    Elements,
}

/// A container that is open where the scan stands.
#[derive(Clone, Copy)]
struct Open {
    kind: Kind,
    /// Where its members begin in `pending`.
    first: u32,
    table: Option<Table>,
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    open: SmallVec<[Open; 16]>,
    /// The members of all open objects, outermost first.
    pending: SmallVec<[Member; 32]>,
    index: Index,
    elements_max: usize,
}

impl Scanner<'_> {
    fn text(&mut self) -> Result<(), Fault> {
        self.blanks();
        loop {
            if self.value()? && self.after_value()? {
                self.blanks();
                return match self.peek() {
                    None => Ok(()),
                    Some(_) => Err(self.syntax("more than one value")),
                };
            }
        }
    }

    /// Reads a scalar or an empty container whole (`true`), or steps into a container so that the
    /// next value is its first (`false`).
    #[inline]
    fn value(&mut self) -> Result<bool, Fault> {
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                self.string()?;
            }
            Some(b'{') => {
                self.enter(Kind::Object)?;
                self.blanks();
                if self.peek() != Some(b'}') {
                    return self.key().map(|()| false);
                }
                self.leave()?;
            }
            Some(b'[') => {
                let root = self.open.is_empty();
                self.enter(if root { Kind::Elements } else { Kind::Array })?;
                self.blanks();
                if self.peek() != Some(b']') {
                    self.element();
                    return Ok(false);
                }
                self.leave()?;
            }
            Some(b't') => self.word(b"true")?,
            Some(b'f') => self.word(b"false")?,
            Some(b'n') => self.word(b"null")?,
            Some(b'-' | b'0'..=b'9') => match lex::number(self.rest()) {
                Some(len) => self.at += len,
                None => return Err(self.syntax("malformed number")),
            },
            _ => return Err(self.syntax("expected a value")),
        }
        Ok(true)
    }

    /// Closes every container that ends here; `false` when another value follows, `true` when the
    /// root is complete.
    #[inline]
    fn after_value(&mut self) -> Result<bool, Fault> {
        while let Some(open) = self.open.last().copied() {
            self.end_member(open.kind);
            self.blanks();
            match (open.kind, self.peek()) {
                (Kind::Object, Some(b',')) => {
                    self.at += 1;
                    self.blanks();
                    return self.key().map(|()| false);
                }
                (Kind::Array | Kind::Elements, Some(b',')) => {
                    self.at += 1;
                    self.blanks();
                    self.element();
                    return Ok(false);
                }
                (Kind::Object, Some(b'}')) | (Kind::Array | Kind::Elements, Some(b']')) => {
                    self.leave()?;
                }
                (Kind::Object, _) => return Err(self.syntax("expected `,` or `}`")),
                (Kind::Array | Kind::Elements, _) => {
                    return Err(self.syntax("expected `,` or `]`"));
                }
            }
        }
        Ok(true)
    }

    fn enter(&mut self, kind: Kind) -> Result<(), Fault> {
        if self.open.len() >= JSON_DEPTH_MAX {
            return Err(self.fault(Rule::Depth));
        }
        let first = offset(self.pending.len());
        let table = self.table_here(kind);
        self.open.push(Open { kind, first, table });
        self.at += 1;
        Ok(())
    }

    /// Whether the container that begins here is indexed, and as which table.
    fn table_here(&mut self, kind: Kind) -> Option<Table> {
        let indexed = match (self.open.last(), self.pending.last()) {
            (None, _) => true,
            (Some(Open { kind: Kind::Object, table: Some(_), .. }), Some(member)) => {
                kind == Kind::Object
                    && slice(self.text, member.key).is_some_and(|key| INDEXED.contains(&key))
            }
            (Some(_), _) => false,
        };
        let number = self.index.tables.len();
        if !indexed || number >= TABLES_MAX {
            return None;
        }
        let table = Table(u8::try_from(number).ok()?);
        self.index.tables.push(Span::default());
        Some(table)
    }

    /// Closes the innermost container at its last byte.
    fn leave(&mut self) -> Result<(), Fault> {
        self.at += 1;
        let Some(open) = self.open.pop() else { return Ok(()) };
        let first = usize::try_from(open.first).unwrap_or_default();
        let Some(members) = self.pending.get(first..) else { return Ok(()) };
        if open.kind == Kind::Object
            && let Some(twice) = keys::first_duplicate(self.text, members)
        {
            return Err(Fault { at: twice, rule: Rule::DuplicateKey });
        }
        if let Some(table) = open.table {
            let start = offset(self.index.members.len());
            self.index.members.extend_from_slice(members);
            let end = offset(self.index.members.len());
            if let Some(range) = self.index.tables.get_mut(usize::from(table.0)) {
                *range = Span { start, end };
            }
        }
        self.pending.truncate(first);
        if let (Some(parent), Some(member)) = (self.open.last(), self.pending.last_mut())
            && parent.kind == Kind::Object
        {
            member.table = open.table;
        }
        Ok(())
    }

    /// Reads a key up to the first byte of its value.
    #[inline]
    fn key(&mut self) -> Result<(), Fault> {
        if self.peek() != Some(b'"') {
            return Err(self.syntax("expected a key"));
        }
        self.at += 1;
        let start = offset(self.at);
        let escaped = self.string()?;
        let key = Span { start, end: offset(self.at - 1) };
        self.blanks();
        if self.peek() != Some(b':') {
            return Err(self.syntax("expected `:`"));
        }
        self.at += 1;
        self.blanks();
        let value = Span { start: offset(self.at), end: 0 };
        self.pending.push(Member { key, value, escaped, table: None });
        Ok(())
    }

    /// Notes where an element of the root array begins.
    fn element(&mut self) {
        let Some(open) = self.open.last() else { return };
        if open.kind == Kind::Elements && self.pending.len() < self.elements_max {
            let value = Span { start: offset(self.at), end: 0 };
            self.pending.push(Member { value, ..Member::default() });
        }
    }

    /// Notes where the innermost member's value ended.
    fn end_member(&mut self, kind: Kind) {
        if kind != Kind::Array
            && let Some(member) = self.pending.last_mut()
            && (kind == Kind::Object || member.value.end == 0)
        {
            member.value.end = offset(self.at);
        }
    }

    /// Reads a string from behind its opening quote to behind its closing one; whether it has escapes.
    #[inline]
    fn string(&mut self) -> Result<bool, Fault> {
        let mut escaped = false;
        loop {
            self.at += lex::plain(self.rest());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => match lex::escape(self.rest()) {
                    Some(len) => self.at += len,
                    None => return Err(self.syntax("malformed escape")),
                },
                Some(_) => return Err(self.syntax("control character in a string")),
                None => return Err(self.syntax("unterminated string")),
            }
            escaped = true;
        }
    }

    fn word(&mut self, word: &'static [u8]) -> Result<(), Fault> {
        if !self.rest().starts_with(word) {
            return Err(self.syntax("expected a value"));
        }
        self.at += word.len();
        Ok(())
    }

    #[inline]
    fn blanks(&mut self) {
        while let Some(byte @ (b' ' | b'\t' | b'\n' | b'\r')) = self.peek() {
            self.index.newlines |= matches!(byte, b'\n' | b'\r');
            self.at += 1;
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    #[cold]
    fn syntax(&self, what: &'static str) -> Fault {
        self.fault(Rule::Syntax(what))
    }

    fn fault(&self, rule: Rule) -> Fault {
        Fault { at: self.at, rule }
    }
}

/// An offset into a text that `scan` has found to be shorter than 4 GiB.
#[inline]
fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
