//! One live process or connection of a server, as those see it who want to call it.
//!
//! Its state is seen through a watch, its session through a slot that is empty while there is none.
//! Counts its calls, how long they take and how they end, which decides whether it gets more.
//! `life` has the task that keeps it alive, the only one to open and close the slot.

mod life;
mod restarts;
#[cfg(test)]
mod tests;

use std::{
    num::NonZeroU16,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tracing::warn;

pub(in crate::fleet) use life::{Life, chain};

use super::{
    balance::{Candidate, latency::Latency},
    health::breaker::{Breaker, Entry, Pass, Sign, Standing},
};
use crate::{
    config::{Isolation, ReplicaConfig, ServerConfig, Target},
    domain::{CallError, Era, ReplicaNo},
    upstream::Session,
};

/// Where a replica is in its life.
#[derive(Clone, Debug)]
pub enum State {
    /// The first start is under way: the list of tools is not complete yet.
    Starting,
    Ready(Ready),
    /// Down; the next start comes by itself.
    Backoff {
        why: String,
    },
    /// It ends again and again; the next start comes by itself, but not soon.
    CrashLoop {
        why: String,
    },
    /// Shut down with the gateway.
    Gone,
}

/// One line of the status.
#[derive(Clone, Debug)]
pub struct ReplicaStatus {
    pub n: ReplicaNo,
    pub state: State,
    /// Whether it lists what its server is known for; if not, it has no calls.
    pub agrees: bool,
    /// `closed` is well; `open` has no calls for a while; `half-open` is being tried.
    pub breaker: &'static str,
    pub in_flight: usize,
    /// What a call is expected to take.
    pub latency_us: u64,
    pub restarts: u64,
    pub pid: Option<u32>,
    /// The last lines that it wrote to its standard error.
    pub stderr: Vec<String>,
}

/// What is known of a server that answers.
#[derive(Clone, Debug)]
pub struct Ready {
    pub protocol: &'static str,
    pub tools: usize,
    pub problems: Vec<String>,
}

impl State {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready(_) => "ready",
            Self::Backoff { .. } => "down",
            Self::CrashLoop { .. } => "crash-loop",
            Self::Gone => "gone",
        }
    }
}

/// The handle on one replica.
#[derive(Debug)]
pub(in crate::fleet) struct Replica {
    pub(in crate::fleet) n: ReplicaNo,
    pub(in crate::fleet) config: Arc<ServerConfig>,
    target: Target,
    weight: NonZeroU16,
    up: ArcSwapOption<Up>,
    /// Of the next session.
    generation: AtomicU64,
    in_flight: AtomicUsize,
    latency: Latency,
    breaker: Mutex<Breaker>,
    /// It lists what its server is known for.
    agrees: AtomicBool,
    state: watch::Receiver<State>,
    restarts: AtomicU64,
    /// Wakes a life that waits in a crash loop.
    retry: Notify,
}

/// How a replica's tools compare with those that its server is known for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fleet) enum Vote {
    Agrees,
    Differs,
}

/// The session of a replica that is up.
#[derive(Debug)]
pub(in crate::fleet) struct Up {
    pub(in crate::fleet) session: Arc<Session>,
    since: Instant,
    generation: u64,
}

/// A call that a replica has; over when it is dropped.
#[derive(Debug)]
pub(in crate::fleet) struct Running {
    replica: Arc<Replica>,
    pass: Option<Pass>,
    since: Instant,
}

impl Replica {
    /// All replicas of a server, and each one's state for whoever runs its life.
    pub(in crate::fleet) fn all(
        config: &Arc<ServerConfig>,
    ) -> (Vec<Arc<Self>>, Vec<watch::Sender<State>>) {
        let (numbers, now) = ((0..).map(ReplicaNo), Instant::now());
        let replica = |(n, written): (ReplicaNo, &ReplicaConfig)| {
            let (sender, state) = watch::channel(State::Starting);
            let replica = Self {
                n,
                config: config.clone(),
                target: written.target.clone(),
                weight: NonZeroU16::new(written.weight).unwrap_or(NonZeroU16::MIN),
                up: ArcSwapOption::empty(),
                generation: AtomicU64::new(0),
                in_flight: AtomicUsize::new(0),
                latency: Latency::new(now),
                breaker: Mutex::new(Breaker::new(0, now)),
                agrees: AtomicBool::new(true),
                state,
                restarts: AtomicU64::new(0),
                retry: Notify::new(),
            };
            (Arc::new(replica), sender)
        };
        numbers.zip(&config.replicas).map(replica).unzip()
    }

