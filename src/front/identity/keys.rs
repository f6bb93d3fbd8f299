//! The API keys as the running gateway knows them.
//!
//! Reads the file again when it has become another one. A key that is not in it any more, or
//! whose time is over, ends at once whatever was opened with it. A file that cannot be read
//! changes nothing, and is told: keys that were known stay good, or a slip in an editor would
//! turn everybody away.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::{
    Role,
    key::{self, Key, KeyError, KeyFile},
};
use crate::domain::Principal;

#[derive(Debug)]
pub(super) struct Keys {
    file: KeyFile,
    known: ArcSwap<HashMap<String, Arc<Known>>>,
    /// The file as it was read last.
    seen: Mutex<Option<Stamp>>,
}

/// One key.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) key: Key,
    pub(super) principal: Principal,
    digest: [u8; 32],
    /// Cancelled when it is good no more.
    pub(super) over: CancellationToken,
}

/// What tells a file from the one that it took the place of.
type Stamp = (u64, u64, i64, i64);

/// Why a key lets nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// It is no key of ours, by its form.
    Foreign,
    /// Unknown, revoked, or with a secret of somebody's own.
    Wrong,
    Expired,
}

impl Keys {
    /// A damaged file is an error: nobody knows whom it would let in.
    pub(super) fn open(file: KeyFile) -> Result<Self, KeyError> {
        let keys = Self { file, known: ArcSwap::default(), seen: Mutex::default() };
        keys.take(keys.stamp())?;
        Ok(keys)
    }

    pub(super) fn find(&self, text: &str, now_ms: u64) -> Result<Arc<Known>, NoKey> {
        let (id, secret) = key::parts(text).ok_or(NoKey::Foreign)?;
        let known = self.known.load().get(id).cloned();
        // An unknown id takes as long as a wrong secret.
        let digest = known.as_ref().map(|known| known.digest).unwrap_or_default();
        let is_secret = key::is_secret(secret, &digest);
        match known {
            Some(known) if is_secret && known.key.is_over(now_ms) => Err(NoKey::Expired),
            Some(known) if is_secret && !known.over.is_cancelled() => Ok(known),
            Some(_) | None => Err(NoKey::Wrong),
        }
    }

    /// All that are known, oldest first.
    pub(super) fn list(&self) -> Vec<Arc<Known>> {
        let mut all: Vec<_> = self.known.load().values().cloned().collect();
        all.sort_by(|a, b| (a.key.created_ms, &a.key.id).cmp(&(b.key.created_ms, &b.key.id)));
        all
    }

    /// Looks at the file and the clock; whether a key has ended. Reads a file, so it blocks.
    pub(super) fn refresh(&self, now_ms: u64) -> Result<bool, KeyError> {
        let stamp = self.stamp();
        let mut has_ended = false;
        if *self.lock() != stamp {
            has_ended = self.take(stamp)?;
        }
        for known in self.known.load().values() {
            if known.key.is_over(now_ms) && !known.over.is_cancelled() {
                known.over.cancel();
                has_ended = true;
            }
        }
        Ok(has_ended)
    }

    fn take(&self, stamp: Option<Stamp>) -> Result<bool, KeyError> {
        let mut seen = self.lock();
        // What is damaged is told once, and read again when it is another file.
        *seen = stamp;
        let (mut before, mut after) = ((**self.known.load()).clone(), HashMap::new());
        for key in self.file.read()? {
            let same = before.get(&key.id).is_some_and(|known| known.key == key);
            let known = before.remove(&key.id).filter(|_| same).unwrap_or_else(|| Known::new(&key));
            after.insert(key.id, known);
        }
        self.known.store(Arc::new(after));
        // Only now: whoever is sent away by this and comes back finds nothing.
        before.values().for_each(|gone| gone.over.cancel());
        Ok(!before.is_empty())
    }

    fn stamp(&self) -> Option<Stamp> {
        let of = fs::metadata(self.file.path()).ok()?;
        Some((of.ino(), of.len(), of.mtime(), of.mtime_nsec()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Stamp>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn new(key: &Key) -> Arc<Self> {
        let (principal, digest) = (key.principal(), key.digest());
        Arc::new(Self { key: key.clone(), principal, digest, over: CancellationToken::new() })
    }

    pub(super) fn role(&self) -> Option<Role> {
        self.key.role
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{KeyFile, Keys, NoKey};
    use crate::front::identity::NewKey;

    fn named(name: &str, expires_ms: Option<u64>) -> NewKey {
        NewKey { name: name.to_owned(), expires_ms, ..NewKey::default() }
    }

    #[test]
    fn a_key_is_good_until_it_is_revoked_or_over_and_no_other_text_ever_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::at(dir.path().join("keys.json"));
        let keys = Keys::open(file.clone()).unwrap();
        let (ann_id, ann) = file.add(named("ann", None), 0).unwrap();
        let (_, bob) = file.add(named("bob", Some(100)), 0).unwrap();
        assert_eq!(keys.find(&ann, 1).unwrap_err(), NoKey::Wrong, "nobody has looked yet");
        assert!(!keys.refresh(1).unwrap(), "nothing has ended");
        let (held, bobs) = (keys.find(&ann, 1).unwrap(), keys.find(&bob, 99).unwrap());
        assert_eq!(held.principal.as_str(), "key:ann");
        let other = format!("portcullis_{ann_id}_{}", "0".repeat(64));
        for (text, why) in [
            (other.as_str(), NoKey::Wrong),
            ("portcullis_0_", NoKey::Wrong),
            ("portcullis_", NoKey::Foreign),
            (ann.trim_start_matches("portcullis_"), NoKey::Foreign),
            ("", NoKey::Foreign),
        ] {
            assert_eq!(keys.find(text, 1).unwrap_err(), why, "{text}");
        }
        assert_eq!(keys.find(&bob, 100).unwrap_err(), NoKey::Expired);
        assert!(keys.refresh(100).unwrap() && bobs.over.is_cancelled());
        assert!(!held.over.is_cancelled(), "what stays stays");
        file.revoke(&ann_id).unwrap();
        assert!(keys.refresh(100).unwrap() && held.over.is_cancelled());
        assert_eq!(keys.find(&ann, 100).unwrap_err(), NoKey::Wrong);
    }

    #[test]
    fn a_file_that_is_damaged_while_we_run_turns_nobody_away_and_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::at(dir.path().join("keys.json"));
        let (_, ann) = file.add(named("ann", None), 0).unwrap();
        let keys = Keys::open(file.clone()).unwrap();
        fs::write(file.path(), "{").unwrap();
        assert!(keys.refresh(1).is_err() && keys.refresh(1).is_ok());
        assert!(keys.find(&ann, 1).is_ok());
        assert!(Keys::open(file.clone()).is_err(), "but nobody starts with it");
        fs::remove_file(file.path()).unwrap();
        assert!(keys.refresh(1).unwrap(), "no file: no keys");
        assert_eq!(keys.find(&ann, 1).unwrap_err(), NoKey::Wrong);
    }
}
