//! An API key: its text, what is kept of it, and the file of all of them.
//!
//! The text is shown once, when the key is made: `portcullis_ID_SECRET`. Kept is the SHA-256 of
//! the secret, which has 256 random bits and so needs no slow hash. The file is private and
//! replaced whole; whoever changes it holds its lock. Who is let in by a key is not decided here.

use std::{
    collections::HashSet,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Role;
use crate::{
    audit::AuditError,
    domain::{
        Principal,
        limits::{KEY_NAME_BYTES_MAX, KEYS_FILE_BYTES_MAX, KEYS_MAX},
    },
    sys::{self, Distrust, Trust},
};

/// What is kept of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    pub id: String,
    /// Whose it is; several keys may have one owner.
    pub name: String,
    #[serde(default)]
    pub groups: Vec<String>,
    #[serde(default)]
    pub scopes: Vec<String>,
    /// What it may do at the admin listener.
    #[serde(default)]
    pub role: Option<Role>,
    /// Of the secret, as hexadecimal text.
    pub sha256: String,
    pub created_ms: u64,
    #[serde(default)]
    pub expires_ms: Option<u64>,
}

/// What a new key shall be.
#[derive(Clone, Debug, Default)]
pub struct NewKey {
    pub name: String,
    pub groups: Vec<String>,
    pub scopes: Vec<String>,
    pub role: Option<Role>,
    pub expires_ms: Option<u64>,
}

/// The file of all keys.
#[derive(Clone, Debug)]
pub struct KeyFile(PathBuf);

/// What the file holds.
#[derive(Clone, Debug)]
pub(super) struct Contents {
    /// In the order in which they were made.
    pub(super) keys: Vec<Key>,
    /// Of the file, byte by byte.
    pub(super) sha256: [u8; 32],
}

/// Why keys could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("the keys in `{path}` cannot be read or written; look at the directory and its owner")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Distrusted(#[from] Distrust),
    #[error("`{path}` is damaged ({why}); put back a copy, or remove it and make new keys")]
    Damaged { path: PathBuf, why: String },
    #[error("`{name}` is no name for a key; write 1 to {KEY_NAME_BYTES_MAX} visible characters")]
    Name { name: String },
    #[error("there are {KEYS_MAX} keys already; revoke some")]
    Full,
    #[error("there is no key `{id}`; `portcullis keys list` shows those that there are")]
    Unknown { id: String },
    #[error("the system gave no randomness")]
    Random,
    #[error("new keys cannot be put on record, so they let nobody in")]
    Audit(#[from] AuditError),
}

impl KeyError {
    /// What is damaged is told once, and read again when it is another file. What could not be read
    /// may hide a revocation: that is looked for until it is found.
    pub(super) fn may_hide_revocations(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Distrusted(_))
    }
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    keys: Vec<Key>,
}

const PREFIX: &str = "portcullis_";
const ID_BYTES: usize = 6;
const SECRET_BYTES: usize = 32;

impl KeyFile {
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// By whom what is written beside it must be written.
    pub(super) fn trust(&self) -> Trust {
        Trust::of(self.0.parent().unwrap_or(Path::new(".")))
    }

    /// All of them, in the order in which they were made. No file: no keys.
    pub fn read(&self) -> Result<Vec<Key>, KeyError> {
        Ok(self.contents()?.keys)
    }

    pub(super) fn contents(&self) -> Result<Contents, KeyError> {
        self.trust().look(&self.0)?;
        let mut text = String::new();
        let read = fs::File::open(&self.0)
            .and_then(|file| file.take(KEYS_FILE_BYTES_MAX + 1).read_to_string(&mut text));
        match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Contents { keys: Vec::new(), sha256: Sha256::digest("").into() });
            }
            Err(source) => return Err(self.failed(source)),
            Ok(_) => {}
        }
        let damaged = |why: String| KeyError::Damaged { path: self.0.clone(), why };
        if u64::try_from(text.len()).is_ok_and(|len| len > KEYS_FILE_BYTES_MAX) {
            return Err(damaged("it is too large".to_owned()));
        }
        let written: Written = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
        let mut ids = HashSet::new();
        if let Some(twice) = written.keys.iter().find(|key| !ids.insert(key.id.as_str())) {
            return Err(damaged(format!("key {} is there twice", twice.id)));
        }
        match written.keys.iter().find(|key| unhex(&key.sha256).is_none()) {
            Some(key) => Err(damaged(format!("key {} has no SHA-256", key.id))),
            None => Ok(Contents { keys: written.keys, sha256: Sha256::digest(&text).into() }),
        }
    }

    /// Makes a key; gives its id and its text, which nobody can read again.
    pub fn add(&self, new: NewKey, now_ms: u64) -> Result<(String, String), KeyError> {
        let name = new.name;
        let is_fit = |c: char| !c.is_control() && !c.is_whitespace();
        if name.is_empty() || name.len() > KEY_NAME_BYTES_MAX || !name.chars().all(is_fit) {
            return Err(KeyError::Name { name });
        }
        let (id, secret) = (random::<ID_BYTES>()?, random::<SECRET_BYTES>()?);
        let key = Key {
            id: id.clone(),
            name,
            groups: new.groups,
            scopes: new.scopes,
            role: new.role,
            sha256: hex(&Sha256::digest(&secret)),
            created_ms: now_ms,
            expires_ms: new.expires_ms,
        };
        self.change(|keys| {
            // What is over is of no use to anybody.
            keys.retain(|key| !key.is_over(now_ms));
            if keys.len() >= KEYS_MAX {
                return Err(KeyError::Full);
            }
            keys.push(key);
            Ok(())
        })?;
        Ok((id.clone(), format!("{PREFIX}{id}_{secret}")))
    }

    /// Takes a key away; gives what it was.
    pub fn revoke(&self, id: &str) -> Result<Key, KeyError> {
        self.change(|keys| {
            let at = keys.iter().position(|key| key.id == id);
            let at = at.ok_or_else(|| KeyError::Unknown { id: id.to_owned() })?;
            Ok(keys.remove(at))
        })
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut Vec<Key>) -> Result<T, KeyError>,
    ) -> Result<T, KeyError> {
        let dir = self.0.parent().unwrap_or(Path::new("."));
        let failed = |source| self.failed(source);
        sys::create_private_dir(dir).map_err(failed)?;
        // Of the directory: a file would belong to whoever came first.
        let lock = fs::File::open(dir).map_err(failed)?;
        flock(&lock, FlockOperation::LockExclusive).map_err(|error| failed(error.into()))?;
        let mut keys = self.read()?;
        let changed = change(&mut keys)?;
        self.write(keys)?;
        Ok(changed)
    }

    pub(super) fn write(&self, keys: Vec<Key>) -> Result<(), KeyError> {
        let failed = |source| self.failed(source);
        let text = serde_json::to_string_pretty(&Written { keys });
        let text = text.map_err(|error| failed(error.into()))?;
        sys::replace_file_of_owner(&self.0, format!("{text}\n").as_bytes()).map_err(failed)
    }

    fn failed(&self, source: io::Error) -> KeyError {
        KeyError::Io { path: self.0.clone(), source }
    }
}

