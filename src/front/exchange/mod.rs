//! One request on its way to an answer, and what its server says meanwhile.
//!
//! The call is polled until it is decided whether there is anything to stream; from then on a task
//! owns it, and the transport only takes from a channel. INVARIANT: while a client takes nothing,
//! its call still runs: deadline, stop and withdrawal never wait for a reader. What waits for the
//! reader is bounded; beyond the bound the server's notices wait where they are. Knows no
//! transport and no era.

use std::{collections::VecDeque, future::Future, pin::Pin, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::reject::Reply;
use crate::{
    domain::limits::NOTICE_QUEUE_MAX,
    upstream::NoticeSender,
    wire::{Frame, Notice, ProgressToken},
};

#[cfg(test)]
mod tests;

/// The future of one request; `None` when it was withdrawn and must not be answered.
pub(super) type Answering = Pin<Box<dyn Future<Output = Option<Reply>> + Send>>;

/// A call that is running, and what is said before its answer.
pub(super) struct Exchange {
    answering: Answering,
    progress: Option<Progress>,
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

/// What a server says of a call before its answer, for a client that asked to hear it.
pub(super) struct Progress {
    notices: mpsc::Receiver<Notice>,
    /// The client's own token.
    token: ProgressToken,
}

impl Progress {
    /// A channel only where it is of use: for a client that gave a token.
    pub(super) fn wanted(token: Option<ProgressToken>) -> (Option<NoticeSender>, Option<Self>) {
        let Some(token) = token else { return (None, None) };
        let (sender, notices) = mpsc::channel(NOTICE_QUEUE_MAX);
        (Some(sender), Some(Self { notices, token }))
    }
}

/// How a running call turned out before anything was sent.
pub(super) enum First {
    Answer(Option<Reply>),
    Streams,
}

/// What becomes of a call whose client has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    EndsWithClient,
    RunsOn,
}

/// How what is said reaches the client.
pub(super) struct Outlet<T> {
    pub(super) out: mpsc::Sender<T>,
    /// A message as the transport writes it.
    pub(super) dress: fn(&Frame, &mut VecDeque<T>),
    /// What is written when there has been nothing for a while.
    pub(super) idle: Option<(Duration, fn() -> T)>,
    pub(super) fate: Fate,
}

impl Exchange {
    pub(super) fn new(answering: Answering, progress: Option<Progress>) -> Self {
        Self { answering, progress, said: VecDeque::new(), state: State::Running }
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

    /// Carries everything to the client, the answer last, and returns when that is done.
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
                    (Err(_), _) | (_, None) => break,
                },
                () = self.advance(parts.len()), if self.is_running() => {}
                () = outlet.out.closed(), if self.is_running() => break,
                () = sleep_until(idle_at.unwrap_or(last)), if idle_at.is_some() => {
                    parts.extend(idle.map(|(_, comment)| comment()));
                }
                else => return,
            }
        }
        if outlet.fate == Fate::RunsOn && self.is_running() {
            self.answering.await;
        }
    }

    /// One step: something was said (if there is room for it), or the answer is there. Safe to
    /// drop.
    async fn advance(&mut self, n_waiting: usize) {
        let progress = self.progress.as_mut().filter(|_| n_waiting < NOTICE_QUEUE_MAX);
        let Some(progress) = progress else {
            let reply = (&mut self.answering).await;
            return self.settle(reply);
        };
        tokio::select! {
            biased;
            reply = &mut self.answering => self.settle(reply),
            notice = progress.notices.recv() => match notice {
                Some(notice) => self.hear(&notice),
                // Nothing will be said any more.
                None => self.progress = None,
            },
        }
    }

    /// The answer is there; what was said before it still goes first.
    fn settle(&mut self, reply: Option<Reply>) {
        while let Some(Ok(notice)) = self.progress.as_mut().map(|p| p.notices.try_recv()) {
            self.hear(&notice);
        }
        self.progress = None;
        self.state = State::Answered(reply);
    }

    /// Keeps what the client asked to hear: progress on its own token.
    fn hear(&mut self, notice: &Notice) {
        let wanted = self.progress.as_ref().filter(|_| notice.is_progress());
        self.said.extend(wanted.map(|progress| notice.encode(Some(&progress.token))));
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
