//! Finds files by name and by the text in them.
//!
//! Looks through the tree in the walk's order and stops at the first bound it meets: results,
//! bytes of answer, entries, time. It then says which, so that a caller never takes a part for the
//! whole. Files that look binary, cannot be read, or go on behind the part that is searched are
//! counted. The text is literal; there are no regular expressions to run away.

use memchr::memmem::Finder;

use super::glob::{Case, Glob, below};
use crate::{
    domain::limits::{
        FILES_SEARCH_FILE_BYTES_MAX, FILES_SEARCH_LINE_BYTES_MAX, FILES_SEARCH_OUTPUT_BYTES_MAX,
    },
    provide::tree::{Budget, FileError, Kind, RelPath, Root, Spent, Step, Walk, read_at},
};

#[derive(Clone, Debug)]
pub(super) struct Query {
    pub start: RelPath,
    pub name: Option<Glob>,
    /// Never empty.
    pub text: Option<String>,
    pub case: Case,
    pub results_max: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Match {
    pub path: RelPath,
    pub kind: Kind,
    /// Where text was asked for: the line's number from 1, and what is shown of it.
    pub line: Option<(u64, String)>,
}

#[derive(Debug, Default)]
pub(super) struct Found {
    pub matches: Vec<Match>,
    /// Which bound cut the search short.
    pub cut: Option<&'static str>,
    /// Files and directories that could not be searched, or not to their end.
    pub skipped: usize,
}

pub(super) fn search(root: &Root, query: &Query, budget: Budget<'_>) -> Result<Found, FileError> {
    let mut walk = Walk::new(root, &query.start, budget)?;
    let mut sink = Sink { found: Found::default(), bytes: 0, results_max: query.results_max };
    let text = query.text.as_deref().map(|text| Needle::new(text, query.case));
    while sink.found.cut.is_none() {
        let Some(step) = walk.next()? else { break };
        let wanted = query.name.as_ref();
        if wanted.is_some_and(|glob| !glob.matches(&below(&step.path, &query.start))) {
            continue;
        }
        match &text {
            None => sink.push(Match { path: step.path, kind: step.kind, line: None }),
            Some(needle) if step.kind == Kind::File => search_file(root, &step, needle, &mut sink),
            Some(_) => {}
        }
    }
    let mut found = sink.found;
    found.skipped += walk.skipped;
    found.cut = found.cut.or(walk.spent.map(|spent| match spent {
        Spent::Entries => "entries",
        Spent::Time => "time",
    }));
    Ok(found)
}

/// What is searched for, made ready once.
struct Needle {
    finder: Finder<'static>,
    case: Case,
}

impl Needle {
    fn new(text: &str, case: Case) -> Self {
        let text = match case {
            Case::Exact => text.to_owned(),
            Case::Ignored => text.to_ascii_lowercase(),
        };
        Self { finder: Finder::new(&text).into_owned(), case }
    }
}

struct Sink {
    found: Found,
    bytes: usize,
    results_max: usize,
}

impl Sink {
    fn push(&mut self, found: Match) {
        let line = found.line.as_ref().map_or(0, |(_, text)| text.len());
        self.bytes += found.path.as_bytes().len() + line;
        if self.found.matches.len() >= self.results_max {
            self.found.cut = Some("results");
        } else if self.bytes > FILES_SEARCH_OUTPUT_BYTES_MAX {
            self.found.cut = Some("bytes");
        } else {
            self.found.matches.push(found);
        }
    }
}

fn search_file(root: &Root, step: &Step, needle: &Needle, sink: &mut Sink) {
    let Some((bytes, whole)) = load(root, &step.path) else {
        sink.found.skipped += 1;
        return;
    };
    if memchr::memchr(0, &bytes).is_some() {
        sink.found.skipped += 1;
        return;
    }
    sink.found.skipped += usize::from(!whole);
    let folded = match needle.case {
        Case::Exact => None,
        Case::Ignored => Some(bytes.to_ascii_lowercase()),
    };
    let haystack = folded.as_deref().unwrap_or(&bytes);
    let (mut at, mut number) = (0, 1);
    while let Some(hit) = haystack.get(at..).and_then(|rest| needle.finder.find(rest)) {
        if sink.found.cut.is_some() {
            return;
        }
        let hit = at + hit;
        let passed = haystack.get(at..hit).unwrap_or_default();
        number += memchr::memchr_iter(b'\n', passed).map(|_| 1).sum::<u64>();
        let (start, end) = line_around(&bytes, hit);
        let text = shown_line(bytes.get(start..end).unwrap_or_default(), hit - start);
        let path = step.path.clone();
        sink.push(Match { path, kind: Kind::File, line: Some((number, text)) });
        // One match a line is enough; a needle with newlines goes on behind its first line.
        number += 1;
        at = end + 1;
    }
}

/// The file up to the bound, and whether that is all of it.
fn load(root: &Root, path: &RelPath) -> Option<(Vec<u8>, bool)> {
    let (file, info) = root.file(path).ok()?;
    let bytes = read_at(&file, 0, FILES_SEARCH_FILE_BYTES_MAX).ok()?;
    let whole = u64::try_from(bytes.len()).is_ok_and(|read| read >= info.size);
    Some((bytes, whole))
}

fn line_around(bytes: &[u8], at: usize) -> (usize, usize) {
    let before = bytes.get(..at).unwrap_or_default();
    let start = memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1);
    let after = bytes.get(at..).unwrap_or_default();
    let end = memchr::memchr(b'\n', after).map_or(bytes.len(), |newline| at + newline);
    (start, end)
}

/// The line, or of a long one the part around the match at `at`.
fn shown_line(line: &[u8], at: usize) -> String {
    const BEFORE_BYTES: usize = 64;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() <= FILES_SEARCH_LINE_BYTES_MAX {
        return String::from_utf8_lossy(line).into_owned();
    }
    let last_start = line.len() - FILES_SEARCH_LINE_BYTES_MAX;
    let start = at.saturating_sub(BEFORE_BYTES).min(last_start);
    let end = start + FILES_SEARCH_LINE_BYTES_MAX;
    let shown = line.get(start..end).unwrap_or_default();
    let mut text = String::from(if start > 0 { "…" } else { "" });
    // Characters cut at the edges are left out.
    shown.utf8_chunks().for_each(|chunk| text.push_str(chunk.valid()));
    text + if end < line.len() { "…" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::shown_line;

    #[test]
    fn a_long_line_is_shown_around_its_match() {
        assert_eq!(shown_line(b"short\r", 3), "short");
        let long = format!("{}needle{}", "ä".repeat(400), "x".repeat(400));
        let shown = shown_line(long.as_bytes(), 800);
        assert!(shown.starts_with('…') && shown.ends_with('…') && shown.contains("needle"));
        assert!(shown.len() <= 256 + 6 && !shown.contains('\u{fffd}'));
        assert!(shown_line(long.as_bytes(), 0).starts_with('ä'));
        assert!(shown_line(long.as_bytes(), 1205).ends_with('x'));
    }
}