    /// Its session, unless it lists other tools than its server.
    pub(in crate::fleet) fn up(&self) -> Option<Arc<Up>> {
        self.up.load_full().filter(|_| self.agrees.load(Ordering::Relaxed))
    }

    fn open(&self, session: Arc<Session>) {
        // Lists that are renewed are no other session.
        if self.up.load().as_ref().is_some_and(|up| Arc::ptr_eq(&up.session, &session)) {
            return;
        }
        let generation = self.generation.fetch_add(1, Ordering::Relaxed);
        self.up.store(Some(Arc::new(Up { session, since: Instant::now(), generation })));
    }

    /// How long it was ready.
    fn close(&self) -> Duration {
        self.up.swap(None).map(|up| up.since.elapsed()).unwrap_or_default()
    }

    fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    pub(in crate::fleet) fn standing(&self, up: &Up, now: Instant) -> Standing {
        self.breaker().standing(up.generation, now)
    }

    pub(in crate::fleet) fn candidate(&self, up: &Up, now: Instant) -> Candidate {
        Candidate {
            id: self.n.0,
            weight: self.weight,
            in_flight: self.in_flight.load(Ordering::Relaxed),
            latency_us: self.latency.micros(now),
            ready_for: now.saturating_duration_since(up.since),
        }
    }

    /// A call more, if its breaker lets it in.
    pub(in crate::fleet) fn enter(
        self: &Arc<Self>,
        up: &Up,
        entry: Entry,
        now: Instant,
    ) -> Option<Running> {
        let pass = Some(self.breaker().enter(up.generation, entry, now)?);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(Running { replica: self.clone(), pass, since: now })
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        // A panic elsewhere leaves plain data behind, which is still right.
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::fleet) fn set_vote(&self, vote: Vote) {
        let agrees = vote == Vote::Agrees;
        if self.agrees.swap(agrees, Ordering::Relaxed) && !agrees {
            let (server, n) = (&self.config.name, self.n.0);
            warn!(server.id = %server, replica = n, "Replica has no calls: it lists other tools");
        }
    }

    /// If it is in a crash loop, its next start is now.
    pub(in crate::fleet) fn retry_now(&self) {
        self.retry.notify_waiters();
    }

    pub(in crate::fleet) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Returns after its first start, well or not; `false` if there will be none.
    pub(in crate::fleet) async fn tried(&self) -> bool {
        let mut state = self.state.clone();
        state.wait_for(|state| !matches!(state, State::Starting)).await.is_ok()
    }

    /// Whose calls share its session, if it has one.
    pub(in crate::fleet) fn isolation(&self) -> Option<Isolation> {
        self.up.load().as_ref().map(|up| self.isolation_with(&up.session))
    }

    /// Requests to a modern server behind HTTP share nothing that it could see.
    fn isolation_with(&self, session: &Session) -> Isolation {
        match self.target {
            Target::Http(_) if session.version().era() == Era::Modern => Isolation::Shared,
            Target::Http(_) | Target::Stdio(_) => self.config.isolation,
        }
    }

    pub(in crate::fleet) fn status(&self) -> ReplicaStatus {
        let (up, now) = (self.up.load_full(), Instant::now());
        let session = up.as_ref().map(|up| &up.session);
        ReplicaStatus {
            n: self.n,
            state: self.state(),
            agrees: self.agrees.load(Ordering::Relaxed),
            breaker: match up.as_ref().map(|up| self.standing(up, now)) {
                None | Some(Standing::Closed) => "closed",
                Some(Standing::Open { .. }) => "open",
                Some(Standing::HalfOpen | Standing::Probed) => "half-open",
            },
            in_flight: self.in_flight.load(Ordering::Relaxed),
            latency_us: self.latency.micros(now),
            restarts: self.restarts.load(Ordering::Relaxed),
            pid: session.and_then(|session| session.pid()),
            stderr: session.map(|session| session.stderr_tail()).unwrap_or_default(),
        }
    }
}

impl Running {
    pub(in crate::fleet) fn at(&self) -> ReplicaNo {
        self.replica.n
    }

    /// The call came to this end.
    pub(in crate::fleet) fn conclude<T>(mut self, ended: &Result<T, CallError>) {
        self.hand_back(Sign::of(ended));
    }

    fn hand_back(&mut self, sign: Sign) {
        let Some(pass) = self.pass.take() else { return };
        let now = Instant::now();
        self.replica.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.replica.latency.observe(now.saturating_duration_since(self.since), now);
        self.replica.breaker().leave(pass, sign, now);
    }
}

/// Whoever called has gone.
impl Drop for Running {
    fn drop(&mut self) {
        self.hand_back(Sign::Nothing);
    }
}
