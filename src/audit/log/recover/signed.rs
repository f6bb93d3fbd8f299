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
        // How each epoch ended, and by which key.
        let mut ended: Vec<(Checkpoint, Vkey)> = Vec::new();
        for (epoch, note) in place.closings()?.iter().enumerate() {
            let closed = Checkpoint::open(note, &key)
                .map_err(|e| evidence(format!("the end of epoch {epoch} {e}")))?;
            let next = closed.next.clone();
            let next = next.ok_or_else(|| evidence(format!("epoch {epoch} names no next key")))?;
            ended.push((closed, std::mem::replace(&mut key, next)));
        }
        let epoch = u64::try_from(ended.len()).unwrap_or(u64::MAX);
        let keys = Keys::open(place, disk, &origin, epoch)?;
        let keys = keys.filter(|keys| *keys.signer().vkey() == key);
        let keys = keys.ok_or_else(|| evidence("the secret key of its epoch is gone"))?;
        let note = read_small(&place.checkpoint())?;
        let note = note.ok_or_else(|| evidence("its checkpoint is gone"))?;
        // A crash may have come before the checkpoint that follows the end of an epoch: then it is
        // an older one, of whatever epoch it counts the records of.
        let unsound = |e| evidence(format!("its checkpoint {e}"));
        let size = Checkpoint::peek(&note).map_err(unsound)?.size;
        let signer = ended.iter().find(|(closed, _)| size <= closed.size).map(|(_, key)| key);
        let mut newest = Checkpoint::open(&note, signer.unwrap_or(&key)).map_err(unsound)?;
        if let Some((closed, _)) = ended.pop()
            && closed.size > newest.size
        {
            newest = closed;
        }
        Ok(Self { keys, origin, size: newest.size, root: newest.root })
    }
}
