//! The actor's desk: what is done about each thing that happens, without touching a pipe.
//!
//! Owns the pending calls, the queue, the deadlines and the course of the session. Promises that
//! every request is answered exactly once and with the exact `sent`, that the latch is asked of
//! each call as it enters a batch, and that nothing a child says out of turn does more than be
//! counted. Knows nothing of eras, tools or why a call is made.

mod asking;

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use tokio::{
    sync::watch,
    time::{Instant, Sleep},
};

use super::{
    Asked, Event, Shared,
    outbox::{Letter, Outbox},
    pending::{Pending, Waiting},
    stderr::escaped,
    talk::Talks,
};
use crate::{
    domain::{
        CallError, Sent, ServerName,
        limits::{ODDITIES_LOGGED_PER_SECOND_MAX, STDIO_EXIT_GRACE, UPSTREAM_MESSAGE_BYTES_MAX},
    },
    gate::{Latch, LatchState},
    upstream::{
        inbound::{Heard, MALFORMED, Question, meant, understand},
        pace::{Pace, Turn},
    },
    wire::{Frame, LineReader, Notice, Object, RequestId, Response, decode, encode_cancelled},
};

/// Everything but the pipes.
pub(super) struct Desk {
    server: ServerName,
    latch: Latch,
    shared: Arc<Shared>,
    pub(super) reader: LineReader,
    pub(super) outbox: Outbox,
    pending: Pending,
    talks: Talks,
    /// What the session has declared, once somebody on it could be asked.
    can: Option<Object>,
    pace: Pace,
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
    pub(super) fn new(server: ServerName, latch: Latch, shared: Arc<Shared>) -> Self {
        Self {
            server,
            latch,
            shared,
            reader: LineReader::new(UPSTREAM_MESSAGE_BYTES_MAX),
            outbox: Outbox::default(),
            pending: Pending::default(),
            talks: Talks::default(),
            can: None,
            pace: Pace::new(ODDITIES_LOGGED_PER_SECOND_MAX),
            alarm: None,
            course: Course::Open,
        }
    }

