//! However the bytes are cut, the same messages come out.
//!
//! Also that a peer who never ends its line costs bounded memory, and that the bound is exact to
//! the byte.

use bytes::Bytes;
use proptest::prelude::*;

use crate::wire::{LineReader, SseEvent, SseReader, WireError};

const BYTES_MAX: usize = 24;

/// Bytes that are mostly line ends and the words of the format.
fn soup(words: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(words.to_vec()), 0..40)
        .prop_map(|words| words.concat().into_bytes())
}

fn lines(chunks: &[&[u8]]) -> Vec<Result<Bytes, WireError>> {
    let mut reader = LineReader::new(BYTES_MAX);
    let mut found = Vec::new();
    for chunk in chunks {
        reader.push(chunk);
        found.extend(reader.by_ref());
    }
    found
}

fn events(chunks: &[&[u8]]) -> Vec<Result<SseEvent, WireError>> {
    let mut reader = SseReader::new(BYTES_MAX);
    let mut found = Vec::new();
    for chunk in chunks {
        reader.push(chunk);
        found.extend(reader.by_ref());
    }
    found
}

fn cut(bytes: &[u8], at: usize) -> Vec<&[u8]> {
    bytes.chunks(at.max(1)).collect()
}

proptest! {
    #[test]
    fn lines_do_not_depend_on_the_chunks(
        bytes in soup(&["\n", "\r", "\r\n", "{}", "x", "\u{e9}", "0123456789ab", "\0"]),
        size in 1..9_usize,
    ) {
        let whole = lines(&[&bytes]);
        prop_assert_eq!(&lines(&cut(&bytes, size)), &whole);
        // And they are what a plain split finds.
        let text = String::from_utf8(bytes).unwrap();
        let (complete, _) = text.rsplit_once('\n').unwrap_or_default();
        let want = complete.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
        let want: Vec<_> = want.filter(|line| !line.is_empty()).collect();
        let got: Vec<_> = whole.into_iter().collect();
        let mut got = got.into_iter();
        for line in want {
            match got.next().unwrap() {
                Ok(found) => prop_assert_eq!(found, line.as_bytes()),
                Err(_) => prop_assert!(line.len() > BYTES_MAX),
            }
        }
        // What remains is the report of an unfinished line.
        prop_assert!(got.next().is_none_or(|rest| rest.is_err()) && got.next().is_none());
    }

    #[test]
    fn events_do_not_depend_on_the_chunks(
        bytes in soup(&[
            "\n", "\n", "\r", "\r\n", "\u{feff}", ":", "data", "data: ", "data:{}", "id: 7", "event: x",
            "retry: 10", "retry:x", " ", "0123456789ab", "\0", "id", "\u{e9}", ": ping\n\n",
        ]),
        size in 1..9_usize,
    ) {
        prop_assert_eq!(events(&cut(&bytes, size)), events(&[&bytes]));
    }
}

#[test]
fn a_line_without_end_costs_bounded_memory_and_is_reported_once() {
    let mut reader = LineReader::new(1 << 20);
    let mut errors = 0;
    for _ in 0..1024 {
        reader.push(&[b'x'; 65_536]);
        errors += reader.by_ref().filter(Result::is_err).count();
        assert!(reader.buffer_mut().capacity() < 4 << 20);
    }
    assert_eq!(errors, 1);
    reader.push(b"\n{}\n");
    assert_eq!(reader.next(), Some(Ok(Bytes::from_static(b"{}"))));
    assert_eq!(reader.next(), None);
}

#[test]
fn a_line_at_the_bound_passes_and_one_byte_more_does_not() {
    let line = |len: usize, end: &str| lines(&[format!("{}{end}", "x".repeat(len)).as_bytes()]);
    assert!(line(BYTES_MAX, "\n")[0].is_ok());
    assert!(line(BYTES_MAX, "\r\n")[0].is_ok());
    assert_eq!(line(BYTES_MAX + 1, "\n"), [Err(WireError::TooLong { max: BYTES_MAX })]);
    assert_eq!(line(BYTES_MAX + 1, "\r\n"), [Err(WireError::TooLong { max: BYTES_MAX })]);
}
