//! The calls of a legacy session whose callers can be asked.
//!
//! Such a call may wait for a person longer than its caller waits for us, so a task carries it, and
//! one task for the session, the host, owns who waits and is asked what (`Calls`). A question that
//! comes with a call's own answer belongs to that call, one on the GET stream to the oldest. The
//! latch is asked of every answer that a caller sends. Sessions of nobody in particular have no
//! host, and neither have their calls this detour.

mod carry;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use tokio::{
    select,
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::{Asked, core::Core};
use crate::{
    domain::{
        CallError, Sent,
        limits::{UPSTREAM_ERRAND_TIMEOUT, UPSTREAM_ERRANDS_MAX},
    },
    gate::{Book, Epoch},
    upstream::talk::{Act, Calls, Door, Entered, Left, Reply, Resume, Uncounted, Waiting},
    wire::{Frame, Request, RequestId, Response, Version, encode_cancelled},
};
use carry::{Cut, carry};

/// The way to the host.
#[derive(Debug)]
pub(super) struct Host(Door<Event>);

/// A host that does not run yet.
#[derive(Debug)]
pub(super) struct Unhoused {
    inbox: mpsc::Receiver<Event>,
    uncounted: Uncounted,
}

/// What wakes the host.
#[derive(Debug)]
enum Event {
    Asked {
        asked: Box<Asked<'static>>,
        waiting: Waiting,
        resume: Option<Resume>,
    },
    Left(Left),
    Question {
        about: Option<u64>,
        request: Request,
        refusal: Frame,
    },
    Answered {
        call: u64,
        answer: Result<Response, CallError>,
    },
    /// A call was called back. What the server may know of it is `may_be_known`.
    Ended {
        call: u64,
        may_be_known: bool,
        reason: &'static str,
    },
    /// The server did not take an answer to a question of this call.
    NotTaken {
        call: u64,
        error: CallError,
    },
}

impl From<Left> for Event {
    fn from(left: Left) -> Self {
        Self::Left(left)
    }
}

impl Host {
    pub(super) fn new() -> (Self, Unhoused) {
        let (door, inbox, uncounted) = Door::new();
        (Self(door), Unhoused { inbox, uncounted })
    }

    /// Sends a call and waits for its answer, or for questions about it.
    pub(super) async fn ask(&self, mut asked: Asked<'_>) -> Result<Response, CallError> {
        let talk = asked.talk.take();
        let (able, resume) = talk.map(|talk| (talk.able, talk.resume)).unzip();
        let (id, epoch, deadline) = (asked.id, asked.epoch, Instant::now() + asked.wait);
        let ear = asked.ear();
        let asked = Box::new(asked.without_caller());
        let event = |reply: Reply| {
            let waiting = Waiting { reply, ear, epoch, deadline, able, asked_as: id };
            Event::Asked { asked, waiting, resume: resume.flatten() }
        };
        self.0.ask(id, event).await
    }

    pub(super) fn abandon(&self, token: &str) {
        self.0.abandon(token);
    }

