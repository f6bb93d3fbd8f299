//! The strict scan: one pass over the bytes of one JSON text.
//!
//! Promises that an accepted text is one RFC 8259 value, in UTF-8, no deeper than
//! `JSON_DEPTH_MAX`, with no key twice in any object; and it hands out an `Index` of where the
//! members that we look up later begin and end, so that nothing is scanned again. It keeps its own
//! stack (hostile nesting cannot exhaust ours) and its work is linear in the bytes but for a sort
//! of the keys of large objects. Knows nothing of JSON-RPC beyond the few names it indexes.

mod cursor;
mod index;
mod keys;
mod lex;

use smallvec::SmallVec;

use crate::domain::limits::JSON_DEPTH_MAX;
use cursor::Cursor;
use index::offset;
pub(super) use index::{Index, Member, ROOT, Span, Table};
pub(super) use keys::key;

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

/// An accepted text's index, and whether a raw newline stands between two of its tokens.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) index: Index,
    pub(super) newlines: bool,
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

/// Scans `text`. Up to `elements_max` elements of a root array are indexed; all are checked.
pub(super) fn scan(text: &[u8], elements_max: usize) -> Result<Scanned, Fault> {
    if u32::try_from(text.len()).is_err() {
        return Err(Fault { at: 0, rule: Rule::Size });
    }
    if let Err(error) = std::str::from_utf8(text) {
        return Err(Fault { at: error.valid_up_to(), rule: Rule::Utf8 });
    }
    let mut scanner = Scanner {
        cursor: Cursor::new(text),
        open: SmallVec::new(),
        pending: SmallVec::new(),
        index: Index::default(),
        elements_max,
    };
    scanner.text()?;
    Ok(Scanned { index: scanner.index, newlines: scanner.cursor.newlines })
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

/// What follows a value.
enum Next {
    Value,
    End,
}

struct Scanner<'a> {
    cursor: Cursor<'a>,
    open: SmallVec<[Open; 16]>,
    /// The members of all open objects, outermost first.
    pending: SmallVec<[Member; 32]>,
    index: Index,
    elements_max: usize,
}

