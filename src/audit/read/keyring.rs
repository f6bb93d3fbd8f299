//! Which key may sign what, and which roots are signed: from the first key, note by note.
//!
//! An epoch's key signs checkpoints of sizes within its epoch only, so a later key cannot vouch for
//! what was written before it.

use std::path::Path;

use super::verify::{Fixed, VerifyError, Wanted};
use crate::audit::{
    log::{Place, read_small},
    tlog::{Checkpoint, Cosigned, Cosigner, Vkey},
};

pub(super) struct Keyring {
    pub(super) origin: String,
    /// What the log must have been, smallest first.
    pub(super) fixed: Vec<Fixed>,
    /// How many records the checkpoint covers, or the end of an epoch that is younger.
    pub(super) signed: u64,
    /// The most that a witness saw, and which.
    pub(super) witnessed: Option<(u64, String)>,
    pub(super) epochs: u64,
    /// What each witness that was asked for has cosigned last.
    pub(super) cosigned: Vec<Cosigned>,
    /// The key of each epoch.
    keys: Vec<Vkey>,
    /// The last record of each epoch that has ended.
    ends: Vec<u64>,
}

impl Keyring {
    pub(super) fn read(place: &Place, wanted: &Wanted) -> Result<Self, VerifyError> {
        let dir = place.dir();
        let failed = |source| VerifyError::Read { path: dir.to_owned(), source };
        let log = |what: String| VerifyError::Log { path: dir.to_owned(), what };
        // Each before what it needs: what is written meanwhile only adds to that.
        let witnesses = wanted.witnesses.iter().map(|path| witness(path));
        let witnesses = witnesses.collect::<Result<Vec<_>, _>>()?;
        let cosigned = wanted.cosigners.iter().map(|key| cosigned(place, key));
        let cosigned = cosigned.collect::<Result<Vec<_>, _>>()?;
        let checkpoint = read_small(&place.checkpoint()).map_err(failed)?;
        let beside = || read_small(&place.pubkey()).map_err(failed);
        let text = match &wanted.pubkey {
            Some(text) => text.clone(),
            None => beside()?.unwrap_or_default(),
        };
        let text = text.trim().to_owned();
        let first = Vkey::parse(&text).ok_or(VerifyError::Key { key: text })?;
        let origin = first.name().to_owned();
        let mut ring = Self {
            origin: origin.clone(),
            fixed: Vec::new(),
            signed: 0,
            witnessed: None,
            epochs: 1,
            cosigned,
            keys: vec![first.clone()],
            ends: Vec::new(),
        };
        let mut key = first;
        for (epoch, note) in (0_u64..).zip(place.closings().map_err(failed)?) {
            let told = Checkpoint::open(&note, &key);
            let told =
                told.map_err(|e| log(format!("is not sound: the end of epoch {epoch} {e}")))?;
            ring.add(&told, format!("the end of epoch {epoch} says"), &log)?;
            let next = told.next.ok_or_else(|| log(format!("names no key after epoch {epoch}")))?;
            if ring.ends.last().is_some_and(|end| *end >= told.size) {
                return Err(log(format!("is not sound: epoch {epoch} ends before it began")));
            }
            ring.ends.push(told.size);
            ring.keys.push(next.clone());
            ring.epochs += 1;
            key = next;
        }
        let checkpoint = checkpoint.ok_or_else(|| log("has no checkpoint".to_owned()))?;
        ring.note(&checkpoint, "its checkpoint says", &log)?;
        ring.signed = ring.fixed.iter().map(|fixed| fixed.size).max().unwrap_or_default();
        for (says, note) in witnesses {
            ring.witness(&note, says, &log)?;
        }
        for seen in ring.cosigned.clone() {
            let says = format!("the witness `{}` says", seen.witness);
            ring.add(&seen.checkpoint, says, &log)?;
        }
        ring.fixed.sort_by_key(|fixed| fixed.size);
        Ok(ring)
    }

