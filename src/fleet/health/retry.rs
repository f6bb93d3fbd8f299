//! Whether a failed call is sent again, and how many may be.
//!
//! Owns the budget of one server: each call pays a share of a retry in, time pays a little, and
//! each retry takes a whole one out, so that a server in trouble is not drowned by second tries.
//! A call is sent again only if no byte of it was written, or the operator has marked it as one
//! that may be repeated; what a server says about its tools is never asked. The latch and the
//! audit see each attempt, but not from here.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::domain::{
    CallError, Sent,
    limits::{RETRIES_MAX, RETRIES_PER_SECOND_MIN, RETRY_BURST_MAX, RETRY_PERCENT},
};

/// What the operator has said about a call that the server may have carried out already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fleet) enum Repeat {
    /// Nothing: once may be all that is right.
    NotMarked,
    /// It is idempotent, or only reads.
    MarkedSafe,
}

/// The retries that one server still has.
#[derive(Debug)]
pub(in crate::fleet) struct RetryBudget {
    /// Calls that have not been paid in yet. Apart from the rest, for every call comes here.
    calls: AtomicU32,
    purse: Mutex<Purse>,
}

/// Time is money: what a second brings without any call is a second.
#[derive(Debug)]
struct Purse {
    saved: Duration,
    counted: Instant,
}

/// Whether a call that failed so after `retries` second tries is sent once more. Takes from the
/// budget only if nothing else is against it.
pub(in crate::fleet) fn may_retry(
    error: CallError,
    repeat: Repeat,
    retries: u32,
    budget: &RetryBudget,
    now: Instant,
) -> bool {
    let sent = match error {
        CallError::Unavailable { sent } => sent,
        // The stop and the caller have said no, its time is over, the queue is full for everybody,
        // or there was an answer of a kind.
        CallError::Stopped { .. }
        | CallError::Cancelled { .. }
        | CallError::Deadline { .. }
        | CallError::Busy
        | CallError::Crowded
        | CallError::Queued
        | CallError::Unauthorised
        | CallError::Protocol { .. }
        | CallError::Withheld { .. } => return false,
    };
    let is_harmless = match (sent, repeat) {
        (Sent::No, Repeat::NotMarked | Repeat::MarkedSafe) => true,
        (Sent::Unknown | Sent::Yes, Repeat::MarkedSafe) => true,
        (Sent::Unknown | Sent::Yes, Repeat::NotMarked) => false,
    };
    is_harmless && retries < RETRIES_MAX && budget.withdraw(now)
}

impl RetryBudget {
    /// Begins with what one second brings.
    pub(in crate::fleet) fn new(now: Instant) -> Self {
        let purse = Purse { saved: Duration::from_secs(1), counted: now };
        Self { calls: AtomicU32::new(0), purse: Mutex::new(purse) }
    }

    /// A call is sent for the first time.
    pub(in crate::fleet) fn deposit(&self) {
        // If it wraps calls are forgotten, and with them retries: late is safe.
        self.calls.fetch_add(1, Relaxed);
    }

    fn withdraw(&self, now: Instant) -> bool {
        let price = Duration::from_secs(1) / RETRIES_PER_SECOND_MIN;
        let earned = (price * RETRY_PERCENT / 100).saturating_mul(self.calls.swap(0, Relaxed));
        let mut purse = self.purse.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(purse.counted);
        purse.counted = purse.counted.max(now);
        purse.saved = (purse.saved.saturating_add(earned).saturating_add(passed))
            .min(price * RETRY_BURST_MAX);
        let rest = purse.saved.checked_sub(price);
        purse.saved = rest.unwrap_or(purse.saved);
        rest.is_some()
    }
}