impl Scanner<'_> {
    fn text(&mut self) -> Result<(), Fault> {
        self.cursor.blanks();
        while let Next::Value = self.value()? {}
        self.cursor.blanks();
        match self.cursor.peek() {
            None => Ok(()),
            Some(_) => Err(self.cursor.syntax("more than one value")),
        }
    }

    /// Steps over a scalar or an empty container and whatever it completes, or into a container.
    #[inline]
    fn value(&mut self) -> Result<Next, Fault> {
        match self.cursor.peek() {
            Some(b'"') => {
                self.cursor.step();
                self.cursor.string()?;
            }
            Some(b'{') => {
                self.enter(Kind::Object)?;
                if self.cursor.peek() != Some(b'}') {
                    return self.key();
                }
                self.leave()?;
            }
            Some(b'[') => {
                let root = self.open.is_empty();
                self.enter(if root { Kind::Elements } else { Kind::Array })?;
                if self.cursor.peek() != Some(b']') {
                    return Ok(self.element());
                }
                self.leave()?;
            }
            Some(b't') => self.cursor.word(b"true")?,
            Some(b'f') => self.cursor.word(b"false")?,
            Some(b'n') => self.cursor.word(b"null")?,
            Some(b'-' | b'0'..=b'9') => self.cursor.number()?,
            _ => return Err(self.cursor.syntax("expected a value")),
        }
        self.after_value()
    }

    /// Closes every container that ends here.
    #[inline]
    fn after_value(&mut self) -> Result<Next, Fault> {
        while let Some(open) = self.open.last().copied() {
            self.end_member(open.kind);
            self.cursor.blanks();
            match (open.kind, self.cursor.peek()) {
                (Kind::Object, Some(b',')) => {
                    self.cursor.step();
                    self.cursor.blanks();
                    return self.key();
                }
                (Kind::Array | Kind::Elements, Some(b',')) => {
                    self.cursor.step();
                    self.cursor.blanks();
                    return Ok(self.element());
                }
                (Kind::Object, Some(b'}')) | (Kind::Array | Kind::Elements, Some(b']')) => {
                    self.leave()?;
                }
                (Kind::Object, _) => return Err(self.cursor.syntax("expected `,` or `}`")),
                (Kind::Array | Kind::Elements, _) => {
                    return Err(self.cursor.syntax("expected `,` or `]`"));
                }
            }
        }
        Ok(Next::End)
    }

    /// Steps over the opening bracket and the blanks behind it.
    fn enter(&mut self, kind: Kind) -> Result<(), Fault> {
        if self.open.len() >= JSON_DEPTH_MAX {
            return Err(self.cursor.fault(Rule::Depth));
        }
        let table = if self.is_indexed(kind) { self.index.open() } else { None };
        self.open.push(Open { kind, first: offset(self.pending.len()), table });
        self.cursor.step();
        self.cursor.blanks();
        Ok(())
    }

    /// Whether the container that begins here is to be looked up later.
    fn is_indexed(&self, kind: Kind) -> bool {
        match (self.open.last(), self.pending.last()) {
            (None, _) => true,
            (Some(Open { kind: Kind::Object, table: Some(_), .. }), Some(member)) => {
                let named = |key| INDEXED.contains(&key);
                kind == Kind::Object && member.key.of(self.cursor.text).is_some_and(named)
            }
            (Some(_), _) => false,
        }
    }

    /// Steps over the closing bracket.
    fn leave(&mut self) -> Result<(), Fault> {
        self.cursor.step();
        let Some(open) = self.open.pop() else { return Ok(()) };
        let first = usize::try_from(open.first).unwrap_or_default();
        let members = self.pending.get(first..).unwrap_or_default();
        if open.kind == Kind::Object
            && let Some(at) = keys::first_duplicate(self.cursor.text, members)
        {
            return Err(Fault { at, rule: Rule::DuplicateKey });
        }
        if let Some(table) = open.table {
            self.index.fill(table, members);
        }
        self.pending.truncate(first);
        if let Some(Open { kind: Kind::Object, .. }) = self.open.last()
            && let Some(member) = self.pending.last_mut()
        {
            member.table = open.table;
        }
        Ok(())
    }

    /// Steps over a key up to the first byte of its value.
    #[inline]
    fn key(&mut self) -> Result<Next, Fault> {
        if self.cursor.peek() != Some(b'"') {
            return Err(self.cursor.syntax("expected a key"));
        }
        self.cursor.step();
        let start = offset(self.cursor.at);
        let escaped = self.cursor.string()?;
        let key = Span { start, end: offset(self.cursor.at.saturating_sub(1)) };
        self.cursor.blanks();
        if self.cursor.peek() != Some(b':') {
            return Err(self.cursor.syntax("expected `:`"));
        }
        self.cursor.step();
        self.cursor.blanks();
        let value = Span { start: offset(self.cursor.at), end: 0 };
        self.pending.push(Member { key, value, escaped, table: None });
        Ok(Next::Value)
    }

    /// Notes where an element of the root array begins.
    fn element(&mut self) -> Next {
        let indexed = matches!(self.open.last(), Some(Open { kind: Kind::Elements, .. }));
        if indexed && self.pending.len() < self.elements_max {
            let value = Span { start: offset(self.cursor.at), end: 0 };
            self.pending.push(Member { value, ..Member::default() });
        }
        Next::Value
    }

    /// Notes where the innermost member's value ended.
    #[inline]
    fn end_member(&mut self, kind: Kind) {
        let Some(member) = self.pending.last_mut() else { return };
        // Behind the last indexed element others follow; its end is set already.
        if kind == Kind::Object || kind == Kind::Elements && member.value.end == 0 {
            member.value.end = offset(self.cursor.at);
        }
    }
}
