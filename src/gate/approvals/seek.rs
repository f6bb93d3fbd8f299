//! What becomes of a call that is held: the approval it goes on under, or why there is none.

use super::Found;
use crate::{
    domain::{ApprovalId, Call, DenyReason, Grounds, Refusal, Use, Verdict},
    gate::{Approval, Case, Epoch, Gate, Judgement, Weighed, judge::refusal},
    telemetry::Laps,
};

/// An approval that lets a call through.
struct Sought {
    id: ApprovalId,
    /// None under one that is remembered.
    under: Option<Use>,
}

impl Gate {
    /// Weighs it again under the approval that there is for it; without one, it is refused. What
    /// has become too risky meanwhile is refused all the same.
    pub(in crate::gate) async fn seek(
        &self,
        case: Case<'_>,
        (call, epoch): (&Call, Epoch),
        held: Weighed,
    ) -> Weighed {
        match self.find(case, call, (epoch, &held.judgement.grounds)).await {
            Ok(Sought { id, under }) => {
                let weighed =
                    self.weigh(Case { approval: Approval::Given(id), ..case }, &mut Laps::begin());
                Weighed { under, ..weighed }
            }
            Err(refusal) => {
                let grounds = Grounds { approval: refusal.approval, ..held.judgement.grounds };
                let judgement = Judgement { verdict: Verdict::Deny(refusal), grounds };
                Weighed { judgement, ..held }
            }
        }
    }

    /// What is found is used up: whoever looks again finds that it was used.
    async fn find(
        &self,
        case: Case<'_>,
        call: &Call,
        held: (Epoch, &Grounds),
    ) -> Result<Sought, Refusal> {
        let Some(approvals) = &self.approvals else { return Err(refusal(DenyReason::Risk)) };
        let found = approvals.present((call, case.pin), case.rules, held).await;
        let found = found.map_err(|error| {
            tracing::error!(%error, "Approvals cannot be kept; what is held is refused");
            Refusal::new(DenyReason::Risk, "the call needs an approval, and none can be kept now")
        })?;
        Err(match found {
            Found::Approved(under) => return Ok(Sought { id: under.approval, under: Some(under) }),
            Found::Remembered(id) => return Ok(Sought { id, under: None }),
            Found::Waits(id) => of(
                id,
                DenyReason::Held,
                &format!(
                    "the call waits for an approval: an operator decides with `portcullis approvals \
                 allow {id}`; then make the same call again"
                ),
            ),
            Found::Refused(id) => {
                of(id, DenyReason::Approval, "the operator has refused to approve of the call")
            }
            Found::Over(id) => {
                of(id, DenyReason::Approval, "nobody has approved of the call in time")
            }
            Found::Full => Refusal::new(
                DenyReason::Risk,
                "the call needs an approval, and too many calls wait for one, or it is too large",
            ),
        })
    }
}

fn of(id: ApprovalId, reason: DenyReason, told: &str) -> Refusal {
    Refusal { approval: Some(id), ..Refusal::new(reason, told) }
}
