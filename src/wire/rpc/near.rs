//! Keys that are almost one we know.
//!
//! Some JSON readers match keys without regard to letter case (CVE-2026-27896: a peer took `Method`
//! and `paramſ`). What such a reader behind us would act on must not be a key that we passed over
//! as unknown; so a key that folds to a known one without being it is refused. Folding covers letter
//! case, the Unicode characters that fold to ASCII letters, full width forms, and blanks and
//! invisible characters anywhere in the key.

use std::borrow::Cow;

/// The first of `known` that some key is almost.
pub(super) fn near_miss<'k>(
    keys: impl Iterator<Item = Cow<'k, str>>,
    known: &[&'static str],
) -> Option<&'static str> {
    keys.filter(|key| !known.contains(&key.as_ref())).find_map(|key| {
        let plain = key.bytes().all(|byte| byte.is_ascii_graphic());
        let resembles =
            |word: &&str| if plain { key.eq_ignore_ascii_case(word) } else { folds_to(&key, word) };
        known.iter().copied().find(resembles)
    })
}

fn folds_to(key: &str, word: &str) -> bool {
    let folded = key.chars().filter(|c| !is_invisible(*c)).flat_map(fold);
    folded.eq(word.chars().map(|c| c.to_ascii_lowercase()))
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

fn is_invisible(c: char) -> bool {
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
