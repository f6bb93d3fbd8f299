//! Any bytes as an event stream, cut anywhere: the same events, none over the bound.
//!
//! The first byte of the input says how long the pieces are. The bound is small, so that the search
//! reaches it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_fuzz::wire::{SseEvent, SseReader, WireError};

const BYTES_MAX: usize = 128;

fuzz_target!(|data: &[u8]| {
    let Some((size, bytes)) = data.split_first() else { return };
    let cut = read(bytes.chunks(usize::from(*size % 17) + 1));
    assert_eq!(cut, read([bytes].into_iter()));
    for event in cut.into_iter().flatten() {
        assert!(event.data.len() <= BYTES_MAX);
    }
});

fn read<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> Vec<Result<SseEvent, WireError>> {
    let mut reader = SseReader::new(BYTES_MAX);
    let mut found = Vec::new();
    for chunk in chunks {
        reader.push(chunk);
        found.extend(reader.by_ref());
    }
    found
}
