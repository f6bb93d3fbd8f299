//! The right edge of a growing tree, and the tiles that fall off it.
//!
//! Keeps at most 255 hashes a level, which are exactly the partial tiles of the tree: enough to go
//! on, to tell the root, and to be read back from the files of the same names.

use sha2::{Digest, Sha256};

use super::{Hash, TILE_WIDTH};

/// SHA-256 of nothing.
pub(in crate::audit) const EMPTY_ROOT: Hash = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// A record's hash in the tree, from its line without the line feed.
pub(in crate::audit) fn leaf(line: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(line).finalize().into()
}

pub(super) fn node(left: &Hash, right: &Hash) -> Hash {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The tree over these, none of which is higher than the first: RFC 6962, section 2.1.
pub(super) fn over(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => EMPTY_ROOT,
        [one] => *one,
        more => {
            let (left, right) = more.split_at(split(more.len()));
            node(&over(left), &over(right))
        }
    }
}

/// The largest power of two below `n`, which is at least 2.
fn split(n: usize) -> usize {
    n.next_power_of_two() / 2
}

/// Consecutive hashes of one level; 256 of them when it is full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::audit) struct Tile {
    pub(in crate::audit) level: usize,
    pub(in crate::audit) index: u64,
    pub(in crate::audit) hashes: Vec<Hash>,
}

impl Tile {
    /// Below the log's directory: `tile/0/x001/234`, and `.p/W` behind it while it is not full.
    pub(in crate::audit) fn path(level: usize, index: u64, width: u64) -> String {
        let mut path = format!("{:03}", index % 1000);
        let mut rest = index / 1000;
        while rest > 0 {
            path = format!("x{:03}/{path}", rest % 1000);
            rest /= 1000;
        }
        let partial = if width == TILE_WIDTH { String::new() } else { format!(".p/{width}") };
        format!("tile/{level}/{path}{partial}")
    }

    pub(in crate::audit) fn own_path(&self) -> String {
        Self::path(self.level, self.index, u64::try_from(self.hashes.len()).unwrap_or_default())
    }
}

/// The partial tiles of a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::audit) struct Edge {
    size: u64,
    levels: Vec<Vec<Hash>>,
}

impl Edge {
    /// Back from its partial tiles, lowest first; none if they are not those of this size.
    pub(in crate::audit) fn restore(size: u64, levels: Vec<Vec<Hash>>) -> Option<Self> {
        let edge = Self { size, levels };
        let wanted = widths(size);
        let found = edge.levels.iter().map(|hashes| u64::try_from(hashes.len()).ok());
        (wanted.len() == edge.levels.len() && found.eq(wanted.into_iter().map(Some)))
            .then_some(edge)
    }

    pub(in crate::audit) fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf; the tiles that it filled go to `full`, lowest first.
    pub(in crate::audit) fn push(&mut self, leaf: Hash, full: &mut impl FnMut(Tile)) {
        self.size = self.size.saturating_add(1);
        let mut carried = Some(leaf);
        let mut level = 0;
        while let Some(hash) = carried.take() {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let Some(hashes) = self.levels.get_mut(level) else { return };
            hashes.push(hash);
            if u64::try_from(hashes.len()).is_ok_and(|n| n == TILE_WIDTH) {
                let hashes = std::mem::take(hashes);
                carried = Some(over(&hashes));
                let index = (self.size >> (8 * (level + 1)).min(63)).saturating_sub(1);
                full(Tile { level, index, hashes });
            }
            level += 1;
        }
    }

    pub(in crate::audit) fn root(&self) -> Hash {
        let mut low: Option<Hash> = None;
        for hashes in &self.levels {
            let mut row = hashes.clone();
            row.extend(low);
            low = (!row.is_empty()).then(|| over(&row));
        }
        low.unwrap_or(EMPTY_ROOT)
    }

    /// What is not in a full tile yet.
    pub(in crate::audit) fn partial(&self) -> Vec<Tile> {
        let tile = |(level, hashes): (usize, &Vec<Hash>)| {
            let index = self.size.checked_shr(shift(level + 1)).unwrap_or_default();
            (!hashes.is_empty()).then(|| Tile { level, index, hashes: hashes.clone() })
        };
        self.levels.iter().enumerate().filter_map(tile).collect()
    }
}

fn shift(level: usize) -> u32 {
    u32::try_from(8 * level).unwrap_or(u32::MAX)
}

/// How wide the partial tile of each level is, up to the highest level that there ever was.
pub(in crate::audit) fn widths(size: u64) -> Vec<u64> {
    let mut widths = Vec::new();
    let mut rest = size;
    while rest > 0 {
        widths.push(rest % TILE_WIDTH);
        rest /= TILE_WIDTH;
    }
    widths
}
