//! A call that waits for an approval, as its client is told of it.
//!
//! Whoever makes a call does not decide on it: what a client is asked is to wait, and where its
//! user can see what for. Its answer says that it goes on, or that it does not want the call any
//! more. A client that cannot be asked has the refusal, which names the approval.

use std::fmt;

use serde_json::json;

use super::{Asked, may_ask};
use crate::{
    domain::{
        ApprovalId, Asking, CallId, DenyReason, Refusal, ReplicaNo, ServerName, Use,
        limits::APPROVAL_PATIENCE,
    },
    front::{
        Front,
        admin::approval_page,
        dispatch::{Answer, Ask},
    },
    wire::{CallParams, InputRequired, Object, Progressed, input_required, question_key},
};

/// What a second try goes on with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::front) struct GoesOn {
    /// Which replica asked; none, if we did.
    pub(in crate::front) at: Option<ReplicaNo>,
    /// Under which approval.
    pub(in crate::front) under: Option<Use>,
}

impl GoesOn {
    pub(super) fn waits_for(self) -> Option<ApprovalId> {
        self.under.filter(|under| under.round == 0).map(|under| under.approval)
    }

    /// What it is, and the server's own state.
    pub(super) fn read(text: &str) -> Option<(Self, &str)> {
        let (at, rest) = text.split_once(' ')?;
        let (under, state) = rest.split_once(' ')?;
        let at = if at == NONE { None } else { Some(ReplicaNo(at.parse().ok()?)) };
        let under = if under == NONE { None } else { Some(Use::parse(under)?) };
        Some((Self { at, under }, state))
    }
}

const NONE: &str = "-";

impl fmt::Display for GoesOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "{} ", at.0)?,
            None => write!(f, "{NONE} ")?,
        }
        match self.under {
            Some(under) => write!(f, "{under}"),
            None => f.write_str(NONE),
        }
    }
}

impl Front {
    /// Waits a moment for somebody to decide, or takes it back for who does not want it any more.
    pub(super) async fn wait_for(&self, id: ApprovalId, answers: Option<Object>) {
        let Some(approvals) = self.gate.approvals() else { return };
        if answers.is_some_and(|answers| declines(&answers)) {
            approvals.withdraw(id).await;
        }
        approvals.settled(id, APPROVAL_PATIENCE).await;
    }

    /// What the client is asked, if it can be. A call that brings answers to its server cannot
    /// bring others as well.
    pub(in crate::front) async fn ask_for_approval(
        &self,
        (call, goes_on): (CallId, GoesOn),
        ask: &Ask,
        server: &ServerName,
        refusal: &Refusal,
    ) -> Option<Answer> {
        let id = refusal.approval.filter(|_| refusal.reason == DenyReason::Held)?;
        if goes_on.at.is_some() || !may_ask(ask.params.kind()) {
            return None;
        }
        let under = Some(Use::none_of(id));
        let state = self.sealed(ask, GoesOn { at: None, under }, "")?;
        let asks = question(&ask.params, self.page(id), &refusal.told, &state)?;
        let crossing = self.let_through(call, ask, server.clone(), (&asks.questions, asks.text()));
        let permit = crossing.await.ok()?;
        Some(Answer::Asks { id: call, asked: Asked { asks, permit, parked: None } })
    }

    /// Where a person can see what waits.
    fn page(&self, id: ApprovalId) -> Option<String> {
        let admin = self.admin.get().filter(|at| !at.starts_with("unix:"))?;
        Some(format!("http://{admin}{}", approval_page(id)))
    }
}

/// Whether its user does not want it.
fn declines(answers: &Object) -> bool {
    let answer = answers.object(&question_key(0));
    let action = answer.as_ref().and_then(|answer| answer.str("action"));
    action.is_some_and(|action| action.as_str() != "accept")
}

/// A page to be looked at, or a form that has nothing to be filled in.
fn question(
    params: &CallParams,
    page: Option<String>,
    told: &str,
    state: &str,
) -> Option<InputRequired> {
    let capabilities = params.capabilities()?;
    let (asking, shown) = match page {
        Some(url) if Asking::Url.is_in(capabilities) => {
            (Asking::Url, json!({ "mode": "url", "message": told, "url": url }))
        }
        Some(_) | None if Asking::Form.is_in(capabilities) => {
            let nothing = json!({ "type": "object", "properties": {} });
            (Asking::Form, json!({ "message": told, "requestedSchema": nothing }))
        }
        Some(_) | None => return None,
    };
    let shown = Object::parse(shown.to_string().into()).ok()?;
    let result = input_required([(0, asking, Some(&shown))].into_iter(), Some(state)).ok()?;
    match InputRequired::read(&result) {
        Ok(Progressed::Asks(asks)) => Some(asks),
        Ok(Progressed::Complete | Progressed::Task(_)) | Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::GoesOn;
    use crate::domain::{ApprovalId, ReplicaNo, Use};

    #[test]
    fn what_a_second_try_goes_on_with_reads_back_beside_any_state() {
        let under = Some(Use { approval: ApprovalId::new(7), round: 2 });
        for (at, under) in [(None, under), (Some(ReplicaNo(3)), under), (Some(ReplicaNo(0)), None)]
        {
            let goes_on = GoesOn { at, under };
            for state in ["", "a b  c"] {
                let text = format!("{goes_on} {state}");
                assert_eq!(GoesOn::read(&text), Some((goes_on, state)));
            }
        }
        for wrong in ["", "0", "0 -", "x - s", "0 y s"] {
            assert_eq!(GoesOn::read(wrong), None, "{wrong}");
        }
    }
}
