//! What is put on record of API keys: which ones let somebody in from now on, and which do no more.
//!
//! By their ids and by whose they are; neither a key's text nor its digest is here.

use super::line::Line;

/// One thing that happened to the keys.
#[derive(Clone, Copy, Debug)]
pub enum KeyRecord<'a> {
    /// It lets its owner in as soon as this is written.
    Added {
        who: &'a str,
        key: &'a str,
        name: &'a str,
        /// With commas between them.
        groups: &'a str,
        scopes: &'a str,
        role: Option<&'a str>,
        expires_ms: Option<u64>,
    },
    /// It lets nobody in any more.
    Removed { who: &'a str, key: &'a str, name: &'a str, why: &'a str },
    /// All that there are now.
    Taken { who: &'a str, count: usize, keys_sha256: &'a [u8; 32] },
}

impl KeyRecord<'_> {
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Added { .. } => "key_added",
            Self::Removed { .. } => "key_removed",
            Self::Taken { .. } => "keys_taken",
        }
    }
}

impl Line {
    pub(super) fn key_record(&mut self, record: KeyRecord<'_>) {
        match record {
            KeyRecord::Added { who, key, name, groups, scopes, role, expires_ms } => {
                self.text("who", who);
                self.text("key", key);
                self.text("name", name);
                self.text("groups", groups);
                self.text("scopes", scopes);
                if let Some(role) = role {
                    self.text("role", role);
                }
                if let Some(at) = expires_ms {
                    self.number("expires_ms", at);
                }
            }
            KeyRecord::Removed { who, key, name, why } => {
                self.text("who", who);
                self.text("key", key);
                self.text("name", name);
                self.text("why", why);
            }
            KeyRecord::Taken { who, count, keys_sha256 } => {
                self.text("who", who);
                self.number("count", u64::try_from(count).unwrap_or(u64::MAX));
                self.hex("keys_sha256", keys_sha256);
            }
        }
    }
}
