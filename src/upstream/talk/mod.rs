//! The calls of one session that wait for an answer, and what their callers are asked meanwhile.
//!
//! Owns every rule about questions, whatever transport they come by: to which call one belongs,
//! when a call is parked, who may answer it and for how long, and what the server is told when
//! nobody does. Promises that each caller is answered exactly once. Does no IO: what is to be done
//! at the server is handed back as `Act`s, which the transport carries out in their order.

mod door;
mod pending;
mod questions;

use tokio::time::Instant;

use super::{NoticeSender, inbound::MALFORMED};
use crate::{
    domain::{CallError, Sent},
    gate::Epoch,
    wire::{Frame, Object, Request, Response, Version},
};

pub(super) use door::{Door, Left, Uncounted};
pub(super) use pending::{Ear, Hears, Reply, Waiting};

use pending::Pending;
use questions::{Answered, Resumed, Talks};

/// A call whose caller can be asked.
#[derive(Clone, Debug)]
pub(super) struct Talking {
    pub(super) able: Able,
    /// The answers to what it was asked, if it was.
    pub(super) resume: Option<Resume>,
}

/// What somebody can be asked.
#[derive(Clone, Debug)]
pub(super) struct Able {
    /// What the session has declared.
    pub(super) can: Object,
    /// The revision in which the caller is asked.
    pub(super) to: Version,
}

/// The answers to what a parked call was asked.
#[derive(Clone, Debug)]
pub(super) struct Resume {
    pub(super) token: String,
    pub(super) responses: Option<Object>,
}

#[derive(Debug, Default)]
pub(super) struct Calls {
    pending: Pending,
    talks: Talks,
    /// What the session has declared, once somebody on it could be asked.
    can: Option<Object>,
}

/// What became of a call that came in.
#[derive(Debug)]
pub(super) enum Entered {
    /// It is to be sent.
    New,
    /// It brought answers to a call that was sent before, or is answered already.
    Resumed(Vec<Act>),
}

/// What the transport has to do.
#[derive(Debug)]
pub(super) enum Act {
    /// Says that a question is taken back. There are no more of these than there were questions.
    Say(Frame),
    /// Writes a caller's answer to a question of `call`, under the latch like the call that brings
    /// it, which has the number `asked_as`.
    Answer { call: u64, asked_as: u64, epoch: Option<Epoch>, frame: Frame },
    /// Calls a call back: nothing more of it is written, the server is told if it may know of it,
    /// and then its caller, if one waits.
    Cancel { call: u64, reason: &'static str, told: Option<Told> },
}

/// A caller to whom it has to be said why there is no answer.
#[derive(Debug)]
pub(super) struct Told {
    reply: Reply,
    why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Stopped,
    TooLate,
}

impl Told {
    /// The end of its call, of which the server has `sent`.
    pub(super) fn tell(self, sent: Sent) {
        let error = match self.why {
            Why::Stopped => CallError::Stopped { sent },
            Why::TooLate => CallError::Deadline { sent },
        };
        // A caller that is gone withdraws by itself.
        self.reply.send(Err(error)).ok();
    }
}

impl Calls {
    /// Takes a call in.
    pub(super) fn enter(
        &mut self,
        id: u64,
        waiting: Waiting,
        resume: Option<&Resume>,
        holds: impl Fn(Epoch) -> bool,
    ) -> Entered {
        let settled = Entered::Resumed(Vec::new());
        if waiting.reply.is_closed() {
            // Withdrawn before it was looked at.
            return settled;
        }
        if let Some(able) = &waiting.able {
            self.can = Some(able.can.clone());
        }
        if let Some(resume) = resume {
            return Entered::Resumed(self.resume(waiting, resume, holds));
        }
        if self.pending.is_full(self.talks.n_parked()) {
            waiting.reply.send(Err(CallError::Busy)).ok();
            return settled;
        }
        self.pending.insert(id, waiting);
        Entered::New
    }

    fn resume(
        &mut self,
        waiting: Waiting,
        resume: &Resume,
        holds: impl Fn(Epoch) -> bool,
    ) -> Vec<Act> {
        let Waiting { epoch, asked_as, .. } = waiting;
        let answer = if epoch.is_some_and(|epoch| !holds(epoch)) {
            Err(CallError::Stopped { sent: Sent::No })
        } else {
            match self.talks.resume(resume) {
                Resumed::Unknown => Err(CallError::Unavailable { sent: Sent::Unknown }),
                Resumed::Early(answer) => answer,
                Resumed::Answers { call, frames } => {
                    self.pending.insert(call, waiting);
                    let act = |frame| Act::Answer { call, asked_as, epoch, frame };
                    let mut acts: Vec<Act> = frames.into_iter().map(act).collect();
                    if self.talks.is_parked(call) {
                        // What it did not answer, or was asked meanwhile.
                        acts.extend(self.park(call));
                    }
                    return acts;
                }
            }
        };
        // A caller that is gone asks again, or lets the time run out.
        waiting.reply.send(answer).ok();
        Vec::new()
    }

    /// Keeps a question for `about`, or for the oldest call whose caller can be asked. Says by when
    /// to wake up; none if there is nobody to be asked. `is_out` tells which calls the server has.
    pub(super) fn question(
        &mut self,
        about: Option<u64>,
        request: Request,
        is_out: impl Fn(u64) -> bool,
    ) -> Option<Instant> {
        let can = self.can.as_ref()?;
        let call = match about {
            Some(call) => Some(call).filter(|call| self.knows(*call)),
            None => self.pending.oldest_able(is_out).or_else(|| self.talks.oldest_parked()),
        };
        let call = call?;
        self.talks.add(call, request, (can, self.pending.speaks(call)))?;
        self.talks.earliest()
    }