    pub(super) fn latch_changes(&self) -> watch::Receiver<LatchState> {
        self.latch.changed()
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.course, Course::Over { .. })
    }

    pub(super) fn has_alarm(&self) -> bool {
        self.alarm.is_some()
    }

    pub(super) fn hear(&mut self, n_events: usize, events: &mut Vec<Event>) {
        if n_events == 0 {
            self.course = Course::Over { why: "nobody uses the session any more".to_owned() };
        }
        for event in events.drain(..) {
            self.take(event);
        }
        if self.shared.sweep.swap(false, Ordering::AcqRel) {
            for id in self.pending.ids(|waiting| waiting.reply.is_closed()) {
                self.withdraw(id, "the caller is gone");
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Asked(asked) => self.accept(asked),
            Event::Said(frame) => self.say(frame),
            Event::Withdrawn(id) => self.withdraw(id, "the caller withdrew the call"),
            Event::Sweep => {}
            Event::Exited(how) => self.end(format!("the server's process ended: {how}")),
            Event::Close => {
                self.course = Course::Over { why: "the gateway closed the session".to_owned() };
            }
        }
    }

    fn accept(&mut self, asked: Asked) {
        let Asked { id, frame, epoch, deadline, notices, talk, reply } = asked;
        if reply.is_closed() {
            // Withdrawn before it was looked at.
            return;
        }
        let refusal = match self.course {
            Course::Open if self.pending.is_full(self.talks.len()) => Some(CallError::Busy),
            Course::Open => None,
            Course::Ending { .. } | Course::Over { .. } => {
                Some(CallError::Unavailable { sent: Sent::No })
            }
        };
        if let Some(refusal) = refusal {
            // A caller that is gone needs no answer.
            reply.send(Err(refusal)).ok();
            return;
        }
        let (can, resume) = talk.map(|talk| (talk.can, talk.resume)).unzip();
        self.can = can.clone().or_else(|| self.can.take());
        let waiting = Waiting { reply, notices, epoch, deadline, can, asked_as: id };
        match resume.flatten() {
            Some(resume) => self.resume(waiting, &resume),
            None => {
                self.pending.insert(id, waiting);
                self.outbox.push(Letter { id, epoch, frame });
            }
        }
        self.ring_by(deadline);
    }

    fn ring_by(&mut self, moment: Instant) {
        if self.alarm.is_none_or(|alarm| moment < alarm) {
            self.alarm = Some(moment);
        }
    }

    /// The session is over: what still comes in is answered, not served.
    pub(super) fn turn_away(event: Event) {
        if let Event::Asked(asked) = event {
            asked.reply.send(Err(CallError::Unavailable { sent: Sent::No })).ok();
        }
    }

    fn say(&mut self, frame: Frame) {
        if self.outbox.push_control(frame).is_err() {
            self.shared.counts.unsaid();
        }
    }

    /// Forgets a request, and tells the server if it may know of it.
    fn withdraw(&mut self, id: u64, reason: &str) {
        let id = self.pending.waits_for(id).unwrap_or(id);
        if self.pending.remove(id).is_some() {
            self.cancel(id, reason);
        }
    }

    /// To be called after the request has left the table. Returns what the server has of it.
    fn cancel(&mut self, id: u64, reason: &str) -> Sent {
        self.call_off(id, reason);
        let sent = self.outbox.withdraw(id);
        if sent != Sent::No {
            self.say(encode_cancelled(&RequestId::from_u64(id), reason));
        }
        sent
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
        let Self { outbox, pending, latch, .. } = self;
        outbox.fill(|letter| {
            let holds = letter.epoch.is_none_or(|epoch| latch.holds(epoch));
            if !holds {
                pending.answer(letter.id, Err(CallError::Stopped { sent: Sent::No }));
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

    pub(super) fn read(&mut self, read: std::io::Result<usize>) {
        match read {
            Ok(1..) => {
                while let Some(line) = self.reader.next() {
                    match line {
                        Ok(line) => self.line(line),
                        Err(error) => self.noise(&error.to_string(), b""),
                    }
                }
            }
            Ok(_) => self.over("the server closed its stdout"),
            Err(_) => self.over("the server's stdout could not be read"),
        }
    }

    fn line(&mut self, line: Bytes) {
        match decode(line.clone(), UPSTREAM_MESSAGE_BYTES_MAX) {
            Ok(message) => self.heard(understand(message)),
            Err(error) => {
                self.noise(&error.to_string(), &line);
                if let Some(id) = self.asked(meant(&line, &error)) {
                    self.pending.answer(id, Err(MALFORMED));
                }
            }
        }
    }

    fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Answer { id, response } => self.answer(id, response),
            Heard::Progress { id, notice } => self.progress(id, notice),
            // Nobody can tell which call a log message belongs to.
            Heard::Log(_) | Heard::Other => {}
            // Without anybody who attends nobody is told.
            Heard::News(news) => drop(self.shared.news.send(news)),
            Heard::ListChanged => self.shared.list_changed.send_modify(|n| *n += 1),
            Heard::Asked { reply, kind, request } => {
                if kind == Question::Refused {
                    if self.ask(request) {
                        return;
                    }
                    self.shared.counts.question();
                }
                self.say(reply);
            }
        }
    }

    fn answer(&mut self, id: Option<u64>, response: Response) {
        let Some(id) = self.asked(id) else {
            self.shared.counts.stray();
            return;
        };
        let (called_off, response) = self.talks.answered(id, response);
        for frame in called_off {
            self.say(frame);
        }
        if response.is_some_and(|response| !self.pending.answer(id, Ok(response))) {
            self.shared.counts.stray();
        }
    }

    /// An answer to what was not asked yet is as much an answer to nobody as a repeated one.
    fn asked(&self, id: Option<u64>) -> Option<u64> {
        id.filter(|id| self.outbox.sent(*id) == Sent::Yes)
    }

    fn progress(&mut self, id: Option<u64>, notice: Notice) {
        let taken = id
            .and_then(|id| self.pending.notices(id))
            .is_some_and(|notices| notices.try_send(notice).is_ok());
        if !taken {
            self.shared.counts.notice_dropped();
        }
    }

    fn noise(&mut self, what: &str, line: &[u8]) {
        self.shared.counts.noise();
        if let Turn::Say { n_suppressed } = self.pace.turn(Instant::now()) {
            let shown = escaped(line.get(..NOISE_SHOWN_BYTES).unwrap_or(line));
            tracing::warn!(server.id = %self.server, what, shown, n_suppressed,
                "Server wrote to stdout what is no message");
        }
    }

    /// Every call of an epoch that is past is answered and, as far as possible, called back.
    pub(super) fn stop(&mut self) {
        let Self { pending, latch, .. } = self;
        let holds = |waiting: &Waiting| waiting.epoch.is_none_or(|epoch| latch.holds(epoch));
        let stopped = pending.ids(|waiting| !holds(waiting));
        let sent: Vec<Sent> = stopped.iter().map(|id| self.outbox.sent(*id)).collect();
        self.outbox.revoke(|epoch| self.latch.holds(epoch));
        for call in self.talks.stopped(|epoch| self.latch.holds(epoch)) {
            self.call_off(call, "emergency stop");
        }
        for (id, sent) in stopped.into_iter().zip(sent) {
            self.call_off(id, "emergency stop");
            self.pending.answer(id, Err(CallError::Stopped { sent }));
            if sent != Sent::No {
                self.say(encode_cancelled(&RequestId::from_u64(id), "emergency stop"));
            }
        }
    }

    /// The timer rang: some deadlines have passed, or the time for last words has.
    pub(super) fn wake(&mut self) {
        let now = Instant::now();
        if let Course::Ending { until, why } = &self.course
            && *until <= now
        {
            self.course = Course::Over { why: why.clone() };
        }
        self.talk(now);
        for id in self.pending.ids(|waiting| waiting.deadline <= now) {
            let waiting = self.pending.remove(id);
            let sent = self.cancel(id, "no answer in time");
            if let Some(waiting) = waiting {
                waiting.reply.send(Err(CallError::Deadline { sent })).ok();
            }
        }
        let last_words = match &self.course {
            Course::Ending { until, .. } => Some(*until),
            Course::Open | Course::Over { .. } => None,
        };
        self.alarm = [self.pending.earliest_deadline(), self.talks.earliest(), last_words]
            .into_iter()
            .flatten()
            .min();
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
        for id in self.pending.ids(|_| true) {
            let sent = self.outbox.sent(id);
            self.pending.answer(id, Err(CallError::Unavailable { sent }));
        }
        let why = match &self.course {
            Course::Ending { why, .. } | Course::Over { why } => why.as_str(),
            Course::Open => "the session ended",
        };
        tracing::info!(server.id = %self.server, why, "Session ended");
        self.shared.over.send_replace(Some(why.into()));
    }
}

const NOISE_SHOWN_BYTES: usize = 200;
