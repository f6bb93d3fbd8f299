//! One server: its replicas, the places for calls to it, and which replica takes a call.
//!
//! Owns what its replicas share: the bound on calls, the sessions that belong to one caller each,
//! and the board of what is watched. Promises that a call goes to a replica that is ready and lists
//! what the server is known for, if there is one. Starts nothing: each replica has its own life.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use smallvec::SmallVec;
use tokio::{sync::watch, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    balance::{
        Balancer, Candidate,
        queue::{Bulkhead, Crowded, NoPlace, Place},
    },
    health::{
        breaker::{Entry, last_resort},
        retry::{Repeat, RetryBudget},
    },
    keeper::Offer,
    lease::Leases,
    replica::{Replica, Running, Stage, State, Up},
    watch::Board,
};
use crate::{
    config::{Affinity, Isolation, ServerConfig},
    domain::{Call, CallError, Generation, Principal, ReplicaNo, Subject},
    telemetry::{KindMeters, meters},
    upstream::{Connector, Session},
    wire::Object,
};

#[derive(Debug)]
pub(super) struct Server {
    /// In which it was started.
    pub(super) generation: Generation,
    pub(super) config: Arc<ServerConfig>,
    pub(super) replicas: Vec<Arc<Replica>>,
    bulkhead: Bulkhead,
    /// The sessions of callers who share none.
    pub(super) own_sessions: Leases,
    pub(super) board: Arc<Board>,
    /// Whose session is asked for what the board wants: one at a time.
    pub(super) floor: Arc<tokio::sync::Mutex<()>>,
    /// The keeper's alone.
    offer: Mutex<Offer>,
    balancer: Balancer,
    /// Where calls are counted that are not of a listed tool.
    pub(super) meters: KindMeters,
    pub(super) budget: RetryBudget,
}

impl Server {
    /// The server, and each replica's state for whoever runs its life. If it takes the place of
    /// another, what is watched there goes on here, and it is known for the same until it lists.
    pub(super) fn new(
        generation: Generation,
        config: ServerConfig,
        (connector, stop, tasks): (&Connector, &CancellationToken, &TaskTracker),
        before: Option<&Self>,
    ) -> (Arc<Self>, Vec<watch::Sender<Stage>>) {
        let config = Arc::new(config);
        let (replicas, stages) = Replica::all(&config);
        let server = Self {
            generation,
            replicas,
            bulkhead: Bulkhead::new(config.in_flight, config.queue),
            own_sessions: Leases::new(config.clone(), connector, stop, tasks),
            board: before.map(|before| before.board.clone()).unwrap_or_default(),
            floor: before.map(|before| before.floor.clone()).unwrap_or_default(),
            offer: Mutex::new(before.map(|before| before.offer().inherit()).unwrap_or_default()),
            balancer: Balancer::new(config.balance),
            meters: KindMeters::of(&config.name),
            budget: RetryBudget::new(Instant::now()),
            config,
        };
        (Arc::new(server), stages)
    }

    /// A place among the calls of this server, if one is free and it has fewer than its share.
    pub(super) fn place(&self, share: usize) -> Result<Option<Place>, CallError> {
        self.bulkhead.try_enter(share).map_err(|Crowded| CallError::Crowded)
    }

    /// Returns when it has no call. Nobody may ask for a place any more.
    pub(super) async fn idle(&self) {
        self.bulkhead.idle().await;
    }

    pub(super) fn offer(&self) -> MutexGuard<'_, Offer> {
        self.offer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same in turn, for a while.
    pub(super) async fn queue_up(&self, principal: &Principal) -> Result<Place, CallError> {
        let now = Instant::now();
        let entered = self.bulkhead.enter(principal, now + self.config.queue_timeout).await;
        meters().queue_wait.record(now.elapsed());
        entered.map_err(|none| match none {
            NoPlace::Full => CallError::Busy,
            NoPlace::Late => CallError::Queued,
        })
    }

    /// The calls that are under way, and those that wait for a place.
    pub(super) fn crowd(&self) -> (usize, usize) {
        (self.bulkhead.in_flight(), self.bulkhead.waiting())
    }

