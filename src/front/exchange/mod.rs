//! One request on its way to an answer, and what its server says meanwhile.
//!
//! The call is polled until it is decided whether there is anything to stream; from then on a task
//! owns it, and the transport only takes from a channel, or from the record of its session.
//! INVARIANT: while a client takes nothing, its call still runs: deadline, stop and withdrawal
//! never wait for a reader. What waits for the reader is bounded; beyond the bound the server's
//! notices wait where they are. Knows no transport and no era.

use std::{collections::VecDeque, future::Future, pin::Pin, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};

use super::{questions::Voice, reject::Reply, replay::Recorder};
use crate::{
    domain::limits::NOTICE_QUEUE_MAX,
    upstream::NoticeSender,
    wire::{Frame, Level, Notice, ProgressToken},
};

#[cfg(test)]
mod tests;

/// The future of one request; `None` when it was withdrawn and must not be answered.
pub(super) type Answering = Pin<Box<dyn Future<Output = Option<Reply>> + Send>>;

/// A call that is running, and what is said before its answer.
pub(super) struct Exchange {
    answering: Answering,
    ears: Option<Ears>,
    /// Said and not yet taken.
    said: VecDeque<Frame>,
    state: State,
}

enum State {
    Running,
    Answered(Option<Reply>),
    /// The answer is among what was said.
    Over,
}

/// What a client wants to hear before the answer, and whether it can be asked things.
#[derive(Clone, Debug, Default)]
pub(super) struct Wants {
    /// The client's own token for progress.
    pub(super) token: Option<ProgressToken>,
    pub(super) level: Option<Level>,
    pub(super) answers: bool,
}

/// The near ends of what is said before the answer.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) notices: Option<NoticeSender>,
    pub(super) voice: Option<Voice>,
}

/// The far ends.
pub(super) struct Ears {
    wants: Wants,
    notices: Option<mpsc::Receiver<Notice>>,
    questions: Option<mpsc::Receiver<Frame>>,
}

impl Wants {
    /// Channels only where they are of use.
    pub(super) fn open(self) -> (Lines, Option<Ears>) {
        let hears = self.token.is_some() || self.level.is_some();
        let (sender, notices) = hears.then(channel).unzip();
        let (voice, questions) = self.answers.then(channel).unzip();
        let ears = Ears { wants: self, notices, questions };
        let of_use = ears.notices.is_some() || ears.questions.is_some();
        (Lines { notices: sender, voice }, of_use.then_some(ears))
    }
}

fn channel<T>() -> (mpsc::Sender<T>, mpsc::Receiver<T>) {
    mpsc::channel(NOTICE_QUEUE_MAX)
}

impl Ears {
    /// The next thing said that the client wants to hear. Safe to drop.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            let (notices, questions) = (&mut self.notices, &mut self.questions);
            let notice = tokio::select! {
                biased;
                notice = heard(notices), if notices.is_some() => notice,
                question = heard(questions), if questions.is_some() => match question {
                    Some(question) => return Some(question),
                    None => {
                        self.questions = None;
                        continue;
                    }
                },
                else => return None,
            };
            match notice {
                Some(notice) => match self.wants.of(&notice) {
                    Some(frame) => return Some(frame),
                    None => continue,
                },
                None => self.notices = None,
            }
        }
    }

    /// What was said already.
    fn rest(&mut self) -> Vec<Frame> {
        let mut rest = Vec::new();
        while let Some(Ok(notice)) = self.notices.as_mut().map(mpsc::Receiver::try_recv) {
            rest.extend(self.wants.of(&notice));
        }
        while let Some(Ok(question)) = self.questions.as_mut().map(mpsc::Receiver::try_recv) {
            rest.push(question);
        }
        rest
    }
}

async fn heard<T>(line: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match line {
        Some(line) => line.recv().await,
        None => None,
    }
}

impl Wants {
    /// A notice as this client hears it: progress on its own token, messages from its level on.
    fn of(&self, notice: &Notice) -> Option<Frame> {
        if notice.is_progress() {
            return self.token.as_ref().map(|token| notice.encode(Some(token)));
        }
        let heard = self.level.zip(notice.level()).is_some_and(|(from, level)| level >= from);
        heard.then(|| notice.encode(None))
    }
}

