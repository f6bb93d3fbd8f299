//! The chain: what ties each line of the log to all lines before it. Pure.
//!
//! A line is `BODY,"prev":"HEX","hash":"HEX"}` and a line feed, where BODY begins with
//! `{"seq":N,` and HEX is 64 lower-case digits. `hash` = SHA-256(the 32 bytes of `prev`, then
//! BODY exactly as written). `prev` is the `hash` of the line above, 32 zero bytes for the first.
//! `seq` counts from 1 without gaps. The tail has a fixed length, so a line splits in one way.

use sha2::{Digest, Sha256};

use super::record::push_hex;

type Hash = [u8; 32];

/// Where the chain stands: what the next line must refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// Number of the last line, 0 before the first.
    pub(super) seq: u64,
    pub(super) hash: Hash,
}

/// What a reader may want of a line that was found good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) kind: &'a str,
    /// The 26 characters of the call id, where the record has one.
    pub(super) call: Option<&'a str>,
}

impl Chain {
    pub(super) const START: Self = Self { seq: 0, hash: [0; 32] };

    /// Appends the line for a rendered record to `out` and steps on.
    pub(super) fn seal(&mut self, rendered: &[u8], out: &mut Vec<u8>) {
        let seq = self.seq.saturating_add(1);
        let body_at = out.len();
        out.extend_from_slice(BODY_START);
        out.extend_from_slice(seq.to_string().as_bytes());
        out.push(b',');
        out.extend_from_slice(rendered);
        let hash = link(&self.hash, out.get(body_at..).unwrap_or_default());
        out.extend_from_slice(PREV_START);
        out.extend_from_slice(hex(&self.hash).as_bytes());
        out.extend_from_slice(HASH_START);
        out.extend_from_slice(hex(&hash).as_bytes());
        out.extend_from_slice(LINE_END);
        *self = Self { seq, hash };
    }

    /// Checks the next line, given without its line feed, and steps on if it is good. The error
    /// says what is wrong with it.
    pub(super) fn check<'a>(&mut self, line: &'a [u8]) -> Result<Entry<'a>, &'static str> {
        let (body, prev, hash) = split(line).ok_or("is not a line of this log")?;
        let (seq, rest) = leading_number(body).ok_or("does not begin with its number")?;
        if Some(seq) != self.seq.checked_add(1) {
            return Err("is out of sequence");
        }
        if prev != hex(&self.hash).as_bytes() {
            return Err("does not follow from the record before it");
        }
        let found = link(&self.hash, body);
        if hash != hex(&found).as_bytes() {
            return Err("does not match its hash");
        }
        let entry = members(rest).ok_or("has no time and kind")?;
        *self = Self { seq, hash: found };
        Ok(entry)
    }
}

const BODY_START: &[u8] = b"{\"seq\":";
const PREV_START: &[u8] = b",\"prev\":\"";
const HASH_START: &[u8] = b"\",\"hash\":\"";
const LINE_END: &[u8] = b"\"}\n";
const HEX_BYTES: usize = 64;

fn link(prev: &Hash, body: &[u8]) -> Hash {
    Sha256::new().chain_update(prev).chain_update(body).finalize().into()
}

pub(super) fn hex(hash: &Hash) -> String {
    let mut text = String::with_capacity(HEX_BYTES);
    push_hex(&mut text, hash);
    text
}

/// Body, previous hash and own hash, both still as digits.
fn split(line: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let rest = line.strip_suffix(b"\"}")?;
    let (rest, hash) = rest.split_at_checked(rest.len().checked_sub(HEX_BYTES)?)?;
    let rest = rest.strip_suffix(HASH_START)?;
    let (rest, prev) = rest.split_at_checked(rest.len().checked_sub(HEX_BYTES)?)?;
    Some((rest.strip_suffix(PREV_START)?, prev, hash))
}

/// The number of a body, in its one spelling (no sign, no leading zero), and what follows.
fn leading_number(body: &[u8]) -> Option<(u64, &[u8])> {
    let rest = body.strip_prefix(BODY_START)?;
    let digits = rest.iter().position(|b| *b == b',')?;
    let (text, rest) = rest.split_at_checked(digits)?;
    let text = std::str::from_utf8(text).ok()?;
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some((number, rest))
}

/// `,"ts":N,"kind":"K"` and, where it is the next member, `,"call":"ID"`.
fn members(rest: &[u8]) -> Option<Entry<'_>> {
    let rest = std::str::from_utf8(rest).ok()?.strip_prefix(",\"ts\":")?;
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let (kind, rest) = rest.strip_prefix(",\"kind\":\"")?.split_once('"')?;
    let call = rest.strip_prefix(",\"call\":\"").and_then(|r| r.split_once('"'));
    Some(Entry { kind, call: call.map(|(id, _)| id) })
}
