//! A call that waits for an answer of its caller, seen from the caller.
//!
//! Dropped, it tells the server that nobody will answer: its time need not run out first. Who hands
//! the questions to a client that may come back at any time keeps it instead.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use super::{Key, Table, open};

/// The caller's interest in a parked call.
#[must_use = "dropping it gives the call up"]
pub struct Parked(Option<Box<Interest>>);

struct Interest {
    table: Weak<Table>,
    key: Key,
    token: String,
}

impl Parked {
    pub(super) fn new(table: &Arc<Table>, key: Key, token: &str) -> Self {
        let (table, token) = (Arc::downgrade(table), token.to_owned());
        Self(Some(Box::new(Interest { table, key, token })))
    }

    /// The caller may come back, within the time that a question has.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        let Some(interest) = self.0.take() else { return };
        let Interest { table, key, token } = *interest;
        let Some(table) = table.upgrade() else { return };
        if let Some(session) = open(&table, &key) {
            session.abandon(&token);
        }
    }
}

impl fmt::Debug for Parked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A token is a key.
        f.debug_struct("Parked").finish_non_exhaustive()
    }
}
