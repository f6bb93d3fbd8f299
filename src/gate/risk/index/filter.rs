//! Which hashes were put in, within a fixed size: for evidence and for what speaks against it.
//!
//! `Filter` may say yes of what was never put in, the more so the fuller it is, and never no of
//! what was: nobody can push evidence out by adding more. `Known` is exact and forgets when it is
//! full. Both err on the side of suspicion. What is old is forgotten by time alone.

use std::time::Duration;

use tokio::time::Instant;

/// Places in `Known` where one hash may be.
const WAYS: usize = 8;

/// A Bloom filter of two halves, of which the older is dropped when its time has come.
#[derive(Debug)]
pub(super) struct Filter {
    now: Box<[u64]>,
    before: Option<Box<[u64]>>,
    since: Instant,
}

impl Filter {
    /// Each half has so many bytes; a power of two.
    pub(super) fn new(bytes: usize, at: Instant) -> Self {
        Self { now: vec![0; bytes / 8].into(), before: None, since: at }
    }

    pub(super) fn put(&mut self, hash: u64) {
        let (word, bits) = place(hash, self.now.len());
        if let Some(word) = self.now.get_mut(word) {
            *word |= bits;
        }
    }

    pub(super) fn has(&self, hash: u64) -> bool {
        let within = |half: &[u64]| {
            let (word, bits) = place(hash, half.len());
            half.get(word).is_some_and(|word| word & bits == bits)
        };
        within(&self.now) || self.before.as_deref().is_some_and(within)
    }

    /// Drops what is older than `keep`, which what is younger never is; it may stay for twice as
    /// long.
    pub(super) fn age(&mut self, at: Instant, keep: Duration) {
        let elapsed = at.saturating_duration_since(self.since);
        if elapsed < keep {
            return;
        }
        let fresh = vec![0; self.now.len()].into();
        let full = std::mem::replace(&mut self.now, fresh);
        self.before = (elapsed < keep.saturating_mul(2)).then_some(full);
        self.since = at;
    }
}

/// The word of a hash and its four bits there, all in one, so that memory is asked once; the
/// number of words is a power of two.
fn place(hash: u64, n_words: usize) -> (usize, u64) {
    let bit = |n: u32| 1 << (hash >> (6 * n) & 63);
    let word = usize::try_from(hash >> 24).unwrap_or_default() & n_words.saturating_sub(1);
    (word, bit(0) | bit(1) | bit(2) | bit(3))
}

/// A set of hashes that forgets some when it is full.
#[derive(Debug)]
pub(super) struct Known {
    places: Box<[[u64; WAYS]]>,
    since: Instant,
}

impl Known {
    /// Room for so many; a power of two.
    pub(super) fn new(n_hashes: usize, at: Instant) -> Self {
        Self { places: vec![[0; WAYS]; n_hashes / WAYS].into(), since: at }
    }

    pub(super) fn put(&mut self, hash: u64) {
        let Some(ways) = self.places.get_mut(row(hash, self.places.len())) else { return };
        if ways.contains(&hash) {
            return;
        }
        let free = ways.iter().position(|way| *way == 0);
        let victim = free.unwrap_or(usize::try_from(hash >> 40).unwrap_or_default() % WAYS);
        if let Some(way) = ways.get_mut(victim) {
            *way = hash;
        }
    }

    pub(super) fn has(&self, hash: u64) -> bool {
        let ways = self.places.get(row(hash, self.places.len()));
        ways.is_some_and(|ways| ways.contains(&hash))
    }

    /// Forgets everything that may be older than `keep`.
    pub(super) fn age(&mut self, at: Instant, keep: Duration) {
        if at.saturating_duration_since(self.since) >= keep {
            self.places.fill([0; WAYS]);
            self.since = at;
        }
    }
}

fn row(hash: u64, n_rows: usize) -> usize {
    usize::try_from(hash >> 6).unwrap_or_default() & n_rows.saturating_sub(1)
}
