//! What the vault kept of what a record commits to.
//!
//! Believes nothing of the vault: content is only called that of a record if the record's
//! commitment says so. Lines that cannot be read are none.

use std::{
    borrow::Cow,
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use serde::Deserialize;

use super::Records;
use crate::{
    audit::{
        log::Place,
        record::hex_digits,
        tlog::Hash,
        vault::{commitment, digest},
    },
    config::Payloads,
    domain::limits::AUDIT_PAYLOAD_BYTES_MAX,
};

/// What is kept of one content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub form: Payloads,
    /// In that form.
    pub text: Option<String>,
    commit: String,
    salt: Hash,
}

impl Kept {
    /// Whether the record commits to this content.
    pub fn is_of(&self, content: &[u8]) -> bool {
        self.commit.as_bytes() == hex_digits(&commitment(&self.salt, &digest(content)))
    }

    /// Whether nothing was left out of what was kept.
    fn is_whole(&self) -> bool {
        self.form == Payloads::Full
    }

    /// The content itself, if what was kept is the one that was committed to: in whatever form,
    /// for nothing had to be hidden in many.
    pub fn opened(&self) -> Option<&str> {
        self.text.as_deref().filter(|text| self.is_of(text.as_bytes()))
    }
}

/// What is in the vault for the records of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub commitments: u64,
    /// How many of them something is kept of, be it the salt.
    pub kept: u64,
    /// How many of those are what was committed to.
    pub opened: u64,
    /// How many were kept whole, and are not.
    pub wrong: u64,
}

/// Holds everything that was kept against the records. The log itself is `verify`'s affair.
pub fn count_payloads(dir: &Path) -> io::Result<Counted> {
    let (mut records, mut counted) = (Records::all(dir)?, Counted::default());
    while let Some(line) = records.read()? {
        for (_, commit) in commitments(line) {
            counted.commitments += 1;
            let Some(kept) = records.kept(&commit)? else { continue };
            counted.kept += 1;
            let is_right = kept.opened().is_some();
            counted.opened += u64::from(is_right);
            counted.wrong += u64::from(!is_right && kept.is_whole());
        }
    }
    Ok(counted)
}

/// What a record commits to: the member and the commitment.
pub fn commitments(line: &[u8]) -> Vec<(String, String)> {
    let record: HashMap<String, serde_json::Value> =
        serde_json::from_slice(line).unwrap_or_default();
    let found = record.into_iter().filter(|(key, _)| key.ends_with("_commit"));
    let mut found: Vec<_> =
        found.filter_map(|(key, value)| Some((key, value.as_str()?.to_owned()))).collect();
    found.sort_unstable();
    found
}

/// Where in one file of the vault which commitment stands.
#[derive(Debug)]
pub(super) struct Shelf {
    segment: u64,
    file: Option<BufReader<File>>,
    places: HashMap<String, u64>,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(rename = "as")]
    form: &'a str,
    commit: &'a str,
    salt: &'a str,
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
}

impl Shelf {
    fn read(place: &Place, segment: u64) -> io::Result<Self> {
        let mut shelf = Self { segment, file: None, places: HashMap::new() };
        let file = match File::open(place.vault(segment)) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(shelf),
            Err(e) => return Err(e),
        };
        let (mut reader, mut line, mut at) = (BufReader::new(file), Vec::new(), 0_u64);
        loop {
            let n = one_line(&mut reader, &mut line)?;
            if n == 0 {
                break;
            }
            if let Ok(Line { commit, .. }) = serde_json::from_slice(&line) {
                shelf.places.insert(commit.to_owned(), at);
            }
            at = at.saturating_add(u64::try_from(n).unwrap_or(u64::MAX));
        }
        shelf.file = Some(reader);
        Ok(shelf)
    }

    fn kept(&mut self, commit: &str) -> io::Result<Option<Kept>> {
        let (Some(at), Some(reader)) = (self.places.get(commit), &mut self.file) else {
            return Ok(None);
        };
        reader.seek(SeekFrom::Start(*at))?;
        let mut line = Vec::new();
        one_line(reader, &mut line)?;
        let Ok(Line { form, salt, text, .. }) = serde_json::from_slice(&line) else {
            return Ok(None);
        };
        let form = Payloads::ALL.into_iter().find(|one| one.as_str() == form);
        let kept = |(form, salt)| Kept {
            form,
            text: text.map(Cow::into_owned),
            commit: commit.to_owned(),
            salt,
        };
        Ok(form.zip(unhex(salt)).map(kept))
    }
}

/// The longest content, each byte of it written with six, and what stands around it.
fn one_line(reader: &mut BufReader<File>, line: &mut Vec<u8>) -> io::Result<usize> {
    let most = u64::try_from(7 * AUDIT_PAYLOAD_BYTES_MAX).unwrap_or(u64::MAX);
    line.clear();
    reader.take(most).read_until(b'\n', line)
}

fn unhex(text: &str) -> Option<Hash> {
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

impl Records {
    /// What the vault has for a commitment of the record that was read last.
    pub fn kept(&mut self, commit: &str) -> io::Result<Option<Kept>> {
        let segment = self.lines.segment();
        if self.shelf.as_ref().is_none_or(|shelf| shelf.segment != segment) {
            self.shelf = Some(Shelf::read(&self.place, segment)?);
        }
        match &mut self.shelf {
            Some(shelf) => shelf.kept(commit),
            None => Ok(None),
        }
    }
}
