//! Roots and proofs from stored hashes: RFC 6962, section 2.1.
//!
//! Whoever has the tiles gives them by level, index and width; nothing else is read, and a few
//! tiles are enough for any proof. A proof is checked without any tile.

use super::{
    Hash, TILE_WIDTH,
    tree::{EMPTY_ROOT, node, over},
};

/// A tree of a known size of which the tiles can be read.
pub(in crate::audit) struct Stored<R> {
    size: u64,
    read: R,
}

impl<R: Fn(usize, u64, u64) -> Option<Vec<Hash>>> Stored<R> {
    /// `read` gets level, index and width of a tile.
    pub(in crate::audit) fn new(size: u64, read: R) -> Self {
        Self { size, read }
    }

    /// The root that the tree had at `size`.
    pub(in crate::audit) fn root_at(&self, size: u64) -> Option<Hash> {
        if size == 0 { Some(EMPTY_ROOT) } else { self.range(0, size) }
    }

    /// What the leaf at `index` needs to make the root at `size`, lowest first.
    pub(in crate::audit) fn inclusion(&self, index: u64, size: u64) -> Option<Vec<Hash>> {
        let mut proof = Vec::new();
        let (mut low, mut high) = (0, size);
        if index >= size {
            return None;
        }
        while high - low > 1 {
            let middle = low + split(high - low);
            if index < middle {
                proof.push(self.range(middle, high)?);
                high = middle;
            } else {
                proof.push(self.range(low, middle)?);
                low = middle;
            }
        }
        proof.reverse();
        Some(proof)
    }

    /// What shows that the tree of `old` leaves is the beginning of the one of `new`.
    pub(in crate::audit) fn consistency(&self, old: u64, new: u64) -> Option<Vec<Hash>> {
        let mut proof = Vec::new();
        if old == 0 || old >= new {
            return (old <= new).then_some(proof);
        }
        let (mut low, mut high) = (0, new);
        // Whether the old tree is the part that is looked at, whose root is known then.
        let mut whole = true;
        while old < high {
            let middle = low + split(high - low);
            if old <= middle {
                proof.push(self.range(middle, high)?);
                high = middle;
            } else {
                proof.push(self.range(low, middle)?);
                low = middle;
                whole = false;
            }
        }
        if !whole {
            proof.push(self.range(low, high)?);
        }
        proof.reverse();
        Some(proof)
    }

    /// The hash over the leaves from `low` up to `high`, which is a node of some tree.
    fn range(&self, low: u64, high: u64) -> Option<Hash> {
        let n = high.checked_sub(low).filter(|n| *n > 0)?;
        if !n.is_power_of_two() {
            let middle = low + split(n);
            return Some(node(&self.range(low, middle)?, &self.range(middle, high)?));
        }
        let level = usize::try_from(n.ilog2() / 8).ok()?;
        let shift = n.ilog2() / 8 * 8;
        let (first, count) = (low >> shift, n >> shift);
        let index = first / TILE_WIDTH;
        let width = TILE_WIDTH.min((self.size >> shift).checked_sub(index * TILE_WIDTH)?);
        let at = usize::try_from(first % TILE_WIDTH).ok()?;
        let tile = (self.read)(level, index, width)?;
        tile.get(at..at.checked_add(usize::try_from(count).ok()?)?).map(over)
    }
}

/// The largest power of two below `n`, which is at least 2.
fn split(n: u64) -> u64 {
    n.next_power_of_two() / 2
}

