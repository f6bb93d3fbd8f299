//! What a witness signs: that it has seen a checkpoint, and when (c2sp.org/tlog-cosignature).
//!
//! Ed25519 alone. A cosignature says the time of its making, and covers it, so an old one cannot
//! pass for a new one. Lines of others are passed over; a line of this key that does not verify is
//! an error.

use ed25519_dalek::Signature;

use super::note::{Checkpoint, NoteError, SIGNATURE_START, Vkey};
use crate::wire::base64;

/// What a key cosigns with: Ed25519 over the time and the checkpoint.
pub(super) const COSIGNATURE: u8 = 4;

/// The public key of a witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::audit) struct Cosigner(Vkey);

/// A checkpoint that a witness has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::audit) struct Cosigned {
    /// What it is called.
    pub(in crate::audit) witness: String,
    pub(in crate::audit) checkpoint: Checkpoint,
    /// When, in seconds since 1970: the last time, if it says several.
    pub(in crate::audit) at: u64,
    /// Its lines.
    pub(in crate::audit) lines: String,
}

impl Cosigner {
    pub(in crate::audit) fn parse(text: &str) -> Option<Self> {
        Vkey::parse_of(COSIGNATURE, text).map(Self)
    }

    pub(in crate::audit) fn name(&self) -> &str {
        self.0.name()
    }

    /// Reads a note that this witness has cosigned. Whose log it is of is not looked at.
    pub(in crate::audit) fn open(&self, note: &str) -> Result<Cosigned, NoteError> {
        let (checkpoint, text, signatures) = Checkpoint::split(note)?;
        let (mut at, mut lines) = (0, String::new());
        for bytes in self.0.signatures(signatures)? {
            let (time, signature) =
                bytes.split_first_chunk::<8>().ok_or(NoteError::BadSignature)?;
            let time = u64::from_be_bytes(*time);
            let signature =
                Signature::from_slice(signature).map_err(|_| NoteError::BadSignature)?;
            let signed = format!("cosignature/v1\ntime {time}\n{text}");
            if time == 0 || !self.0.verifies(signed.as_bytes(), &signature) {
                return Err(NoteError::BadSignature);
            }
            at = at.max(time);
            let coded = base64::encode(&[&self.0.id()[..], &bytes].concat());
            lines.push_str(&format!("{SIGNATURE_START}{} {coded}\n", self.name()));
        }
        if at == 0 {
            Err(NoteError::NoSignature)
        } else {
            Ok(Cosigned { witness: self.name().to_owned(), checkpoint, at, lines })
        }
    }
}

#[cfg(test)]
pub(in crate::audit) mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::{COSIGNATURE, Checkpoint, Cosigner, NoteError, SIGNATURE_START, Vkey, base64};
    use crate::audit::tlog::Signer;

    /// A witness of the name `w`, by its seed.
    pub(in crate::audit) fn cosigner(seed: u8) -> Vkey {
        let key = SigningKey::from_bytes(&[seed; 32]).verifying_key();
        Vkey::of(COSIGNATURE, "w", key)
    }

    /// The line by which it cosigns a note.
    pub(in crate::audit) fn cosign(seed: u8, note: &str, time: u64) -> String {
        let text = Checkpoint::split(note).unwrap().1;
        let signed = format!("cosignature/v1\ntime {time}\n{text}");
        let signature = SigningKey::from_bytes(&[seed; 32]).sign(signed.as_bytes());
        let (id, time) = (cosigner(seed).id(), time.to_be_bytes());
        let coded = base64::encode(&[&id[..], &time, &signature.to_bytes()].concat());
        format!("{SIGNATURE_START}w {coded}\n")
    }

    #[test]
    fn a_checkpoint_is_cosigned_by_the_key_that_says_so_and_at_no_other_time() {
        let told = Checkpoint { origin: "o".to_owned(), size: 7, root: [9; 32], next: None };
        let log = Signer::new("o", &[1; 32]);
        let note = log.sign(&told);
        let key = |seed: u8| Cosigner::parse(&cosigner(seed).to_string()).unwrap();
        assert_eq!(Cosigner::parse(&log.vkey().to_string()), None, "a log's key is no witness's");
        let whole = format!("{note}{}{}", cosign(3, &note, 50), cosign(2, &note, 60));
        let opened = key(2).open(&whole).unwrap();
        assert_eq!((opened.checkpoint, opened.at), (told, 60));
        assert_eq!(opened.lines, cosign(2, &note, 60));
        assert_eq!(key(3).open(&whole).unwrap().at, 50);
        assert_eq!(key(4).open(&whole), Err(NoteError::NoSignature));
        assert_eq!(key(2).open(&note), Err(NoteError::NoSignature));
        // Another time, and another checkpoint.
        let line = cosign(2, &note, 60);
        let coded = line.trim_end().rsplit(' ').next().unwrap();
        let mut bytes = base64::decode(coded.as_bytes()).unwrap();
        bytes[11] += 1;
        let later = line.replace(coded, &base64::encode(&bytes));
        assert_eq!(key(2).open(&format!("{note}{later}")), Err(NoteError::BadSignature));
        let other =
            log.sign(&Checkpoint { origin: "o".into(), size: 8, root: [9; 32], next: None });
        assert_eq!(key(2).open(&format!("{other}{line}")), Err(NoteError::BadSignature));
    }
}
