//! Checkpoints as signed notes, and the keys that they are signed with.
//!
//! A checkpoint says how many records a log has and the root over them. It is text with signature
//! lines (c2sp.org/signed-note, tlog-checkpoint); a key is written as a `vkey`. Parsing takes the
//! one form that we write, so that a note has one spelling. A line after the root names the key
//! that signs from there on.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use super::Hash;
use crate::wire::base64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::audit) enum NoteError {
    #[error("is not a checkpoint")]
    Form,
    #[error("has no signature by the key of its epoch")]
    NoSignature,
    #[error("has a signature that does not verify")]
    BadSignature,
}

/// What a key signs with in a note of ours: Ed25519.
const ED25519: u8 = 1;
pub(super) const SIGNATURE_START: &str = "\u{2014} ";
const NEXT_START: &str = "next ";

/// A public key with the name that it signs under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::audit) struct Vkey {
    name: String,
    /// What it signs with.
    kind: u8,
    key: VerifyingKey,
}

impl Vkey {
    pub(in crate::audit) fn parse(text: &str) -> Option<Self> {
        Self::parse_of(ED25519, text)
    }

    pub(super) fn of(kind: u8, name: &str, key: VerifyingKey) -> Self {
        Self { name: name.to_owned(), kind, key }
    }

    pub(super) fn parse_of(wanted: u8, text: &str) -> Option<Self> {
        // The name has no plus sign; base 64 may have some.
        let mut parts = text.splitn(3, '+');
        let (name, id, coded) = (parts.next()?, parts.next()?, parts.next()?);
        let decoded = base64::decode(coded.as_bytes())?;
        let (kind, bytes) = decoded.split_first()?;
        let key = VerifyingKey::from_bytes(bytes.try_into().ok()?).ok()?;
        let vkey = Self::of(*kind, name, key);
        (*kind == wanted && vkey.to_string() == text && id.len() == 8).then_some(vkey)
    }

    pub(super) fn id(&self) -> [u8; 4] {
        let digest = Sha256::new()
            .chain_update(&self.name)
            .chain_update([b'\n', self.kind])
            .chain_update(self.key.as_bytes())
            .finalize();
        digest.first_chunk().copied().unwrap_or_default()
    }

    /// Which log this key would be the first of: the one place where ids of logs come from.
    pub(in crate::audit) fn log_id(key: &VerifyingKey) -> String {
        let digest = Sha256::digest(key.as_bytes());
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    pub(in crate::audit) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        self.key.verify_strict(message, signature).is_ok()
    }

    /// What the signature lines of this key hold, verified or not. Those of others are passed over.
    pub(super) fn signatures(&self, lines: &str) -> Result<Vec<Vec<u8>>, NoteError> {
        let mut found = Vec::new();
        for line in lines.lines() {
            let line = line.strip_prefix(SIGNATURE_START).ok_or(NoteError::Form)?;
            let (name, coded) = line.split_once(' ').ok_or(NoteError::Form)?;
            let bytes = base64::decode(coded.as_bytes()).ok_or(NoteError::Form)?;
            let (id, bytes) = bytes.split_first_chunk::<4>().ok_or(NoteError::Form)?;
            if name == self.name && *id == self.id() {
                found.push(bytes.to_vec());
            }
        }
        Ok(found)
    }
}

impl std::fmt::Display for Vkey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = u32::from_be_bytes(self.id());
        let coded = base64::encode(&[&[self.kind][..], self.key.as_bytes()].concat());
        write!(f, "{}+{id:08x}+{coded}", self.name)
    }
}

/// A secret key with the name that it signs under. Its secret is wiped when it is dropped.
pub(in crate::audit) struct Signer {
    key: SigningKey,
    vkey: Vkey,
}

impl Signer {
    pub(in crate::audit) fn new(name: &str, seed: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(seed);
        let vkey = Vkey::of(ED25519, name, key.verifying_key());
        Self { key, vkey }
    }

    pub(in crate::audit) fn vkey(&self) -> &Vkey {
        &self.vkey
    }

    pub(in crate::audit) fn seed(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    /// The checkpoint as a note with our signature.
    pub(in crate::audit) fn sign(&self, checkpoint: &Checkpoint) -> String {
        let text = checkpoint.text();
        format!("{text}\n{}", self.line(&text))
    }

    /// The note with our signature beside those that it has.
    pub(in crate::audit) fn add_to(&self, note: &str) -> Result<String, NoteError> {
        let (_, text, _) = Checkpoint::split(note)?;
        Ok(format!("{note}{}", self.line(text)))
    }

    fn line(&self, text: &str) -> String {
        let signature = self.key.sign(text.as_bytes());
        let coded = base64::encode(&[&self.vkey.id()[..], &signature.to_bytes()].concat());
        format!("{SIGNATURE_START}{} {coded}\n", self.vkey.name)
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Signer").field(&self.vkey).finish()
    }
}

/// How far a log was at some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::audit) struct Checkpoint {
    pub(in crate::audit) origin: String,
    pub(in crate::audit) size: u64,
    pub(in crate::audit) root: Hash,
    /// The key that signs what comes after these records.
    pub(in crate::audit) next: Option<Vkey>,
}

