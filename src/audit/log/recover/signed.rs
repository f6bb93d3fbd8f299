//! What a log's own signatures say of it: its name, its key, and how far it was signed.

use super::{Broken, evidence};
use crate::audit::{
    log::{Disk, Keys, Place, read_small},
    tlog::{Checkpoint, Hash, Vkey},
};

pub(super) struct Signed {
    pub(super) keys: Keys,
    pub(super) origin: String,
    /// Of the newest note; every log has one from its beginning.
    pub(super) size: u64,
    pub(super) root: Hash,
}

impl Signed {
    pub(super) fn read(place: &Place, disk: &Disk) -> Result<Self, Broken> {
        let text = read_small(&place.pubkey())?.unwrap_or_default();
        let mut key =
            Vkey::parse(text.trim_end()).ok_or_else(|| evidence("it has no public key"))?;
        let origin = key.name().to_owned();
        let mut last = None;
        let closings = place.closings()?;
        for (epoch, note) in (0_u64..).zip(&closings) {
            let closed = Checkpoint::open(note, &key)
                .map_err(|e| evidence(format!("the end of epoch {epoch} {e}")))?;
            let next = closed.next.clone();
            last = Some((closed, key));
            key = next.ok_or_else(|| evidence(format!("epoch {epoch} names no next key")))?;
        }
        let epoch = u64::try_from(closings.len()).unwrap_or(u64::MAX);
        let keys = Keys::open(place, disk, &origin, epoch)?;
        let keys = keys.filter(|keys| *keys.signer().vkey() == key);
        let keys = keys.ok_or_else(|| evidence("the secret key of its epoch is gone"))?;
        let note = read_small(&place.checkpoint())?;
        let note = note.ok_or_else(|| evidence("its checkpoint is gone"))?;
        // A crash may have come between the note that closed the epoch and the checkpoint.
        let of_before = last.as_ref().map(|(_, key)| Checkpoint::open(&note, key));
        let opened = Checkpoint::open(&note, &key).or_else(|e| of_before.unwrap_or(Err(e)));
        let mut newest = opened.map_err(|e| evidence(format!("its checkpoint {e}")))?;
        if let Some((closed, _)) = last
            && closed.size > newest.size
        {
            newest = closed;
        }
        Ok(Self { keys, origin, size: newest.size, root: newest.root })
    }
}
