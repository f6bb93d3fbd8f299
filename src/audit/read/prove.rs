//! The proof that one record is in the log, for somebody who has nothing else of it.
//!
//! A text as c2sp.org/tlog-proof has it, with the record itself in `extra`. Whoever checks it needs
//! the key of the epoch that signed the checkpoint.

use std::path::Path;

use super::records::Records;
use crate::{
    audit::{
        log::read_small,
        tlog::{Checkpoint, Hash, NoteError, Vkey, leaf, root_by_inclusion},
    },
    wire::base64,
};

const HEADER: &str = "c2sp.org/tlog-proof@v1";

#[derive(Debug, thiserror::Error)]
pub enum ProofError {
    #[error("cannot read the audit log")]
    Read(#[from] std::io::Error),
    #[error("there is no record {0} in this log")]
    NoRecord(u64),
    #[error("record {seq} is not signed yet: the checkpoint covers {signed}")]
    NotSigned { seq: u64, signed: u64 },
    #[error(
        "the tiles do not lead from record {0} to the signed root; run `portcullis audit verify`"
    )]
    Tiles(u64),
    #[error("this is no proof of a record")]
    Form,
    #[error("`{0}` is not a public key")]
    Key(String),
    #[error("the proof does not hold: its checkpoint {0}")]
    Note(String),
    #[error("the proof does not hold: it does not lead from the record to the signed root")]
    Root,
}

impl From<NoteError> for ProofError {
    fn from(error: NoteError) -> Self {
        Self::Note(error.to_string())
    }
}

#[derive(serde::Deserialize)]
struct Numbered {
    seq: u64,
}

/// The proof of record `seq`.
pub fn prove(dir: &Path, seq: u64) -> Result<String, ProofError> {
    let mut records = Records::from(dir, seq)?;
    let note = read_small(&records.place().checkpoint())?.ok_or(ProofError::Form)?;
    let signed = Checkpoint::peek(&note)?;
    let line = loop {
        let line = records.read()?.ok_or(ProofError::NoRecord(seq))?;
        let number = serde_json::from_slice(line).map_or(0, |Numbered { seq }| seq);
        match number.cmp(&seq) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => break line.to_vec(),
            std::cmp::Ordering::Greater => return Err(ProofError::NoRecord(seq)),
        }
    };
    let index = seq.checked_sub(1).ok_or(ProofError::NoRecord(seq))?;
    if seq > signed.size {
        return Err(ProofError::NotSigned { seq, signed: signed.size });
    }
    let hashes = records.place().stored(signed.size).inclusion(index, signed.size);
    let hashes = hashes.ok_or(ProofError::Tiles(seq))?;
    if root_by_inclusion(leaf(&line), index, signed.size, &hashes) != Some(signed.root) {
        return Err(ProofError::Tiles(seq));
    }
    let extra = base64::encode(&line);
    let hashes: String = hashes.iter().map(|hash| base64::encode(hash) + "\n").collect();
    Ok(format!("{HEADER}\nextra {extra}\nindex {index}\n{hashes}\n{note}"))
}

/// The record that a proof is of, if it holds under this key.
pub fn check_proof(proof: &str, pubkey: &str) -> Result<String, ProofError> {
    let key = Vkey::parse(pubkey.trim()).ok_or_else(|| ProofError::Key(pubkey.to_owned()))?;
    let (head, note) = proof.split_once("\n\n").ok_or(ProofError::Form)?;
    let signed = Checkpoint::open(note, &key)?;
    let mut lines = head.lines();
    let mut word = |start: &str| lines.next().and_then(|line| line.strip_prefix(start));
    let read = (word(HEADER), word("extra "), word("index "));
    let (Some(""), Some(extra), Some(index)) = read else { return Err(ProofError::Form) };
    let record = base64::decode(extra.as_bytes()).ok_or(ProofError::Form)?;
    let index: u64 = index.parse().map_err(|_| ProofError::Form)?;
    let hash = |line: &str| -> Option<Hash> { base64::decode(line.as_bytes())?.try_into().ok() };
    let hashes: Vec<Hash> = lines.map(hash).collect::<Option<_>>().ok_or(ProofError::Form)?;
    if root_by_inclusion(leaf(&record), index, signed.size, &hashes) != Some(signed.root) {
        return Err(ProofError::Root);
    }
    String::from_utf8(record).map_err(|_| ProofError::Form)
}
