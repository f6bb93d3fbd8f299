//! What a server asks on its way to the caller, and the state that comes back with the answers.
//!
//! Questions cross with a permit of their own, on record, and under a state that opens only for the
//! same request; it also says which replica asked, for nobody else may know what it means. Judges
//! no call: `dispatch` does.

use std::sync::Arc;

use bytes::Bytes;

use super::{Asked, Binding, GoesOn, answerable_until};
use crate::{
    domain::{CallError, CallId, DenyReason, Era, Questions, ReplicaNo, Sent, ServerName, Use},
    front::{
        Front,
        dispatch::{Answer, Ask},
    },
    gate::Permit,
    sys,
    wire::{CallParams, InputRequired, Question, Response},
};

/// A state that was not given out for this request, or too long ago.
pub(in crate::front) struct Stale;

impl Front {
    /// Gives the server's own state back to a second try; says what it goes on with. One that
    /// waits for an approval is the first request again, and waits some more.
    pub(in crate::front) async fn unseal(&self, ask: &mut Ask) -> Result<GoesOn, Stale> {
        if ask.params.state().is_none() {
            return Ok(GoesOn::default());
        }
        let answers = ask.params.responses();
        let goes_on = self.open_state(ask)?;
        if let Some(approval) = goes_on.waits_for() {
            Box::pin(self.wait_for(approval, answers)).await;
        }
        Ok(goes_on)
    }

    fn open_state(&self, ask: &mut Ask) -> Result<GoesOn, Stale> {
        let sealed = ask.params.state().unwrap_or_default();
        let binding = Binding::of(&ask.caller, &ask.params);
        let opened = self.sealer.open(binding, sys::unix_millis(), sealed).ok_or(Stale)?;
        let (goes_on, state) = GoesOn::read(&opened).ok_or(Stale)?;
        ask.params = Arc::new(match goes_on.at {
            Some(_) => CallParams::clone(&ask.params).with_state(Some(state.into())),
            None => ask.params.anew().map_err(|_| Stale)?,
        });
        Ok(goes_on)
    }

    /// Questions on their way to the caller: past the gate, and under a state that only this
    /// request can come back with.
    pub(in crate::front) async fn let_ask(
        &self,
        (call, under): (CallId, Option<Use>),
        ask: &Ask,
        (server, at): (ServerName, ReplicaNo),
        asks: InputRequired,
    ) -> Result<Asked, CallError> {
        // From here on, whoever is not handed the questions gives the call up.
        let parked = asks.state().and_then(|token| {
            self.fleet.parked(&server, &ask.caller, ask.params.declared(), token.as_str())
        });
        if !asks.is_known_to(ask.params.speaks()) {
            return Err(CallError::Withheld { reason: DenyReason::Schema });
        }
        let asks = self.seal(ask, GoesOn { at: Some(at), under }, asks)?;
        let (questions, text) = (&asks.questions, asks.text());
        let permit = self.let_through(call, ask, server, (questions, text)).await?;
        Ok(Asked { asks, permit, parked })
    }

    /// Pages to be visited before the call is made again: a modern caller is asked, a legacy one
    /// has the error, which asks as well.
    pub(in crate::front) async fn let_refer(
        &self,
        call: CallId,
        ask: &Ask,
        server: ServerName,
        (pages, response): (InputRequired, Response),
    ) -> Result<Answer, CallError> {
        let era = ask.caller.era;
        if era == Era::Modern && !pages.fits(ask.params.capabilities()) {
            return Ok(Answer::LacksPages);
        }
        let (questions, text) = (&pages.questions, pages.text());
        let permit = self.let_through(call, ask, server, (questions, text)).await?;
        Ok(match era {
            Era::Modern => {
                Answer::Asks { id: call, asked: Asked { asks: pages, permit, parked: None } }
            }
            Era::Legacy => Answer::Reply(ask.params.kind(), response),
        })
    }

    /// Lets questions cross, on record, wherever they stand.
    pub(in crate::front) async fn let_through(
        &self,
        call: CallId,
        ask: &Ask,
        server: ServerName,
        (questions, text): (&[Question], Bytes),
    ) -> Result<Permit<Questions>, CallError> {
        let caller = ask.caller.clone();
        let asks = questions.iter().map(|question| question.method).collect();
        let matter = Questions { call, caller, server, asks, text };
        let snapshot = self.publisher.load();
        let admitted = self.gate.admit_questions(&snapshot.rules, matter).await;
        let withheld = |reason| CallError::Withheld { reason };
        let permit = admitted.map_err(|refusal| withheld(refusal.reason))?;
        if !self.gate.latch().holds(permit.epoch()) {
            return Err(withheld(DenyReason::Stopped));
        }
        if let Some(visitor) = &ask.visitor {
            let Questions { server, caller, .. } = permit.matter();
            let declared = ask.params.declared();
            visitor.visits.expect(questions, || self.fleet.news(server, caller, declared));
        }
        Ok(permit)
    }

    fn seal(
        &self,
        ask: &Ask,
        goes_on: GoesOn,
        asks: InputRequired,
    ) -> Result<InputRequired, CallError> {
        let Some(state) = asks.state() else { return Ok(asks) };
        let sealed = self.sealed(ask, goes_on, state.as_str());
        let sealed = sealed.ok_or(CallError::Unavailable { sent: Sent::Yes })?;
        let what = "its state cannot be kept";
        asks.with_state(&sealed).map_err(|_| CallError::Protocol { what })
    }

    /// What this request comes back with.
    pub(super) fn sealed(&self, ask: &Ask, goes_on: GoesOn, state: &str) -> Option<String> {
        let binding = Binding::of(&ask.caller, &ask.params);
        let expires_ms = answerable_until(sys::unix_millis());
        self.sealer.seal(binding, expires_ms, &format!("{goes_on} {state}"))
    }
}
