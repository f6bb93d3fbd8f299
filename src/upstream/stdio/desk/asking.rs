//! What the desk does about questions: keep them, hand them out, take answers, take them back.
//!
//! Promises that answers are written under the latch like the calls that bring them, and that
//! a question that is taken back is answered all the same, so that the child waits for nobody.

use tokio::time::Instant;

use super::{
    super::{Resume, outbox::Letter, pending::Waiting, talk::Resumed},
    Desk,
};
use crate::{
    domain::{CallError, Sent},
    wire::{Request, RequestId, encode_cancelled},
};

impl Desk {
    /// The answers to a parked call's questions go to the child as calls do: under the latch.
    pub(super) fn resume(&mut self, waiting: Waiting, resume: &Resume) {
        let epoch = waiting.epoch;
        let answer = if epoch.is_some_and(|epoch| !self.latch.holds(epoch)) {
            Err(CallError::Stopped { sent: Sent::No })
        } else {
            match self.talks.resume(resume) {
                Resumed::Unknown => Err(CallError::Unavailable { sent: Sent::Unknown }),
                Resumed::Again(response) | Resumed::Early(response) => Ok(response),
                Resumed::Answers { call, frames } => {
                    for frame in frames {
                        self.outbox.push(Letter { id: waiting.asked_as, epoch, frame });
                    }
                    self.pending.insert(call, waiting);
                    return;
                }
            }
        };
        // A caller that is gone asks again, or lets the time run out.
        waiting.reply.send(answer).ok();
    }

    /// Keeps a question for the oldest call whose caller can be asked. Whether there is one.
    pub(super) fn ask(&mut self, request: Request) -> bool {
        let call = match (self.pending.oldest_able(), self.talks.oldest_parked()) {
            (Some((call, _)), _) | (None, Some(call)) => call,
            (None, None) => return false,
        };
        let Some(can) = &self.can else { return false };
        let is_kept = self.talks.add(call, request, can).is_some();
        if let Some(moment) = self.talks.earliest() {
            self.ring_by(moment);
        }
        is_kept
    }

    /// Hands out what was gathered, and gives up what nobody answers.
    pub(super) fn talk(&mut self, now: Instant) {
        for call in self.talks.due(now) {
            let epoch = self.pending.epoch(call);
            if let Some(asks) = self.talks.park(call, epoch) {
                self.pending.answer(call, Ok(asks));
            }
        }
        for call in self.talks.expired(now) {
            self.call_off(call, "nobody answered");
        }
    }

    /// Takes back the questions of a call, and the call itself if it is parked.
    pub(super) fn call_off(&mut self, call: u64, reason: &str) {
        let is_parked = self.talks.is_parked(call);
        for frame in self.talks.end(call) {
            self.say(frame);
        }
        if is_parked {
            self.say(encode_cancelled(&RequestId::from_u64(call), reason));
        }
    }
}
