//! Reads a part of one file and decides whether it is text.
//!
//! Offsets and limits are bytes, because those can be sought; a part that begins or ends inside a
//! UTF-8 character is moved to that character's edge, and the answer says what it really holds, so
//! that parts read one after another give the file. What is not UTF-8, or has a NUL, is base64.

use std::{fs::File, io, os::unix::fs::FileExt};

use super::{error::FileError, path::RelPath, root::Root};
use crate::{domain::limits::FILES_READ_BYTES_MAX, wire::base64};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub offset: u64,
    pub limit: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub content: Content,
    pub start: u64,
    pub end: u64,
    /// The whole file's.
    pub size: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Text(String),
    /// Base64, standard alphabet with padding.
    Blob(String),
}

/// No UTF-8 character is longer, so a part of at least this many bytes always makes headway.
const CHARACTER_BYTES_MAX: usize = 4;

pub(crate) fn read_part(root: &Root, path: &RelPath, span: Span) -> Result<Part, FileError> {
    let (file, info) = root.file(path)?;
    let limit = span.limit.clamp(CHARACTER_BYTES_MAX, FILES_READ_BYTES_MAX);
    let bytes = read_at(&file, span.offset, limit)
        .map_err(|source| FileError::Io { path: path.clone(), source })?;
    Ok(part(bytes, span.offset, info.size))
}

/// A file that is given whole or not at all.
pub(crate) fn read_whole(root: &Root, path: &RelPath) -> Result<Content, FileError> {
    let part = read_part(root, path, Span { offset: 0, limit: FILES_READ_BYTES_MAX })?;
    if part.end < part.size {
        let (size, max) = (part.size, FILES_READ_BYTES_MAX);
        return Err(FileError::TooBig { path: path.clone(), size, max });
    }
    Ok(part.content)
}

/// Up to `limit` bytes; fewer only at the file's end.
pub(crate) fn read_at(file: &File, offset: u64, limit: usize) -> io::Result<Vec<u8>> {
    let size = file.metadata()?.len();
    let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; left.min(limit)];
    let (mut filled, mut at) = (0, offset);
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(n) => {
                filled += n;
                at = at.saturating_add(u64::try_from(n).unwrap_or_default());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

fn part(bytes: Vec<u8>, offset: u64, size: u64) -> Part {
    let offset = offset.min(size);
    let end = offset.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    match text_within(&bytes, offset, size) {
        Some((skipped, text)) => {
            let start = offset + u64::try_from(skipped).unwrap_or_default();
            let end = start + u64::try_from(text.len()).unwrap_or_default();
            Part { content: Content::Text(text.to_owned()), start, end, size }
        }
        None => Part { content: Content::Blob(base64::encode(&bytes)), start: offset, end, size },
    }
}

/// The whole characters in `bytes`, and how many bytes of a cut one come before them. `None` when
/// this is no text.
fn text_within(bytes: &[u8], offset: u64, size: u64) -> Option<(usize, &str)> {
    if memchr::memchr(0, bytes).is_some() {
        return None;
    }
    let continues = |byte: &&u8| **byte & 0xC0 == 0x80;
    let cut = bytes.iter().take(CHARACTER_BYTES_MAX - 1).take_while(continues).count();
    let skipped = if offset == 0 { 0 } else { cut };
    let rest = bytes.get(skipped..)?;
    let end = offset.saturating_add(u64::try_from(bytes.len()).ok()?);
    match std::str::from_utf8(rest) {
        Ok(text) => Some((skipped, text)),
        Err(error) if error.error_len().is_none() && end < size => {
            let whole = rest.get(..error.valid_up_to())?;
            Some((skipped, std::str::from_utf8(whole).ok()?))
        }
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Content, part};

    #[track_caller]
    fn check(file: &[u8], span: std::ops::Range<usize>, want: &str, range: (u64, u64)) {
        let got = part(file[span.clone()].to_vec(), span.start as u64, file.len() as u64);
        assert_eq!(got.content, Content::Text(want.to_owned()));
        assert_eq!((got.start, got.end), range);
    }

    #[test]
    fn parts_end_between_characters_and_join_to_the_file() {
        let file = "aä€😀z".as_bytes();
        check(file, 0..11, "aä€😀z", (0, 11));
        check(file, 0..2, "a", (0, 1));
        check(file, 1..5, "ä", (1, 3));
        check(file, 2..6, "€", (3, 6));
        check(file, 6..10, "😀", (6, 10));
        check(file, 11..11, "", (11, 11));
    }

    #[test]
    fn what_is_not_utf8_is_base64() {
        for bytes in [&b"\xff\xfe"[..], b"a\0b", b"cut \xe2\x82"] {
            assert!(matches!(part(bytes.to_vec(), 0, 3).content, Content::Blob(_)), "{bytes:?}");
        }
    }
}
