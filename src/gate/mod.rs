//! The gate: whether one call may reach a server, and its questions their caller.
//!
//! Promises: a `Permit` exists only after every gate agreed and its intent is on record; every
//! refusal is handed to the audit before it is returned, which may count it; the order of the gates
//! is fixed in `judge`, which is pure. Knows nothing of replicas, transports or JSON-RPC. Fails
//! closed: no policy, no schema, no record or an unreadable latch all mean no.

mod approvals;
mod judge;
mod latch;
mod permit;
mod pins;
mod policy;
mod rates;
mod risk;
mod rules;
mod schema;
mod stopping;
#[cfg(test)]
mod tests;
mod whitelist;

pub use approvals::{
    About, Approvals, Decision, DecisionError, Remembered, Request, State, digest_over,
};
pub use judge::{Approval, Definition, Judgement, Known, judge};
use latch::Runaway;
pub use latch::{
    Book, Category, Cause, Engaged, Epoch, Latch, LiftError, Marks, Phase, Scope, ScopeError, Stop,
    Stopped,
};
pub use permit::{Permit, Ticket};
pub use pins::{
    Approved, Class, Finding, Findings, Held, Listed, OddTools, Offered, Origin, Pin, PinError,
    PinRules, Pins, Quarantine, Report, Selection, Stamp, Why, digest, locate, shown,
};
pub use policy::{Decided, Explained, Explanation, Facts, Fit, Offer, Policies, Taint};
pub use risk::{Risk, RiskRules, Witness};
pub use rules::Rules;
pub use schema::{Schema, SchemaBudget, SchemaError};
pub use whitelist::Whitelist;

use std::sync::Arc;

use judge::{judge_by, refusal};
use tokio::time::Instant;

use crate::{
    audit::{Audit, AuditError, Heads, Pending, Receipt, Record},
    domain::{
        Call, CallId, Caller, DenyReason, Grounds, Kind, Matter, Questions, Refusal, ReplicaNo,
        Standing, Use, Verdict, Wish,
    },
    sys,
    telemetry::{Lap, Laps, Meter, Seen, Stage, meters},
};

/// All gates together, with the audit behind them.
#[derive(Clone, Debug)]
pub struct Gate {
    latch: Latch,
    audit: Audit,
    risk: Risk,
    runaway: Option<Arc<Runaway>>,
    /// Without them, what is held is refused.
    approvals: Option<Approvals>,
}

/// What every gate agreed to.
struct Agreed {
    epoch: Epoch,
    grounds: Grounds,
    /// Of a call.
    witness: Option<Witness>,
    /// Which use of an approval it is.
    under: Option<Use>,
    /// A call that somebody watches.
    seen: Option<Box<Seen>>,
}

/// What is to be judged, and when it was asked for.
#[derive(Clone, Copy)]
struct Case<'a> {
    rules: &'a Rules,
    matter: Matter<'a>,
    definition: Definition<'a>,
    /// Of the definition, if it has one.
    pin: Option<&'a Pin>,
    epoch: Result<Epoch, Stopped>,
    at: Instant,
    approval: Approval,
}

/// What is to become of it.
struct Weighed {
    judgement: Judgement,
    /// Of a call.
    witness: Option<Witness>,
    /// Which use of an approval it is.
    under: Option<Use>,
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
        let Self { call, epoch, mut ticket, pending } = self;
        let written = pending.written().await;
        meters().stage(Stage::Audit, ticket.age());
        match written {
            Ok(receipt) => Ok((Permit::mint(call, epoch, receipt), ticket.admitted())),
            // It may still be written: then it has an outcome, that nothing was sent.
            Err(AuditError::Stalled) => {
                ticket.refused();
                Err(refusal(DenyReason::AuditUnavailable))
            }
            Err(_) => {
                ticket.void();
                Err(refusal(DenyReason::AuditUnavailable))
            }
        }
    }
}

impl Gate {
    pub fn new(latch: Latch, audit: Audit) -> Self {
        Self { latch, audit, risk: Risk::new(), runaway: None, approvals: None }
    }

