//! What one approval is for, and what it may be remembered for.
//!
//! `Bound` is a digest over everything that must be the same when the call is made: who asks, the
//! tool with its pinned definition, the arguments, the policies. Arguments count by their meaning
//! as far as that is certain: keys in another order are the same, a number that is spelt
//! differently is not. Pure.

use std::{collections::BTreeMap, fmt};

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::{
    config::Digests,
    domain::{Call, limits::JSON_DEPTH_MAX},
    gate::{Pin, risk::goes_to},
};

/// Nothing else can use the approval.
#[derive(Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(super) struct Bound([u8; 32]);

/// What an operator may have remembered, so that the next call that goes there is not asked about.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Errand {
    /// Who asks, and which tool, by its definition.
    of: Bound,
    /// Where it goes, in order. Without any, nothing is remembered.
    pub(super) places: Vec<String>,
}

/// By what the definition of the tool is known; none that is not listed.
pub(super) type Known<'a> = Option<&'a Pin>;

impl Bound {
    pub(super) fn of(call: &Call, pin: Known<'_>, rules: &Digests) -> Self {
        let arguments = canonical(&call.arguments);
        let Self(of) = Self::tool(call, pin);
        Self(digest_over(&[&of, arguments.as_bytes(), &rules.file, &rules.policies]))
    }

    /// Who asks, and for what.
    fn tool(call: &Call, pin: Known<'_>) -> Self {
        Self(digest_over(&[
            call.caller.principal.as_str().as_bytes(),
            call.server.as_str().as_bytes(),
            call.subject.kind().as_str().as_bytes(),
            call.subject.as_str().as_bytes(),
            pin.map_or(&[], |pin| &pin.0),
        ]))
    }
}

/// One digest over several parts; with its length before it no part can take from the next.
pub fn digest_over(parts: &[&[u8]]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part.len().to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

impl Errand {
    pub(super) fn of(call: &Call, pin: Known<'_>) -> Self {
        Self { of: Bound::tool(call, pin), places: goes_to(&call.arguments) }
    }
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The arguments without spaces and with their keys in order, texts as RFC 8785 writes them,
/// numbers as they were written. What cannot be read counts as it is.
pub(super) fn canonical(arguments: &[u8]) -> String {
    let as_written = || String::from_utf8_lossy(arguments).into_owned();
    let Ok(value) = serde_json::from_slice::<&RawValue>(arguments) else { return as_written() };
    let mut out = String::with_capacity(arguments.len());
    match write(value, JSON_DEPTH_MAX, &mut out) {
        Some(()) => out,
        None => as_written(),
    }
}

fn write(value: &RawValue, depth: usize, out: &mut String) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    let text = value.get();
    match text.as_bytes().first()? {
        b'{' => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).ok()?;
            out.push('{');
            for (n, (key, member)) in members.into_iter().enumerate() {
                out.push_str(if n == 0 { "" } else { "," });
                out.push_str(&serde_json::to_string(&key).ok()?);
                out.push(':');
                write(member, depth, out)?;
            }
            out.push('}');
        }
        b'[' => {
            let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            out.push('[');
            for (n, element) in elements.into_iter().enumerate() {
                out.push_str(if n == 0 { "" } else { "," });
                write(element, depth, out)?;
            }
            out.push(']');
        }
        b'"' => {
            let said: String = serde_json::from_str(text).ok()?;
            out.push_str(&serde_json::to_string(&said).ok()?);
        }
        _ => out.push_str(text),
    }
    Some(())
}
