//! The decision itself, in the one order that there is. Pure.
//!
//! Latch, whitelist and pins, arguments against the schema, policies, risk. A refusal that would
//! tell of something its caller can never have says that there is no such thing.

use std::borrow::Cow;

use super::{Epoch, Facts, Pin, Rules, Schema, Stopped, Taint};
use crate::{
    config::PolicyMode,
    domain::{ApprovalId, DenyReason, Grounds, Matter, Refusal, Standing, Verdict},
    telemetry::{Lap, Meter, Stage},
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
    /// It waits to be approved.
    HeldBack,
    Missing,
}

/// What the catalog says of a call.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub definition: Definition<'a>,
    /// Of the definition, if it has one.
    pub pin: Option<&'a Pin>,
    /// Where it is counted.
    pub meter: Meter,
}

/// What somebody has said of this very call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approval {
    /// Nothing yet.
    None,
    Given(ApprovalId),
}

/// A verdict, and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub verdict: Verdict,
    pub grounds: Grounds,
}

/// The whole decision on whatever is to cross, in the one order there is. Pure.
pub fn judge(
    latch: Result<Epoch, Stopped>,
    rules: &Rules,
    (matter, definition): (Matter<'_>, Definition<'_>),
    of_call: (&Standing, Approval),
) -> Judgement {
    judge_by(latch, rules, (matter, definition), of_call, &mut ())
}

/// The same, for whoever wants to hear when each stage is over.
pub(super) fn judge_by(
    latch: Result<Epoch, Stopped>,
    rules: &Rules,
    (matter, definition): (Matter<'_>, Definition<'_>),
    of_call: (&Standing, Approval),
    laps: &mut impl Lap,
) -> Judgement {
    if latch.is_err() {
        return DenyReason::Stopped.into();
    }
    let (principal, server, subject) = match matter {
        Matter::Call(call) => (&call.caller.principal, &call.server, Cow::Borrowed(&call.subject)),
        Matter::Wish(wish) => {
            (&wish.caller.principal, &wish.server, Cow::Owned(wish.topic.subject()))
        }
        // They belong to a call that was judged.
        Matter::Questions(_) => return Verdict::Allow.into(),
    };
    let hidden = match definition {
        Definition::Missing => Some(DenyReason::Unknown),
        _ if !rules.listed(server, &subject) => Some(DenyReason::NotListed),
        Definition::HeldBack => Some(DenyReason::Pin),
        Definition::Known(_) | Definition::Listed | Definition::Forwarded => None,
    };
    laps.lap(Stage::Whitelist);
    if let Some(reason) = hidden {
        return reason.into();
    }
    let judgement = judge_content(rules, (matter, definition), of_call, laps);
    // Of what no argument would open, a caller learns nothing at all.
    let is_denied = matches!(judgement.verdict, Verdict::Deny(_));
    if is_denied && !rules.shows(principal, server, &subject) {
        let verdict = Verdict::Deny(refusal(DenyReason::OutOfScope));
        return Judgement { verdict, ..judgement };
    }
    judgement
}

/// What is asked of something that exists.
fn judge_content(
    rules: &Rules,
    (matter, definition): (Matter<'_>, Definition<'_>),
    (standing, approval): (&Standing, Approval),
    laps: &mut impl Lap,
) -> Judgement {
    let checked = match (matter, definition) {
        (Matter::Call(call), Definition::Known(schema)) => schema.check(&call.arguments),
        (_, _) => Ok(()),
    };
    laps.lap(Stage::Schema);
    if let Err(sentence) = checked {
        return Verdict::Deny(Refusal::new(DenyReason::Schema, sentence)).into();
    }
    let judgement = judge_by_policies(rules, matter, (standing, approval));
    laps.lap(Stage::Policy);
    judgement
}

/// What the policies and the thresholds say.
fn judge_by_policies(
    rules: &Rules,
    matter: Matter<'_>,
    (standing, approval): (&Standing, Approval),
) -> Judgement {
    let taint = if standing.tainted { Taint::Tainted } else { Taint::Clean };
    let is_approved = approval != Approval::None;
    let facts = Facts { risk: standing.score, taint, is_approved };
    let policies = rules.policies();
    let Some(decided) = policies.judge(matter, facts) else {
        return Verdict::Allow.into();
    };
    let is_shadowed = !decided.allows && policies.mode() == PolicyMode::Shadow;
    // Whether an approval is all that they want.
    let would_allow = || {
        let approved = policies.judge(matter, Facts { is_approved: true, ..facts });
        let is_call = matches!(matter, Matter::Call(_));
        is_call && !is_approved && approved.is_some_and(|decided| decided.allows)
    };
    let verdict = match (decided.allows || is_shadowed, rules.risk.decide(standing)) {
        (true, Verdict::Hold) if is_approved => Verdict::Allow,
        (true, verdict) => verdict,
        (false, Verdict::Allow | Verdict::Hold) if would_allow() => Verdict::Hold,
        (false, _) => Verdict::Deny(refusal(DenyReason::Policy)),
    };
    let approval = match approval {
        Approval::Given(id) => Some(id),
        Approval::None => None,
    };
    let grounds = Grounds { policies: decided.by, is_shadowed, risk: None, approval };
    Judgement { verdict, grounds }
}

impl From<Verdict> for Judgement {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, grounds: Grounds::default() }
    }
}

impl From<DenyReason> for Judgement {
    fn from(reason: DenyReason) -> Self {
        Verdict::Deny(refusal(reason)).into()
    }
}

pub(super) fn refusal(reason: DenyReason) -> Refusal {
    Refusal::new(reason, told(reason))
}

/// What a caller may know. The reasons that hide something read the same.
fn told(reason: DenyReason) -> &'static str {
    match reason {
        DenyReason::Stopped => "the emergency stop is engaged",
        DenyReason::NotListed | DenyReason::Pin | DenyReason::Unknown | DenyReason::OutOfScope => {
            "unknown"
        }
        DenyReason::Schema => "the arguments do not fit the tool's schema",
        DenyReason::Policy => "the gateway's policies do not allow this call",
        DenyReason::Risk => "the call is too risky to be made",
        DenyReason::Held => "the call waits for an approval",
        DenyReason::Approval => "the call was not approved of",
        DenyReason::Rate => "more calls than are allowed in that time; try again later",
        DenyReason::AuditUnavailable => "the call could not be put on record and was not sent",
        DenyReason::State => "the requestState was not given out for this request, or is too old",
        DenyReason::Headers => "the headers contradict the body",
        DenyReason::Overloaded => "too many calls are in flight; try again later",
        DenyReason::Internal => "the gateway refused the call because of a defect of its own",
    }
}
