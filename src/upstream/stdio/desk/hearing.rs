//! What a child says: each message to whoever it is meant for, what is none into the counts.
//!
//! Owns nothing beyond the desk. Promises that an answer is taken only for what was sent, and that
//! nothing said out of turn does more than be counted.

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
    wire::{Notice, Request, Response, decode},
};

const NOISE_SHOWN_BYTES: usize = 200;

impl Desk {
    pub(in crate::upstream::stdio) fn read(&mut self, read: std::io::Result<usize>) {
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
            Ok(message) => self.heard(understand(message, &self.declared)),
            Err(error) => {
                self.noise(&error.to_string(), &line);
                // It is counted as noise; whether anybody waited makes no difference.
                if let Some(id) = self.asked(meant(&line, &error)) {
                    let acts = self.calls.answered(id, Err(MALFORMED));
                    self.carry_out(acts.unwrap_or_default());
                }
            }
        }
    }

    fn heard(&mut self, heard: Heard) {
        match heard {
            Heard::Answer { id, response } => self.answer(id, response),
            Heard::Progress { id, notice } => self.progress(id, notice),
            Heard::Log(notice) => self.log(notice),
            Heard::Other => {}
            // Without anybody who attends nobody is told.
            Heard::News(news) => drop(self.shared.news.send(news)),
            Heard::ListChanged => self.shared.list_changed.send_modify(|n| *n += 1),
            Heard::Asked(inbound::Asked { reply, kind, request }) => {
                if kind == Question::Refused {
                    if self.question(request) {
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
        if self.sent_off.remove(&id) {
            return;
        }
        match self.calls.answered(id, Ok(response)) {
            Some(acts) => self.carry_out(acts),
            None => self.shared.counts.stray(),
        }
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