    /// The same, but who is refused more often in a minute is stopped.
    pub fn stop_runaways(self, most: usize) -> Self {
        Self { runaway: Some(Arc::new(Runaway::new(most))), ..self }
    }

    /// The same, but somebody may be asked about what is held.
    pub fn ask_for_approvals(self, approvals: Approvals) -> Self {
        Self { approvals: Some(approvals), ..self }
    }

    pub fn approvals(&self) -> Option<&Approvals> {
        self.approvals.as_ref()
    }

    pub fn latch(&self) -> &Latch {
        &self.latch
    }

    /// For what is on record and was never judged.
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Whether the audit takes records; without it nothing is admitted.
    pub fn is_recording(&self) -> bool {
        self.audit.is_healthy()
    }

    /// How far the record is.
    pub fn heads(&self) -> Heads {
        self.audit.heads()
    }

    /// Sets what is done, once, when the audit fails.
    pub fn on_audit_failure(&self, hook: impl FnOnce() + Send + 'static) {
        self.audit.on_failure(hook);
    }

    /// Lets a call through, on record, or refuses it, on record.
    pub async fn admit(
        &self,
        rules: &Rules,
        call: Call,
        definition: Definition<'_>,
    ) -> Result<(Permit, Ticket), Refusal> {
        let meter = Meter::of_kind(&call.server, call.subject.kind());
        self.allow(rules, call, Known { definition, pin: None, meter }).await?.on_record().await
    }