    /// Whether the caller of this call can be asked, now or when it comes back.
    fn knows(&self, call: u64) -> bool {
        self.pending.is_able(call) || self.talks.is_parked(call)
    }

    /// The server has answered, or never will. None if nobody waited for it.
    pub(super) fn answered(
        &mut self,
        call: u64,
        answer: Result<Response, CallError>,
    ) -> Option<Vec<Act>> {
        match self.talks.answered(call, answer) {
            Answered::Kept { called_off } => Some(said(called_off)),
            Answered::Now { called_off, answer } => {
                let was_awaited = self.pending.answer(call, answer);
                was_awaited.then(|| said(called_off))
            }
        }
    }

    /// An answer of the caller did not reach the server, which now waits in vain.
    pub(super) fn lost(&mut self, call: u64, error: CallError) -> Vec<Act> {
        if self.talks.is_over(call) {
            return Vec::new();
        }
        // One that is parked for another question hears of it when it comes back.
        let Some(mut acts) = self.answered(call, Err(error)) else { return Vec::new() };
        acts.push(Act::Cancel { call, reason: "an answer was not taken", told: None });
        acts
    }

    /// Somebody who waited has gone.
    pub(super) fn left(&mut self, left: Left) -> Vec<Act> {
        match left {
            Left::Withdrawn(asked_as) => {
                let waiting = self.pending.waits_for(asked_as);
                let call = waiting.or_else(|| self.talks.parked_for(asked_as));
                call.map(|call| self.off(call, "the caller withdrew the call")).unwrap_or_default()
            }
            // It is among those whom nobody has counted.
            Left::Uncounted => Vec::new(),
            Left::Parked(token) => {
                let call = self.talks.parked_under(&token);
                call.map(|call| self.off(call, "the caller is gone")).unwrap_or_default()
            }
        }
    }

    /// Looks for callers who have gone without a word.
    pub(super) fn sweep(&mut self) -> Vec<Act> {
        let gone = self.pending.ids(|waiting| waiting.reply.is_closed());
        gone.into_iter().flat_map(|call| self.off(call, "the caller is gone")).collect()
    }

    /// Every call of an epoch that is past is called back.
    pub(super) fn stop(&mut self, holds: impl Fn(Epoch) -> bool) -> Vec<Act> {
        const REASON: &str = "emergency stop";
        let is_past = |epoch: Option<Epoch>| epoch.is_some_and(|epoch| !holds(epoch));
        let waiting = self.pending.ids(|waiting| is_past(waiting.epoch));
        let parked = self.talks.parked_ids(|_, epoch| is_past(epoch));
        let mut acts = Vec::new();
        for call in parked {
            acts.extend(self.off(call, REASON));
        }
        for call in waiting {
            acts.extend(self.fail(call, REASON, Why::Stopped));
        }
        acts
    }

    /// Hands out what was gathered, and gives up what takes too long.
    pub(super) fn wake(&mut self, now: Instant) -> Vec<Act> {
        let mut acts = Vec::new();
        for call in self.talks.due(now) {
            acts.extend(self.park(call));
        }
        for call in self.talks.parked_ids(|until, _| until <= now) {
            acts.extend(self.off(call, "nobody answered"));
        }
        for call in self.pending.ids(|waiting| waiting.deadline <= now) {
            acts.extend(self.fail(call, "no answer in time", Why::TooLate));
        }
        acts
    }

    /// Tells the caller what it is asked.
    fn park(&mut self, call: u64) -> Vec<Act> {
        let Some(waiting) = self.pending.remove(call) else { return Vec::new() };
        let Waiting { reply, epoch, asked_as, .. } = waiting;
        let asks = self.talks.park(call, asked_as, epoch);
        let is_malformed = asks.is_none();
        if reply.send(asks.ok_or(MALFORMED)).is_ok() && !is_malformed {
            return Vec::new();
        }
        self.off(call, "nobody can be asked")
    }

    /// Takes back the questions of a call and the call itself; nobody is told.
    fn off(&mut self, call: u64, reason: &'static str) -> Vec<Act> {
        self.pending.remove(call);
        self.cancel(call, reason, None)
    }

    fn fail(&mut self, call: u64, reason: &'static str, why: Why) -> Vec<Act> {
        let told = self.pending.remove(call).map(|waiting| Told { reply: waiting.reply, why });
        self.cancel(call, reason, told)
    }

    fn cancel(&mut self, call: u64, reason: &'static str, told: Option<Told>) -> Vec<Act> {
        let talk = self.talks.end(call);
        let mut acts = said(talk.called_off);
        if !talk.was_over {
            acts.push(Act::Cancel { call, reason, told });
        }
        acts
    }

    /// The session is over: nobody is asked or answered any more.
    pub(super) fn finish(&mut self, sent: impl Fn(u64) -> Sent) {
        for call in self.pending.ids(|_| true) {
            let sent = sent(call);
            self.pending.answer(call, Err(CallError::Unavailable { sent }));
        }
    }

    pub(super) fn ear(&self, call: u64) -> Option<&Ear> {
        self.pending.ear(call)
    }

    pub(super) fn only_ear(&self) -> Option<&NoticeSender> {
        self.pending.only_ear()
    }

    /// When something is to be done next if nothing happens.
    pub(super) fn earliest(&self) -> Option<Instant> {
        self.pending.earliest_deadline().into_iter().chain(self.talks.earliest()).min()
    }
}

fn said(frames: Vec<Frame>) -> Vec<Act> {
    frames.into_iter().map(Act::Say).collect()
}
