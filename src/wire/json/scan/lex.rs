//! The smallest pieces of the grammar: where a run of plain string bytes, an escape or a number
//! ends.
//!
//! Pure functions over a tail of the text; each answers how many bytes belong to the piece, or that
//! there is no such piece. The loop over string bytes is the hot one: it looks at eight bytes in
//! one word, and at whole vectors once a string turns out to be long. Knows nothing of containers.

/// A string longer than this is searched by vectors; a shorter one is done before they pay.
const WORDS_BYTES: usize = 64;
/// Vectors are tried on a window of this size, so that the bytes are still in the cache when they
/// are looked at a second time for control characters.
const WINDOW_BYTES: usize = 4096;

/// How many bytes at the head of `tail` are plain string content: none of `"`, `\` and controls.
#[inline]
pub(super) fn plain(tail: &[u8]) -> usize {
    let mut done = 0;
    let mut rest = tail;
    while let Some((word, next)) = rest.split_first_chunk::<8>() {
        if done >= WORDS_BYTES {
            return done + plain_long(rest);
        }
        let stops = stops(u64::from_le_bytes(*word));
        if stops != 0 {
            return done + lowest(stops);
        }
        done += 8;
        rest = next;
    }
    done + plain_bytes(rest)
}

/// The same for a string known to be long: windows of vectors.
fn plain_long(tail: &[u8]) -> usize {
    let mut done = 0;
    for window in tail.chunks(WINDOW_BYTES) {
        let end = memchr::memchr2(b'"', b'\\', window).unwrap_or(window.len());
        let candidate = window.get(..end).unwrap_or(window);
        // Without an early exit the compiler turns this into a vector minimum.
        let smallest = candidate.iter().fold(u8::MAX, |least, byte| least.min(*byte));
        if smallest < b' ' {
            return done + plain_bytes(candidate);
        }
        done += end;
        if end < window.len() {
            break;
        }
    }
    done
}

fn plain_bytes(tail: &[u8]) -> usize {
    tail.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..b' ')).unwrap_or(tail.len())
}

/// The top bit of every byte of `word` that ends a plain run. A byte above the lowest such byte may
/// be marked in error (a borrow), the lowest one never is.
fn stops(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    const TOPS: u64 = ONES << 7;
    let quote = word ^ (ONES * 0x22);
    let slash = word ^ (ONES * 0x5c);
    let found = quote.wrapping_sub(ONES) & !quote
        | slash.wrapping_sub(ONES) & !slash
        | word.wrapping_sub(ONES * 0x20) & !word;
    found & TOPS
}

/// The index of the lowest marked byte.
fn lowest(stops: u64) -> usize {
    // At most 63 / 8: the conversion cannot fail.
    usize::try_from(stops.trailing_zeros() / 8).unwrap_or_default()
}

/// The length of the escape at the head of `tail`, which starts with `\`.
pub(super) fn escape(tail: &[u8]) -> Option<usize> {
    match tail.get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => tail.get(2..6)?.iter().all(u8::is_ascii_hexdigit).then_some(6),
        _ => None,
    }
}

/// The length of the number at the head of `tail`: `-? int frac? exp?` of RFC 8259.
#[inline]
pub(super) fn number(tail: &[u8]) -> Option<usize> {
    let digits =
        |from: usize| tail.iter().skip(from).take_while(|byte| byte.is_ascii_digit()).count();
    let at = |index: usize| tail.get(index).copied();
    let mut end = usize::from(at(0) == Some(b'-'));
    end += match at(end)? {
        b'0' => 1,
        b'1'..=b'9' => digits(end),
        _ => return None,
    };
    if at(end) == Some(b'.') {
        let fraction = digits(end + 1);
        if fraction == 0 {
            return None;
        }
        end += 1 + fraction;
    }
    if matches!(at(end), Some(b'e' | b'E')) {
        end += 1 + usize::from(matches!(at(end + 1), Some(b'+' | b'-')));
        let exponent = digits(end);
        if exponent == 0 {
            return None;
        }
        end += exponent;
    }
    Some(end)
}
