//! Reads Rust just well enough for the tidy rules: blanks what is not code, finds paths.
//!
//! Promises to keep lines and words of code as they are. Knows no grammar beyond comments,
//! literals and use-trees; macros are read as written, not expanded.

use std::collections::BTreeSet;

/// Blanks comments, strings and characters; keeps lines and all else.
pub(crate) fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        let skip = if before.is_alphanumeric() || before == '_' { 0 } else { raw_string(rest) };
        let skip = match c {
            _ if skip > 0 => skip,
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |at| at + 2),
            '"' => quoted(rest, '"'),
            '\'' if is_char_literal(rest) => quoted(rest, '\''),
            _ => 0,
        };
        let (gone, kept) =
            if skip > 0 { (skip, " ") } else { (c.len_utf8(), &rest[..c.len_utf8()]) };
        code.push_str(kept);
        before = kept.chars().next().unwrap_or(' ');
        rest = &rest[gone..];
    }
    code
}

/// Length of a raw string at the start of `text`, 0 if there is none.
fn raw_string(text: &str) -> usize {
    let Some(rest) = text.strip_prefix("br").or_else(|| text.strip_prefix('r')) else { return 0 };
    let hashes = rest.bytes().take_while(|b| *b == b'#').count();
    let Some(body) = rest[hashes..].strip_prefix('"') else { return 0 };
    let end = format!("\"{}", "#".repeat(hashes));
    let head = text.len() - body.len();
    body.find(&end).map_or(text.len(), |at| head + at + end.len())
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// `'a'` and `'\n'` are characters, `'a` is a lifetime.
fn is_char_literal(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    matches!((chars.next(), chars.next()), (Some('\\'), _) | (Some(_), Some('\'')))
}

/// Every path that starts at the crate's root, groups spread out: `crate::a::{b, c::d}` gives two.
pub(crate) fn crate_paths(code: &str) -> Vec<Vec<String>> {
    let mut paths = vec![];
    for start in ["crate::", "super::super::", "portcullis::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back().unwrap_or(' ');
            if !(before.is_alphanumeric() || before == '_' || before == '$') {
                let tree = code[at + start.len()..].trim_start_matches("super::");
                spread(tree, &[], &mut paths);
            }
        }
    }
    paths
}

/// Reads one use-tree at the start of `text` and returns what follows it.
fn spread<'a>(text: &'a str, prefix: &[String], paths: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = spread(rest, prefix, paths).trim_start();
            match rest.strip_prefix(',') {
                Some(more) if !more.trim_start().starts_with('}') => rest = more,
                Some(more) => return more.trim_start().get(1..).unwrap_or_default(),
                None => return rest.get(1..).unwrap_or_default(),
            }
        }
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let path = [prefix, &[text[..end].to_owned()]].concat();
    match text[end..].strip_prefix("::") {
        Some(rest) => spread(rest, &path, paths),
        None => {
            paths.push(path);
            let renamed = text[end..].trim_start().strip_prefix("as ");
            renamed.map_or(&text[end..], |name| name.trim_start_matches(|c| c != ',' && c != '}'))
        }
    }
}

pub(crate) fn open_modules(text: &str) -> BTreeSet<String> {
    let modules = text.lines().filter_map(|line| line.trim().strip_prefix("pub mod "));
    modules.map(|rest| rest.trim_end_matches([';', ' ', '{']).to_owned()).collect()
}

pub(crate) fn is_word_in(word: &str, text: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        !before.ends_with(inner) && !after.starts_with(inner)
    })
}

/// The claims of the matrix: lines `claim: SETUP, …`.
pub(crate) fn rows_of_the_matrix(text: &str) -> Vec<&str> {
    let rows = text.lines().filter_map(|line| line.trim().split_once(": "));
    let is_setup = |rest: &str| {
        let setup = rest.split(',').next().unwrap_or_default();
        rest.contains(',') && setup.bytes().all(|c| c.is_ascii_uppercase() || c == b'_')
    };
    rows.filter(|(_, rest)| is_setup(rest)).map(|(claim, _)| claim).collect()
}

/// The names of the functions that are tests.
pub(crate) fn tests_in(text: &str) -> Vec<&str> {
    let pairs = text.lines().zip(text.lines().skip(1));
    let tests = pairs.filter(|(above, _)| above.starts_with("#[") && above.contains("test"));
    tests.filter_map(|(_, line)| line.split_once("fn ")?.1.split('(').next()).collect()
}
