//! What the arguments of a call give away: where it goes, where that was read, what it carries.
//!
//! Pure, over the index of one conversation. A tool that is known to have an effect is asked about
//! every argument; one of which nobody knows what it does only about addresses outside, since the
//! names of things inside are what every listing is for.

use memchr::memchr;

use super::{
    found::Found,
    index::{Index, Key, Sort, Words, is_hidden, may_be_address, read, triple},
};
use crate::{
    config::holds_secret,
    domain::{
        Labels, Reason,
        limits::{APPROVAL_PLACES_BYTES_MAX, RISK_ARGUMENT_BYTES_MAX},
    },
    wire::{Leaf, What, leaves},
};

/// Parts of keys under which a call says where it goes.
const DESTINATIONS: [&str; 45] = [
    "account",
    "address",
    "addresses",
    "attendee",
    "attendees",
    "bcc",
    "branch",
    "bucket",
    "cc",
    "channel",
    "channels",
    "chat",
    "contact",
    "destination",
    "dest",
    "domain",
    "email",
    "emails",
    "endpoint",
    "file",
    "filename",
    "folder",
    "group",
    "host",
    "hostname",
    "iban",
    "invitee",
    "invitees",
    "link",
    "member",
    "participant",
    "participants",
    "path",
    "phone",
    "recipient",
    "recipients",
    "repo",
    "repository",
    "room",
    "target",
    "to",
    "uri",
    "url",
    "user",
    "webhook",
];
/// A value of plain words that is shorter stands in every other text and means nothing.
const PLAIN_CHARS_MIN: usize = 12;

/// Where the values of one call are held against what was heard.
pub(super) struct Look<'a> {
    pub(super) key: &'a Key,
    pub(super) index: &'a Index,
    pub(super) labels: Labels,
}

impl Look<'_> {
    pub(super) fn at(&self, arguments: &[u8]) -> Found {
        let mut found = Found::default();
        let mut scratch = String::new();
        let mut left = RISK_ARGUMENT_BYTES_MAX;
        for leaf in leaves(arguments) {
            let (text, is_key) = match &leaf.what {
                What::Text(text) => (text.as_ref(), false),
                What::Number(number) => (*number, false),
                What::Key(text) => (text.as_ref(), true),
            };
            let Some(rest) = left.checked_sub(text.len()) else {
                found.insert(Reason::Unread);
                break;
            };
            left = rest;
            self.look_for_odd(text, &mut found);
            // Of one of which nobody knows what it does only an address counts, alone.
            if self.index.is_empty() || !self.is_known() && !may_be_address(text) {
                continue;
            }
            let mut words = Words::new();
            read(self.key, text, &mut scratch, |word| words.push(word));
            // A key is the tool's own word, unless it names something.
            if !is_key || words.iter().any(|word| word.sort != Sort::Plain) {
                self.trace(&leaf.key, &words, &mut found);
            }
        }
        found
    }

    fn look_for_odd(&self, text: &str, found: &mut Found) {
        if !is_plain(text) && text.chars().any(is_hidden) {
            found.insert(Reason::HiddenUnicode);
        }
        if self.labels.has(Labels::SINK) && holds_secret(text) {
            found.insert(Reason::Secret);
        }
    }

    /// Whether somebody has said which effect the tool has.
    fn is_known(&self) -> bool {
        !self.labels.effects().without(Labels::UNKNOWN).is_empty()
    }

    fn trace(&self, key: &str, words: &Words, found: &mut Found) {
        let is_known = self.is_known();
        let is_address = matches!(words.as_slice(), [word] if word.sort == Sort::Address);
        let goes_there = is_address || is_known && is_destination(key);
        if goes_there && self.is_heard(words) {
            found.insert(Reason::Destination);
        } else if is_known && !goes_there && self.is_heard(words) {
            found.insert(Reason::Argument);
        }
        if self.labels.has(Labels::SINK) && !goes_there && self.is_copied(words) {
            found.insert(Reason::Copied);
        }
    }

    /// Whether it names something that others could have written, or they could have written it as
    /// a whole.
    fn is_heard(&self, words: &Words) -> bool {
        let untrusted = |hash: u64| self.index.is_untrusted(hash);
        let named = words.iter().filter(|word| word.sort != Sort::Plain);
        if named.into_iter().any(|word| untrusted(word.hash) || word.host.is_some_and(untrusted)) {
            return true;
        }
        let n_chars: usize = words.iter().map(|word| word.chars).sum();
        match words.len() {
            0 => false,
            1 | 2 => n_chars >= PLAIN_CHARS_MIN && words.iter().all(|word| untrusted(word.hash)),
            _ => triples(words).all(|triple| self.index.has_untrusted(triple)),
        }
    }

    /// Whether it names something private, or has four words in a row that are.
    fn is_copied(&self, words: &Words) -> bool {
        let mut in_a_row = 0;
        words.iter().any(|word| word.sort != Sort::Plain && self.index.is_private(word.hash))
            || triples(words).any(|triple| {
                in_a_row = if self.index.is_private(triple) { in_a_row + 1 } else { 0 };
                in_a_row == 2
            })
    }
}

/// Whether all of it is seen, as far as that is known at once: of ASCII only the escape is hidden.
fn is_plain(text: &str) -> bool {
    text.is_ascii() && memchr(0x1b, text.as_bytes()).is_none()
}

fn triples(words: &Words) -> impl Iterator<Item = u64> {
    words.windows(3).filter_map(|three| match three {
        [a, b, c] => Some(triple([a.hash, b.hash, c.hash])),
        _ => None,
    })
}

/// Where a call says that it goes, in order; nothing, if that is more than is remembered.
pub(in crate::gate) fn goes_to(arguments: &[u8]) -> Vec<String> {
    let place = |leaf: Leaf<'_>| {
        let value = match &leaf.what {
            What::Text(text) => text.as_ref(),
            What::Number(number) => number,
            What::Key(_) => return None,
        };
        is_destination(&leaf.key).then(|| format!("{}={value}", leaf.key))
    };
    let mut places: Vec<String> = leaves(arguments).filter_map(place).collect();
    if places.iter().map(String::len).sum::<usize>() > APPROVAL_PLACES_BYTES_MAX {
        return Vec::new();
    }
    places.sort();
    places.dedup();
    places
}

/// Whether a part of the key, in snake, kebab or camel case, says where something goes.
pub(super) fn is_destination(key: &str) -> bool {
    let mut part = String::new();
    let is_part = |part: &mut String| {
        let found = DESTINATIONS.contains(&part.as_str());
        part.clear();
        found
    };
    for c in key.chars() {
        if (!c.is_alphanumeric() || c.is_uppercase()) && is_part(&mut part) {
            return true;
        }
        if c.is_alphanumeric() {
            part.extend(c.to_lowercase());
        }
    }
    is_part(&mut part)
}