    /// Takes a question of the server, about a certain call if that is known. Handed back when
    /// there is no room for it.
    pub(super) fn question(
        &self,
        about: Option<u64>,
        request: Request,
        refusal: Frame,
    ) -> Result<(), Frame> {
        let question = Event::Question { about, request, refusal };
        match self.0.inbox.try_send(question) {
            Ok(()) => Ok(()),
            Err(
                mpsc::error::TrySendError::Full(event) | mpsc::error::TrySendError::Closed(event),
            ) => match event {
                Event::Question { refusal, .. } => Err(refusal),
                Event::Asked { .. }
                | Event::Left(_)
                | Event::Answered { .. }
                | Event::Ended { .. }
                | Event::NotTaken { .. } => Ok(()),
            },
        }
    }
}

impl Unhoused {
    /// Runs until the session ends.
    pub(super) async fn run(self, core: Arc<Core>, version: Version) {
        let stop = core.latch.changed();
        let Self { inbox, uncounted } = self;
        let (calls, running) = (Calls::default(), HashMap::new());
        let desk = Desk { core, version, calls, running, owed: VecDeque::new() };
        desk.run(inbox, uncounted, stop).await;
    }
}

/// What the host works with.
struct Desk {
    core: Arc<Core>,
    version: Version,
    calls: Calls,
    /// How to call each call back that the server has not answered.
    running: HashMap<u64, oneshot::Sender<Cut>>,
    /// What is still to be told to the server about calls that were called back. There is no more
    /// of it than there were questions and calls, and none waits longer than the errands before it.
    owed: VecDeque<Frame>,
}

impl Desk {
    async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Event>,
        uncounted: Uncounted,
        mut stop: watch::Receiver<Book>,
    ) {
        let mut errands = JoinSet::new();
        loop {
            self.send_errands(&mut errands);
            let alarm = self.calls.earliest();
            select! {
                // The stop first, as everywhere.
                biased;
                _ = stop.changed() => {
                    let latch = &self.core.latch;
                    let acts = self.calls.stop(|epoch| latch.holds(epoch));
                    self.carry_out(acts);
                }
                () = until(alarm) => {
                    let acts = self.calls.wake(Instant::now());
                    self.carry_out(acts);
                }
                Some(_) = errands.join_next() => {}
                event = inbox.recv() => match event {
                    Some(event) => self.take(event),
                    None => return,
                },
            }
            if uncounted.take() {
                let acts = self.calls.sweep();
                self.carry_out(acts);
            }
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Asked { asked, waiting, resume } => {
                self.accept(*asked, waiting, resume.as_ref())
            }
            Event::Left(left) => {
                let acts = self.calls.left(left);
                self.carry_out(acts);
            }
            Event::Question { about, request, refusal } => {
                if self.calls.question(about, request, |_| true).is_none() {
                    self.core.counts.question();
                    self.core.errand(refusal, self.version, None);
                }
            }
            Event::Answered { call, answer } => {
                self.running.remove(&call);
                self.core.routes.close(call);
                // One that was called back meanwhile has nobody who waits.
                let acts = self.calls.answered(call, answer);
                self.carry_out(acts.unwrap_or_default());
            }
            Event::Ended { call, may_be_known, reason } => {
                self.core.routes.close(call);
                if may_be_known {
                    self.owed.push_back(encode_cancelled(&RequestId::from_u64(call), reason));
                }
            }
            Event::NotTaken { call, error } => {
                let acts = self.calls.lost(call, error);
                self.carry_out(acts);
            }
        }
    }

    fn accept(&mut self, asked: Asked<'static>, waiting: Waiting, resume: Option<&Resume>) {
        let Self { calls, core, .. } = self;
        let id = asked.id;
        match calls.enter(id, waiting, resume, |epoch| core.latch.holds(epoch)) {
            Entered::New => {
                core.routes.put(id, calls.ear(id));
                let (cut, cut_off) = oneshot::channel();
                core.tasks.run(carry(Arc::clone(core), asked, cut_off));
                self.running.insert(id, cut);
            }
            Entered::Resumed(acts) => self.carry_out(acts),
        }
    }

    fn carry_out(&mut self, acts: Vec<Act>) {
        for act in acts {
            match act {
                Act::Say(frame) => self.owed.push_back(frame),
                Act::Answer { call, epoch, frame, .. } => self.answer(call, epoch, frame),
                Act::Cancel { call, reason, told } => {
                    let cut = Cut { reason, told };
                    let late = match self.running.remove(&call) {
                        Some(running) => running.send(cut).err(),
                        None => Some(cut),
                    };
                    // Its answer is here, but comes too late.
                    if let Some(told) = late.and_then(|cut| cut.told) {
                        told.tell(Sent::Yes);
                    }
                }
            }
        }
    }

    /// Posts a caller's answer to a question of this call.
    fn answer(&mut self, call: u64, epoch: Option<Epoch>, frame: Frame) {
        let Self { core, version, calls, .. } = self;
        // From now on it is this caller who hears of the call's progress.
        core.routes.put(call, calls.ear(call));
        let (core_of_task, version) = (Arc::clone(core), *version);
        core.tasks.run(async move {
            let core = core_of_task;
            let session = core.conversation.session();
            let told = core.tell(frame, version, session.as_ref(), epoch);
            let error = match timeout(UPSTREAM_ERRAND_TIMEOUT, told).await {
                // The stop has called the call back by itself.
                Ok(Ok(()) | Err(CallError::Stopped { .. })) => return,
                Ok(Err(error)) => error.of_a_sent_call(),
                Err(_) => CallError::Unavailable { sent: Sent::Yes },
            };
            core.report(Event::NotTaken { call, error }).await;
        });
    }

    /// So many at once as a server may be expected to take.
    fn send_errands(&mut self, errands: &mut JoinSet<()>) {
        while errands.len() < UPSTREAM_ERRANDS_MAX {
            let Some(frame) = self.owed.pop_front() else { return };
            let (core, version) = (Arc::clone(&self.core), self.version);
            errands.spawn(async move { core.say(frame, version, None).await });
        }
    }
}

impl Core {
    /// To the host, from a task of the session.
    async fn report(&self, event: Event) {
        if let Some(host) = self.host.get() {
            // Without a host the session is over.
            host.0.inbox.send(event).await.ok();
        }
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