/// The root that a proof of inclusion leads to; none if it has too many or too few hashes.
pub(in crate::audit) fn root_by_inclusion(
    leaf: Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let mut proof = proof.iter();
    // From the root down: at each step, whether the leaf is on the left.
    let (mut low, mut high, mut turns) = (0, size, Vec::new());
    while high - low > 1 {
        let middle = low + split(high - low);
        turns.push(index < middle);
        if index < middle { high = middle } else { low = middle }
    }
    let mut hash = leaf;
    for left in turns.into_iter().rev() {
        let other = proof.next()?;
        hash = if left { node(&hash, other) } else { node(other, &hash) };
    }
    proof.next().is_none().then_some(hash)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{Stored, root_by_inclusion};
    use crate::audit::tlog::{
        Edge, Hash, leaf,
        tree::{node, over, widths},
    };

    type Tiles = HashMap<(usize, u64), Vec<Hash>>;

    /// Leaves, and every tile that was ever filled or is partial at `size`.
    fn grown(size: u64) -> (Vec<Hash>, Tiles, Edge) {
        let (mut edge, mut tiles, mut leaves) = (Edge::default(), Tiles::new(), Vec::new());
        for n in 0..size {
            let hash = leaf(&n.to_be_bytes());
            leaves.push(hash);
            edge.push(hash, &mut |tile| {
                tiles.insert((tile.level, tile.index), tile.hashes);
            });
        }
        for tile in edge.partial() {
            tiles.insert((tile.level, tile.index), tile.hashes);
        }
        (leaves, tiles, edge)
    }

    #[test]
    fn proofs_from_tiles_are_those_of_the_naive_tree() {
        for size in [1_u64, 2, 3, 7, 255, 256, 257, 300, 511, 512, 65_536, 65_537, 66_000] {
            let (leaves, tiles, edge) = grown(size);
            let stored = Stored::new(size, |level, index, width: u64| {
                let tile: &Vec<Hash> = tiles.get(&(level, index))?;
                assert_eq!(tile.len() as u64, width, "{level} {index} of {size}");
                Some(tile.clone())
            });
            let upto = |n: u64| over(&leaves[..usize::try_from(n).unwrap()]);
            assert_eq!(edge.root(), upto(size));
            assert_eq!(stored.root_at(size), Some(upto(size)));
            for old in [0, 1, size / 3, size / 2, size - 1, size] {
                assert_eq!(stored.root_at(old), Some(upto(old)), "{old} of {size}");
                let proof = stored.consistency(old, size).unwrap();
                assert!(consistent(old, size, upto(old), upto(size), &proof), "{old} of {size}");
            }
            for index in [0, 1, size / 3, size / 2, size - 1].into_iter().filter(|i| *i < size) {
                let proof = stored.inclusion(index, size).unwrap();
                let at = usize::try_from(index).unwrap();
                let found = root_by_inclusion(leaves[at], index, size, &proof);
                assert_eq!(found, Some(upto(size)), "{index} of {size}");
                assert_ne!(root_by_inclusion([0; 32], index, size, &proof), Some(upto(size)));
            }
            let levels = edge.partial();
            let mut rows: Vec<Vec<Hash>> = widths(size).iter().map(|_| Vec::new()).collect();
            for tile in levels {
                rows[tile.level] = tile.hashes;
            }
            assert_eq!(Edge::restore(size, rows), Some(edge));
        }
    }

    /// RFC 9162, section 2.1.4.2, as it is written there.
    fn consistent(old: u64, new: u64, old_root: Hash, new_root: Hash, proof: &[Hash]) -> bool {
        if old == 0 || old == new {
            return proof.is_empty();
        }
        let mut proof = proof.to_vec();
        if old.is_power_of_two() {
            proof.insert(0, old_root);
        }
        let (mut f, mut s) = (old - 1, new - 1);
        while f & 1 == 1 {
            (f, s) = (f >> 1, s >> 1);
        }
        let mut rest = proof.into_iter();
        let Some(first) = rest.next() else { return false };
        let (mut fr, mut sr) = (first, first);
        for c in rest {
            if s == 0 {
                return false;
            }
            if f & 1 == 1 || f == s {
                (fr, sr) = (node(&c, &fr), node(&c, &sr));
                while f & 1 == 0 && f != 0 {
                    (f, s) = (f >> 1, s >> 1);
                }
            } else {
                sr = node(&sr, &c);
            }
            (f, s) = (f >> 1, s >> 1);
        }
        fr == old_root && sr == new_root && s == 0
    }
}
