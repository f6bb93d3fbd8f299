//! What does not continue the chain, set aside before it is cut off.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use sha2::{Digest, Sha256};

use crate::audit::{
    log::{Disk, Place},
    tlog::Hash,
};

/// What was cut off, and where it is now.
#[derive(Debug)]
pub(in crate::audit) struct Torn {
    pub(in crate::audit) bytes: u64,
    pub(in crate::audit) sha256: Hash,
    pub(in crate::audit) kept_in: String,
    pub(in crate::audit) what: &'static str,
}

/// Copies everything after `keep` bytes of a segment into a file of its own, then cuts it off.
pub(super) fn set_aside(
    place: &Place,
    disk: &Disk,
    (number, keep): (u64, u64),
    what: &'static str,
) -> io::Result<Torn> {
    let path = place.segment(number);
    let mut log = disk.reopen(&path)?;
    let (copy, kept_in) = torn_file(place, disk, number, keep)?;
    log.seek(SeekFrom::Start(keep))?;
    let mut hash = Sha256::new();
    let mut bytes = 0_u64;
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        let read = log.read(&mut buffer)?;
        let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else { break };
        hash.update(part);
        disk.write(&copy, part)?;
        bytes = bytes.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
    disk.sync(&copy)?;
    disk.sync_dir(&place.torn())?;
    disk.cut(&log, keep)?;
    Ok(Torn { bytes, sha256: hash.finalize().into(), kept_in, what })
}

const COPY_BYTES: usize = 64 * 1024;

/// A new file named after the place of the cut; an older one of that name is never touched.
fn torn_file(place: &Place, disk: &Disk, number: u64, keep: u64) -> io::Result<(File, String)> {
    disk.create_dir(&place.torn())?;
    let mut n = 0_u32;
    loop {
        let name = format!("torn/{number:06}-{keep}-{n}");
        match disk.create(&place.dir().join(&name)) {
            Ok(file) => return Ok((file, name)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => n = n.saturating_add(1),
            Err(e) => return Err(e),
        }
    }
}
