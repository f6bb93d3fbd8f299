//! Merkle trees, tiles and signed notes as the C2SP documents have them.
//!
//! The pure part of the evidence: what a leaf, a root, a proof, a tile's name and a checkpoint
//! are (RFC 6962, c2sp.org/tlog-tiles, tlog-checkpoint, signed-note). Nothing of Portcullis is in
//! here, and any other program for such logs agrees with it. Does no IO.

mod cosignature;
mod note;
mod proof;
mod tree;

#[cfg(test)]
pub(super) use cosignature::tests::{cosign, cosigner};
pub(super) use cosignature::{Cosigned, Cosigner};
pub(super) use note::{Checkpoint, NoteError, Signer, Vkey};
pub(super) use proof::{Stored, root_by_inclusion};
pub(super) use tree::{Edge, Tile, leaf, widths};

pub(super) type Hash = [u8; 32];

/// Hashes in a full tile.
pub(super) const TILE_WIDTH: u64 = 256;
