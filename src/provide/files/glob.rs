//! Name patterns: `*` and `?` within one name, `**` across directories. Pure.
//!
//! A pattern without `/` is held against the last name of a path, one with `/` against the whole
//! path. There are no classes and no alternatives. Matching takes time proportional to pattern
//! times path at worst, whatever the pattern: one remembered star per level, no recursion.

use crate::provide::tree::RelPath;

#[derive(Clone, Debug)]
pub(super) struct Glob {
    segments: Vec<Vec<u8>>,
    case: Case,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    Exact,
    /// ASCII letters match in either case.
    Ignored,
}

impl Glob {
    pub(super) fn new(pattern: &str, case: Case) -> Self {
        let segments = pattern.split('/').filter(|segment| !segment.is_empty());
        Self { segments: segments.map(|segment| segment.as_bytes().to_vec()).collect(), case }
    }

    /// `names` are the components of a path below the directory where the search began.
    pub(super) fn matches(&self, names: &[&[u8]]) -> bool {
        let names = match self.segments.as_slice() {
            [only] if only != b"**" => names.last().map_or(names, std::slice::from_ref),
            _ => names,
        };
        star_match(
            &self.segments,
            names,
            |segment| segment == b"**",
            |segment, name| {
                star_match(
                    segment,
                    name,
                    |byte| *byte == b'*',
                    |byte, found| *byte == b'?' || self.same(*byte, *found),
                )
            },
        )
    }

    fn same(&self, a: u8, b: u8) -> bool {
        match self.case {
            Case::Exact => a == b,
            Case::Ignored => a.eq_ignore_ascii_case(&b),
        }
    }
}

/// The components of `path` below `start`.
pub(super) fn below<'a>(path: &'a RelPath, start: &RelPath) -> Vec<&'a [u8]> {
    path.components().skip(start.components().count()).collect()
}

/// Wildcard matching over any alphabet. When the text does not fit, the latest star swallows one
/// more item; earlier stars never need to be tried again.
fn star_match<P, T>(
    pattern: &[P],
    text: &[T],
    is_star: impl Fn(&P) -> bool,
    fits: impl Fn(&P, &T) -> bool,
) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star = None;
    while let Some(item) = text.get(t) {
        match pattern.get(p) {
            Some(token) if is_star(token) => {
                p += 1;
                star = Some((p, t));
            }
            Some(token) if fits(token, item) => {
                p += 1;
                t += 1;
            }
            Some(_) | None => {
                let Some((after, swallowed)) = star else { return false };
                p = after;
                t = swallowed + 1;
                star = Some((after, t));
            }
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(is_star)
}

#[cfg(test)]
mod tests {
    use super::{Case, Glob};

    fn matches(pattern: &str, path: &str) -> bool {
        let names = path.split('/').map(str::as_bytes).collect::<Vec<_>>();
        Glob::new(pattern, Case::Exact).matches(&names)
    }

    #[track_caller]
    fn fits(pattern: &str, path: &str) {
        assert!(matches(pattern, path), "{pattern} {path}");
    }

    #[track_caller]
    fn differs(pattern: &str, path: &str) {
        assert!(!matches(pattern, path), "{pattern} {path}");
    }

    #[test]
    fn patterns_match_names_and_paths() {
        fits("*.rs", "src/main.rs");
        differs("*.rs", "src/main.rst");
        fits("*", "a/b");
        fits("**", "a/b");
        fits("src/*.rs", "src/main.rs");
        differs("src/*.rs", "src/a/main.rs");
        fits("src/**/*.rs", "src/a/b/main.rs");
        fits("src/**/*.rs", "src/main.rs");
        fits("**/test/**", "a/test/b");
        differs("**/test/**", "a/tests/b");
        fits("a?c", "abc");
        differs("a?c", "ac");
        fits("a*b*c", "aXbXbXc");
        differs("a*b*c", "aXbXbX");
        differs("README", "readme");
        assert!(Glob::new("ReadMe*", Case::Ignored).matches(&[b"README.md"]));
    }

    /// Tries everything: slow, and plainly right.
    fn oracle(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], _) => text.is_empty(),
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|n| oracle(rest, &text[n..])),
            ([p, rest @ ..], [t, left @ ..]) => (*p == b'?' || p == t) && oracle(rest, left),
            (_, []) => false,
        }
    }

    fn words(alphabet: &[u8], length_max: usize) -> Vec<Vec<u8>> {
        let mut all = vec![Vec::new()];
        let mut from = 0;
        for _ in 0..length_max {
            let to = all.len();
            for n in from..to {
                all.extend(
                    alphabet
                        .iter()
                        .map(|byte| [&all[n][..], &[*byte]].concat())
                        .collect::<Vec<_>>(),
                );
            }
            from = to;
        }
        all
    }

    #[test]
    fn matching_agrees_with_an_exhaustive_matcher_on_all_short_words() {
        for pattern in words(b"ab*?", 5).iter().filter(|p| !p.is_empty() && *p != b"**") {
            let glob = Glob::new(std::str::from_utf8(pattern).unwrap(), Case::Exact);
            for text in words(b"ab", 5).iter().filter(|text| !text.is_empty()) {
                assert_eq!(glob.matches(&[text]), oracle(pattern, text), "{pattern:?} {text:?}");
            }
        }
    }

    #[test]
    fn a_hostile_pattern_costs_no_more_than_its_length_times_the_name() {
        let pattern = "*a".repeat(500) + "b";
        differs(&pattern, &"a".repeat(4000));
        let deep = "**/a/".repeat(100) + "b";
        differs(&deep, &"a/".repeat(1000));
    }
}
