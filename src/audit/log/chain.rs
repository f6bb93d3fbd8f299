//! The chain: what ties each line of the log to all lines before it. Pure.
//!
//! A line is one JSON object in canonical form and a line feed. `leaf` = SHA-256(a zero byte, then
//! the line without its line feed); `prev` is the leaf of the line above, 64 zeros for the first;
//! `seq` counts from 1 without gaps.

use serde::Deserialize;

use crate::audit::{
    record::{Rendered, hex_digits},
    tlog::{Hash, leaf},
};

/// Where the chain stands: what the next line must refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::audit) struct Chain {
    /// Number of the last line, 0 before the first.
    pub(in crate::audit) seq: u64,
    pub(in crate::audit) leaf: Hash,
}

/// What a reader may want of a line that was found good.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(in crate::audit) struct Entry<'a> {
    pub(in crate::audit) seq: u64,
    /// Microseconds since 1970.
    pub(in crate::audit) ts: u64,
    pub(in crate::audit) kind: &'a str,
    prev: &'a str,
    pub(in crate::audit) call: Option<&'a str>,
    pub(in crate::audit) in_flight: Option<Vec<&'a str>>,
    pub(in crate::audit) origin: Option<&'a str>,
    pub(in crate::audit) pubkey: Option<&'a str>,
    pub(in crate::audit) up_to: Option<u64>,
}

impl Chain {
    pub(in crate::audit) const START: Self = Self { seq: 0, leaf: [0; 32] };

    /// Appends the line for a rendered record to `out` and steps on.
    pub(in crate::audit) fn seal(&mut self, rendered: &Rendered, out: &mut Vec<u8>) {
        let seq = self.seq.saturating_add(1);
        let line_at = out.len();
        let (head, tail) =
            rendered.bytes.split_at_checked(rendered.seq_at).unwrap_or((&rendered.bytes, &[]));
        out.extend_from_slice(head);
        out.extend_from_slice(seq.to_string().as_bytes());
        out.extend_from_slice(tail);
        let prev_at = line_at.saturating_add(rendered.prev_at);
        if let Some(prev) = out.get_mut(prev_at..prev_at.saturating_add(64)) {
            prev.copy_from_slice(&hex_digits(&self.leaf));
        }
        *self = Self { seq, leaf: leaf(out.get(line_at..).unwrap_or_default()) };
        out.push(b'\n');
    }

    /// Checks the next line, given without its line feed, and steps on if it is good. The error
    /// says what is wrong with it.
    pub(in crate::audit) fn check<'a>(
        &mut self,
        line: &'a [u8],
    ) -> Result<Entry<'a>, &'static str> {
        let entry: Entry<'a> =
            serde_json::from_slice(line).map_err(|_| "is not a record of this log")?;
        if Some(entry.seq) != self.seq.checked_add(1) {
            return Err("is out of sequence");
        }
        if entry.prev.as_bytes() != hex_digits(&self.leaf) {
            return Err("does not follow from the record before it");
        }
        *self = Self { seq: entry.seq, leaf: leaf(line) };
        Ok(entry)
    }
}

/// Whether the line is the one way to write what it says: two readers see the same in it.
pub(in crate::audit) fn is_canonical(line: &[u8]) -> bool {
    let value: Option<serde_json::Value> = serde_json::from_slice(line).ok();
    let again = value.and_then(|value| serde_json_canonicalizer::to_vec(&value).ok());
    again.is_some_and(|again| again == line)
}
