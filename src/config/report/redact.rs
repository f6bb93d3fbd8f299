//! Secrets in what calls carry: the rules, and a quick look whether any of them could apply.
//!
//! The same guesses as about keys in servers.toml, without the one about long random words, which
//! in arguments and results are digests and ids; and some that only texts need. What is found is
//! replaced by `*`, byte for byte. Grants and refuses nothing by itself.

use std::{ops::Range, sync::LazyLock};

use super::mask::{KEY_PREFIXES, SECRET_WORDS, has_key_prefix, holds_known_key, starred, words};

/// A block of a private key, in the middle of which nobody can tell where it ends.
const PRIVATE_KEY: &str = "PRIVATE KEY-----";
/// What a word in a text follows if it is a credential.
const SCHEMES: [&str; 2] = ["bearer ", "basic "];
const AUTHORITY: &str = "://";

/// Whether a text is or holds a key, by the look of it.
pub(crate) fn holds_secret(text: &str) -> bool {
    holds_known_key(text) || text.contains(PRIVATE_KEY)
}

/// The text with `*` for its secrets; none if it has none.
pub(crate) fn without_secrets(text: &str) -> Option<String> {
    if text.contains(PRIVATE_KEY) {
        return Some("*".repeat(text.len()));
    }
    let is_key = |word: &Range<usize>| text.get(word.clone()).is_some_and(has_key_prefix);
    let mut found: Vec<_> = words(text).filter(is_key).collect();
    found.extend(credentials(text));
    found.sort_unstable_by_key(|range| range.start);
    (!found.is_empty()).then(|| starred(text, found.into_iter()))
}

/// What stands before the host in a URL, and what follows the name of a scheme.
fn credentials(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    for (at, mark) in text.match_indices(AUTHORITY) {
        let start = at + mark.len();
        let rest = text.get(start..).unwrap_or_default();
        let ends = |c: char| c.is_whitespace() || "/?#\"'<>".contains(c);
        let authority = rest.split(ends).next().unwrap_or_default();
        found.extend(authority.rfind('@').map(|end| start..start + end));
    }
    let lower = text.to_ascii_lowercase();
    for (at, scheme) in SCHEMES.iter().flat_map(|scheme| lower.match_indices(scheme)) {
        let start = at + scheme.len();
        let word = text.get(start..).and_then(|rest| words(rest).next());
        let next = word.filter(|word| word.start == 0 && word.end >= CREDENTIAL_CHARS_MIN);
        found.extend(next.map(|word| start..start + word.end));
    }
    found
}

/// Shorter ones are words: "a basic course".
const CREDENTIAL_CHARS_MIN: usize = 8;

/// Whether any rule could find something in a JSON text: at a byte a nanosecond, so that most
/// content need not be taken apart. Escapes could hide anything.
pub(crate) fn may_hold_secrets(content: &[u8]) -> bool {
    let filter = &*FILTER;
    let meets = |(at, three): (usize, &[u8])| {
        filter.may_begin(three) && content.get(at..).is_some_and(begins_with_needle)
    };
    content.windows(3).enumerate().any(meets)
}

static FILTER: LazyLock<Filter> = LazyLock::new(|| {
    let mut filter = Filter([0; 64]);
    for needle in needles() {
        let (word, bit) = Filter::place(needle.as_bytes());
        filter.0.get_mut(word).into_iter().for_each(|word| *word |= bit);
    }
    filter
});

/// The beginnings of all needles: three bytes each, hashed to one of 4096 bits.
struct Filter([u64; 64]);

impl Filter {
    fn place(text: &[u8]) -> (usize, u64) {
        let fold = |at: usize| text.get(at).map_or(0, |byte| usize::from(byte | 0x20));
        let slot = (fold(0) ^ (fold(1) << 4) ^ (fold(2) << 7)) & 4095;
        (slot / 64, 1 << (slot % 64))
    }

    fn may_begin(&self, three: &[u8]) -> bool {
        let (word, bit) = Self::place(three);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }
}

fn begins_with_needle(text: &[u8]) -> bool {
    needles().any(|needle| {
        let head = text.get(..needle.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(needle.as_bytes()))
    })
}

fn needles() -> impl Iterator<Item = &'static str> {
    let own = [PRIVATE_KEY, AUTHORITY, ":\\/", ":/\\", "\\u00"];
    KEY_PREFIXES.into_iter().chain(SECRET_WORDS).chain(SCHEMES).chain(own)
}

#[cfg(test)]
mod tests {
    use super::{may_hold_secrets, without_secrets};

    #[track_caller]
    fn check(text: &str, want: &str) {
        assert_eq!(without_secrets(text).as_deref().unwrap_or(text), want);
        assert!(want == text || may_hold_secrets(text.as_bytes()), "overlooked: {text}");
    }

    #[test]
    fn what_looks_like_a_secret_is_starred_and_nothing_else() {
        check("see ghp_0123456789ab, ok", "see ****************, ok");
        check("postgres://me:pw@db/x?a=b@c", "postgres://*****@db/x?a=b@c");
        check("Authorization: Bearer abcd.efgh-1", "Authorization: Bearer ***********");
        check("-----BEGIN PRIVATE KEY-----Q", "****************************");
        check("https://me:ghp_0123456789ab@h/ a@b", "https://*******************@h/ a@b");
        for plain in ["a basic course", "sk-8", "http://h/p", "mail a@b.c", ""] {
            check(plain, plain);
        }
        assert!(!may_hold_secrets(br#"{"path":"docs/a.md","n":12}"#));
    }

    #[test]
    fn the_quick_look_overlooks_no_rule() {
        for needle in super::needles() {
            for at in 0..5 {
                let text = format!("{}{}{}", "x".repeat(at), needle, "x".repeat(9));
                assert!(may_hold_secrets(text.as_bytes()), "{needle}");
                assert!(may_hold_secrets(text.to_ascii_uppercase().as_bytes()), "{needle}");
            }
        }
    }
}
