//! The API keys as the running gateway knows them.
//!
//! Reads the file again when it has become another one. A key that is not in it any more, or
//! whose time is over, ends at once whatever was opened with it. A file that cannot be read
//! changes nothing, and is told: keys that were known stay good, or a slip in an editor would
//! turn everybody away. Whether a change is on record is the affair of the ledger.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::{
    Role,
    key::{self, Contents, Key, KeyError, KeyFile},
};
use crate::{domain::Principal, sys::FileStamp};

#[derive(Debug)]
pub(super) struct Keys {
    file: KeyFile,
    known: ArcSwap<HashMap<String, Arc<Known>>>,
    /// The file as it was seen to last, if it was.
    seen: Mutex<Option<Option<FileStamp>>>,
}

/// What a look has found.
#[derive(Debug)]
pub(super) struct Found {
    /// Of the file, if there is one.
    pub(super) stamp: Option<FileStamp>,
    pub(super) contents: Result<Contents, KeyError>,
}

/// One key.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) key: Key,
    pub(super) principal: Principal,
    /// The key's own, to be shared.
    pub(super) id: Arc<str>,
    digest: [u8; 32],
    /// Cancelled when it is good no more.
    pub(super) over: CancellationToken,
}

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
    /// Nobody is let in before somebody has looked.
    pub(super) fn of(file: KeyFile) -> Self {
        Self { file, known: ArcSwap::default(), seen: Mutex::default() }
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

    /// What the file holds, if it is another one than the one that was seen to last. Whoever goes
    /// away with what he has found has changed nothing: the next look finds it again. Blocks.
    pub(super) fn look(&self) -> Option<Found> {
        let stamp = FileStamp::of(self.file.path());
        if *self.lock() == Some(stamp) {
            return None;
        }
        Some(Found { stamp, contents: self.file.contents() })
    }

    /// Whoever has found it has seen to it.
    pub(super) fn is_seen_to(&self, stamp: Option<FileStamp>) {
        *self.lock() = Some(stamp);
    }

    /// Ends the keys whose time is over.
    pub(super) fn end_over(&self, now_ms: u64) {
        let known = self.known.load();
        known.values().filter(|known| known.key.is_over(now_ms)).for_each(|k| k.over.cancel());
    }

    /// Ends the keys that are not there any more.
    pub(super) fn let_go(&self, of: &Contents) {
        let stay: HashMap<&str, &Key> = of.keys.iter().map(|key| (key.id.as_str(), key)).collect();
        let before = self.known.load_full();
        let stays = |known: &Known| stay.get(known.key.id.as_str()) == Some(&&known.key);
        let (after, gone): (HashMap<_, _>, HashMap<_, _>) =
            (*before).clone().into_iter().partition(|(_, known)| stays(known));
        self.known.store(Arc::new(after));
        // Only now: whoever is sent away by this and comes back finds nothing.
        gone.values().for_each(|gone| gone.over.cancel());
    }

    /// Lets in by exactly these from now on.
    pub(super) fn take(&self, of: &Contents) {
        let before = self.known.load_full();
        let known = |key: &Key| {
            let same = before.get(&key.id).filter(|known| known.key == *key);
            (key.id.clone(), same.cloned().unwrap_or_else(|| Known::new(key)))
        };
        self.known.store(Arc::new(of.keys.iter().map(known).collect()));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Option<FileStamp>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn new(key: &Key) -> Arc<Self> {
        let (principal, digest) = (key.principal(), key.digest());
        let (id, over) = (key.id.as_str().into(), CancellationToken::new());
        Arc::new(Self { key: key.clone(), principal, id, digest, over })
    }

    pub(super) fn role(&self) -> Option<Role> {
        self.key.role
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::{KeyError, KeyFile, Keys, NoKey};
    use crate::front::identity::NewKey;

    fn refresh(keys: &Keys, now_ms: u64) -> Result<(), KeyError> {
        keys.end_over(now_ms);
        let Some(found) = keys.look() else { return Ok(()) };
        if let Err(error) = &found.contents
            && error.may_hide_revocations()
        {
            return found.contents.map(drop);
        }
        keys.is_seen_to(found.stamp);
        let contents = found.contents?;
        keys.let_go(&contents);
        keys.take(&contents);
        Ok(())
    }

    fn named(name: &str, expires_ms: Option<u64>) -> NewKey {
        NewKey { name: name.to_owned(), expires_ms, ..NewKey::default() }
    }

    #[test]
    fn a_key_is_good_until_it_is_revoked_or_over_and_no_other_text_ever_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::at(dir.path().join("keys.json"));
        let keys = Keys::of(file.clone());
        refresh(&keys, 0).unwrap();
        let (ann_id, ann) = file.add(named("ann", None), 0).unwrap();
        let (_, bob) = file.add(named("bob", Some(100)), 0).unwrap();
        assert_eq!(keys.find(&ann, 1).unwrap_err(), NoKey::Wrong, "nobody has looked yet");
        refresh(&keys, 1).unwrap();
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
        refresh(&keys, 100).unwrap();
        assert!(bobs.over.is_cancelled());
        assert!(!held.over.is_cancelled(), "what stays stays");
        file.revoke(&ann_id).unwrap();
        refresh(&keys, 100).unwrap();
        assert!(held.over.is_cancelled());
        assert_eq!(keys.find(&ann, 100).unwrap_err(), NoKey::Wrong);
    }

    #[test]
    fn a_file_that_is_damaged_while_we_run_turns_nobody_away_and_is_told_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::at(dir.path().join("keys.json"));
        let (_, ann) = file.add(named("ann", None), 0).unwrap();
        let keys = Keys::of(file.clone());
        refresh(&keys, 1).unwrap();
        fs::write(file.path(), "{").unwrap();
        assert!(refresh(&keys, 1).is_err() && refresh(&keys, 1).is_ok());
        assert!(keys.find(&ann, 1).is_ok());
        // Who may read it is part of what it is.
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o640)).unwrap();
        assert!(refresh(&keys, 1).is_err());
        let fresh = Keys::of(file.clone()).look().unwrap();
        assert!(fresh.contents.is_err(), "but nobody starts with it");
        fs::remove_file(file.path()).unwrap();
        // What cannot be read at all is looked for until it can.
        fs::create_dir(file.path()).unwrap();
        assert!(refresh(&keys, 1).is_err() && refresh(&keys, 1).is_err());
        fs::remove_dir(file.path()).unwrap();
        refresh(&keys, 1).unwrap();
        assert_eq!(keys.find(&ann, 1).unwrap_err(), NoKey::Wrong, "no file: no keys");
    }

    #[test]
    fn a_file_that_others_can_write_makes_nobody_a_key_and_is_looked_for_until_it_is_mended() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::at(dir.path().join("keys.json"));
        let (_, ann) = file.add(named("ann", None), 0).unwrap();
        let keys = Keys::of(file.clone());
        refresh(&keys, 1).unwrap();
        let (_, eve) = file.add(named("eve", None), 0).unwrap();
        let chmod = |path: &std::path::Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        for (path, open, closed) in [(file.path(), 0o620, 0o600), (dir.path(), 0o703, 0o700)] {
            chmod(path, open);
            for _ in 0..2 {
                let why = refresh(&keys, 1).unwrap_err();
                assert!(matches!(why, KeyError::Distrusted(_)), "{why}");
            }
            assert!(keys.find(&ann, 1).is_ok() && keys.find(&eve, 1).is_err());
            assert!(file.revoke("x").is_err(), "nor is it written over");
            chmod(path, closed);
        }
        refresh(&keys, 1).unwrap();
        assert!(keys.find(&eve, 1).is_ok());
    }
}
