//! What a key looks like, and how it is kept out of everything we print.
//!
//! A guess, and meant as one: it warns about literals and masks excerpts, it grants and refuses
//! nothing by itself. Masking keeps the number of bytes, so that places in the text stay valid.

use std::ops::Range;

/// Beginnings of well-known keys.
pub(super) const KEY_PREFIXES: [&str; 20] = [
    "sk-",
    "sk_live_",
    "rk_live_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xapp-",
    "AKIA",
    "ASIA",
    "AIza",
    "ya29.",
    "npm_",
    "eyJ",
];
/// What the names of keys contain whose values are secrets.
pub(super) const SECRET_WORDS: [&str; 7] =
    ["token", "secret", "pass", "key", "authorization", "cookie", "credential"];
/// A known beginning with fewer characters than this is a word, not a key.
const PREFIXED_KEY_CHARS_MIN: usize = 12;
/// Without a known beginning: how long a word is, and how often it turns between letters and
/// digits, before it looks random.
const RANDOM_KEY_CHARS_MIN: usize = 32;
const RANDOM_KEY_TURNS_MIN: usize = 4;

/// Whether a part of `text` looks like a key.
pub(in crate::config) fn holds_key(text: &str) -> bool {
    let text = &without_references(text);
    words(text).any(|word| text.get(word).is_some_and(is_key_like))
}

/// Whether a part of `text` begins like a well-known key: for arguments, where long random words
/// (digests of images, for one) are no secrets.
pub(in crate::config) fn holds_known_key(text: &str) -> bool {
    words(text).any(|word| text.get(word).is_some_and(has_key_prefix))
}

/// The text with everything that looks like a key replaced by `*`, byte for byte.
pub(super) fn mask_keys(text: &str) -> String {
    let is_key = |word: &Range<usize>| text.get(word.clone()).is_some_and(is_key_like);
    starred(text, words(text).filter(is_key))
}

/// The text with `*` for every byte in these ranges, which are in order.
pub(super) fn starred(text: &str, ranges: impl Iterator<Item = Range<usize>>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for range in ranges.filter(|range| !range.is_empty()) {
        out.push_str(text.get(at..range.start).unwrap_or_default());
        out.push_str(&"*".repeat(range.end.saturating_sub(range.start.max(at))));
        at = at.max(range.end);
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

/// The text with everything in these ranges masked but quotes, space and references, byte for
/// byte.
pub(super) fn mask_ranges(text: &str, ranges: &[Range<usize>]) -> String {
    let mut masked = vec![false; text.len()];
    for range in ranges {
        let mut in_reference = false;
        let part = text.get(range.clone()).unwrap_or_default();
        for (at, c) in part.char_indices() {
            in_reference |= part.get(at..).is_some_and(|rest| rest.starts_with("${"));
            let hidden = !in_reference && !c.is_whitespace() && c != '"' && c != '\'';
            let place = range.start + at;
            masked.get_mut(place..place + c.len_utf8()).unwrap_or_default().fill(hidden);
            in_reference &= c != '}';
        }
    }
    let is_masked = |at: usize| masked.get(at).copied().unwrap_or_default();
    let star = |(at, c): (usize, char)| {
        if is_masked(at) { "*".repeat(c.len_utf8()) } else { c.into() }
    };
    text.char_indices().map(star).collect()
}

/// The text without control characters, which a terminal would obey; newlines and tabs stay.
pub(super) fn mask_controls(text: &str) -> String {
    let odd = |c: char| c.is_control() && c != '\n' && c != '\t';
    text.chars().map(|c| if odd(c) { "?".repeat(c.len_utf8()) } else { c.into() }).collect()
}

/// Whether a key of this name holds a secret, by the sound of it.
pub(crate) fn sounds_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// What follows the `=` or `:` of keys that sound secret: for a text of which nothing else is
/// known.
pub(super) fn named_values(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let lower = line.to_ascii_lowercase();
        let word = SECRET_WORDS.iter().filter_map(|word| lower.find(word)).min();
        let value = word.and_then(|word| Some(word + lower.get(word..)?.find(['=', ':'])?));
        let end = start + line.len();
        found.extend(value.map(|value| start + value + 1..end));
        start = end;
    }
    found
}

/// Stretches of the ASCII characters that keys are made of, `/` for base64 included.
pub(super) fn words(text: &str) -> impl Iterator<Item = Range<usize>> {
    let of_key = |b: u8| b.is_ascii_alphanumeric() || b"-_+./".contains(&b);
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = text.as_bytes().get(at..)?;
        let start = at + rest.iter().position(|b| of_key(*b))?;
        let tail = text.as_bytes().get(start..)?;
        let end = start + tail.iter().position(|b| !of_key(*b)).unwrap_or(tail.len());
        at = end;
        Some(start..end)
    })
}

/// The literal parts of a value: a reference's name is no secret, whatever it looks like.
fn without_references(text: &str) -> String {
    let mut parts = text.split("${");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + " " + part.split_once('}').map_or(part, |(_, tail)| tail))
}

fn is_key_like(word: &str) -> bool {
    has_key_prefix(word) || is_random(word)
}

pub(super) fn has_key_prefix(word: &str) -> bool {
    let known = |part: &str| KEY_PREFIXES.iter().any(|prefix| part.starts_with(prefix));
    word.split('/').any(|part| part.len() >= PREFIXED_KEY_CHARS_MIN && known(part))
}

/// Long, and letters and digits follow each other without a separator again and again: paths,
/// host names and prose do not look like that.
fn is_random(word: &str) -> bool {
    let turns = word
        .as_bytes()
        .windows(2)
        .filter(|pair| match pair {
            [a, b] => {
                a.is_ascii_digit() && b.is_ascii_alphabetic()
                    || a.is_ascii_alphabetic() && b.is_ascii_digit()
            }
            _ => false,
        })
        .count();
    word.len() >= RANDOM_KEY_CHARS_MIN
        && !word.starts_with('/')
        && !word.contains('.')
        && turns >= RANDOM_KEY_TURNS_MIN
}
