//! The gate: whether one call may reach a server, and its questions their caller.
//!
//! Promises: a `Permit` exists only after every gate agreed and its intent is on record; every
//! refusal is handed to the audit before it is returned; the order of the gates is fixed in
//! `judge`, which is pure. Knows nothing of replicas, transports or JSON-RPC. Fails closed: no
//! policy, no schema, no record or an unreadable latch all mean no.

mod latch;
mod permit;
mod rules;
mod schema;
#[cfg(test)]
mod tests;
mod whitelist;

pub use latch::{Cause, Engaged, Epoch, Latch, LatchState, ResetError, Stop, Stopped};
pub use permit::{Permit, Ticket};
pub use rules::Rules;
pub use schema::{Schema, SchemaBudget, SchemaError};
pub use whitelist::Whitelist;

use crate::{
    audit::{Audit, AuditError, Pending, Receipt, Record},
    domain::{
        Call, CallId, Caller, DenyReason, Kind, Matter, Questions, Refusal, ReplicaNo, Verdict,
        Wish,
    },
};

/// What the catalog knows of the subject of a call.
#[derive(Clone, Copy, Debug)]
pub enum Definition<'a> {
    /// A tool, whose arguments must fit.
    Known(&'a Schema),
    /// A prompt, a resource or a template: there is no schema to check against.
    Listed,
    /// The operator forwards names that are not listed (`names = "plain"`), or one server alone can
    /// know the resource: nothing to check against.
    Forwarded,
    Missing,
}

/// All gates together, with the audit behind them.
#[derive(Clone, Debug)]
pub struct Gate {
    latch: Latch,
    audit: Audit,
}

/// The whole decision on whatever is to cross, in the one order there is. Pure.
pub fn judge(
    latch: Result<Epoch, Stopped>,
    rules: &Rules,
    matter: Matter<'_>,
    definition: Definition<'_>,
) -> Verdict {
    let deny = |reason| Verdict::Deny(Refusal::new(reason, told(reason)));
    if latch.is_err() {
        return deny(DenyReason::Stopped);
    }
    let is_listed = match matter {
        Matter::Call(call) => rules.listed(&call.server, &call.subject),
        Matter::Wish(wish) => rules.listed(&wish.server, &wish.topic.subject()),
        // They belong to a call that was.
        Matter::Questions(_) => true,
    };
    match (matter, definition) {
        (_, Definition::Missing) => deny(DenyReason::Unknown),
        _ if !is_listed => deny(DenyReason::NotListed),
        (Matter::Call(call), Definition::Known(schema)) => match schema.check(&call.arguments) {
            Ok(()) => Verdict::Allow,
            Err(sentence) => Verdict::Deny(Refusal::new(DenyReason::Schema, sentence)),
        },
        // There is nothing to check against, or nothing to check.
        (Matter::Call(_), Definition::Listed | Definition::Forwarded)
        | (
            Matter::Wish(_) | Matter::Questions(_),
            Definition::Known(_) | Definition::Listed | Definition::Forwarded,
        ) => Verdict::Allow,
    }
}

/// A call that every gate agreed to, and whose intent is on its way to the record. Nothing may be
/// sent for it yet.
#[derive(Debug)]
#[must_use = "a call is admitted once it is on record"]
pub struct Admission {
    call: Call,
    epoch: Epoch,
    ticket: Ticket,
    pending: Pending,
}

impl Admission {
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// The permit, as soon as the intent is on record.
    pub async fn on_record(self) -> Result<(Permit, Ticket), Refusal> {
        let Self { call, epoch, ticket, pending } = self;
        match pending.written().await {
            Ok(receipt) => Ok((Permit::mint(call, epoch, receipt), ticket.admitted())),
            // It may still be written: then it has an outcome, that nothing was sent.
            Err(AuditError::Stalled) => Err(refusal(DenyReason::AuditUnavailable)),
            Err(_) => {
                ticket.void();
                Err(refusal(DenyReason::AuditUnavailable))
            }
        }
    }
}

impl Gate {
    pub fn new(latch: Latch, audit: Audit) -> Self {
        Self { latch, audit }
    }

    pub fn latch(&self) -> &Latch {
        &self.latch
    }

    /// Whether the audit takes records; without it nothing is admitted.
    pub fn is_recording(&self) -> bool {
        self.audit.is_healthy()
    }

    /// Lets a call through, on record, or refuses it, on record.
    pub async fn admit(
        &self,
        rules: &Rules,
        call: Call,
        definition: Definition<'_>,
    ) -> Result<(Permit, Ticket), Refusal> {
        self.allow(rules, call, definition).await?.on_record().await
    }

    /// The same in two steps, for whoever can prepare the call while its intent is written.
    pub async fn allow(
        &self,
        rules: &Rules,
        call: Call,
        definition: Definition<'_>,
    ) -> Result<Admission, Refusal> {
        let matter = Matter::Call(&call);
        let epoch = self.agree(rules, matter, definition).await?;
        let ticket = Ticket::open(self.audit.clone(), call.id);
        match self.audit.begin(Record::Intent { matter }) {
            Ok(pending) => Ok(Admission { call, epoch, ticket, pending }),
            Err(_) => {
                ticket.void();
                Err(refusal(DenyReason::AuditUnavailable))
            }
        }
    }

