//! The score of one call: the sum of its reasons. Pure integers.
//!
//! Promises that more evidence never lowers it. What has no effect has no points: there is nothing
//! to hold. Knows no state; whoever asks has gathered the evidence.

use smallvec::SmallVec;

use super::found::Found;
use crate::{
    config::RiskConfig,
    domain::{Labels, Reason, Standing, limits::RISK_SCORE_MAX},
};

/// Everything that speaks against one call.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evidence {
    pub(super) labels: Labels,
    /// How many half-lives ago something untrusted was read: here, or anywhere by this principal.
    pub(super) tainted: Option<u32>,
    pub(super) tainted_elsewhere: Option<u32>,
    /// The same of something private.
    pub(super) private: Option<u32>,
    /// What is either so or not.
    pub(super) found: Found,
    pub(super) n_denials: u8,
    /// What earlier calls have left, in whole points.
    pub(super) account: u8,
}

/// The labels that have points of their own.
const LABELS: [(Labels, Reason); 6] = [
    (Labels::SINK, Reason::Sink),
    (Labels::DESTRUCTIVE, Reason::Destructive),
    (Labels::ADMIN, Reason::Admin),
    (Labels::WRITE, Reason::Write),
    (Labels::UNKNOWN, Reason::Unknown),
    (Labels::ODD, Reason::OddDefinition),
];

pub(super) fn score(config: &RiskConfig, evidence: &Evidence) -> Standing {
    let labels = evidence.labels;
    let tainted = evidence.tainted.or(evidence.tainted_elsewhere).is_some();
    if labels.effects().is_empty() {
        return Standing { tainted, ..Standing::default() };
    }
    let halved = |reason, age: Option<u32>| {
        age.map_or(0, |half_lives| config.weight(reason).checked_shr(half_lives).unwrap_or(0))
    };
    let here = halved(Reason::Tainted, evidence.tainted);
    let elsewhere = halved(Reason::TaintedElsewhere, evidence.tainted_elsewhere);
    let points = |reason: Reason| match reason {
        Reason::Sink
        | Reason::Destructive
        | Reason::Admin
        | Reason::Write
        | Reason::Unknown
        | Reason::OddDefinition => {
            let has = |(label, of): &(Labels, Reason)| *of == reason && labels.has(*label);
            LABELS.iter().find(|label| has(label)).map_or(0, |_| config.weight(reason))
        }
        Reason::Tainted => {
            if here >= elsewhere {
                here
            } else {
                0
            }
        }
        Reason::TaintedElsewhere => {
            if here >= elsewhere {
                0
            } else {
                elsewhere
            }
        }
        Reason::PrivateContext if labels.has(Labels::SINK) => halved(reason, evidence.private),
        Reason::PrivateContext => 0,
        Reason::Denials => {
            config.weight(reason).saturating_mul(evidence.n_denials).min(config.denials_max)
        }
        Reason::Account => config.weight(reason).min(evidence.account),
        Reason::Destination
        | Reason::Argument
        | Reason::Copied
        | Reason::Unread
        | Reason::FirstUse
        | Reason::CredentialsThenSink
        | Reason::ConfigThenExec
        | Reason::UntrustedThenExec
        | Reason::ListReadSink
        | Reason::GrantThenUse
        | Reason::HiddenUnicode
        | Reason::Secret
        | Reason::Rate => {
            if evidence.found.has(reason) {
                config.weight(reason)
            } else {
                0
            }
        }
    };
    let reasons: SmallVec<_> = Reason::ALL
        .into_iter()
        .map(|reason| (reason, points(reason)))
        .filter(|(_, points)| *points > 0)
        .collect();
    let sum = reasons.iter().fold(0_u8, |sum, (_, points)| sum.saturating_add(*points));
    Standing { score: sum.min(RISK_SCORE_MAX), tainted, reasons }
}

/// The points of a call that leave something on the accounts: its own, for those of a burst, of
/// denials and of the account itself are memory already. None if it was let through although it
/// was to be held: then somebody has looked at it.
pub(super) fn left_over(config: &RiskConfig, standing: &Standing) -> u32 {
    if standing.score >= config.hold {
        return 0;
    }
    let memory = [Reason::Rate, Reason::Denials, Reason::Account];
    let own = standing.reasons.iter().filter(|(reason, _)| !memory.contains(reason));
    let own = own.map(|(_, points)| u32::from(*points)).sum::<u32>();
    own.saturating_sub(u32::from(config.account_from))
}
