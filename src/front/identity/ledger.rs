//! What of the keys is on record, and what has changed since.
//!
//! Promises that whatever becomes of `keys.json` is told to the audit, by whoever and while no
//! gateway runs: a copy of what was told lies beside it. Whoever changes that copy as well hides a
//! name, but not the change: each start and each change leave the digest of the whole file. A key's
//! text and its digest are never told.

use std::collections::HashMap;

use super::key::{Contents, Key, KeyError, KeyFile};
use crate::{
    audit::{Audit, AuditError, KeyRecord, Record},
    domain::limits::KEYS_TOLD_AT_ONCE,
};

#[derive(Debug)]
pub(super) struct Ledger {
    audit: Audit,
    /// What is on record.
    file: KeyFile,
    /// Of the keys that this gateway has told last.
    told: Option<[u8; 32]>,
}

impl Ledger {
    pub(super) fn of(audit: Audit, file: KeyFile) -> Self {
        Self { audit, file, told: None }
    }

    /// Puts on record what is not. Returns when it is there.
    pub(super) async fn tell(
        &mut self,
        who: &str,
        now: &Contents,
        now_ms: u64,
    ) -> Result<(), KeyError> {
        // Without it everything is told again, which is true as well.
        let before = self.file.read().unwrap_or_else(|error| {
            tracing::warn!(%error, "Which keys are on record is not known; all are told again");
            Vec::new()
        });
        let (added, removed) = (beyond(&now.keys, &before), beyond(&before, &now.keys));
        let is_first = self.told.is_none();
        let is_same = added.is_empty() && removed.is_empty();
        if self.told == Some(now.sha256) || (is_first && is_same && now.keys.is_empty()) {
            return Ok(());
        }
        let taken = KeyRecord::Taken { who, count: now.keys.len(), keys_sha256: &now.sha256 };
        let removed: Vec<_> = removed.into_iter().map(|key| gone(who, key, now_ms)).collect();
        self.put(&removed).await?;
        // The text of a list is lent to its record.
        let added: Vec<_> = added.into_iter().map(|key| (key, Lists::of(key))).collect();
        let added: Vec<_> = added.iter().map(|(key, lists)| come(who, key, lists)).collect();
        self.put(&added).await?;
        self.put(&[taken]).await?;
        self.told = Some(now.sha256);
        if !is_same && let Err(error) = self.file.write(now.keys.clone()) {
            tracing::warn!(%error, "What is on record of keys was not noted; it is told again");
        }
        Ok(())
    }

    async fn put(&self, records: &[KeyRecord<'_>]) -> Result<(), AuditError> {
        for some in records.chunks(KEYS_TOLD_AT_ONCE) {
            let begun = some.iter().map(|record| self.audit.begin(Record::Keys(*record)));
            let begun: Vec<_> = begun.collect::<Result<_, _>>()?;
            for one in begun {
                one.written().await?;
            }
        }
        Ok(())
    }
}

/// Those that the others have not, or not like this.
fn beyond<'a>(keys: &'a [Key], others: &[Key]) -> Vec<&'a Key> {
    let others: HashMap<&str, &Key> = others.iter().map(|key| (key.id.as_str(), key)).collect();
    keys.iter().filter(|key| others.get(key.id.as_str()) != Some(key)).collect()
}

struct Lists {
    groups: String,
    scopes: String,
}

impl Lists {
    fn of(key: &Key) -> Self {
        Self { groups: key.groups.join(","), scopes: key.scopes.join(",") }
    }
}

fn come<'a>(who: &'a str, key: &'a Key, lists: &'a Lists) -> KeyRecord<'a> {
    KeyRecord::Added {
        who,
        key: &key.id,
        name: &key.name,
        groups: &lists.groups,
        scopes: &lists.scopes,
        role: key.role.map(|role| role.as_str()),
        expires_ms: key.expires_ms,
    }
}

fn gone<'a>(who: &'a str, key: &'a Key, now_ms: u64) -> KeyRecord<'a> {
    let why = if key.is_over(now_ms) { "over" } else { "revoked" };
    KeyRecord::Removed { who, key: &key.id, name: &key.name, why }
}
