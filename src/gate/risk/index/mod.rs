//! What one conversation has been told, as far as it takes to recognise it.
//!
//! Owns three bounded indexes: of what others could write, of what is private, and of what came
//! from where nobody else writes. Promises that what was heard is recognised for as long as it
//! counts, and that nothing heard later can push it out. Keeps hashes only, never a text.

mod filter;
mod kinds;
mod words;

use std::{iter::once, time::Duration};

use tokio::time::Instant;

use self::filter::{Filter, Known};
pub(super) use self::{
    kinds::Sort,
    words::{Key, Words, is_hidden, may_be_address, read, triple},
};
use crate::{
    domain::{
        Labels,
        limits::{
            RISK_OUTPUT_BYTES_MAX, RISK_PRIVATE_BYTES, RISK_TRUSTED_WORDS, RISK_UNTRUSTED_BYTES,
        },
    },
    wire::{What, leaves},
};

/// Each is made when there is something for it.
#[derive(Debug, Default)]
pub(super) struct Index {
    untrusted: Option<Filter>,
    private: Option<Filter>,
    trusted: Option<Known>,
    /// When more was said than is looked through: then anything may have been.
    beyond: Option<Instant>,
}

/// One answer as hashes, to be put where it belongs.
#[derive(Debug, Default)]
pub(super) struct Heard {
    untrusted: Vec<u64>,
    private: Vec<u64>,
    trusted: Vec<u64>,
    /// Whether there was more of it.
    is_cut: bool,
}

impl Heard {
    /// What a tool with these labels answered to these arguments.
    pub(super) fn read(key: &Key, labels: Labels, arguments: &[u8], answer: &[u8]) -> Self {
        let mut heard = Self::default();
        let (is_untrusted, is_private) =
            (labels.has(Labels::UNTRUSTED), labels.has(Labels::PRIVATE));
        let mut last = [0; 3];
        let is_whole = each_word(key, answer, |word| {
            last = [last[1], last[2], word.hash];
            let known = once(word.hash).chain(word.host);
            if is_untrusted {
                heard.untrusted.extend(known.chain([triple(last)]));
            } else if word.is_told_apart() {
                heard.trusted.extend(known);
            }
            if is_private {
                let named = (word.sort != Sort::Plain).then_some(word.hash);
                heard.private.extend(named.into_iter().chain([triple(last)]));
            }
        });
        heard.is_cut = !is_whole && is_untrusted;
        if !heard.trusted.is_empty() {
            // What a tool merely repeats is as good as where it was taken from.
            let mut own = Vec::new();
            each_word(key, arguments, |word| own.extend(once(word.hash).chain(word.host)));
            own.sort_unstable();
            heard.trusted.retain(|hash| own.binary_search(hash).is_err());
        }
        heard
    }
}

impl Index {
    /// Forgets what is too old to count.
    pub(super) fn age(&mut self, at: Instant, keep: Duration) {
        if let Some(filter) = &mut self.untrusted {
            filter.age(at, keep);
        }
        if let Some(filter) = &mut self.private {
            filter.age(at, keep);
        }
        if let Some(known) = &mut self.trusted {
            known.age(at, keep);
        }
        self.beyond = self.beyond.filter(|then| at.saturating_duration_since(*then) < keep);
    }

    pub(super) fn hear(&mut self, heard: &Heard, at: Instant, keep: Duration) {
        self.age(at, keep);
        put(&mut self.untrusted, &heard.untrusted, || Filter::new(RISK_UNTRUSTED_BYTES, at));
        put(&mut self.private, &heard.private, || Filter::new(RISK_PRIVATE_BYTES, at));
        if !heard.trusted.is_empty() {
            let make = || Known::new(RISK_TRUSTED_WORDS, at);
            let known = self.trusted.get_or_insert_with(make);
            heard.trusted.iter().for_each(|hash| known.put(*hash));
        }
        if heard.is_cut {
            self.beyond = Some(at);
        }
    }

    /// Whether others could have written it, and nobody else has.
    pub(super) fn is_untrusted(&self, hash: u64) -> bool {
        let heard = self.untrusted.as_ref().is_some_and(|filter| filter.has(hash));
        (heard || self.beyond.is_some()) && !self.is_trusted(hash)
    }

    /// The same of three words in a row.
    pub(super) fn has_untrusted(&self, triple: u64) -> bool {
        self.beyond.is_some() || self.untrusted.as_ref().is_some_and(|filter| filter.has(triple))
    }

    pub(super) fn is_private(&self, hash: u64) -> bool {
        self.private.as_ref().is_some_and(|filter| filter.has(hash))
    }

    fn is_trusted(&self, hash: u64) -> bool {
        self.trusted.as_ref().is_some_and(|known| known.has(hash))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.untrusted.is_none() && self.private.is_none() && self.beyond.is_none()
    }
}

fn put(filter: &mut Option<Filter>, hashes: &[u64], make: impl FnOnce() -> Filter) {
    if !hashes.is_empty() {
        let filter = filter.get_or_insert_with(make);
        hashes.iter().for_each(|hash| filter.put(*hash));
    }
}

/// Every word of every text in `value`; whether that was all of it.
fn each_word(key: &Key, value: &[u8], mut each: impl FnMut(words::Word)) -> bool {
    let mut scratch = String::new();
    let mut left = RISK_OUTPUT_BYTES_MAX;
    for leaf in leaves(value) {
        let (What::Text(text) | What::Key(text)) = &leaf.what else {
            if let What::Number(number) = leaf.what {
                read(key, number, &mut scratch, &mut each);
            }
            continue;
        };
        let Some(rest) = left.checked_sub(text.len()) else {
            let end = (0..=left).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
            read(key, text.get(..end).unwrap_or_default(), &mut scratch, &mut each);
            return false;
        };
        left = rest;
        read(key, text, &mut scratch, &mut each);
    }
    true
}
