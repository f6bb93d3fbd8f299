//! The text of one merged list, prebuilt, and its pages.
//!
//! Order is by name, so that the same servers give the same bytes. A cursor is a name, so a list
//! that changed between two pages neither repeats nor loses what stayed.

use std::{borrow::Borrow, collections::BTreeMap};

use bytes::{Bytes, BytesMut};

use crate::domain::limits::{LIST_PAGE_MAX, RESOURCE_URI_BYTES_MAX};

/// One page of a list: the comma-separated definitions, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub items: Bytes,
    pub next: Option<String>,
}

/// A cursor that we did not give out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCursor;

#[derive(Debug, Default)]
pub(super) struct Listing {
    names: Vec<String>,
    text: Bytes,
    /// Where the definition of `names[i]` starts in `text`.
    starts: Vec<usize>,
}

const CURSOR_PREFIX: &str = "after.";

impl Listing {
    pub(super) fn of<N: Borrow<str>, D: AsRef<[u8]>>(definitions: &BTreeMap<N, D>) -> Self {
        let (mut names, mut starts, mut text) = (Vec::new(), Vec::new(), BytesMut::new());
        for (name, definition) in definitions {
            if !text.is_empty() {
                text.extend_from_slice(b",");
            }
            starts.push(text.len());
            text.extend_from_slice(definition.as_ref());
            names.push(name.borrow().to_owned());
        }
        Self { names, text: text.freeze(), starts }
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn text(&self) -> &Bytes {
        &self.text
    }

    /// The page that a cursor names; the first one without.
    pub(super) fn page(&self, cursor: Option<&str>) -> Result<Page, UnknownCursor> {
        let Self { names, text, starts } = self;
        let from = match cursor {
            None => 0,
            Some(cursor) => {
                let after = cursor.strip_prefix(CURSOR_PREFIX).ok_or(UnknownCursor)?;
                if after.is_empty() || after.len() > RESOURCE_URI_BYTES_MAX {
                    return Err(UnknownCursor);
                }
                names.partition_point(|name| name.as_str() <= after)
            }
        };
        let to = names.len().min(from.saturating_add(LIST_PAGE_MAX));
        let start = starts.get(from).copied().unwrap_or(text.len());
        let end = starts.get(to).map_or(text.len(), |next| next.saturating_sub(1));
        let last = to.checked_sub(1).and_then(|last| names.get(last));
        let more = to < names.len();
        let next = last.filter(|_| more).map(|name| format!("{CURSOR_PREFIX}{name}"));
        Ok(Page { items: text.slice(start.min(end)..end), next })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::{LIST_PAGE_MAX, Listing, Page, UnknownCursor};

    #[test]
    fn pages_follow_each_other_without_a_gap() {
        let names: Vec<String> = (0..=LIST_PAGE_MAX).map(|n| format!("a:{n:04}")).collect();
        let texts: Vec<Bytes> = names.iter().map(|name| format!("\"{name}\"").into()).collect();
        let listing = Listing::of(&names.iter().map(String::as_str).zip(&texts).collect());
        let first = listing.page(None).unwrap();
        assert!(first.items.starts_with(b"\"a:0000\",") && first.items.ends_with(b"\"a:0499\""));
        assert_eq!(first.next.as_deref(), Some("after.a:0499"));
        let second = listing.page(first.next.as_deref()).unwrap();
        assert_eq!(second, Page { items: "\"a:0500\"".into(), next: None });
        assert_eq!(listing.page(Some("after.z")).unwrap().items, "");
        assert_eq!(listing.page(Some("0")), Err(UnknownCursor));
        assert_eq!(listing.page(Some("after.")), Err(UnknownCursor));
        assert_eq!(Listing::of(&BTreeMap::<&str, Bytes>::new()).page(None).unwrap().items, "");
    }
}
