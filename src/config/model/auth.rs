//! How applications prove who they are, as checked.

use std::collections::BTreeSet;

/// `[auth]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// Each that is open; one is enough for a caller.
    pub modes: BTreeSet<AuthMode>,
}

/// A way to prove who one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuthMode {
    /// None is needed: whoever reaches the listener may speak.
    None,
    /// The kernel says who is at the other end of a unix socket.
    Peer,
    /// A key of ours, as a bearer token.
    Keys,
}

impl AuthMode {
    pub const ALL: [Self; 3] = [Self::None, Self::Peer, Self::Keys];

    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Peer => "peer",
            Self::Keys => "keys",
        }
    }
}

impl AuthConfig {
    pub fn has(&self, mode: AuthMode) -> bool {
        self.modes.contains(&mode)
    }
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self { modes: BTreeSet::from([AuthMode::None, AuthMode::Peer]) }
    }
}
