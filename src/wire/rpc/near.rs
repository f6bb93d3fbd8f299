//! Keys that are almost one we know.
//!
//! Some JSON readers match keys without regard to letter case (CVE-2026-27896: a peer took `Method`
//! and `paramſ`). What such a reader behind us would act on must not be a key that we passed over
//! as unknown; so a key that folds to a known one without being it is refused. Folding covers
//! letter case, the Unicode characters that fold to ASCII letters, full width forms, and blanks and
//! invisible characters anywhere in the key.

use std::borrow::Cow;

/// The keys of one kind of object that some room reads.
pub(super) struct Known {
    words: &'static [&'static str],
    /// One bit for each length that a word has: most other keys are told apart by theirs.
    lengths: u64,
}

impl Known {
    /// Every word is shorter than 64 bytes; a longer one does not compile.
    pub(super) const fn new(words: &'static [&'static str]) -> Self {
        let (mut lengths, mut rest) = (0, words);
        while let [word, others @ ..] = rest {
            lengths |= 1 << word.len();
            rest = others;
        }
        Self { words, lengths }
    }

    fn has_length(&self, length: usize) -> bool {
        length < 64 && self.lengths >> length & 1 == 1
    }
}

/// The first known word that some key is almost.
pub(super) fn near_miss<'k>(
    keys: impl Iterator<Item = Cow<'k, [u8]>>,
    known: &Known,
) -> Option<&'static str> {
    keys.filter_map(|key| resembles(&key, known)).next()
}

/// The word that `key` is almost; none if it is one, or none.
fn resembles(key: &[u8], known: &Known) -> Option<&'static str> {
    // Nearly every key is plain, and then only words of its length matter.
    let plain = key.iter().fold(true, |plain, byte| plain & byte.is_ascii_graphic());
    if plain && !known.has_length(key.len()) {
        return None;
    }
    let is_same = |word: &&&str| {
        if plain {
            key.eq_ignore_ascii_case(word.as_bytes())
        } else {
            // The scan has refused everything else.
            std::str::from_utf8(key).is_ok_and(|key| folds_to(key, word))
        }
    };
    known.words.iter().find(is_same).copied().filter(|word| word.as_bytes() != key)
}

/// Whether such readers take `key` for `word`, or it is that.
pub fn folds_to(key: &str, word: &str) -> bool {
    let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    match is_plain(key) && is_plain(word) {
        true => key.eq_ignore_ascii_case(word),
        false => folds(key).eq(folds(word)),
    }
}

/// What such readers make of a key: two that are the same here are one key to them.
pub fn folded(key: &str) -> String {
    folds(key).collect()
}

fn folds(key: &str) -> impl Iterator<Item = char> {
    key.chars().filter(|c| !is_invisible(*c)).flat_map(fold)
}

fn fold(c: char) -> impl Iterator<Item = char> {
    let narrow = match c {
        // Full width forms stand in the order of ASCII.
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        'ı' => 'i',
        _ => c,
    };
    // Upper case first: `ſ` has no lower case but `S` has.
    narrow.to_uppercase().flat_map(char::to_lowercase).filter(|c| !is_invisible(*c))
}

/// Blanks, controls, and what has no width, direction or shape of its own.
pub fn is_invisible(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(
            c,
            // Soft hyphen, the dot that `İ` leaves behind, joiners, marks of direction, fillers,
            // variation selectors, tags, and what decoders put for bytes they cannot read.
            '\u{ad}' | '\u{307}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffd}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::{Known, near_miss};

    #[track_caller]
    fn check(key: &str, want: Option<&str>) {
        const KNOWN: Known = Known::new(&["method", "params", "id", "_meta"]);
        let keys = [key.as_bytes().into()].into_iter();
        assert_eq!(near_miss(keys, &KNOWN), want, "{key:?}");
    }

    #[test]
    fn known_and_unlike_keys_pass() {
        for key in ["method", "params", "id", "_meta", "", "ids", "mid", "i d e", "meta", "méthod"]
        {
            check(key, None);
        }
        check(&"k".repeat(66), None);
    }

    #[test]
    fn keys_that_a_lenient_reader_takes_for_a_known_one_are_found() {
        check("Method", Some("method"));
        check("METHOD", Some("method"));
        check("param\u{17f}", Some("params"));
        check("ID", Some("id"));
        check("Id", Some("id"));
        check("\u{130}D", Some("id"));
        check("\u{131}d", Some("id"));
        check(" id", Some("id"));
        check("id\t", Some("id"));
        check("i\0d", Some("id"));
        check("id\u{200b}", Some("id"));
        check("\u{feff}method", Some("method"));
        check("met\u{ad}hod", Some("method"));
        check("\u{a0}id\u{3000}", Some("id"));
        check("ｉｄ", Some("id"));
        check("＿ＭＥＴＡ", Some("_meta"));
        check("_me\u{fe0f}ta", Some("_meta"));
    }
}
