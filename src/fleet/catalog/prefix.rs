//! The form of a URI that says which server is meant: `via.SERVER+URI`. Pure.
//!
//! It is listed only where two servers have the same URI, and read always. Whatever stands before
//! the `+` is a legal start of a scheme for every server: it begins with a letter, and because
//! schemes ignore case, an upper-case letter of the name is written `.x` and its `_` is `..`. A URI
//! is in this form or it is not, whoever lists it and whichever servers there are; so nobody can
//! list a URI that is taken for another server's.

use crate::domain::{NameError, ResourceUri, ServerName};

const MARK: &str = "via.";
const END: char = '+';

/// The URI as one of that server.
pub(super) fn prefixed(server: &ServerName, uri: &ResourceUri) -> Result<ResourceUri, NameError> {
    let mut text = MARK.to_owned();
    for c in server.as_str().chars() {
        match c {
            '_' => text.push_str(".."),
            'A'..='Z' => text.extend(['.', c.to_ascii_lowercase()]),
            c => text.push(c),
        }
    }
    text.push(END);
    text.push_str(uri.as_str());
    ResourceUri::parse(&text)
}

/// The server that is meant, and its own URI; none if no server is named.
pub(super) fn split(uri: &str) -> Option<(ServerName, &str)> {
    let (written, own) = uri.strip_prefix(MARK)?.split_once(END)?;
    let (mut name, mut rest) = (String::with_capacity(written.len()), written.chars());
    while let Some(c) = rest.next() {
        name.push(match c {
            'a'..='z' | '0'..='9' | '-' => c,
            '.' => match rest.next()? {
                '.' => '_',
                c @ 'a'..='z' => c.to_ascii_uppercase(),
                _ => return None,
            },
            _ => return None,
        });
    }
    let server = ServerName::parse(&name).ok()?;
    (!own.is_empty()).then_some((server, own))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{ResourceUri, ServerName, prefixed, split};
    use crate::domain::limits::RESOURCE_URI_BYTES_MAX;

    #[track_caller]
    fn check(server: &str, want: &str) {
        let name = ServerName::parse(server).unwrap();
        let got = prefixed(&name, &ResourceUri::parse("file:///a+b").unwrap()).unwrap();
        assert_eq!(got.as_str(), want);
        assert_eq!(split(want), Some((name, "file:///a+b")));
    }

    #[test]
    fn every_name_of_a_server_makes_a_scheme() {
        check("git", "via.git+file:///a+b");
        check("1st-2", "via.1st-2+file:///a+b");
        check("my_files", "via.my..files+file:///a+b");
        check("Git", "via..git+file:///a+b");
        check("a_B", "via.a...b+file:///a+b");
        check("aB", "via.a.b+file:///a+b");
    }

    #[test]
    fn other_uris_name_no_server() {
        let plain = ["git+https://x", "via:git+x", "via.git", "via.git+", "via.+x", "VIA.git+x"];
        // Not as we write it: one server has one form.
        let odd = ["via.Git+x", "via.a_b+x", "via.a.1+x", "via.a.+x", "via.a%5f+x", "via.-a+x"];
        for uri in plain.into_iter().chain(odd) {
            assert_eq!(split(uri), None, "{uri}");
        }
    }

    #[test]
    fn what_becomes_too_long_has_no_such_form() {
        let long = "x".repeat(RESOURCE_URI_BYTES_MAX);
        let server = ServerName::parse("a").unwrap();
        assert!(prefixed(&server, &ResourceUri::parse(&long).unwrap()).is_err());
    }

    proptest! {
        #[test]
        fn one_form_means_one_server_and_one_uri(
            server in "[A-Za-z0-9]([_-]?[A-Za-z0-9]){0,10}",
            uri in "[ -~é]{1,30}",
        ) {
            let server = ServerName::parse(&server).unwrap();
            let form = prefixed(&server, &ResourceUri::parse(&uri).unwrap()).unwrap();
            let scheme = form.as_str().split('+').next().unwrap();
            let is_legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
            prop_assert!(scheme.starts_with('v') && scheme.chars().all(is_legal));
            prop_assert_eq!(split(form.as_str()), Some((server, uri.as_str())));
        }
    }
}
