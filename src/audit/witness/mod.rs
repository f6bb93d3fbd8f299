//! A witness: somebody else who signs that our log has only ever grown (c2sp.org/tlog-witness).
//!
//! Owns what is asked of it, what its answers mean, and the newest checkpoint that it cosigned,
//! which lies beside the log as `cosigned`. A witness knows one key of a log, and ours changes with
//! every epoch; so what is sent carries a second signature by a key that stays (ADR 0033). That key
//! is no evidence of anything. Carries nothing over the network itself.

#[cfg(test)]
mod tests;

use std::{io, sync::Arc};

use tokio::sync::watch;

use super::{
    log::{Disk, Place, random, read_small},
    shared::{Shared, Signed},
    tlog::{Checkpoint, Cosigner, NoteError, Signer},
};
use crate::wire::base64;

/// The side of the log in a conversation with its witness.
pub struct Witness {
    place: Place,
    disk: Disk,
    key: Cosigner,
    /// Signs what is sent.
    sender: Signer,
    /// How much of the log it has cosigned, as far as we know.
    size: u64,
    /// Whether it has said so since we run: it may know more than a log that was set back.
    is_sure: bool,
    /// What it was asked to cosign.
    asked: Option<String>,
    shared: Arc<Shared>,
    signed: watch::Receiver<Option<Signed>>,
}

/// How it stands with the witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witnessed {
    pub name: String,
    /// How many records it has cosigned.
    pub size: u64,
    /// When, in seconds since 1970.
    pub at: u64,
    pub problem: Option<WitnessProblem>,
}

/// Why the newest checkpoint is not cosigned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WitnessProblem {
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    #[error("it does not know this log; give it the key that `audit init --for-witness` prints")]
    Stranger,
    #[error("its answer has no cosignature by audit.witness.key")]
    Unsigned,
    #[error("its cosignature does not verify")]
    Forged,
    #[error("it answers {0}")]
    Odd(u16),
    #[error("it knows of {knows} records, and the log has {has}: the log was set back")]
    SetBack { knows: u64, has: u64 },
    #[error("it knows another history of this log: records were changed, or written twice")]
    Forked,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Cosigned,
    /// It is somewhere else than we thought: ask again.
    Elsewhere,
    Refused(WitnessProblem),
}

impl WitnessProblem {
    /// Whether it says that the log is not what it was.
    pub fn is_evidence(&self) -> bool {
        matches!(self, Self::SetBack { .. } | Self::Forked)
    }
}

impl Witness {
    pub(super) fn open(
        (place, disk): (&Place, &Disk),
        origin: &str,
        key: Cosigner,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let sender = sender(place, disk, origin)?;
        let kept = read_small(&place.cosigned())?.and_then(|note| key.open(&note).ok());
        let (size, at) = kept.map_or((0, 0), |kept| (kept.checkpoint.size, kept.at));
        let name = key.name().to_owned();
        shared.witnessed(Witnessed { name, size, at, problem: None });
        let signed = shared.signed.subscribe();
        let (place, disk) = (place.clone(), disk.clone());
        Ok(Self { place, disk, key, sender, size, is_sure: false, asked: None, shared, signed })
    }

    /// Returns when something new was signed. Never, once the log is closed.
    pub async fn news(&mut self) {
        if self.signed.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// What is to be posted to `add-checkpoint`; none if it has cosigned the newest checkpoint
    /// since we run. Reads a few small files.
    pub fn ask(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.signed.mark_unchanged();
        let note = read_small(&self.place.checkpoint())?.ok_or(io::ErrorKind::NotFound)?;
        let told = Checkpoint::peek(&note).map_err(io::Error::other)?;
        if told.size == self.size && self.is_sure {
            return Ok(None);
        }
        // Of a smaller tree there is no proof: it says where it is, which is what we say then.
        let old = self.size.min(told.size);
        let proof = self.place.stored(told.size).consistency(old, told.size);
        let proof = proof.ok_or_else(|| io::Error::other("the log's tiles cannot be read"))?;
        let mut body = format!("old {old}\n");
        for hash in proof {
            body.push_str(&base64::encode(&hash));
            body.push('\n');
        }
        body.push('\n');
        body.push_str(&self.sender.add_to(&note).map_err(io::Error::other)?);
        self.asked = Some(note);
        Ok(Some(body.into_bytes()))
    }

    /// Takes its answer. What it cosigned is kept on disk.
    pub fn hear(&mut self, status: u16, body: &[u8]) -> io::Result<Heard> {
        let note = self.asked.take().ok_or(io::ErrorKind::InvalidInput)?;
        let has = Checkpoint::peek(&note).map_err(io::Error::other)?.size;
        let body = String::from_utf8_lossy(body);
        let heard = match status {
            200 => match self.key.open(&format!("{note}{body}")) {
                Ok(cosigned) => {
                    let kept = format!("{note}{}", cosigned.lines);
                    self.disk.replace(&self.place.cosigned(), kept.as_bytes())?;
                    (self.size, self.is_sure) = (has, true);
                    let (name, at) = (self.key.name().to_owned(), cosigned.at);
                    self.shared.witnessed(Witnessed { name, size: has, at, problem: None });
                    return Ok(Heard::Cosigned);
                }
                Err(NoteError::BadSignature) => WitnessProblem::Forged,
                Err(NoteError::Form | NoteError::NoSignature) => WitnessProblem::Unsigned,
            },
            409 => match body.trim_end().parse() {
                Ok(knows) if knows > has => WitnessProblem::SetBack { knows, has },
                Ok(knows) if knows != self.size => {
                    self.size = knows;
                    return Ok(Heard::Elsewhere);
                }
                Ok(_) | Err(_) => WitnessProblem::Odd(status),
            },
            422 => WitnessProblem::Forked,
            403 | 404 => WitnessProblem::Stranger,
            _ => WitnessProblem::Odd(status),
        };
        Ok(Heard::Refused(self.failed(heard)))
    }

    /// What stands in the way is told to whoever asks for the status, and in the log if it is new.
    pub fn failed(&mut self, problem: WitnessProblem) -> WitnessProblem {
        self.asked = None;
        let is_new = self.shared.witness_problem(&problem);
        let witness = self.key.name();
        match (is_new, problem.is_evidence()) {
            (_, true) => {
                tracing::error!(witness, %problem, "Audit log is not what its witness saw")
            }
            (true, false) => tracing::warn!(witness, %problem, "Audit log is not cosigned"),
            (false, false) => {}
        }
        problem
    }
}

/// The key that a witness knows the log by; made if there is none.
pub(super) fn sender(place: &Place, disk: &Disk, origin: &str) -> io::Result<Signer> {
    let seed = |text: String| base64::decode(text.trim_end().as_bytes())?.try_into().ok();
    match read_small(&place.sender())? {
        Some(text) => {
            let seed = seed(text).ok_or_else(|| io::Error::other("keys/sender is no key"))?;
            Ok(Signer::new(origin, &seed))
        }
        None => {
            let signer = Signer::new(origin, &random()?);
            let text = format!("{}\n", base64::encode(signer.seed()));
            disk.replace(&place.sender(), text.as_bytes())?;
            Ok(signer)
        }
    }
}

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Witness").field("key", &self.key).field("size", &self.size).finish()
    }
}