    /// The same in two steps, for whoever can prepare the call while its intent is written.
    pub async fn allow(
        &self,
        rules: &Rules,
        mut call: Call,
        Known { definition, pin, meter }: Known<'_>,
    ) -> Result<Admission, Refusal> {
        let agreed = self.agree(rules, Matter::Call(&call), (definition, pin)).await;
        let Agreed { epoch, grounds, witness, under, seen } =
            agreed.inspect_err(|refusal| meter.refused(call.caller.transport, refusal.reason))?;
        call.under = under.map(Box::new);
        let ticket = Ticket::open(self.audit.clone(), &call, (witness, meter, seen));
        let matter = Matter::Call(&call);
        match self.audit.begin_call(Record::Intent { matter, grounds: &grounds }) {
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
        let agreed = self.agree(rules, matter, (definition, None)).await?;
        let Agreed { epoch, grounds, .. } = agreed;
        let appended = self.audit.append(Record::Intent { matter, grounds: &grounds }).await;
        Ok((epoch, appended.map_err(|_| refusal(DenyReason::AuditUnavailable))?))
    }

    /// The epoch in which every gate agreed and why, or the refusal that is on record.
    async fn agree(
        &self,
        rules: &Rules,
        matter: Matter<'_>,
        (definition, pin): (Definition<'_>, Option<&Pin>),
    ) -> Result<Agreed, Refusal> {
        let mut laps = Laps::begin();
        let epoch = self.latch.epoch(matter.into());
        laps.lap(Stage::Latch);
        let at = laps.now();
        let case = Case { rules, matter, definition, pin, epoch, at, approval: Approval::None };
        let weighed = self.weigh(case, &mut laps);
        let Weighed { judgement, witness, under } = match (weighed, matter, epoch) {
            (held, Matter::Call(call), Ok(epoch)) if held.judgement.verdict == Verdict::Hold => {
                // In a box: it is rare, and every call would carry it.
                let sought = Box::pin(self.seek(case, (call, epoch), held)).await;
                laps.lap(Stage::Approval);
                sought
            }
            (weighed, _, _) => weighed,
        };
        let Judgement { verdict, grounds } = judgement;
        meters().policy_overhead.record(laps.so_far());
        let score = grounds.risk.as_ref().map(|standing| standing.score);
        if let Some(score) = score {
            meters().risk_score.record(f64::from(score));
        }
        let seen = match matter {
            Matter::Call(call) => Seen::call(call),
            Matter::Questions(_) | Matter::Wish(_) => None,
        };
        if let Some(seen) = &seen {
            seen.decided(sys::unix_micros(), &verdict, score);
        }
        let refusal = match (epoch, verdict) {
            (Ok(epoch), Verdict::Allow) => {
                return Ok(Agreed { epoch, grounds, witness, under, seen });
            }
            (_, Verdict::Deny(refusal)) => refusal,
            (_, Verdict::Hold) => refusal(DenyReason::Risk),
            (Err(Stopped), Verdict::Allow) => refusal(DenyReason::Internal),
        };
        let (reason, told) = (refusal.reason, &refusal.told);
        self.risk.denied(matter.caller(), reason, at);
        let is_told = match matter {
            Matter::Call(call) => self.audit.refusals().is_told(call, reason),
            Matter::Questions(_) | Matter::Wish(_) => true,
        };
        if is_told {
            Box::pin(self.put(Record::Denied { matter, grounds: &grounds, reason, told })).await;
        }
        self.count(matter.caller(), reason);
        Err(refusal)
    }

    /// What is to become of it, with everything that is remembered of its caller.
    fn weigh(&self, case: Case<'_>, laps: &mut Laps) -> Weighed {
        let Case { rules, matter, definition, epoch, at, approval, .. } = case;
        let mut decide = |standing: &Standing| {
            laps.lap(Stage::Risk);
            let about = (matter, definition);
            let judgement = judge_by(epoch, rules, about, (standing, approval), laps);
            // Only what goes through counts, and only once.
            if judgement.verdict != Verdict::Allow {
                return judgement;
            }
            let taken = within_rates(rules, matter);
            laps.lap(Stage::Rate);
            match taken {
                Ok(()) => judgement,
                Err(refusal) => Judgement { verdict: Verdict::Deny(refusal), ..judgement },
            }
        };
        match matter {
            Matter::Call(call) => {
                let (judgement, witness) = self.risk.weigh(&rules.risk, call, at, decide);
                Weighed { judgement, witness: Some(witness), under: None }
            }
            Matter::Wish(_) | Matter::Questions(_) => {
                Weighed { judgement: decide(&Standing::default()), witness: None, under: None }
            }
        }
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
        let epoch = self.latch.epoch(Marks::of_principal(&caller.principal));
        let reason = if epoch.is_ok() { reason } else { DenyReason::Stopped };
        Meter::unknown(about).refused(caller.transport, reason);
        if let Some(seen) = Seen::asked(call, caller, (about, asked)) {
            seen.refused(sys::unix_micros(), reason);
        }
        if self.audit.refusals().is_asked_told(call, (caller, about), reason) {
            self.put(Record::Refused { call, caller, about, asked, reason }).await;
        }
        self.count(caller, reason);
        refusal(reason)
    }

    /// What is the caller's own doing counts against it; that it is in a hurry does not.
    fn count(&self, caller: &Caller, reason: DenyReason) {
        use DenyReason::{AuditUnavailable, Held, Internal, Overloaded, Rate, Stopped};
        let is_ours =
            matches!(reason, Stopped | AuditUnavailable | Overloaded | Internal | Rate | Held);
        let runaway = self.runaway.as_ref().filter(|_| !is_ours);
        let now = std::time::Instant::now();
        if let Some(cause) = runaway.and_then(|one| one.refused(&caller.principal, now)) {
            self.engage(cause);
        }
    }

    /// A refusal stands whether or not it could be recorded.
    async fn put(&self, record: Record<'_>) {
        if let Err(error) = self.audit.append(record).await {
            tracing::error!(kind = record.kind(), %error, "Audit record was lost");
        }
    }
}

/// Counts what is about to be sent.
fn within_rates(rules: &Rules, matter: Matter<'_>) -> Result<(), Refusal> {
    let Matter::Call(call) = matter else { return Ok(()) };
    rules
        .rates
        .take(call)
        .map_err(|wait| Refusal { retry: Some(wait), ..refusal(DenyReason::Rate) })
}
