//! Opening the log: lock it, keep its longest valid prefix, set aside the rest.
//!
//! Promises that nothing is lost: bytes that do not continue the chain go to a `.torn` file,
//! synced, before the log is cut back. Tells which intents have no outcome. A second gateway
//! finds the log locked and refuses.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;
use sha2::{Digest, Sha256};

use super::{AuditError, FILE_NAME, chain::Chain, verify::Scan};
use crate::{domain::CallId, sys};

/// A log ready to be written on.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) chain: Chain,
    pub(super) torn: Option<Torn>,
    pub(super) orphans: BTreeSet<CallId>,
}

/// What was cut off, and where it is now.
#[derive(Debug)]
pub(super) struct Torn {
    pub(super) bytes: u64,
    pub(super) sha256: [u8; 32],
    pub(super) kept_in: String,
    pub(super) what: &'static str,
}

pub(super) fn open(dir: &Path) -> Result<Opened, AuditError> {
    let path = dir.join(FILE_NAME);
    let failed = |source| AuditError::Open { path: path.clone(), source };
    sys::create_private_dir(dir).map_err(failed)?;
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(AuditError::Locked { path }),
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    let mut orphans = BTreeSet::new();
    let scan = Scan::run(&mut file, |entry| {
        let Some(call) = entry.call.and_then(CallId::parse) else { return };
        match entry.kind {
            "intent" => orphans.insert(call),
            "outcome" | "orphaned" => orphans.remove(&call),
            // Of its questions; how the call itself ended is another record.
            _ => false,
        };
    })
    .map_err(failed)?;
    let torn = match scan.bad {
        None => None,
        Some(what) => Some(set_aside(dir, &mut file, scan.good_bytes, what).map_err(failed)?),
    };
    sys::sync_dir(dir).map_err(failed)?;
    Ok(Opened { file, chain: scan.chain, torn, orphans })
}

/// Copies everything after `keep` bytes into a file of its own, then cuts it off.
fn set_aside(dir: &Path, log: &mut File, keep: u64, what: &'static str) -> io::Result<Torn> {
    let (mut copy, path) = torn_file(dir, keep)?;
    log.seek(SeekFrom::Start(keep))?;
    let mut hash = Sha256::new();
    let mut bytes = 0_u64;
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let read = log.read(&mut buffer)?;
        let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else { break };
        hash.update(part);
        copy.write_all(part)?;
        bytes = bytes.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
    copy.sync_all()?;
    sys::sync_dir(dir)?;
    log.set_len(keep)?;
    log.sync_all()?;
    let kept_in = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Torn { bytes, sha256: hash.finalize().into(), kept_in, what })
}

const COPY_BYTES: usize = 64 * 1024;

/// A new file named after the place of the cut; an older one of that name is never touched.
fn torn_file(dir: &Path, keep: u64) -> io::Result<(File, PathBuf)> {
    let mut n = 0_u32;
    loop {
        let path = dir.join(format!("{FILE_NAME}.{keep}-{n}.torn"));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path) {
            Ok(file) => return Ok((file, path)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => n = n.saturating_add(1),
            Err(e) => return Err(e),
        }
    }
}
