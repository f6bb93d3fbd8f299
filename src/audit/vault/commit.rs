//! Commitments: what a record says of content that it does not hold.
//!
//! `HMAC-SHA256(salt, SHA-256(content))`, with a salt for each. Whoever has content and salt can
//! show that it is the one on record; whoever has neither learns nothing, however few contents
//! there could be. Hashed by the writer, off the way of the call, unless it is long.

use std::io;

use bytes::Bytes;
use ring::hmac;
use sha2::{Digest, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    audit::{record::Rendered, record::hex_digits, tlog::Hash},
    domain::limits::AUDIT_HASH_BYTES_MAX,
};

const SALTS_DRAWN: usize = 32;

type Salt = [u8; 32];

/// Salts to come, drawn many at a time: each drawing is a system call. Not to be shown.
#[derive(Default)]
pub(in crate::audit) struct Salts(Vec<Salt>);

impl Salts {
    fn next(&mut self) -> io::Result<Salt> {
        loop {
            if let Some(salt) = self.0.pop() {
                return Ok(salt);
            }
            let mut drawn = [[0; 32]; SALTS_DRAWN];
            getrandom::fill(drawn.as_flattened_mut()).map_err(io::Error::other)?;
            self.0.extend(drawn);
        }
    }
}

/// What a record on its way to the log commits to.
#[derive(Debug)]
pub(in crate::audit) struct Content {
    /// Where in the record 64 zeros stand for the commitment.
    pub(in crate::audit) at: usize,
    bytes: Bytes,
    digest: Option<Hash>,
    /// Without it there was no room for the content.
    room: Option<OwnedSemaphorePermit>,
}

/// What was committed to, and is to be kept.
#[derive(Debug)]
pub(in crate::audit) struct Payload {
    pub(in crate::audit) commit: Hash,
    pub(in crate::audit) salt: Salt,
    pub(in crate::audit) content: Bytes,
    /// Given back with the payload.
    _room: OwnedSemaphorePermit,
}

impl Content {
    pub(in crate::audit) fn new(bytes: Bytes) -> Self {
        let digest = (bytes.len() > AUDIT_HASH_BYTES_MAX).then(|| digest(&bytes));
        Self { at: 0, bytes, digest, room: None }
    }

    pub(in crate::audit) fn n_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Holds on to the content until it is in the vault, or to its digest only.
    pub(in crate::audit) fn hold(&mut self, room: Option<OwnedSemaphorePermit>) {
        if room.is_none() {
            self.digest.get_or_insert_with(|| digest(&self.bytes));
            self.bytes = Bytes::new();
        }
        self.room = room;
    }
}

impl Rendered {
    /// Puts the commitments in their places, and what is to be kept of them in `kept`.
    pub(in crate::audit) fn commit(
        &mut self,
        salts: &mut Salts,
        kept: &mut Vec<Payload>,
    ) -> io::Result<()> {
        for content in self.contents.drain(..) {
            let salt = salts.next()?;
            let digest = content.digest.unwrap_or_else(|| digest(&content.bytes));
            let commit = commitment(&salt, &digest);
            let place = content.at..content.at.saturating_add(64);
            if let Some(place) = self.bytes.get_mut(place) {
                place.copy_from_slice(&hex_digits(&commit));
            }
            let payload = |room| Payload { commit, salt, content: content.bytes, _room: room };
            kept.extend(content.room.map(payload));
        }
        Ok(())
    }
}

pub(in crate::audit) fn digest(content: &[u8]) -> Hash {
    Sha256::digest(content).into()
}

pub(in crate::audit) fn commitment(salt: &[u8], digest: &Hash) -> Hash {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, salt), digest);
    tag.as_ref().try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::{SALTS_DRAWN, Salts};

    #[test]
    fn no_salt_is_given_twice() {
        let mut salts = Salts::default();
        let given: HashSet<_> = (0..3 * SALTS_DRAWN).map(|_| salts.next().unwrap()).collect();
        assert_eq!(given.len(), 3 * SALTS_DRAWN);
        assert!(!given.contains(&[0; 32]));
    }
}
