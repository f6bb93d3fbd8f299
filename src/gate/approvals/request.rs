//! One call that waits, in words for whoever decides and in digests for the gate.
//!
//! What is shown is what is bound: the same canonical arguments, whole.

use std::time::Duration;

use super::bound::{self, Bound, Errand};
use crate::{
    domain::{
        ApprovalId, Call, Grounds, Principal, ServerName, ToolName,
        limits::APPROVAL_ARGUMENTS_BYTES_MAX,
    },
    gate::{Epoch, Marks, Pin, Rules},
    sys,
};

/// A call that needs an approval, as whoever decides on it sees it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Request {
    #[serde(with = "id")]
    pub id: ApprovalId,
    pub(super) bound: Bound,
    pub(super) errand: Errand,
    pub about: About,
    pub asked_ms: u64,
    pub expires_ms: u64,
    /// So long it may be remembered; 0 is not at all.
    pub remember_ms: u64,
    pub state: State,
    /// In which it was asked for. After a restart, the present one.
    #[serde(skip)]
    pub(super) epoch: Option<Epoch>,
}

/// What a call is, in words.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct About {
    pub principal: String,
    pub client: String,
    pub server: String,
    pub tool: String,
    /// Canonical, and whole.
    pub arguments: String,
    pub score: u8,
    pub reasons: String,
    pub policies: String,
}

/// How far an approval is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Waiting,
    /// It lets one call through.
    Allowed,
    /// It did, and that call is in this round.
    Used {
        round: u32,
    },
    Refused,
}

/// An errand that is not asked about for a while.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Remembered {
    #[serde(with = "id")]
    pub id: ApprovalId,
    pub(super) errand: Errand,
    /// The call with which it began.
    pub about: About,
    pub until_ms: u64,
}

impl Request {
    /// None if whoever decides could not see all of it.
    pub(super) fn new(
        (call, pin): (&Call, Option<&Pin>),
        rules: &Rules,
        (epoch, grounds): (Epoch, &Grounds),
    ) -> Option<Self> {
        let (config, now_ms) = (&rules.risk.config, sys::unix_millis());
        let arguments = bound::canonical(&call.arguments);
        if arguments.len() > APPROVAL_ARGUMENTS_BYTES_MAX {
            return None;
        }
        let standing = grounds.risk.clone().unwrap_or_default();
        let about = About {
            principal: call.caller.principal.as_str().to_owned(),
            client: call.caller.client.to_string(),
            server: call.server.to_string(),
            tool: call.subject.as_str().to_owned(),
            arguments,
            score: standing.score,
            reasons: standing.to_string(),
            policies: grounds.policies.join(","),
        };
        Some(Self {
            id: ApprovalId::new(getrandom::u64().ok()?),
            bound: Bound::of(call, pin, &rules.digests),
            errand: Errand::of(call, pin),
            about,
            asked_ms: now_ms,
            expires_ms: now_ms.saturating_add(millis(config.approval_ttl)),
            remember_ms: millis(config.approval_remember),
            state: State::Waiting,
            epoch: Some(epoch),
        })
    }

    pub fn can_be_remembered(&self) -> bool {
        self.remember_ms > 0 && !self.errand.places.is_empty()
    }
}

impl Remembered {
    /// Where it goes.
    pub fn places(&self) -> &[String] {
        &self.errand.places
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl About {
    pub(super) fn marks(&self) -> Option<Marks> {
        let server = ServerName::parse(&self.server).ok()?;
        let tool = ToolName::parse(&self.tool).ok();
        Some(Marks::of_names(&server, tool.as_ref(), &Principal::new(&self.principal)))
    }
}

/// An id in the file.
mod id {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::domain::ApprovalId;

    pub(super) fn serialize<S: Serializer>(id: &ApprovalId, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<ApprovalId, D::Error> {
        let text = String::deserialize(from)?;
        ApprovalId::parse(&text).ok_or_else(|| D::Error::custom("this is no id of an approval"))
    }
}