impl Checkpoint {
    /// The part that is signed.
    fn text(&self) -> String {
        let next = self.next.as_ref().map(|key| format!("{NEXT_START}{key}\n"));
        let (origin, size, root) = (&self.origin, self.size, base64::encode(&self.root));
        format!("{origin}\n{size}\n{root}\n{}", next.unwrap_or_default())
    }

    /// Reads a note without believing it: no signature is looked at.
    pub(in crate::audit) fn peek(note: &str) -> Result<Self, NoteError> {
        Self::split(note).map(|(checkpoint, _, _)| checkpoint)
    }

    /// Reads a note that this key has signed. Signatures of others may stand beside it.
    pub(in crate::audit) fn open(note: &str, key: &Vkey) -> Result<Self, NoteError> {
        let (checkpoint, text, signatures) = Self::split(note)?;
        let found = key.signatures(signatures)?;
        for bytes in &found {
            let signature = Signature::from_slice(bytes).map_err(|_| NoteError::BadSignature)?;
            if !key.verifies(text.as_bytes(), &signature) {
                return Err(NoteError::BadSignature);
            }
        }
        if found.is_empty() { Err(NoteError::NoSignature) } else { Ok(checkpoint) }
    }

    /// The checkpoint, the text that is signed, and the lines after it.
    pub(super) fn split(note: &str) -> Result<(Self, &str, &str), NoteError> {
        let end = note.rfind("\n\n").ok_or(NoteError::Form)?;
        let (text, signatures) = note.split_at_checked(end + 1).ok_or(NoteError::Form)?;
        let signatures = signatures.strip_prefix('\n').ok_or(NoteError::Form)?;
        let read = || {
            let mut lines = text.lines();
            let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
            let next = match lines.next() {
                Some(line) => Some(Vkey::parse(line.strip_prefix(NEXT_START)?)?),
                None => None,
            };
            let root = base64::decode(root.as_bytes())?.try_into().ok()?;
            let origin = origin.to_owned();
            Some(Self { origin, size: size.parse().ok()?, root, next })
        };
        let checkpoint = read().ok_or(NoteError::Form)?;
        // One spelling: what reads the same and is written otherwise is not ours.
        let ours = checkpoint.text() == text && signatures.ends_with('\n');
        if ours { Ok((checkpoint, text, signatures)) } else { Err(NoteError::Form) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Checkpoint, NoteError, Signer, Vkey};

    fn checkpoint(next: Option<Vkey>) -> Checkpoint {
        Checkpoint { origin: "example.com/log".to_owned(), size: 7, root: [9; 32], next }
    }

    #[test]
    fn the_key_of_the_specification_reads_and_writes() {
        let text = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
        let key = Vkey::parse(text).unwrap();
        assert_eq!((key.to_string().as_str(), key.name()), (text, "example.com/foo"));
        for wrong in ["530d903b", "530D903a", "30d903a"] {
            assert_eq!(Vkey::parse(&text.replace("530d903a", wrong)), None, "{wrong}");
        }
    }

    #[test]
    fn a_note_opens_with_its_own_key_only() {
        let (one, two) = (Signer::new("n", &[1; 32]), Signer::new("n", &[2; 32]));
        let told = checkpoint(Some(two.vkey().clone()));
        let note = one.sign(&told);
        assert_eq!(Checkpoint::open(&note, one.vkey()), Ok(told.clone()));
        assert_eq!(Checkpoint::peek(&note), Ok(told));
        assert_eq!(Checkpoint::open(&note, two.vkey()), Err(NoteError::NoSignature));
        let cosigned = format!("{note}\u{2014} witness.example AAAAAAAA\n");
        assert!(Checkpoint::open(&cosigned, one.vkey()).is_ok(), "others may sign too");
    }

    #[test]
    fn a_note_that_was_changed_anywhere_does_not_open() {
        let signer = Signer::new("n", &[1; 32]);
        let note = signer.sign(&checkpoint(None));
        for at in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            assert!(Checkpoint::open(&changed, signer.vkey()).is_err(), "{changed}");
        }
        for spelling in [note.replace("\n7\n", "\n07\n"), note.replace("\n7\n", "\n+7\n")] {
            assert_eq!(Checkpoint::open(&spelling, signer.vkey()), Err(NoteError::Form));
        }
    }
}
