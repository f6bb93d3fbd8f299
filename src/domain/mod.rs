//! The nouns of the house: names, callers, calls, verdicts, outcomes and every limit.
//!
//! Promises plain values whose constructors refuse what is not valid, so that no other room
//! handles a bare string as an identity. Does no IO, knows no async, no clock and no serde.

mod call;
mod ids;
pub mod limits;
mod matter;
mod name;
mod rate;
mod risk;
mod verdict;

pub use call::{
    Call, CallError, Caller, Deadline, Kind, Outcome, Principal, Rights, Sent, Subject, Task,
    TaskStep, Transport,
};
pub use ids::{
    ApprovalId, CallId, CallIds, Generation, Nonce, ReplicaNo, SpanId, TraceId, TraceParent, Use,
};
pub use matter::{Asking, Matter, Questions, Topic, Wish};
pub use name::{ExposedName, NameError, PromptName, ResourceUri, ServerName, TaskId, ToolName};
pub use rate::{Per, Rate};
pub use risk::{Labels, Reason, Standing};
pub use verdict::{DenyReason, Grounds, Refusal, Verdict};

/// The two families of MCP revisions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Era {
    /// 2024-11-05 to 2025-11-25: a handshake, then a session.
    Legacy,
    /// 2026-07-28 and later: every request stands alone.
    Modern,
}

impl Era {
    /// The word used in logs, status and the audit.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        }
    }
}
