//! A path beneath the root, parsed once, and its `file:///` URI.
//!
//! Promises: no NUL, no `..`, not absolute, bounded; `.` and empty components are gone. This is
//! not what keeps callers inside the root (the kernel does, see `root`); it is what turns most
//! mistakes into a clear sentence before the kernel is asked. The root is `file:///`: a URI never
//! tells where on the machine it lies. Paths are bytes, as in the kernel; a URI can name any.

use std::fmt;

use super::error::FileError;
use crate::domain::limits::FILES_PATH_BYTES_MAX;

/// `.` is the root itself.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct RelPath(Vec<u8>);

impl RelPath {
    pub(crate) fn root() -> Self {
        Self(b".".to_vec())
    }

    /// A path as a caller writes it, relative to the root.
    pub(crate) fn parse(path: &[u8]) -> Result<Self, FileError> {
        let refused = |rule| FileError::Path { path: Self(path.to_vec()), rule };
        if path.len() > FILES_PATH_BYTES_MAX {
            return Err(refused("is longer than 4096 bytes"));
        }
        if path.contains(&0) {
            return Err(refused("contains a NUL byte"));
        }
        if path.first() == Some(&b'/') {
            return Err(refused("is absolute; paths are relative to the root"));
        }
        let mut clean = Vec::with_capacity(path.len());
        for component in path.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(refused("contains `..`; name the path from the root down")),
                _ => {}
            }
            if !clean.is_empty() {
                clean.push(b'/');
            }
            clean.extend_from_slice(component);
        }
        if clean.is_empty() {
            return Ok(Self::root());
        }
        Ok(Self(clean))
    }

    /// The path that a `file:///` URI names.
    pub(crate) fn from_uri(uri: &str) -> Result<Self, FileError> {
        let refused = |rule| FileError::Uri { uri: uri.to_owned(), rule };
        let rest = uri
            .get(..FILE.len())
            .filter(|scheme| scheme.eq_ignore_ascii_case(FILE))
            .and_then(|_| uri.get(FILE.len()..))
            .ok_or_else(|| refused("is not a `file:///` URI"))?;
        let path = rest
            .strip_prefix('/')
            .or_else(|| rest.strip_prefix("localhost/"))
            .ok_or_else(|| refused("names a host; only `file:///` URIs are served"))?;
        if path.contains(['?', '#']) {
            return Err(refused("has a query or a fragment; write `%3F` or `%23` in a name"));
        }
        let bytes = decode(path).ok_or_else(|| refused("is not properly percent-encoded"))?;
        Self::parse(&bytes)
    }

    pub(crate) fn to_uri(&self) -> String {
        let path: &[u8] = if self.is_root() { b"" } else { &self.0 };
        format!("{FILE}/{}", encode(path))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn is_root(&self) -> bool {
        self.0 == b"."
    }

    /// One level down; `name` comes from a directory and so has no `/`.
    pub(crate) fn join(&self, name: &[u8]) -> Self {
        if self.is_root() {
            return Self(name.to_vec());
        }
        let mut path = Vec::with_capacity(self.0.len() + 1 + name.len());
        path.extend_from_slice(&self.0);
        path.push(b'/');
        path.extend_from_slice(name);
        Self(path)
    }

    /// From the root down; the root has none.
    pub(crate) fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|component| *component != b".")
    }
}

/// As text for answers: what is not UTF-8 shows as U+FFFD.
impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

const FILE: &str = "file://";
const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Percent-encodes everything but the unreserved characters and `/`.
pub(crate) fn encode(path: &[u8]) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(byte) {
            text.push(char::from(*byte));
            continue;
        }
        let digit = |nibble: u8| HEX.get(usize::from(nibble)).map_or('0', |hex| char::from(*hex));
        text.extend(['%', digit(byte >> 4), digit(byte & 15)]);
    }
    text
}

/// Undoes `encode`. An encoded `/` is refused, because no name contains one.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let decoded = u8::try_from(digit()? * 16 + digit()?).ok()?;
        if decoded == b'/' {
            return None;
        }
        bytes.push(decoded);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::RelPath;

    #[track_caller]
    fn path(input: &str, want: Result<&str, &str>) {
        let got = RelPath::parse(input.as_bytes()).map(|p| p.to_string()).map_err(|e| e.told());
        assert_eq!(got, want.map(str::to_owned).map_err(str::to_owned));
    }

    #[track_caller]
    fn uri(input: &str, want: Result<&str, &str>) {
        let got = RelPath::from_uri(input).map(|p| p.to_string()).map_err(|e| e.told());
        assert_eq!(got, want.map(str::to_owned).map_err(str::to_owned));
    }

    #[test]
    fn paths_lead_down_only() {
        path("", Ok("."));
        path("./", Ok("."));
        path("a/./b//c/", Ok("a/b/c"));
        path("%2e%2e/x", Ok("%2e%2e/x"));
        path("..a/...", Ok("..a/..."));
        path("/etc", Err("path `/etc` is absolute; paths are relative to the root"));
        path("a/../b", Err("path `a/../b` contains `..`; name the path from the root down"));
        path("a\0b", Err("path `a\\0b` contains a NUL byte"));
        assert!(RelPath::parse(&[b'a'; 4097]).is_err());
    }

    #[test]
    fn uris_name_files_beneath_the_root_of_no_host() {
        uri("file:///", Ok("."));
        uri("file:///a%20b/c.md", Ok("a b/c.md"));
        uri("FILE://localhost/a", Ok("a"));
        uri(
            "file://evil/a",
            Err("URI `file://evil/a` names a host; only `file:///` URIs are served"),
        );
        uri("http://a/b", Err("URI `http://a/b` is not a `file:///` URI"));
        uri("file:///a%2fb", Err("URI `file:///a%2fb` is not properly percent-encoded"));
        uri("file:///a%2", Err("URI `file:///a%2` is not properly percent-encoded"));
        for input in ["file:////etc/passwd", "file:///%2e%2e/x", "file:///a%00", "file:///a?b"] {
            assert!(RelPath::from_uri(input).is_err(), "{input}");
        }
    }

    #[test]
    fn every_byte_survives_the_way_through_a_uri() {
        let bytes = (1..=255).filter(|b| *b != b'/').collect::<Vec<u8>>();
        let path = RelPath::parse(&bytes).unwrap();
        let uri = path.to_uri();
        assert!(uri.is_ascii());
        assert_eq!(RelPath::from_uri(&uri).unwrap(), path);
    }
}
