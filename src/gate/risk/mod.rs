//! The risk gate: how risky a call is in the light of what its conversation has seen.
//!
//! Owns everything that is remembered between calls to that end, bounded in number and size, and
//! the score, which is an explained sum of integers. Promises that weighing a call and remembering
//! that it was let through are one step for its conversation, so that calls side by side do not
//! dodge each other; and that an answer is remembered before it is handed out, as long as whoever
//! hands it out asks the `Witness` first. Decides nothing: thresholds are applied by `judge`.

mod arguments;
mod context;
mod found;
mod index;
mod memory;
mod rules;
mod score;
mod table;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::Instant;

pub(super) use self::arguments::goes_to;
pub use self::rules::RiskRules;
use self::{
    context::{Context, Now, Principal},
    index::{Heard, Key},
    table::{Shared, Table, lock},
};
use super::Judgement;
use crate::domain::{
    Call, Caller, DenyReason, Labels, Standing, Verdict,
    limits::{RISK_CONTEXTS_MAX, RISK_PRINCIPALS_MAX},
};

/// What is remembered of all conversations.
#[derive(Clone)]
pub struct Risk(Arc<Memory>);

struct Memory {
    key: Key,
    contexts: Table<Context>,
    principals: Table<Principal>,
    /// When the last untrusted thing was read by a principal that has been forgotten.
    forgotten: Mutex<Option<Instant>>,
}

/// Who hears what is answered to one call, before its caller does.
#[derive(Debug)]
pub struct Witness {
    risk: Risk,
    context: Shared<Context>,
    principal: Shared<Principal>,
    labels: Labels,
    arguments: Bytes,
    keep: Duration,
}

impl Risk {
    pub fn new() -> Self {
        let random = RandomState::new();
        Self::keyed([random.hash_one(1), random.hash_one(2)])
    }

    /// The secret keeps what is remembered from being guessed.
    pub fn keyed(secret: [u64; 2]) -> Self {
        Self(Arc::new(Memory {
            key: Key::new(secret),
            contexts: Table::new(RISK_CONTEXTS_MAX),
            principals: Table::new(RISK_PRINCIPALS_MAX),
            forgotten: Mutex::new(None),
        }))
    }

    /// How the call stands; `decide` says what becomes of it, and if that is to let it through,
    /// it is remembered. No other call of the same conversation is weighed in between.
    pub fn weigh(
        &self,
        rules: &RiskRules,
        call: &Call,
        at: Instant,
        decide: impl FnOnce(&Standing) -> Judgement,
    ) -> (Judgement, Witness) {
        let labels = rules.labels(&call.server, &call.subject);
        let now = Now { config: &rules.config, key: &self.0.key, at };
        let (context, principal) = (self.context(call, at), self.principal(&call.caller, at));
        let mut own = lock(&context);
        let asked = (labels, call.arguments.as_ref());
        let evidence = own.evidence(&now, asked, &mut lock(&principal));
        let standing = score::score(now.config, &evidence);
        let mut judgement = decide(&standing);
        if judgement.verdict == Verdict::Allow {
            own.enter(&now, labels, &standing, &mut lock(&principal));
        }
        drop(own);
        judgement.grounds.risk = Some(standing);
        let arguments = call.arguments.clone();
        let keep = rules.config.provenance;
        let witness = Witness { risk: self.clone(), context, principal, labels, arguments, keep };
        (judgement, witness)
    }

    /// A call of this caller was refused. It counts if its caller may know that there is such a
    /// thing: otherwise what follows would tell it, and a server that is gone would harm others.
    pub fn denied(&self, caller: &Caller, reason: DenyReason, at: Instant) {
        match reason {
            DenyReason::Policy | DenyReason::Risk | DenyReason::Approval => {
                lock(&self.principal(caller, at)).denials.count(at);
            }
            // One that is held may yet be approved of.
            DenyReason::Held
            | DenyReason::Stopped
            | DenyReason::NotListed
            | DenyReason::Pin
            | DenyReason::Unknown
            | DenyReason::OutOfScope
            | DenyReason::Headers
            | DenyReason::State
            | DenyReason::Schema
            | DenyReason::Rate
            | DenyReason::AuditUnavailable
            | DenyReason::Overloaded
            | DenyReason::Internal => {}
        }
    }

    #[cfg(test)]
    fn n_contexts(&self) -> usize {
        self.0.contexts.len()
    }

    fn context(&self, call: &Call, at: Instant) -> Shared<Context> {
        let Caller { principal, client, conversation, .. } = call.caller.as_ref();
        // A session is ours; a trace is the client's word, and better than nothing.
        let trace = call.trace.map(|trace| trace.trace_id().to_string());
        let (kind, place) = match (conversation.as_deref(), trace.as_deref()) {
            (Some(session), _) => (1, session),
            (None, Some(trace)) => (2, trace),
            // What one server said is often meant for another.
            (None, None) => (3, ""),
        };
        let mut name = vec![kind];
        for part in [principal.as_str(), client, place] {
            name.extend_from_slice(&part.len().to_le_bytes());
            name.extend_from_slice(part.as_bytes());
        }
        self.0.contexts.get(self.0.key.hash(&name), || Context::new(at), |_| ())
    }

    fn principal(&self, caller: &Caller, at: Instant) -> Shared<Principal> {
        let name = self.0.key.hash(caller.principal.as_str().as_bytes());
        let forgotten = || *lock(&self.0.forgotten);
        let make = || Principal::new(forgotten(), at);
        self.0.principals.get(name, make, |gone| {
            let mut forgotten = lock(&self.0.forgotten);
            *forgotten = (*forgotten).max(gone.tainted);
        })
    }
}

impl Witness {
    /// Hears an answer, or what is asked or told before it.
    pub fn hear(&self, answer: &[u8], at: Instant) {
        let Self { risk, context, principal, labels, arguments, keep } = self;
        let heard = Heard::read(&risk.0.key, *labels, arguments, answer);
        lock(context).index.hear(&heard, at, *keep);
        lock(principal).index.hear(&heard, at, *keep);
    }
}

impl Default for Risk {
    fn default() -> Self {
        Self::new()
    }
}

/// What is remembered is shown to nobody.
impl fmt::Debug for Risk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Risk")
    }
}