    fn witness(
        &mut self,
        note: &str,
        says: String,
        log: &impl Fn(String) -> VerifyError,
    ) -> Result<(), VerifyError> {
        match Checkpoint::peek(note) {
            // Whoever asks trusts it. Its key may be one that a log that was set back never had.
            Ok(told) if told.size > self.signed => {
                if self.witnessed.as_ref().is_none_or(|(size, _)| *size < told.size) {
                    self.witnessed = Some((told.size, says.clone()));
                }
                self.add(&told, says, log)
            }
            Ok(_) | Err(_) => self.note(note, &says, log),
        }
    }

    /// A note that the key of its size must have signed.
    fn note(
        &mut self,
        note: &str,
        says: &str,
        log: &impl Fn(String) -> VerifyError,
    ) -> Result<(), VerifyError> {
        let size =
            Checkpoint::peek(note).map_err(|e| log(format!("is not sound: what {says} {e}")))?.size;
        let epoch = self.ends.iter().filter(|end| **end < size).count();
        let key = self.keys.get(epoch).ok_or_else(|| log("has no key".to_owned()))?;
        let told = Checkpoint::open(note, key)
            .map_err(|e| log(format!("of {size} records cannot be believed: what {says} {e}")))?;
        self.add(&told, says.to_owned(), log)
    }

    fn add(
        &mut self,
        told: &Checkpoint,
        says: String,
        log: &impl Fn(String) -> VerifyError,
    ) -> Result<(), VerifyError> {
        if told.origin != self.origin {
            return Err(log(format!("is `{}`: {says} that it is `{}`", self.origin, told.origin)));
        }
        self.fixed.push(Fixed { size: told.size, root: told.root, says });
        Ok(())
    }

    /// Whether no witness is behind: its time stands in what it signs.
    pub(super) fn is_young(&self, limit: Option<u64>, dir: &Path) -> Result<(), VerifyError> {
        let limit = limit.unwrap_or_default() / MICROS;
        let Some(old) = self.cosigned.iter().find(|seen| seen.at < limit) else { return Ok(()) };
        let (late, size) = (limit - old.at, old.checkpoint.size);
        let what = format!(
            "was cosigned by `{}` last when it had {size} records, which is {late} s too long ago",
            old.witness
        );
        Err(VerifyError::Log { path: dir.to_owned(), what })
    }

    pub(super) fn first_key(&self) -> String {
        self.keys.first().map(Vkey::to_string).unwrap_or_default()
    }

    /// The key that the last record of an epoch must name, if `seq` is one.
    pub(super) fn closed_at(&self, seq: u64) -> Option<String> {
        let epoch = self.ends.iter().position(|end| *end == seq)?;
        self.keys.get(epoch + 1).map(Vkey::to_string)
    }
}

const MICROS: u64 = 1_000_000;

/// What lies beside the log, cosigned by this key.
fn cosigned(place: &Place, key: &str) -> Result<Cosigned, VerifyError> {
    let dir = place.dir();
    let log = |what: String| VerifyError::Log { path: dir.to_owned(), what };
    let read = |source| VerifyError::Read { path: dir.to_owned(), source };
    let witness =
        Cosigner::parse(key).ok_or_else(|| VerifyError::WitnessKey { key: key.to_owned() })?;
    let note = read_small(&place.cosigned()).map_err(read)?;
    let note = note.ok_or_else(|| log(format!("was never cosigned by `{}`", witness.name())))?;
    let told = witness.open(&note);
    told.map_err(|e| log(format!("is not sound: what `{}` cosigned {e}", witness.name())))
}

/// What a witness is called, and its note.
fn witness(path: &Path) -> Result<(String, String), VerifyError> {
    let failed = |source| VerifyError::Read { path: path.to_owned(), source };
    let note = read_small(path).map_err(failed)?;
    let note = note.ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
    Ok((format!("`{}` says", path.display()), note))
}
