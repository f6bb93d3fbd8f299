//! The actor's desk: what is done about each thing that happens, without touching a pipe.
//!
//! Owns the queue, the timer and the course of the session; who waits and is asked what is with
//! `Calls`, what the child says with `hearing`. Promises that every request is answered exactly
//! once and with the exact `sent`, and that the latch is asked of each call as it enters a batch.
//! Knows nothing of eras, tools or why a call is made.

mod hearing;

use std::{collections::BTreeSet, pin::Pin, sync::Arc};

use tokio::{
    sync::watch,
    time::{Instant, Sleep},
};

use super::{
    Asked, Event, Shared,
    outbox::{Letter, Outbox},
};
use crate::{
    domain::{
        CallError, Sent, ServerName,
        limits::{
            ODDITIES_LOGGED_PER_SECOND_MAX, STDIO_CONTROL_QUEUE_MAX, STDIO_EXIT_GRACE,
            UPSTREAM_MESSAGE_BYTES_MAX,
        },
    },
    gate::{Book, Latch},
    upstream::{
        pace::{Allowance, Pace},
        talk::{Act, Calls, Entered, Uncounted},
    },
    wire::{Frame, LineReader, Object, RequestId, encode_cancelled},
};

/// Everything but the pipes.
pub(super) struct Desk {
    server: ServerName,
    latch: Latch,
    /// What the child was told that we can be asked.
    declared: Object,
    shared: Arc<Shared>,
    pub(super) reader: LineReader,
    pub(super) outbox: Outbox,
    calls: Calls,
    uncounted: Uncounted,
    /// Requests whose answers nobody waits for; of too many the oldest are forgotten.
    sent_off: BTreeSet<u64>,
    pace: Pace,
    allowance: Allowance,
    /// The child has said too much: until then it is not heard.
    deaf_until: Option<Instant>,
    /// The timer is set to this moment, which is never later than the first deadline.
    alarm: Option<Instant>,
    course: Course,
}

/// Where the session stands.
enum Course {
    Open,
    /// Nothing more is written; what is still to be read is read until the moment given.
    Ending {
        until: Instant,
        why: String,
    },
    Over {
        why: String,
    },
}

impl Desk {
    pub(super) fn new(
        server: ServerName,
        (latch, declared): (Latch, Object),
        shared: Arc<Shared>,
        uncounted: Uncounted,
    ) -> Self {
        Self {
            server,
            latch,
            declared,
            shared,
            reader: LineReader::new(UPSTREAM_MESSAGE_BYTES_MAX),
            outbox: Outbox::default(),
            calls: Calls::default(),
            uncounted,
            sent_off: BTreeSet::new(),
            pace: Pace::new(ODDITIES_LOGGED_PER_SECOND_MAX),
            allowance: Allowance::new(),
            deaf_until: None,
            alarm: None,
            course: Course::Open,
        }
    }

