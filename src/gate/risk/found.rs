//! A set of reasons.

use crate::domain::Reason;

/// Which reasons there are, without their points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found(u32);

impl Found {
    pub(super) fn insert(&mut self, reason: Reason) {
        self.0 |= 1 << (reason as u8);
    }

    pub(super) fn has(self, reason: Reason) -> bool {
        self.0 & 1 << (reason as u8) != 0
    }

    #[must_use]
    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromIterator<Reason> for Found {
    fn from_iter<T: IntoIterator<Item = Reason>>(reasons: T) -> Self {
        let mut found = Self::default();
        reasons.into_iter().for_each(|reason| found.insert(reason));
        found
    }
}
