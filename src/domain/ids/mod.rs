//! Identifiers that we mint: calls, their steps in a caller's trace, configuration generations.
//!
//! A `CallId` sorts by time, is unique over restarts and fits in a log line. It is a name, not a
//! secret: nothing is granted to somebody who knows one.

mod approval;
mod trace;

pub use approval::{ApprovalId, Use};
pub use trace::{SpanId, TraceId, TraceParent};

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

/// 48 bits of milliseconds, 32 bits of process, 48 bits of count: shown as 26 characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(u128);

/// Where call ids come from: one for the whole process.
#[derive(Debug)]
pub struct CallIds {
    process: u32,
    count: AtomicU64,
}

/// Random bytes that make this process's ids differ from any other's.
#[derive(Clone, Copy, Debug)]
pub struct Nonce(pub u32);

impl CallIds {
    pub fn new(nonce: Nonce) -> Self {
        Self { process: nonce.0, count: AtomicU64::new(1) }
    }

    /// The time comes in by argument: this room has no clock.
    pub fn next(&self, unix_ms: u64) -> CallId {
        const COUNT_BITS: u64 = (1 << 48) - 1;
        let count = self.count.fetch_add(1, Ordering::Relaxed) & COUNT_BITS;
        let time = u128::from(unix_ms & COUNT_BITS);
        CallId(time << 80 | u128::from(self.process) << 48 | u128::from(count))
    }
}

impl CallId {
    /// Reads the 26 characters that `Display` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != CHARACTERS {
            return None;
        }
        text.bytes()
            .try_fold(0_u128, |value, byte| {
                let digit = ALPHABET.iter().position(|a| *a == byte)?;
                value.checked_mul(32)?.checked_add(u128::try_from(digit).ok()?)
            })
            .map(Self)
    }

    /// When it was made.
    pub fn unix_ms(self) -> u64 {
        u64::try_from(self.0 >> 80).unwrap_or_default()
    }
}

pub(crate) const CHARACTERS: usize = 26;
/// Crockford's base 32: no I, L, O, U, so that an id survives being read aloud.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl CallId {
    /// All of them ASCII.
    pub fn characters(self) -> [u8; CHARACTERS] {
        let mut text = [b'0'; CHARACTERS];
        let mut rest = self.0;
        for slot in text.iter_mut().rev() {
            let digit = usize::try_from(rest & 31).unwrap_or_default();
            *slot = ALPHABET.get(digit).copied().unwrap_or(b'0');
            rest >>= 5;
        }
        text
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.characters()).unwrap_or_default())
    }
}

impl fmt::Debug for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Which replica of its server, counted from 0 in the order of the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaNo(pub u16);

/// The number of a published configuration. Grows by one with every accepted change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub u64);

impl Generation {
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::{CallId, CallIds, Nonce};

    #[test]
    fn ids_are_unique_sort_by_time_and_read_back() {
        let ids = CallIds::new(Nonce(7));
        let (a, b, later) = (ids.next(1_000), ids.next(1_000), ids.next(2_000));
        assert!(a < b && b < later);
        assert_eq!(a.to_string().len(), 26);
        assert_eq!(CallId::parse(&a.to_string()), Some(a));
        assert_eq!(CallId::parse("not an id"), None);
        assert_eq!((a.unix_ms(), later.unix_ms()), (1_000, 2_000));
    }
}
