//! The one form of a path that policies compare, or that there is none.
//!
//! Lexical: `.` and `..` are gone, slashes are single. Whatever could mean another path to whoever
//! opens it (an escape, a letter that looks like a dot or a slash, a home directory) has no form,
//! and a policy that asks for it does not allow the call. Links are beyond this: what a server can
//! reach at all is for its sandbox to say.

use crate::wire::is_invisible;

/// Why a text is not a path that can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gate::policy) struct Unclear;

/// Letters that some file system, browser or shell takes for `.`, `/` or `\`.
const LOOK_ALIKES: [char; 14] = [
    '\u{2024}', '\u{2025}', '\u{2026}', '\u{2044}', '\u{2215}', '\u{2216}', '\u{29f5}', '\u{29f8}',
    '\u{29f9}', '\u{fe52}', '\u{fe68}', '\u{ff0e}', '\u{ff0f}', '\u{ff3c}',
];

/// The path in its one form. An empty one is `.`.
pub(in crate::gate::policy) fn canonical(text: &str) -> Result<String, Unclear> {
    let text = match text.split_once(':') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("file") => {
            let rest = rest.strip_prefix("//").unwrap_or(rest);
            // A host, or an authority that hides one, is another machine's path.
            if !rest.starts_with('/') || rest.contains(['?', '#']) {
                return Err(Unclear);
            }
            rest
        }
        Some(_) | None => text,
    };
    // Some file systems pass over what cannot be seen; a blank is seen.
    let is_unseen = |c: char| is_invisible(c) && (c.is_control() || !c.is_whitespace());
    let odd = |c: char| is_unseen(c) || matches!(c, '\\' | '%') || LOOK_ALIKES.contains(&c);
    // Blanks at the ends are cut off by some.
    if text.starts_with('~') || text.contains(odd) || text.trim() != text {
        return Err(Unclear);
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                // Above the root, or out of a directory that we do not know.
                parts.pop().ok_or(Unclear)?;
            }
            part => parts.push(part),
        }
    }
    let root = if text.starts_with('/') { "/" } else { "" };
    let joined = parts.join("/");
    Ok(if root.is_empty() && joined.is_empty() {
        ".".to_owned()
    } else {
        format!("{root}{joined}")
    })
}

/// Whether an argument of that name is a path.
pub(in crate::gate::policy) fn is_named_like_one(name: &str) -> bool {
    const WORDS: [&str; 17] = [
        "path",
        "file",
        "filename",
        "filepath",
        "dir",
        "directory",
        "folder",
        "root",
        "cwd",
        "src",
        "dst",
        "source",
        "destination",
        "target",
        "location",
        "uri",
        "repo_path",
    ];
    const ENDS: [&str; 8] =
        ["_path", "_file", "_dir", "_directory", "_folder", "Path", "File", "Dir"];
    WORDS.iter().any(|word| name.eq_ignore_ascii_case(word))
        || ENDS.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::{Unclear, canonical};

    #[test]
    fn a_path_has_one_form_or_none() {
        let table: [(&str, Option<&str>); 34] = [
            ("/srv/data/a", Some("/srv/data/a")),
            ("/srv//data/./a/", Some("/srv/data/a")),
            ("/srv/data/../etc/passwd", Some("/srv/etc/passwd")),
            ("/srv/data/x/../../../etc", Some("/etc")),
            ("/..", None),
            ("/../etc", None),
            ("..", None),
            ("a/../..", None),
            ("a/..", Some(".")),
            ("", Some(".")),
            ("/", Some("/")),
            ("docs/x.md", Some("docs/x.md")),
            ("./docs", Some("docs")),
            ("...", Some("...")),
            ("/srv/%2e%2e/etc", None),
            ("/srv/..%2fetc", None),
            ("/srv\\..\\etc", None),
            ("/srv/a\0", None),
            ("/srv/a\n", None),
            ("/srv/\u{ff0e}\u{ff0e}/etc", None),
            ("/srv/\u{2025}/etc", None),
            ("\u{ff0f}etc", None),
            ("\u{2215}etc", None),
            ("/srv/.\u{200c}./etc", None),
            ("/srv/a b", Some("/srv/a b")),
            ("~/x", None),
            ("~root/x", None),
            (" /etc", None),
            ("/etc ", None),
            ("file:///srv/a", Some("/srv/a")),
            ("FILE:///srv/../a", Some("/a")),
            ("file://host/srv", None),
            ("file:///srv/a?x", None),
            ("C:/x", Some("C:/x")),
        ];
        for (text, want) in table {
            assert_eq!(canonical(text).ok().as_deref(), want, "{text:?}");
        }
        assert_eq!(canonical("a/../../b"), Err(Unclear));
    }

    #[test]
    fn the_form_of_a_form_is_itself() {
        for text in ["/srv//a/../b", "x/./y", "", "file:///a//b"] {
            let once = canonical(text).unwrap();
            assert_eq!(canonical(&once).unwrap(), once);
        }
    }
}