    pub(super) fn latch_changes(&self) -> watch::Receiver<Book> {
        self.latch.changed()
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.course, Course::Over { .. })
    }

    pub(super) fn has_alarm(&self) -> bool {
        self.alarm.is_some()
    }

    /// The last words are few, and nobody waits for them long.
    pub(super) fn listens(&self) -> bool {
        self.deaf_until.is_none() || !matches!(self.course, Course::Open)
    }

    pub(super) fn hear(&mut self, n_events: usize, events: &mut Vec<Event>) {
        if n_events == 0 {
            self.course = Course::Over { why: "nobody uses the session any more".to_owned() };
        }
        for event in events.drain(..) {
            self.take(event);
        }
        if self.uncounted.take() {
            let acts = self.calls.sweep();
            self.carry_out(acts);
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Asked(asked) => self.accept(asked),
            Event::Said(frame) => self.say(frame),
            Event::SentOff(id, frame) => {
                self.sent_off.insert(id);
                if self.sent_off.len() > STDIO_CONTROL_QUEUE_MAX {
                    self.sent_off.pop_first();
                }
                self.say(frame);
            }
            Event::Relayed(letter) => self.outbox.push_relayed(letter),
            Event::Left(left) => {
                let acts = self.calls.left(left);
                self.carry_out(acts);
            }
            Event::Exited(how) => self.end(format!("the server's process ended: {how}")),
            Event::Close => {
                self.course = Course::Over { why: "the gateway closed the session".to_owned() };
            }
        }
    }

    fn accept(&mut self, asked: Asked) {
        if !matches!(self.course, Course::Open) {
            return Self::turn_away(Event::Asked(asked));
        }
        let Asked { id, frame, waiting, resume } = asked;
        let (epoch, deadline) = (waiting.epoch, waiting.deadline);
        let Self { calls, latch, .. } = self;
        match calls.enter(id, waiting, resume.as_ref(), |epoch| latch.holds(epoch)) {
            Entered::New => self.outbox.push(Letter { id, epoch, frame }),
            Entered::Resumed(acts) => self.carry_out(acts),
        }
        self.ring_by(deadline);
    }

    /// What is owed to the calls.
    fn carry_out(&mut self, acts: Vec<Act>) {
        for act in acts {
            match act {
                Act::Say(frame) => self.outbox.push_owed(frame),
                Act::Answer { asked_as, epoch, frame, .. } => {
                    self.outbox.push(Letter { id: asked_as, epoch, frame });
                }
                Act::Cancel { call, reason, told } => {
                    let sent = self.outbox.withdraw(call);
                    if sent != Sent::No {
                        let id = RequestId::from_u64(call);
                        self.outbox.push_owed(encode_cancelled(&id, reason));
                    }
                    if let Some(told) = told {
                        told.tell(sent);
                    }
                }
            }
        }
    }

    fn ring_by(&mut self, moment: Instant) {
        if self.alarm.is_none_or(|alarm| moment < alarm) {
            self.alarm = Some(moment);
        }
    }

    /// The session is over: what still comes in is answered, not served.
    pub(super) fn turn_away(event: Event) {
        if let Event::Asked(asked) = event {
            // A caller that is gone needs no answer.
            asked.waiting.reply.send(Err(CallError::Unavailable { sent: Sent::No })).ok();
        }
    }

    fn say(&mut self, frame: Frame) {
        if self.outbox.push_control(frame).is_err() {
            self.shared.counts.unsaid();
        }
    }

    pub(super) fn has_to_write(&self) -> bool {
        matches!(self.course, Course::Open) && !self.outbox.unwritten().is_empty()
    }

    /// Makes the next batch; the latch is asked of each call here, and nothing comes in between
    /// this and the write.
    pub(super) fn fill(&mut self) {
        if !matches!(self.course, Course::Open) {
            return;
        }
        let Self { outbox, calls, latch, .. } = self;
        outbox.fill(|letter| {
            let holds = letter.epoch.is_none_or(|epoch| latch.holds(epoch));
            if !holds {
                calls.answered(letter.id, Err(CallError::Stopped { sent: Sent::No }));
            }
            holds
        });
    }

    pub(super) fn wrote(&mut self, wrote: std::io::Result<usize>) {
        match wrote {
            Ok(n_bytes @ 1..) => self.outbox.wrote(n_bytes),
            Ok(_) | Err(_) => self.end("the server closed its stdin".to_owned()),
        }
    }

    /// Every call of an epoch that is past is answered and, as far as possible, called back.
    pub(super) fn stop(&mut self) {
        let Self { calls, latch, .. } = self;
        let acts = calls.stop(|epoch| latch.holds(epoch));
        self.carry_out(acts);
        // What is left are answers, and calls of which a part is written.
        self.outbox.revoke(|epoch| self.latch.holds(epoch));
    }

    /// The timer rang: some deadlines have passed, or the time for last words has.
    pub(super) fn wake(&mut self) {
        let now = Instant::now();
        if let Course::Ending { until, why } = &self.course
            && *until <= now
        {
            self.course = Course::Over { why: why.clone() };
        }
        self.deaf_until = self.deaf_until.filter(|until| *until > now);
        let acts = self.calls.wake(now);
        self.carry_out(acts);
        let last_words = match &self.course {
            Course::Ending { until, .. } => Some(*until),
            Course::Open | Course::Over { .. } => None,
        };
        self.alarm =
            self.calls.earliest().into_iter().chain(last_words).chain(self.deaf_until).min();
    }

    /// Sets the timer if an earlier moment has come up. It is never set later before it rings.
    pub(super) fn arm(&self, timer: Pin<&mut Sleep>) {
        if let Some(alarm) = self.alarm.filter(|alarm| *alarm != timer.deadline()) {
            timer.reset(alarm);
        }
    }

    /// Nothing more can be written; what the server has said already is still read.
    fn end(&mut self, why: String) {
        if let Course::Open = self.course {
            let until = Instant::now() + STDIO_EXIT_GRACE;
            self.course = Course::Ending { until, why };
            self.alarm = Some(self.alarm.map_or(until, |alarm| alarm.min(until)));
        }
    }

    /// There is nothing more to read either.
    fn over(&mut self, why: &str) {
        let earlier = std::mem::replace(&mut self.course, Course::Over { why: why.to_owned() });
        if let Course::Ending { why, .. } | Course::Over { why } = earlier {
            self.course = Course::Over { why };
        }
    }

    pub(super) fn finish(&mut self) {
        let Self { calls, outbox, .. } = self;
        calls.finish(|call| outbox.sent(call));
        let why = match &self.course {
            Course::Ending { why, .. } | Course::Over { why } => why.as_str(),
            Course::Open => "the session ended",
        };
        tracing::info!(server.id = %self.server, why, "Session ended");
        self.shared.over.send_replace(Some(why.into()));
    }
}
