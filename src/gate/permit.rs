//! Permit and ticket: what an admitted call carries.
//!
//! A `Permit` is the proof that every gate agreed and the intent is on record: for a call, or for
//! whatever else crosses. It is minted here only, by the gate. A `Ticket` owes the audit an outcome
//! and pays exactly once, also when it is dropped because a task was cancelled.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::{latch::Epoch, risk::Witness};
use crate::{
    audit::{Audit, Receipt, Record},
    domain::{Call, CallError, CallId, DenyReason, Outcome, Sent, Transport},
    sys,
    telemetry::{Meter, Seen},
};

/// Proof of an Allow on record. Whoever sends borrows it; whoever has none cannot send.
///
/// It cannot be built outside the gate:
/// ```compile_fail,E0451
/// fn forge(call: portcullis::domain::Call, epoch: portcullis::gate::Epoch,
///          receipt: portcullis::audit::Receipt) -> portcullis::gate::Permit {
///     portcullis::gate::Permit { matter: call, epoch, receipt }
/// }
/// ```
/// nor copied:
/// ```compile_fail,E0599
/// fn twice(permit: portcullis::gate::Permit) -> portcullis::gate::Permit {
///     permit.clone()
/// }
/// ```
/// nor used after it was handed on:
/// ```compile_fail,E0382
/// fn hand_on(permit: portcullis::gate::Permit) {
///     drop(permit);
///     println!("{:?}", permit.epoch());
/// }
/// ```
#[derive(Debug)]
#[must_use = "an admitted call that is not sent must at least be concluded"]
pub struct Permit<T = Call> {
    matter: T,
    epoch: Epoch,
    receipt: Receipt,
}

impl Permit {
    pub fn call(&self) -> &Call {
        &self.matter
    }
}

impl<T> Permit<T> {
    pub(super) fn mint(matter: T, epoch: Epoch, receipt: Receipt) -> Self {
        Self { matter, epoch, receipt }
    }

    /// What it was given for.
    pub fn matter(&self) -> &T {
        &self.matter
    }

    /// To be compared with the latch as the last thing before writing.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The intent's record.
    pub fn receipt(&self) -> Receipt {
        self.receipt
    }
}

/// The duty to report what came of an intent.
#[derive(Debug)]
#[must_use = "dropping a ticket records the call as cancelled"]
pub struct Ticket(Box<Duty>);

/// In a box, because a ticket is carried through everything that becomes of its call.
#[derive(Debug)]
struct Duty {
    audit: Audit,
    call: CallId,
    since: Instant,
    /// What is recorded if nobody concludes; `None` once that is settled.
    owed: Option<Sent>,
    witness: Option<Witness>,
    /// What the server answered.
    result: Option<Bytes>,
    /// Where its end is counted, once.
    counted: Option<(Meter, Transport)>,
    /// By somebody who watches.
    seen: Option<Box<Seen>>,
}

impl Ticket {
    /// Opened before the intent is handed to the audit: a caller who leaves in between has
    /// sent nothing, and the record says so.
    pub(super) fn open(
        audit: Audit,
        call: &Call,
        (witness, meter, seen): (Option<Witness>, Meter, Option<Box<Seen>>),
    ) -> Self {
        let (since, owed) = (Instant::now(), Some(Sent::No));
        let (call, counted) = (call.id, Some((meter, call.caller.transport)));
        Self(Box::new(Duty { audit, call, since, owed, witness, result: None, counted, seen }))
    }

    /// Since it was opened.
    pub(super) fn age(&self) -> Duration {
        self.0.since.elapsed()
    }

    /// Its intent was not put on record: whatever comes of it now, its caller was refused.
    pub(super) fn refused(&mut self) {
        if let Some((meter, transport)) = self.0.counted.take() {
            meter.refused(transport, DenyReason::AuditUnavailable);
        }
        if let Some(seen) = self.0.seen.take() {
            seen.refused(sys::unix_micros(), DenyReason::AuditUnavailable);
        }
    }

    /// What was answered, or asked, is remembered, and on record with the outcome. To be called
    /// before anybody else has it.
    pub fn hear(&mut self, answer: &Bytes) {
        self.0.result = Some(answer.clone());
        if let Some(witness) = &self.0.witness {
            witness.hear(answer, Instant::now());
        }
    }

    /// The intent is on record; from here on nobody can say that nothing was sent.
    pub(super) fn admitted(mut self) -> Self {
        self.0.owed = Some(Sent::Unknown);
        self
    }

    /// There is no intent on record that would need an outcome.
    pub(super) fn void(mut self) {
        self.refused();
        self.0.owed = None;
    }

    /// Records the outcome. Never blocks; a loss is alarmed and changes no reply.
    pub fn conclude(mut self, outcome: Outcome) {
        self.0.owed = None;
        self.record(outcome);
    }

    fn record(&self, outcome: Outcome) {
        let Duty { audit, call, since, result, counted, seen, .. } = self.0.as_ref();
        let (call, result, elapsed) = (*call, result.as_ref(), since.elapsed());
        if let Some((meter, transport)) = counted {
            meter.ended(*transport, outcome, elapsed);
        }
        if let Some(seen) = seen {
            seen.ended(sys::unix_micros(), outcome, elapsed);
        }
        audit.append_later(Record::Outcome { call, outcome, result, elapsed });
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(sent) = self.0.owed.take() {
            self.record(Outcome::Failed(CallError::Cancelled { sent }));
        }
    }
}
