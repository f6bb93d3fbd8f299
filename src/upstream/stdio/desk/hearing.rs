//! What a child says: each message to whoever it is meant for, what is none into the counts.
//!
//! Promises that an answer is taken only for what was sent, and that nothing said out of turn does
//! more than be counted. A child that says too much of that is not listened to for a while, and
//! then waits itself.

use bytes::Bytes;
use tokio::time::Instant;

use super::Desk;
use crate::{
    domain::{Sent, limits::UPSTREAM_MESSAGE_BYTES_MAX},
    upstream::{
        inbound::{self, Heard, MALFORMED, Question, meant, understand},
        pace::Turn,
        stdio::stderr::escaped,
    },
    wire::{Notice, Request, Response, WireError, decode},
};

const NOISE_SHOWN_BYTES: usize = 200;

impl Desk {
    pub(in crate::upstream::stdio) fn read(&mut self, read: std::io::Result<usize>) {
        match read {
            Ok(1..) => {
                self.shared.counts.hear();
                self.heed();
            }
            Ok(_) => self.over("the server closed its stdout"),
            Err(_) => self.over("the server's stdout could not be read"),
        }
    }

    /// All lines that are whole. Only an answer that somebody waits for is free of charge.
    fn heed(&mut self) {
        let held = self.reader.buffer_mut().len();
        let (mut n_asked, mut n_unasked) = (0, 0);
        while let Some(line) = self.reader.next() {
            // With its newline.
            let n_bytes = line.as_ref().map_or(0, |line| line.len() + 1);
            if self.line(line) {
                n_asked += n_bytes;
            } else {
                n_unasked += 1;
            }
        }
        let gone = held.saturating_sub(self.reader.buffer_mut().len());
        let unasked = gone.saturating_sub(n_asked);
        if unasked > 0 {
            self.deaf_until = self.allowance.spend(unasked, n_unasked, Instant::now());
        }
        if let Some(until) = self.deaf_until {
            self.ring_by(until);
        }
    }

    /// Whether it is what somebody waits for.
    fn line(&mut self, line: Result<Bytes, WireError>) -> bool {
        let raw = line.as_ref().map_or(Bytes::new(), Bytes::clone);
        let error = match line.and_then(|line| decode(line, UPSTREAM_MESSAGE_BYTES_MAX)) {
            Ok(message) => return self.heard(understand(message, &self.declared)),
            Err(error) => error,
        };
        self.noise(&error.to_string(), &raw);
        // It is counted as noise; whether anybody waited makes no difference.
        if let Some(id) = self.asked(meant(&raw, &error)) {
            let acts = self.calls.answered(id, Err(MALFORMED));
            self.carry_out(acts.unwrap_or_default());
        }
        false
    }

    fn heard(&mut self, heard: Heard) -> bool {
        match heard {
            Heard::Answer { id, response } => return self.answer(id, response),
            Heard::Progress { id, notice } => self.progress(id, notice),
            Heard::Log(notice) => self.log(notice),
            Heard::Other => {}
            // Without anybody who attends nobody is told.
            Heard::News(news) => drop(self.shared.news.send(news)),
            Heard::ListChanged => self.shared.list_changed.send_modify(|n| *n += 1),
            Heard::Asked(inbound::Asked { reply, kind, request }) => {
                if kind == Question::Refused {
                    if self.question(request) {
                        return false;
                    }
                    self.shared.counts.question();
                }
                self.say(reply);
            }
        }
        false
    }

    fn answer(&mut self, id: Option<u64>, response: Response) -> bool {
        let Some(id) = self.asked(id) else {
            self.shared.counts.stray();
            return false;
        };
        if self.sent_off.remove(&id) {
            return true;
        }
        let acts = self.calls.answered(id, Ok(response));
        let is_awaited = acts.is_some();
        match acts {
            Some(acts) => self.carry_out(acts),
            None => self.shared.counts.stray(),
        }
        is_awaited
    }

    /// Whether there is somebody who can be asked. Only a call that the child has can be meant.
    fn question(&mut self, request: Request) -> bool {
        let Self { calls, outbox, .. } = self;
        let by = calls.question(None, request, |call| outbox.sent(call) == Sent::Yes);
        if let Some(by) = by {
            self.ring_by(by);
        }
        by.is_some()
    }

    /// An answer to what was not asked yet is as much an answer to nobody as a repeated one.
    fn asked(&self, id: Option<u64>) -> Option<u64> {
        id.filter(|id| self.outbox.sent(*id) == Sent::Yes)
    }

    fn progress(&mut self, id: Option<u64>, notice: Notice) {
        let taken = id
            .and_then(|id| self.calls.ear(id))
            .is_some_and(|ear| ear.notices.try_send(notice).is_ok());
        if !taken {
            self.shared.counts.notice_dropped();
        }
    }

    /// A log message names no call. On a shared session nobody can tell whose it is.
    fn log(&mut self, notice: Notice) {
        if let Some(notices) = self.calls.only_ear()
            && notices.try_send(notice).is_err()
        {
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
}