impl Key {
    /// As the audit, policies and groups call its owner.
    pub fn principal(&self) -> Principal {
        let scopes = self.scopes.iter().map(|scope| Principal::scope_group(scope));
        let groups = self.groups.iter().filter(|group| !Principal::is_scope_group(group)).cloned();
        Principal::in_groups(&format!("key:{}", self.name), groups.chain(scopes))
    }

    pub fn is_over(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|at| at <= now_ms)
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        unhex(&self.sha256).unwrap_or_default()
    }
}

/// The id and the secret that a text holds, if it is one of ours.
pub(super) fn parts(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix(PREFIX)?.split_once('_')
}

/// Whether a text looks like a key of ours.
pub(super) fn is_one(text: &str) -> bool {
    text.starts_with(PREFIX)
}

/// Whether the secret is the one; takes as long wherever they differ.
pub(super) fn is_secret(secret: &str, digest: &[u8; 32]) -> bool {
    let given: [u8; 32] = Sha256::digest(secret).into();
    given.iter().zip(digest).fold(0, |differing, (a, b)| differing | (a ^ b)) == 0
}

fn random<const N: usize>() -> Result<String, KeyError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| KeyError::Random)?;
    Ok(hex(&bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (n, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(n * 2..n * 2 + 2)?, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::{KeyError, KeyFile, NewKey, is_secret, parts};
    use crate::front::identity::Role;

    fn named(name: &str) -> NewKey {
        NewKey { name: name.to_owned(), ..NewKey::default() }
    }

    #[test]
    fn a_key_is_shown_once_and_only_its_digest_is_kept_in_a_private_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::at(dir.path().join("state/keys.json"));
        let asked = NewKey {
            groups: vec!["editors".into(), "scope:root".into()],
            scopes: vec!["mcp:call".into()],
            role: Some(Role::Operator),
            ..named("ann")
        };
        let (id, text) = file.add(asked, 7).unwrap();
        let (found, secret) = parts(&text).unwrap();
        assert_eq!((found, secret.len()), (id.as_str(), 64));
        let kept = fs::read_to_string(file.path()).unwrap();
        assert!(!kept.contains(secret) && kept.contains(&id), "{kept}");
        assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        let key = file.read().unwrap().pop().unwrap();
        assert!(is_secret(secret, &key.digest()));
        assert!(!is_secret(&secret.replace('0', "1").replace('a', "b"), &key.digest()));
        // A group cannot be written so that it is taken for a scope.
        assert_eq!(key.principal().groups(), ["editors", "scope:mcp:call"]);
        assert_eq!(key.principal().as_str(), "key:ann");
    }

    #[test]
    fn a_revoked_key_is_gone_and_the_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::at(dir.path().join("keys.json"));
        let (ann, _) = file.add(named("ann"), 0).unwrap();
        let (bob, _) = file.add(named("bob"), 0).unwrap();
        assert_eq!(file.revoke(&ann).unwrap().name, "ann");
        assert!(matches!(file.revoke(&ann), Err(KeyError::Unknown { .. })));
        let left: Vec<_> = file.read().unwrap().into_iter().map(|key| key.id).collect();
        assert_eq!(left, [bob]);
        // Of two with one id nobody could say which is revoked.
        let text = fs::read_to_string(file.path()).unwrap();
        let key = text.get(text.find("    {").unwrap()..text.rfind("\n  ]").unwrap()).unwrap();
        fs::write(file.path(), text.replace(key, &format!("{key},\n{key}"))).unwrap();
        assert!(matches!(file.read(), Err(KeyError::Damaged { .. })));
    }

    #[test]
    fn what_is_no_name_and_what_is_no_file_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::at(dir.path().join("keys.json"));
        for name in ["", "two words", "a\u{7}", &"x".repeat(65)] {
            assert!(matches!(file.add(named(name), 0), Err(KeyError::Name { .. })), "{name}");
        }
        for text in ["", "{", r#"{"keys":[{"id":"a"}]}"#] {
            fs::write(file.path(), text).unwrap();
            assert!(matches!(file.read(), Err(KeyError::Damaged { .. })), "{text}");
            assert!(file.add(named("ann"), 0).is_err(), "a damaged file is not written over");
        }
    }
}
