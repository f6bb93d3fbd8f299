//! Splicing: a copy of an object with a few members replaced, removed or added.
//!
//! INVARIANT: every byte that does not belong to a named member is carried over as it was written,
//! in its place. A replaced member keeps its key's spelling and its position; a removed one takes
//! one comma with it; an added one stands at the end.

use std::borrow::Cow;

use bytes::Bytes;
use smallvec::SmallVec;

use super::{
    frame::{Frame, Writer},
    object::Object,
    scan::{Member, Span},
    text::quote,
};

/// A pending change of an object; nothing happens before `finish`.
#[derive(Debug)]
pub struct Edit {
    of: Object,
    changes: SmallVec<[Change; 4]>,
    /// Members that go unless they are named in `changes`.
    prefix_removed: Option<&'static str>,
}

#[derive(Debug)]
struct Change {
    key: Cow<'static, str>,
    to: To,
}

#[derive(Debug)]
enum To {
    Value(Bytes),
    Edited(Box<Edit>),
    Nothing,
}

impl Edit {
    pub(super) fn of(of: Object) -> Self {
        Self { of, changes: SmallVec::new(), prefix_removed: None }
    }

    /// Puts `value`, a JSON text, under `key`: in place, or at the end when it is new.
    #[must_use]
    pub fn set(self, key: impl Into<Cow<'static, str>>, value: impl Into<Bytes>) -> Self {
        self.change(key.into(), To::Value(value.into()))
    }

    /// Puts an edited object under `key`.
    #[must_use]
    pub fn set_edited(self, key: impl Into<Cow<'static, str>>, value: Self) -> Self {
        self.change(key.into(), To::Edited(Box::new(value)))
    }

    #[must_use]
    pub fn remove(self, key: impl Into<Cow<'static, str>>) -> Self {
        self.change(key.into(), To::Nothing)
    }

    /// Removes every other member whose key starts with `prefix`.
    #[must_use]
    pub fn remove_prefixed(mut self, prefix: &'static str) -> Self {
        self.prefix_removed = Some(prefix);
        self
    }

    /// Writes the edited object.
    pub fn finish(self) -> Frame {
        let mut out = Writer::with_capacity(256);
        self.write(&mut out);
        out.finish()
    }

    /// Whether the edited object has no members.
    pub(in crate::wire) fn is_empty(&self) -> bool {
        let goes = |member| matches!(self.what_becomes_of(member), Some(To::Nothing));
        self.of.table().iter().all(goes) && self.added().next().is_none()
    }

    pub(in crate::wire) fn write(&self, out: &mut Writer) {
        let raw = self.of.raw();
        let mut carry = Carry { out, raw, from: 0, to: 0 };
        let mut any = false;
        let mut behind = 1;
        for (nth, member) in self.of.table().iter().enumerate() {
            let place = self.place(member);
            if nth == 0 {
                carry.extend(0, place.key);
            }
            let change = self.what_becomes_of(member);
            if !matches!(change, Some(To::Nothing)) {
                if any {
                    carry.extend(behind, place.key);
                }
                carry.extend(place.key, place.value);
                match change {
                    Some(to) => to.write(carry.flush()),
                    None => carry.extend(place.value, place.end),
                }
                any = true;
            }
            behind = place.end;
        }
        if self.of.is_empty() {
            carry.extend(0, 1);
        }
        for change in self.added() {
            let out = carry.flush();
            if any {
                out.copy(b",");
            }
            out.copy(&quote(&change.key)).copy(b":");
            change.to.write(out);
            any = true;
        }
        carry.extend(behind, raw.len());
        carry.flush();
    }

    fn what_becomes_of(&self, member: &Member) -> Option<&To> {
        let named = self.changes.iter().find(|change| self.of.key_is(member, &change.key));
        match (named, self.prefix_removed) {
            (Some(change), _) => Some(&change.to),
            (None, Some(prefix)) if self.of.key_bytes(member).starts_with(prefix.as_bytes()) => {
                Some(&To::Nothing)
            }
            (None, _) => None,
        }
    }

    /// The changes that put a new member at the end.
    fn added(&self) -> impl Iterator<Item = &Change> {
        self.changes
            .iter()
            .filter(|change| !matches!(change.to, To::Nothing) && !self.of.contains(&change.key))
    }

    fn place(&self, member: &Member) -> Place {
        let at = |offset: u32| usize::try_from(offset).unwrap_or(usize::MAX);
        let Span { start: key, .. } = self.of.local(member.key);
        let Span { start: value, end } = self.of.local(member.value);
        // The opening quote belongs to the key.
        Place { key: at(key).saturating_sub(1), value: at(value), end: at(end) }
    }

    fn change(mut self, key: Cow<'static, str>, to: To) -> Self {
        match self.changes.iter_mut().find(|change| change.key == key) {
            Some(change) => change.to = to,
            None => self.changes.push(Change { key, to }),
        }
        self
    }
}

impl To {
    fn write(&self, out: &mut Writer) {
        match self {
            Self::Value(value) => {
                out.share_all(value);
            }
            Self::Edited(edit) => edit.write(out),
            Self::Nothing => {}
        }
    }
}

/// Where a member's key and value begin, and where it ends, in the object's own bytes.
struct Place {
    key: usize,
    value: usize,
    end: usize,
}

/// Collects adjacent spans of `raw`, so that an untouched run is carried over in one piece.
struct Carry<'a> {
    out: &'a mut Writer,
    raw: &'a Bytes,
    from: usize,
    to: usize,
}

impl Carry<'_> {
    fn extend(&mut self, from: usize, to: usize) {
        if self.to != from {
            self.flush();
            self.from = from;
        }
        self.to = to;
    }

    fn flush(&mut self) -> &mut Writer {
        self.out.share(self.raw, self.from, self.to);
        self.from = self.to;
        self.out
    }
}
