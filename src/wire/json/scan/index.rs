//! What a scan leaves behind: where the members are that may be looked up later.
//!
//! Offsets are 32 bits wide (a message is far smaller than 4 GiB), and a whole index of a usual
//! request fits into one allocation. Tables group the members of one object each; a member whose
//! value is an indexed object names that object's table.

use smallvec::SmallVec;

/// A range of byte offsets into the scanned text, or of positions in `Index::members`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::wire::json) struct Span {
    pub(in crate::wire::json) start: u32,
    pub(in crate::wire::json) end: u32,
}

/// One member of an indexed object, or one element of an indexed array (which has no key).
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::wire::json) struct Member {
    /// The key as written, between its quotes.
    pub(in crate::wire::json) key: Span,
    pub(in crate::wire::json) value: Span,
    /// Whether the key is written with escapes.
    pub(in crate::wire::json) escaped: bool,
    /// The table of the value's own members, when they are indexed too.
    pub(in crate::wire::json) table: Option<Table>,
}

/// Which group of members in an `Index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::wire::json) struct Table(u8);

/// The indexed members of one text.
#[derive(Debug, Default)]
pub(in crate::wire::json) struct Index {
    members: SmallVec<[Member; 16]>,
    /// For each table its range in `members`.
    tables: SmallVec<[Span; 4]>,
}

/// The table of the text's outermost container, if it is one.
pub(in crate::wire::json) const ROOT: Table = Table(0);
/// Enough for every name that is indexed; a text that has more is looked up by scanning again.
const TABLES_MAX: usize = 16;

impl Index {
    pub(in crate::wire::json) fn members(&self, table: Table) -> &[Member] {
        let range = self.tables.get(usize::from(table.0)).copied().unwrap_or_default();
        range.of(&self.members).unwrap_or_default()
    }

    /// Opens a table; its members come when its object closes.
    pub(super) fn open(&mut self) -> Option<Table> {
        let number = self.tables.len();
        if number >= TABLES_MAX {
            return None;
        }
        self.tables.push(Span::default());
        u8::try_from(number).ok().map(Table)
    }

    pub(super) fn fill(&mut self, table: Table, members: &[Member]) {
        let start = offset(self.members.len());
        self.members.extend_from_slice(members);
        let end = offset(self.members.len());
        if let Some(range) = self.tables.get_mut(usize::from(table.0)) {
            *range = Span { start, end };
        }
    }
}

impl Span {
    /// What the span covers of `items`.
    #[inline]
    pub(in crate::wire::json) fn of<T>(self, items: &[T]) -> Option<&[T]> {
        items.get(usize::try_from(self.start).ok()?..usize::try_from(self.end).ok()?)
    }

    pub(super) fn len(self) -> u32 {
        self.end.saturating_sub(self.start)
    }
}

/// An offset into a text that was found to be shorter than 4 GiB.
#[inline]
pub(super) fn offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
