//! Any bytes from a child's stdout, cut anywhere: the same lines, none over the bound or split.
//!
//! The first byte of the input says how long the pieces are. The bound is small, so that the search
//! reaches it.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::wire::{LineReader, WireError};

const BYTES_MAX: usize = 128;

fuzz_target!(|data: &[u8]| {
    let Some((size, bytes)) = data.split_first() else { return };
    let cut = read(bytes.chunks(usize::from(*size % 17) + 1));
    assert_eq!(cut, read([bytes].into_iter()));
    for line in cut.into_iter().flatten() {
        assert!(!line.is_empty() && line.len() <= BYTES_MAX && !line.contains(&b'\n'));
    }
});

fn read<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<Result<Bytes, WireError>> {
    let mut reader = LineReader::new(BYTES_MAX);
    let mut found = Vec::new();
    for chunk in chunks {
        reader.push(chunk);
        found.extend(reader.by_ref());
    }
    found
}
