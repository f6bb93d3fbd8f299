//! What is put on record of approvals: who said what of a call that was held, and what came of it.
//!
//! That one was asked for stands in the record of the refusal, that it was used in the intent.

use super::line::Line;
use crate::domain::ApprovalId;

/// One thing that happened to an approval.
#[derive(Clone, Copy, Debug)]
pub enum ApprovalRecord<'a> {
    Allowed {
        id: ApprovalId,
        who: &'a str,
        remembered: bool,
    },
    Refused {
        id: ApprovalId,
        who: &'a str,
    },
    /// It is over, and was not used.
    Ended {
        id: ApprovalId,
        why: &'a str,
    },
}

impl ApprovalRecord<'_> {
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::Allowed { .. } => "approval_allowed",
            Self::Refused { .. } => "approval_refused",
            Self::Ended { .. } => "approval_ended",
        }
    }
}

impl Line {
    pub(super) fn approval_record(&mut self, record: ApprovalRecord<'_>) {
        match record {
            ApprovalRecord::Allowed { id, who, remembered } => {
                self.approval(id);
                self.text("who", who);
                if remembered {
                    self.text("remembered", "yes");
                }
            }
            ApprovalRecord::Refused { id, who } => {
                self.approval(id);
                self.text("who", who);
            }
            ApprovalRecord::Ended { id, why } => {
                self.approval(id);
                self.text("why", why);
            }
        }
    }

    pub(super) fn approval(&mut self, id: ApprovalId) {
        self.text("approval", &id.to_string());
    }
}
