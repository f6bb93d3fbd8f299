//! The texts and numbers of a JSON value, wherever in it they stand.
//!
//! For those who look for something in a value and do not care for its shape: each leaf comes with
//! the key that it stands under, an element of a list with the list's. The value has passed the
//! strict scan; one that has not gives fewer leaves, never a panic. Nothing is copied but what is
//! written with escapes.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;
use smallvec::SmallVec;

use super::{object::is_blank, text::unescape_lossy};

/// A piece of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf<'a> {
    /// Empty at the top.
    pub key: Cow<'a, str>,
    /// Where it stands in the value, quotes included.
    pub at: Range<usize>,
    pub what: What<'a>,
}

/// What a leaf is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What<'a> {
    Text(Cow<'a, str>),
    /// As it is written.
    Number(&'a str),
    /// A key, under the key that its object stands under.
    Key(Cow<'a, str>),
}

/// Walks over a value and stops at every leaf.
#[derive(Debug)]
struct Leaves<'a> {
    rest: &'a str,
    /// The length of the whole value.
    len: usize,
    /// The present key of every object that is open; `None` for a list.
    open: SmallVec<[Option<Cow<'a, str>>; 8]>,
}

/// All leaves of `value`, in the order written.
pub fn leaves(value: &[u8]) -> impl Iterator<Item = Leaf<'_>> {
    let rest = std::str::from_utf8(value).unwrap_or_default();
    Leaves::of(rest)
}

/// The value with a JSON text of the caller's choice in place of each leaf for which there is one.
/// None if it is no JSON to its end, so that nothing passes unseen.
pub fn rewrite(value: &str, mut by: impl FnMut(&Leaf<'_>) -> Option<Bytes>) -> Option<String> {
    let mut leaves = Leaves::of(value);
    let (mut out, mut from) = (String::with_capacity(value.len()), 0);
    for leaf in &mut leaves {
        if let Some(text) = by(&leaf) {
            out.push_str(value.get(from..leaf.at.start)?);
            out.push_str(std::str::from_utf8(&text).ok()?);
            from = leaf.at.end;
        }
    }
    out.push_str(value.get(from..)?);
    leaves.rest.is_empty().then_some(out)
}

impl<'a> Iterator for Leaves<'a> {
    type Item = Leaf<'a>;

    fn next(&mut self) -> Option<Leaf<'a>> {
        loop {
            self.skip(|b| is_blank(b) || b == b',' || b == b':');
            match self.rest.bytes().next()? {
                b'"' => return self.string(),
                b'-' | b'0'..=b'9' => {
                    let number = self.take(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
                    let at = self.behind(self.rest, number.len());
                    return Some(Leaf { key: self.key(), at, what: What::Number(number) });
                }
                b'{' => self.open.push(Some(Cow::Borrowed(""))),
                b'[' => self.open.push(None),
                b'}' | b']' => drop(self.open.pop()),
                // `true`, `false` and `null` say nothing that could be looked for.
                b't' | b'f' | b'n' => {
                    let word = ["true", "false", "null"];
                    let strip = |word: &&str| self.rest.strip_prefix(*word);
                    self.rest = word.iter().find_map(strip)?;
                    continue;
                }
                _ => return None,
            }
            self.rest = self.rest.get(1..)?;
        }
    }
}

impl<'a> Leaves<'a> {
    fn of(rest: &'a str) -> Self {
        Self { rest, len: rest.len(), open: SmallVec::new() }
    }

    /// So many bytes before what is left.
    fn behind(&self, left: &str, n_bytes: usize) -> Range<usize> {
        let end = self.len.saturating_sub(left.len());
        end.saturating_sub(n_bytes)..end
    }

    fn string(&mut self) -> Option<Leaf<'a>> {
        let (written, behind) = string(self.rest)?;
        let at = self.behind(behind, written.len() + 2);
        self.rest = behind;
        self.skip(is_blank);
        let meant = unescape_lossy(written);
        if !self.rest.starts_with(':') {
            return Some(Leaf { key: self.key(), at, what: What::Text(meant) });
        }
        self.open.pop();
        let leaf = Leaf { key: self.key(), at, what: What::Key(meant.clone()) };
        self.open.push(Some(meant));
        Some(leaf)
    }

    /// The key of the innermost object.
    fn key(&self) -> Cow<'a, str> {
        self.open.iter().rev().find_map(Clone::clone).unwrap_or_default()
    }

    /// Past what stands at the head of the rest; `belongs` knows ASCII only.
    fn skip(&mut self, belongs: impl Fn(u8) -> bool) {
        let end = self.rest.bytes().position(|b| !belongs(b)).unwrap_or(self.rest.len());
        self.rest = self.rest.get(end..).unwrap_or_default();
    }

    fn take(&mut self, belongs: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !belongs(c)).unwrap_or(self.rest.len());
        let (taken, behind) = self.rest.split_at_checked(end).unwrap_or_default();
        self.rest = behind;
        taken
    }
}

/// The content of the string at the head of `text`, and what follows it.
fn string(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('"')?;
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', inner.as_bytes().get(from..)?)?;
        if inner.as_bytes().get(at) == Some(&b'"') {
            return Some((inner.get(..at)?, inner.get(at + 1..)?));
        }
        from = at + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::{What, leaves, rewrite};
    use crate::wire::quote;

    #[track_caller]
    fn check(value: &str, want: &[(&str, &str)]) {
        let shown = |what| match what {
            What::Text(text) => text.into_owned(),
            What::Number(number) => format!("#{number}"),
            What::Key(key) => format!("{key}:"),
        };
        let got: Vec<_> = leaves(value.as_bytes())
            .map(|leaf| (leaf.key.into_owned(), shown(leaf.what)))
            .collect();
        let got: Vec<_> = got.iter().map(|(key, what)| (key.as_str(), what.as_str())).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn every_leaf_is_found_under_its_own_key() {
        check(r#""a\u0040b""#, &[("", "a@b")]);
        check("7", &[("", "#7")]);
        check(
            r#"{"a":"b\"c","n":-1.5e3}"#,
            &[("", "a:"), ("a", "b\"c"), ("", "n:"), ("n", "#-1.5e3")],
        );
        check(
            r#" { "to" : [ "x" , {"y":[true,null,"z"]}, "\ud800w" ] , "b" : false } "#,
            &[("", "to:"), ("to", "x"), ("to", "y:"), ("y", "z"), ("to", "\u{fffd}w"), ("", "b:")],
        );
    }

    #[test]
    fn what_replaces_a_leaf_stands_where_it_stood() {
        let told = |value| {
            rewrite(value, |leaf| match &leaf.what {
                What::Text(text) => text.contains('x').then(|| quote("X")),
                What::Number(_) => Some("0".into()),
                What::Key(key) => (key == "k").then(|| quote("K")),
            })
        };
        let value = "{ \"k\" : [ \"ax\", \"\\u0078\" ,12.5e3 , null], \"l\":{\"k\":\"b\"}} ";
        let want = r#"{ "K" : [ "X", "X" ,0 , null], "l":{"K":"b"}} "#;
        assert_eq!(told(value).as_deref(), Some(want));
        for value in ["file:///x", "urn:a:b", "\"x", "{\"k\":1}?", "x"] {
            assert_eq!(told(value), None, "{value}");
        }
    }

    #[test]
    fn what_is_no_json_ends_the_search() {
        for value in ["", "{", "[\"a", "\"a\\", "?", "{\"a\":tru?", "nul\u{e9}"] {
            assert!(leaves(value.as_bytes()).count() <= 2, "{value}");
        }
        assert_eq!(leaves(&[0xff]).count(), 0);
    }
}