    /// Puts on record that an admitted call, which one replica did not receive, goes to another.
    /// The latch is asked where it is written.
    pub async fn resend(
        &self,
        permit: &Permit,
        from: ReplicaNo,
        to: ReplicaNo,
    ) -> Result<(), Refusal> {
        let call = permit.call().id;
        let recorded = self.audit.append(Record::Resent { call, from, to }).await;
        recorded.map(drop).map_err(|_| refusal(DenyReason::AuditUnavailable))
    }

    /// Lets what a server asks through to its caller, on record, or refuses it, on record. It is
    /// part of a call, whose ticket is still open, so it owes no outcome.
    pub async fn admit_questions(
        &self,
        rules: &Rules,
        questions: Questions,
    ) -> Result<Permit<Questions>, Refusal> {
        let passed = self.pass(rules, Matter::Questions(&questions), Definition::Listed).await;
        let (epoch, receipt) = passed?;
        Ok(Permit::mint(questions, epoch, receipt))
    }

    /// Lets something be watched, on record, or refuses it, on record. Nothing comes of it that
    /// could be owed.
    pub async fn admit_wish(
        &self,
        rules: &Rules,
        wish: Wish,
        definition: Definition<'_>,
    ) -> Result<Permit<Wish>, Refusal> {
        let (epoch, receipt) = self.pass(rules, Matter::Wish(&wish), definition).await?;
        Ok(Permit::mint(wish, epoch, receipt))
    }

    async fn pass(
        &self,
        rules: &Rules,
        matter: Matter<'_>,
        definition: Definition<'_>,
    ) -> Result<(Epoch, Receipt), Refusal> {
        let epoch = self.agree(rules, matter, definition).await?;
        let appended = self.audit.append(Record::Intent { matter }).await;
        Ok((epoch, appended.map_err(|_| refusal(DenyReason::AuditUnavailable))?))
    }

    /// The epoch in which every gate agreed, or the refusal that is on record.
    async fn agree(
        &self,
        rules: &Rules,
        matter: Matter<'_>,
        definition: Definition<'_>,
    ) -> Result<Epoch, Refusal> {
        let epoch = self.latch.epoch();
        let refusal = match (epoch, judge(epoch, rules, matter, definition)) {
            (Ok(epoch), Verdict::Allow) => return Ok(epoch),
            (_, Verdict::Deny(refusal)) => refusal,
            (Err(Stopped), Verdict::Allow) => refusal(DenyReason::Internal),
        };
        self.put(Record::Denied { matter, reason: refusal.reason, told: &refusal.told }).await;
        Err(refusal)
    }

    /// Refuses what never became a `Call`, for example a name that no server has. The stop
    /// comes first here too: while it is engaged, it is the reason for everything.
    pub async fn refuse(
        &self,
        call: CallId,
        caller: &Caller,
        (about, asked): (Kind, &str),
        reason: DenyReason,
    ) -> Refusal {
        let reason = if self.latch.epoch().is_ok() { reason } else { DenyReason::Stopped };
        self.put(Record::Refused { call, caller, about, asked, reason }).await;
        refusal(reason)
    }

    /// Stops everything and puts it on record, in this order.
    pub fn engage(&self, cause: Cause) -> Engaged {
        let engaged = self.latch.engage(cause);
        if let Engaged::Now(Stop { id, who, why, .. }) = &engaged {
            self.audit.append_later(Record::LatchEngaged { id, who, why });
        }
        engaged
    }

    /// Permits calls again and puts it on record.
    pub fn reset(&self, id: &str, reason: &str, who: &str) -> Result<Stop, ResetError> {
        let stop = self.latch.reset(id, reason, who)?;
        self.audit.append_later(Record::LatchReset { id, who, why: reason });
        Ok(stop)
    }

    /// A refusal stands whether or not it could be recorded.
    async fn put(&self, record: Record<'_>) {
        if let Err(error) = self.audit.append(record).await {
            tracing::error!(kind = record.kind(), %error, "Audit record was lost");
        }
    }
}

fn refusal(reason: DenyReason) -> Refusal {
    Refusal::new(reason, told(reason))
}

/// What a caller may know. The two reasons that hide something read the same.
fn told(reason: DenyReason) -> &'static str {
    match reason {
        DenyReason::Stopped => "the emergency stop is engaged",
        DenyReason::NotListed | DenyReason::Unknown => "unknown",
        DenyReason::Schema => "the arguments do not fit the tool's schema",
        DenyReason::AuditUnavailable => "the call could not be put on record and was not sent",
        DenyReason::State => "the requestState was not given out for this request, or is too old",
        DenyReason::Headers => "the headers contradict the body",
        DenyReason::Overloaded => "too many calls are in flight; try again later",
        DenyReason::Internal => "the gateway refused the call because of a defect of its own",
    }
}
