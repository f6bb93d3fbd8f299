//! Whether an object names a key twice.
//!
//! Keys are compared after unescaping, since `"p"` and `"\u0070"` are the same key to whoever reads
//! the object next. A lone surrogate counts as U+FFFD, which is what lenient readers make of it.
//! Few keys are compared in pairs; many are sorted, so that no choice of keys makes it quadratic.

use std::borrow::Cow;

use super::index::Member;
use crate::wire::json::text::unescape_lossy;

/// Up to this many keys pairs are cheaper than sorting.
const PAIRS_MAX: usize = 12;

/// The byte offset of a key that stands twice among `members`.
pub(super) fn first_duplicate(text: &[u8], members: &[Member]) -> Option<usize> {
    if members.len() < 2 {
        return None;
    }
    let plain = members.iter().all(|member| !member.escaped);
    let twice = if plain && members.len() <= PAIRS_MAX {
        by_pairs(text, members)
    } else {
        by_sorting(text, members)
    };
    twice.and_then(|member| usize::try_from(member.key.start).ok())
}

fn by_pairs<'a>(text: &[u8], members: &'a [Member]) -> Option<&'a Member> {
    let mut rest = members;
    while let Some((first, others)) = rest.split_first() {
        let same = |other: &&Member| {
            other.key.len() == first.key.len() && other.key.of(text) == first.key.of(text)
        };
        if let Some(twice) = others.iter().find(same) {
            return Some(twice);
        }
        rest = others;
    }
    None
}

fn by_sorting<'a>(text: &[u8], members: &'a [Member]) -> Option<&'a Member> {
    let mut keys: Vec<(Cow<'_, [u8]>, &Member)> =
        members.iter().map(|member| (key(text, member), member)).collect();
    keys.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let mut pairs = keys.iter().zip(keys.iter().skip(1));
    pairs.find(|((a, _), (b, _))| a == b).map(|(_, (_, member))| *member)
}

/// The key of `member`, unescaped.
pub(in crate::wire::json) fn key<'a>(text: &'a [u8], member: &Member) -> Cow<'a, [u8]> {
    let written = member.key.of(text).unwrap_or_default();
    if !member.escaped {
        return Cow::Borrowed(written);
    }
    match std::str::from_utf8(written) {
        Ok(written) => Cow::Owned(unescape_lossy(written).into_owned().into_bytes()),
        // The scan has checked the whole text.
        Err(_) => Cow::Borrowed(written),
    }
}
