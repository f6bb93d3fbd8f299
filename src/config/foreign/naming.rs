//! Names of servers as other programs write them, made such that they can be used here.

use std::collections::BTreeSet;

use crate::domain::{ServerName, limits::SERVER_NAME_BYTES_MAX};

/// The nearest valid name: odd characters become `-`, several in a row one.
pub(super) fn valid_name(written: &str) -> String {
    if ServerName::parse(written).is_ok() {
        return written.to_owned();
    }
    let mut name = String::new();
    for c in written.chars() {
        let kept = if c.is_ascii_alphanumeric() {
            c
        } else if c == '_' {
            '_'
        } else {
            '-'
        };
        let doubles = !kept.is_ascii_alphanumeric() && name.ends_with(['-', '_']);
        if !doubles && name.len() < SERVER_NAME_BYTES_MAX {
            name.push(kept);
        }
    }
    let name = name.trim_matches(['-', '_']);
    if name.is_empty() { "server".to_owned() } else { name.to_owned() }
}

/// A name like this one that is not taken.
pub fn free_name(name: &str, taken: &BTreeSet<String>) -> String {
    let numbered = |n: usize| {
        let end = format!("-{n}");
        let room = SERVER_NAME_BYTES_MAX.saturating_sub(end.len());
        let head: String = name.chars().take(room).collect();
        format!("{}{end}", head.trim_end_matches(['-', '_']))
    };
    (2..=taken.len() + 2).map(numbered).find(|name| !taken.contains(name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{free_name, valid_name};
    use crate::domain::ServerName;

    #[test]
    fn any_name_becomes_a_valid_one_and_a_valid_one_stays() {
        for (written, want) in [
            ("git", "git"),
            ("my_files-2", "my_files-2"),
            ("github.com/x/y", "github-com-x-y"),
            ("Sequential Thinking", "Sequential-Thinking"),
            ("a__b", "a_b"),
            ("-@scope/é-", "scope"),
            ("日本", "server"),
            ("", "server"),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.bcd", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
        ] {
            assert_eq!(valid_name(written), want);
            ServerName::parse(want).unwrap();
        }
    }

    #[test]
    fn a_free_name_is_like_the_taken_one() {
        let taken = ["git", "git-2"].map(str::to_owned).into();
        assert_eq!(free_name("git", &taken), "git-3");
        let long = "a".repeat(32);
        let free = free_name(&long, &[long.clone()].into());
        assert_eq!(free, format!("{}-2", "a".repeat(30)));
        ServerName::parse(&free).unwrap();
    }
}
