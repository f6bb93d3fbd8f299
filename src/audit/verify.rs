//! Verifying a log from its bytes alone.
//!
//! Streams, in memory bounded by one line, and names the first record that does not follow from
//! those before it. Shares only the chain's rule with the writer. What it cannot see in this
//! format: a log that ends earlier than it did, at the end of a line; compare `Verified::last`
//! with a number kept elsewhere.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::{
    FILE_NAME,
    chain::{Chain, Entry, hex},
};
use crate::domain::limits::AUDIT_LINE_BYTES_MAX;

/// A log in which every record follows from the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Number of the last record, 0 for an empty log.
    pub last: u64,
    /// Its hash, in hexadecimal: the whole log in 64 characters.
    pub head: String,
}

#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("record {seq} (line {seq}) of `{}` {what}", path.display())]
    Bad { path: PathBuf, seq: u64, what: &'static str },
    #[error("cannot read the audit log `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
}

/// Checks the log in `dir` from its first byte to its last. Takes no lock: a log that is being
/// written on may seem to end in a torn line.
pub fn verify(dir: &Path) -> Result<Verified, VerifyError> {
    let path = dir.join(FILE_NAME);
    let scan = File::open(&path).and_then(|mut file| Scan::run(&mut file, |_| {}));
    match scan {
        Err(source) => Err(VerifyError::Read { path, source }),
        Ok(Scan { chain, bad: Some(what), .. }) => {
            Err(VerifyError::Bad { path, seq: chain.seq.saturating_add(1), what })
        }
        Ok(Scan { chain, bad: None, .. }) => {
            Ok(Verified { last: chain.seq, head: hex(&chain.hash) })
        }
    }
}

/// How far a log is good.
#[derive(Debug)]
pub(super) struct Scan {
    /// After the last good line.
    pub(super) chain: Chain,
    pub(super) good_bytes: u64,
    /// What is wrong with the line after it, if there is one.
    pub(super) bad: Option<&'static str>,
}

impl Scan {
    /// Reads lines from the start as long as they continue the chain.
    pub(super) fn run(file: &mut File, mut see: impl FnMut(Entry<'_>)) -> io::Result<Self> {
        file.seek(SeekFrom::Start(0))?;
        let mut reader = BufReader::with_capacity(AUDIT_LINE_BYTES_MAX, file);
        let mut scan = Self { chain: Chain::START, good_bytes: 0, bad: None };
        let mut line = Vec::new();
        loop {
            line.clear();
            let most = u64::try_from(AUDIT_LINE_BYTES_MAX).unwrap_or(u64::MAX);
            let read = reader.by_ref().take(most).read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(scan);
            }
            let checked = match line.strip_suffix(b"\n") {
                Some(content) => scan.chain.check(content),
                None if read < AUDIT_LINE_BYTES_MAX => Err("is torn: its line has no end"),
                None => Err("is longer than any record"),
            };
            match checked {
                Ok(entry) => see(entry),
                Err(what) => {
                    scan.bad = Some(what);
                    return Ok(scan);
                }
            }
            let read = u64::try_from(read).unwrap_or(u64::MAX);
            scan.good_bytes = scan.good_bytes.saturating_add(read);
        }
    }
}