/// How a running call turned out before anything was sent.
pub(super) enum First {
    Answer(Option<Reply>),
    Streams,
}

/// How what is said reaches the client.
pub(super) struct Outlet<T> {
    pub(super) out: mpsc::Sender<T>,
    /// A message as the transport writes it.
    pub(super) dress: fn(&Frame, &mut VecDeque<T>),
    /// What is written when there has been nothing for a while.
    pub(super) idle: Option<(Duration, fn() -> T)>,
}

impl Exchange {
    pub(super) fn new(answering: Answering, ears: Option<Ears>) -> Self {
        Self { answering, ears, said: VecDeque::new(), state: State::Running }
    }

    /// The same, for a client that had rather have a stream than wait for longer than that.
    pub(super) async fn first_within(&mut self, patience: Duration) -> First {
        timeout(patience, self.first()).await.unwrap_or(First::Streams)
    }

    /// Waits until it is clear whether there is anything to stream.
    pub(super) async fn first(&mut self) -> First {
        while self.said.is_empty() {
            if let State::Answered(reply) = &mut self.state {
                return First::Answer(reply.take());
            }
            self.advance(0).await;
        }
        First::Streams
    }

    /// Carries everything to the client, the answer last, and returns when that is done or the
    /// client is gone. The call ends with it.
    pub(super) async fn run<T>(mut self, outlet: Outlet<T>) {
        let mut parts: VecDeque<T> = VecDeque::new();
        let mut last = Instant::now();
        loop {
            self.close();
            for frame in self.said.drain(..) {
                (outlet.dress)(&frame, &mut parts);
            }
            let idle = outlet.idle.filter(|_| parts.is_empty() && self.is_running());
            let idle_at = idle.and_then(|(after, _)| last.checked_add(after));
            tokio::select! {
                room = outlet.out.reserve(), if !parts.is_empty() => match (room, parts.pop_front()) {
                    (Ok(room), Some(part)) => {
                        last = Instant::now();
                        room.send(part);
                    }
                    (Err(_), _) | (_, None) => return,
                },
                () = self.advance(parts.len()), if self.is_running() => {}
                () = outlet.out.closed(), if self.is_running() => return,
                () = sleep_until(idle_at.unwrap_or(last)), if idle_at.is_some() => {
                    parts.extend(idle.map(|(_, comment)| comment()));
                }
                else => return,
            }
        }
    }

    /// Puts everything on record, the answer last, whether anybody reads it or not.
    pub(super) async fn record(mut self, recorder: Recorder) {
        loop {
            self.close();
            self.said.drain(..).for_each(|frame| recorder.say(&frame));
            if !self.is_running() {
                return;
            }
            let n_waiting = recorder.n_waiting();
            tokio::select! {
                () = self.advance(n_waiting) => {}
                () = recorder.room(), if n_waiting >= NOTICE_QUEUE_MAX => {}
            }
        }
    }

    /// One step: something was said (if there is room for it), or the answer is there. Safe to
    /// drop.
    async fn advance(&mut self, n_waiting: usize) {
        let Some(ears) = self.ears.as_mut().filter(|_| n_waiting < NOTICE_QUEUE_MAX) else {
            let reply = (&mut self.answering).await;
            return self.settle(reply);
        };
        tokio::select! {
            biased;
            reply = &mut self.answering => self.settle(reply),
            said = ears.next() => match said {
                Some(frame) => self.said.push_back(frame),
                // Nothing will be said any more.
                None => self.ears = None,
            },
        }
    }

    /// The answer is there; what was said before it still goes first.
    fn settle(&mut self, reply: Option<Reply>) {
        if let Some(mut ears) = self.ears.take() {
            self.said.extend(ears.rest());
        }
        self.state = State::Answered(reply);
    }

    /// On a stream the answer is the last thing said.
    fn close(&mut self) {
        if let State::Answered(reply) = &mut self.state {
            self.said.extend(reply.take().map(|reply| reply.frame));
            self.state = State::Over;
        }
    }

    fn is_running(&self) -> bool {
        matches!(self.state, State::Running)
    }
}
