//! What a log says of itself: its beginning, its keys, its files, and what became of it.

use super::line::Line;
use crate::domain::CallId;

#[derive(Clone, Copy, Debug)]
pub enum Own<'a> {
    /// The log was cut back to its longest valid prefix when it was opened.
    Recovered { dropped_bytes: u64, dropped_sha256: &'a [u8; 32], kept_in: &'a str, what: &'a str },
    /// An intent without an outcome was found: the call was in flight when we went down.
    Orphaned { call: CallId },
    /// The first record: which log it is, and what it takes the place of.
    LogBegun {
        origin: &'a str,
        pubkey: &'a str,
        /// The log that was here, and why it could not be gone on with.
        after: Option<(&'a str, &'a str)>,
    },
    /// The first records of a file but the first: calls without an outcome so far.
    Segment { in_flight: &'a [CallId] },
    /// The last record under one key names the next.
    KeyEpoch { epoch: u64, pubkey: &'a str },
    /// Nothing but the time, to be signed.
    Heartbeat,
    /// The files of all records up to this one are removed.
    Expired { up_to: u64 },
}

impl Own<'_> {
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Recovered { .. } => "recovered",
            Self::Orphaned { .. } => "orphaned",
            Self::LogBegun { .. } => "log_begun",
            Self::Segment { .. } => "segment",
            Self::KeyEpoch { .. } => "key_epoch",
            Self::Heartbeat => "heartbeat",
            Self::Expired { .. } => "expired",
        }
    }
}

impl Line {
    pub(super) fn own(&mut self, own: Own<'_>) {
        match own {
            Own::Recovered { dropped_bytes, dropped_sha256, kept_in, what } => {
                self.number("dropped_bytes", dropped_bytes);
                self.hex("dropped_sha256", dropped_sha256);
                self.text("kept_in", kept_in);
                self.text("what", what);
            }
            Own::Orphaned { call } => self.id("call", call),
            Own::LogBegun { origin, pubkey, after } => {
                self.text("origin", origin);
                self.text("pubkey", pubkey);
                if let Some((before, why)) = after {
                    self.text("after", before);
                    self.text("why", why);
                }
            }
            Own::Segment { in_flight } => self.ids("in_flight", in_flight),
            Own::KeyEpoch { epoch, pubkey } => {
                self.number("epoch", epoch);
                self.text("pubkey", pubkey);
            }
            Own::Heartbeat => {}
            Own::Expired { up_to } => self.number("up_to", up_to),
        }
    }
}