    /// The shared session of the replica that takes this call, which is none of those `tried`.
    pub(super) fn pick(&self, call: &Call, tried: &[ReplicaNo]) -> Option<(Arc<Session>, Running)> {
        let now = Instant::now();
        let up = |replica: &Arc<Replica>| {
            let is_new = !tried.contains(&replica.n);
            Some((replica.clone(), replica.up().filter(|_| is_new)?))
        };
        let ups: SmallVec<[(Arc<Replica>, Arc<Up>); 4]> =
            self.replicas.iter().filter_map(up).collect();
        let enter = |(replica, up): &(Arc<Replica>, Arc<Up>), entry| {
            Some((up.session.clone(), replica.enter(up, entry, now)?))
        };
        // What it goes on with is known only there.
        if let (Some(_), [_, ..]) = (call.at, tried) {
            return None;
        }
        if let Some(begun) = ups.iter().find(|(replica, _)| Some(replica.n) == call.at) {
            return enter(begun, Entry::LastResort);
        }
        // Another's task under the same id is somebody else's.
        if matches!(call.subject, Subject::Task(..)) {
            return None;
        }
        let standings = ups.iter().map(|(replica, up)| replica.standing(up, now));
        let mut usable: SmallVec<[_; 4]> = ups
            .iter()
            .zip(standings.clone())
            .filter(|(_, s)| s.is_usable())
            .map(|(u, _)| u)
            .collect();
        let affinity = self.affinity(call);
        // A breaker may have changed its mind since it was asked.
        while !usable.is_empty() {
            let candidates: SmallVec<[Candidate; 4]> =
                usable.iter().map(|(replica, up)| replica.candidate(up, now)).collect();
            let chance = || getrandom::u64().unwrap_or_default();
            let chosen = usable.remove(self.balancer.pick(&candidates, affinity, chance)?);
            if let Some(entered) = enter(chosen, Entry::Chosen) {
                return Some(entered);
            }
        }
        enter(ups.get(last_resort(standings)?)?, Entry::LastResort)
    }

    /// What the operator says about a call that may have been carried out already.
    pub(super) fn repeat(&self, subject: &Subject) -> Repeat {
        match subject {
            Subject::Tool(tool) if self.config.repeatable.contains(tool.as_str()) => {
                Repeat::MarkedSafe
            }
            Subject::Tool(_)
            | Subject::Prompt(_)
            | Subject::Resource(_)
            | Subject::PromptArgument(_)
            | Subject::TemplateArgument(_)
            | Subject::Task(..) => Repeat::NotMarked,
        }
    }

    /// What calls that belong together have in common, if the operator wants them to meet.
    fn affinity(&self, call: &Call) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        match (&self.config.affinity, &call.caller.conversation) {
            (Affinity::None, _) => return None,
            (Affinity::Session, Some(conversation)) => conversation.hash(&mut hasher),
            (Affinity::Principal, _) | (Affinity::Session, None) => {
                call.caller.principal.hash(&mut hasher);
            }
            (Affinity::Argument(name), _) => {
                let arguments = Object::parse(call.arguments.clone()).ok()?;
                arguments.get(name)?.hash(&mut hasher);
            }
        }
        Some(hasher.finish())
    }

    /// Whose calls share a session.
    pub(super) fn isolation(&self) -> Isolation {
        // The strictest of those that are ready: one kind of session for all calls.
        let mut ready = self.replicas.iter().filter_map(|replica| replica.isolation());
        let first = ready.next().unwrap_or(self.config.isolation);
        ready.find(|isolation| *isolation != Isolation::Shared).unwrap_or(first)
    }

    /// How the server as a whole is: as its best replica.
    pub(super) fn state(&self) -> State {
        let states: Vec<State> = self.replicas.iter().map(|replica| replica.state()).collect();
        let rank = |state: &State| match state {
            State::Ready(_) => 0_u8,
            State::Starting => 1,
            State::Backoff { .. } => 2,
            State::CrashLoop { .. } => 3,
            State::Gone => 4,
        };
        states.into_iter().min_by_key(rank).unwrap_or(State::Gone)
    }

    /// Whether all of its replicas are over and done with.
    pub(super) fn is_gone(&self) -> bool {
        self.replicas.iter().all(|replica| matches!(replica.state(), State::Gone))
    }

    /// Waits until some replica is ready or none is in its first start any more.
    pub(super) async fn settled(&self) {
        for replica in &self.replicas {
            if replica.tried().await && matches!(self.state(), State::Ready(_)) {
                return;
            }
        }
    }
}
