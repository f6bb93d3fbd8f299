//! What the gates say of a call, and why.
//!
//! `Verdict` is the word of the whole chain; `DenyReason` is a closed list, so that adding a
//! reason breaks the build wherever one must be told apart. The text that a caller may see is
//! `Refusal::told`, which never says more than the caller may know; the audit has the rest.

use std::{fmt, sync::Arc, time::Duration};

use smallvec::SmallVec;

use super::{ApprovalId, Standing};

/// What the gates decided together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    /// Only if somebody approves of it.
    Hold,
    Deny(Refusal),
}

/// What a verdict rests on, for the record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grounds {
    /// The policies that decided.
    pub policies: SmallVec<[Arc<str>; 2]>,
    /// Policies would refuse it, and are only watched.
    pub is_shadowed: bool,
    /// How risky it is. Only calls are.
    pub risk: Option<Standing>,
    /// What it waits for, or what lets it through.
    pub approval: Option<ApprovalId>,
}

/// Why a call is refused. The order is the order of the gates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DenyReason {
    /// The emergency stop is engaged.
    Stopped,
    /// Not on the whitelist, not as approved, or no such thing: told apart only in the audit.
    NotListed,
    Pin,
    Unknown,
    /// No policy would allow this caller any such call.
    OutOfScope,
    /// The headers of the request contradict its body.
    Headers,
    /// The state that came with answers was not given out for this request.
    State,
    /// The arguments do not fit the tool's schema, or its client cannot read that of a form.
    Schema,
    /// No policy allows this call, or one forbids it.
    Policy,
    /// Too risky.
    Risk,
    /// Nobody has approved of it yet.
    Held,
    /// Somebody has refused to approve of it, or nobody has answered in time.
    Approval,
    /// More calls than its rate allows.
    Rate,
    /// The record could not be written, so nothing may be sent.
    AuditUnavailable,
    /// Too much in flight.
    Overloaded,
    /// A defect of ours: refuse and say so loudly.
    Internal,
}

impl DenyReason {
    pub const ALL: [Self; 16] = [
        Self::Stopped,
        Self::NotListed,
        Self::Pin,
        Self::Unknown,
        Self::OutOfScope,
        Self::Headers,
        Self::State,
        Self::Schema,
        Self::Policy,
        Self::Risk,
        Self::Held,
        Self::Approval,
        Self::Rate,
        Self::AuditUnavailable,
        Self::Overloaded,
        Self::Internal,
    ];

    /// The stable word used in `data.reason`, metrics and the audit.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::NotListed => "not_listed",
            Self::Pin => "pin",
            Self::Unknown => "unknown",
            Self::OutOfScope => "out_of_scope",
            Self::Headers => "headers",
            Self::State => "state",
            Self::Schema => "schema",
            Self::Policy => "policy",
            Self::Risk => "risk",
            Self::Held => "held",
            Self::Approval => "approval",
            Self::Rate => "rate_limited",
            Self::AuditUnavailable => "audit_unavailable",
            Self::Overloaded => "overloaded",
            Self::Internal => "internal",
        }
    }

    /// Whether the caller must not learn that what it asked for exists.
    pub fn hides(self) -> bool {
        matches!(self, Self::NotListed | Self::Pin | Self::Unknown | Self::OutOfScope)
    }
}

impl fmt::Display for DenyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal: the reason, and one safe sentence for the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: DenyReason,
    pub told: String,
    /// When it may be otherwise.
    pub retry: Option<Duration>,
    /// What would make it otherwise.
    pub approval: Option<ApprovalId>,
}

impl Refusal {
    pub fn new(reason: DenyReason, told: impl Into<String>) -> Self {
        Self { reason, told: told.into(), retry: None, approval: None }
    }
}
