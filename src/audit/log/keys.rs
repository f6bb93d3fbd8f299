//! The secret key of the epoch, and how it makes way for the next.
//!
//! Promises that the key of an epoch is gone from its file before the next one signs anything, and
//! that a crash at any point leaves one key that can go on. Order: the next key is written beside,
//! a record names it, the old key signs the note that closes the epoch and names it too, the old
//! key is overwritten, the next takes its place.

use std::io;

use super::{Disk, Place, read_small};
use crate::{
    audit::tlog::{Checkpoint, Hash, Signer},
    wire::base64,
};

#[derive(Debug)]
pub(in crate::audit) struct Keys {
    place: Place,
    disk: Disk,
    epoch: u64,
    signer: Signer,
    /// Written beside the current one; it signs nothing yet.
    next: Option<Signer>,
}

const SECRET: &str = "secret";
const NEXT: &str = "next";

impl Keys {
    /// The first key of a log, whose name depends on it.
    pub(super) fn create(
        place: &Place,
        disk: &Disk,
        origin: &str,
        seed: &[u8; 32],
    ) -> io::Result<Self> {
        let signer = Signer::new(origin, seed);
        disk.create_dir(&place.keys())?;
        disk.replace(&place.keys().join(SECRET), written(0, &signer).as_bytes())?;
        Ok(Self { place: place.clone(), disk: disk.clone(), epoch: 0, signer, next: None })
    }

    /// The key of the epoch that so many closed ones come before. None if it is not there.
    pub(super) fn open(
        place: &Place,
        disk: &Disk,
        origin: &str,
        epoch: u64,
    ) -> io::Result<Option<Self>> {
        let read = |name: &str| -> io::Result<Option<(u64, Signer)>> {
            Ok(read_small(&place.keys().join(name))?.and_then(|text| parsed(&text, origin)))
        };
        let (secret, next) = (read(SECRET)?, read(NEXT)?);
        let of = |found: Option<(u64, Signer)>, epoch: u64| {
            found.filter(|(of, _)| *of == epoch).map(|(_, signer)| signer)
        };
        let keys =
            |signer, next| Self { place: place.clone(), disk: disk.clone(), epoch, signer, next };
        if let Some(signer) = of(secret, epoch) {
            return Ok(Some(keys(signer, of(next, epoch.saturating_add(1)))));
        }
        // The epoch before is closed, but its key was not replaced yet.
        let Some(signer) = of(next, epoch) else { return Ok(None) };
        let keys = keys(signer, None);
        keys.replace_secret()?;
        Ok(Some(keys))
    }

    pub(in crate::audit) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(in crate::audit) fn signer(&self) -> &Signer {
        &self.signer
    }

    pub(super) fn next(&self) -> Option<&Signer> {
        self.next.as_ref()
    }

    /// Makes and keeps the key of the next epoch; a record may name it from here on.
    pub(in crate::audit) fn prepare(&mut self) -> io::Result<&Signer> {
        let signer = Signer::new(self.signer.vkey().name(), &random()?);
        let text = written(self.epoch.saturating_add(1), &signer);
        self.disk.replace(&self.place.keys().join(NEXT), text.as_bytes())?;
        Ok(self.next.insert(signer))
    }

    /// Ends the epoch with the record that names the next key. Returns the note of its end.
    pub(in crate::audit) fn advance(&mut self, size: u64, root: Hash) -> io::Result<String> {
        let next = self.next.take().ok_or(io::ErrorKind::NotFound)?;
        let origin = self.signer.vkey().name().to_owned();
        let closing = Checkpoint { origin, size, root, next: Some(next.vkey().clone()) };
        let note = self.signer.sign(&closing);
        self.disk.replace(&self.place.epoch(self.epoch), note.as_bytes())?;
        self.signer = next;
        self.epoch = self.epoch.saturating_add(1);
        self.replace_secret()?;
        Ok(note)
    }

    /// The note by which the epoch before ended, if it ended with this record: the key of this
    /// epoch may not sign so few.
    pub(in crate::audit) fn closing(&self, size: u64) -> io::Result<Option<String>> {
        let Some(before) = self.epoch.checked_sub(1) else { return Ok(None) };
        let note = read_small(&self.place.epoch(before))?;
        Ok(note.filter(|note| Checkpoint::peek(note).is_ok_and(|told| told.size == size)))
    }

    fn replace_secret(&self) -> io::Result<()> {
        let (secret, next) = (self.place.keys().join(SECRET), self.place.keys().join(NEXT));
        match self.disk.wipe(&secret) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            Ok(()) | Err(_) => {}
        }
        self.disk.rename(&next, &secret).map(drop)
    }
}

pub(in crate::audit) fn random() -> io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    Ok(seed)
}

fn written(epoch: u64, signer: &Signer) -> String {
    format!("epoch {epoch}\n{}\n", base64::encode(signer.seed()))
}

fn parsed(text: &str, origin: &str) -> Option<(u64, Signer)> {
    let (epoch, seed) = text.strip_suffix('\n')?.strip_prefix("epoch ")?.split_once('\n')?;
    let seed = base64::decode(seed.as_bytes())?.try_into().ok()?;
    Some((epoch.parse().ok()?, Signer::new(origin, &seed)))
}
