//! The beginning of a log, and which of several is the one that is written.
//!
//! A log is named after its first key, so no two are the same and none can be put in the place of
//! another unnoticed. `current` is set last: a log that was begun halfway is never found. What was
//! here before stays where it is and is named in the first record.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::symlink,
    path::Path,
};

use ed25519_dalek::SigningKey;
use sha2::{Digest, Sha256};

use super::{Disk, Keys, ORIGIN_START, PLAIN_LOG, Place, chain::Chain, keys::random};
use crate::{
    audit::{
        Own, Record,
        record::hex_digits,
        tlog::{Checkpoint, Tile, Vkey},
    },
    sys,
};

const CURRENT: &str = "current";
/// What the file of the old format is called from now on.
const PLAIN_KEPT: &str = "plain-000001.jsonl";

/// The log that is written, below the audit's directory or in it.
pub(in crate::audit) fn find(root: &Path) -> io::Result<Option<Place>> {
    if root.join("seg").is_dir() {
        return Ok(Some(Place::new(root.to_owned())));
    }
    match fs::read_link(root.join(CURRENT)) {
        // Only ever the name of a neighbour.
        Ok(to) if to.components().count() == 1 => Ok(Some(Place::new(root.join(to)))),
        Ok(_) => Err(io::Error::other("`current` leads out of the audit's directory")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// Begins a log with one record and makes it the current one.
pub(in crate::audit) fn create(
    root: &Path,
    disk: &Disk,
    after: Option<(&str, &str)>,
) -> io::Result<Place> {
    let seed = random()?;
    let id = Vkey::log_id(&SigningKey::from_bytes(&seed).verifying_key());
    let (place, origin) = (Place::new(root.join(&id)), format!("{ORIGIN_START}{id}"));
    for dir in [place.dir().to_owned(), place.segments(), place.epochs()] {
        disk.create_dir(&dir)?;
    }
    let keys = Keys::create(&place, disk, &origin, &seed)?;
    let pubkey = keys.signer().vkey().to_string();
    disk.replace(&place.pubkey(), format!("{pubkey}\n").as_bytes())?;
    let record = Record::Own(Own::LogBegun { origin: &origin, pubkey: &pubkey, after });
    let (mut chain, mut line) = (Chain::START, Vec::new());
    chain.seal(&record.render(sys::unix_micros()), &mut line);
    let first = Tile { level: 0, index: 0, hashes: vec![chain.leaf] };
    place.put_tile(disk, &first)?;
    let checkpoint = Checkpoint { origin, size: 1, root: chain.leaf, next: None };
    disk.replace(&place.checkpoint(), keys.signer().sign(&checkpoint).as_bytes())?;
    let file = disk.create(&place.segment(1))?;
    disk.write(&file, &line)?;
    disk.sync(&file)?;
    disk.sync_dir(&place.segments())?;
    let beside = root.join(format!(".{CURRENT}-{id}"));
    symlink(&id, &beside)?;
    disk.rename(&beside, &root.join(CURRENT))?;
    Ok(place)
}

/// What the next log is to say of a file of the old format, if there is one.
pub(super) fn plain_log(root: &Path) -> io::Result<Option<String>> {
    let mut file = match File::open(root.join(PLAIN_LOG)) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    // Somebody may still be writing it.
    file.try_lock().map_err(io::Error::from)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else { break };
        digest.update(part);
    }
    let digest = hex_digits(&digest.finalize().into());
    let digest = std::str::from_utf8(&digest).unwrap_or_default();
    Ok(Some(format!("its format has no signatures; its SHA-256 is {digest}")))
}

/// Out of the way, once the new log names it.
pub(super) fn put_plain_log_aside(root: &Path, disk: &Disk) -> io::Result<()> {
    if root.join(PLAIN_KEPT).exists() {
        return Err(io::Error::other(format!("`{PLAIN_LOG}` and `{PLAIN_KEPT}` are both there")));
    }
    disk.rename(&root.join(PLAIN_LOG), &root.join(PLAIN_KEPT)).map(drop)
}

pub(super) const PLAIN_NAME: &str = PLAIN_KEPT;
