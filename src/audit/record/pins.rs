//! What is put on record of the definitions that servers offer: taken, held back, approved.
//!
//! As digests and names; a definition itself stands in `pins.lock`.

use super::line::Line;
use crate::domain::ServerName;

/// One thing that happened to definitions of a server.
#[derive(Clone, Copy, Debug)]
pub enum PinRecord<'a> {
    /// Taken as approved at their first use.
    Pinned {
        server: &'a ServerName,
        definitions: usize,
        /// Of their pins together.
        pins_sha256: &'a [u8; 32],
    },
    /// These are held back from now on, and no others of the server.
    Quarantined {
        server: &'a ServerName,
        definitions: usize,
        pins_sha256: &'a [u8; 32],
        what: &'a str,
    },
    /// The operator approves one that was held back.
    Approved {
        who: &'a str,
        server: &'a ServerName,
        list: &'static str,
        name: &'a str,
        pin: &'a [u8; 32],
    },
}

impl PinRecord<'_> {
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Pinned { .. } => "pinned",
            Self::Quarantined { .. } => "quarantined",
            Self::Approved { .. } => "pin_approved",
        }
    }
}

impl Line {
    pub(super) fn pins(&mut self, record: PinRecord<'_>) {
        match record {
            PinRecord::Pinned { server, definitions, pins_sha256 } => {
                self.pinned(server, definitions, pins_sha256);
            }
            PinRecord::Quarantined { server, definitions, pins_sha256, what } => {
                self.pinned(server, definitions, pins_sha256);
                self.text("what", what);
            }
            PinRecord::Approved { who, server, list, name, pin } => {
                self.text("who", who);
                self.text("server", server.as_str());
                self.text(list, name);
                self.hex("pin", pin);
            }
        }
    }

    fn pinned(&mut self, server: &ServerName, definitions: usize, pins_sha256: &[u8; 32]) {
        self.text("server", server.as_str());
        self.number("definitions", u64::try_from(definitions).unwrap_or(u64::MAX));
        self.hex("pins_sha256", pins_sha256);
    }
}
