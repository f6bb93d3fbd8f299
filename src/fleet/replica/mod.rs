//! One live process or connection of a server, as those see it who want to call it.
//!
//! Its state is seen through a watch, its session through a slot that is empty while there is none.
//! Counts its calls, how long they take and how they end, which decides whether it gets more.
//! `life` has the task that keeps it alive, the only one to open and close the slot.

mod care;
mod life;
mod restarts;
#[cfg(test)]
mod tests;

use std::{
    iter, mem,
    num::NonZeroU16,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use metrics::Counter;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tracing::{info, warn};

pub(in crate::fleet) use life::{Life, chain};

use super::{
    balance::{Candidate, latency::Latency},
    health::breaker::{Breaker, Entry, Pass, Sign, Standing, Turn},
    status::{
        self, ReplicaStatus,
        lately::{Lately, Spread},
    },
};
use crate::{
    config::{Isolation, ReplicaConfig, ServerConfig, Target},
    domain::{CallError, Era, ReplicaNo},
    sys,
    telemetry::ejections,
    upstream::{Session, Tail},
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

/// A state, since when, and what went wrong last.
#[derive(Clone, Debug)]
pub(in crate::fleet) struct Stage {
    pub(in crate::fleet) state: State,
    pub(in crate::fleet) since_us: u64,
    pub(in crate::fleet) last_error: Option<Mishap>,
}

/// Why a session ended or did not open.
#[derive(Clone, Debug)]
pub struct Mishap {
    pub why: String,
    pub at_us: u64,
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

    /// Why it is down.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Backoff { why } | Self::CrashLoop { why } => Some(why),
            Self::Starting | Self::Ready(_) | Self::Gone => None,
        }
    }
}

impl Stage {
    fn first() -> Self {
        Self { state: State::Starting, since_us: sys::unix_micros(), last_error: None }
    }

    /// What comes next. A state that only goes on keeps its beginning.
    fn turn(&mut self, next: State) {
        let now_us = sys::unix_micros();
        if let Some(why) = next.why() {
            self.last_error = Some(Mishap { why: why.to_owned(), at_us: now_us });
        }
        if mem::discriminant(&self.state) != mem::discriminant(&next) {
            self.since_us = now_us;
        }
        self.state = next;
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
    pub(in crate::fleet) lately: Lately,
    breaker: Mutex<Breaker>,
    /// Since when it lists something else than its server is known for; 0 if it does not.
    differs_since_us: AtomicU64,
    stage: watch::Receiver<Stage>,
    /// What its children have written to their standard error.
    pub(in crate::fleet) tail: Tail,
    restarts: AtomicU64,
    ejections: Counter,
    /// Wakes a life that waits in a crash loop.
    retry: Notify,
    /// A call that was its second chance has failed.
    condemned: Notify,
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
    ) -> (Vec<Arc<Self>>, Vec<watch::Sender<Stage>>) {
        let (numbers, now) = ((0..).map(ReplicaNo), Instant::now());
        let replica = |(n, written): (ReplicaNo, &ReplicaConfig)| {
            let (sender, stage) = watch::channel(Stage::first());
            let replica = Self {
                n,
                config: config.clone(),
                target: written.target.clone(),
                weight: NonZeroU16::new(written.weight).unwrap_or(NonZeroU16::MIN),
                up: ArcSwapOption::empty(),
                generation: AtomicU64::new(0),
                in_flight: AtomicUsize::new(0),
                latency: Latency::new(now),
                lately: Lately::new(now),
                breaker: Mutex::new(Breaker::new(0, now)),
                differs_since_us: AtomicU64::new(0),
                stage,
                tail: Tail::default(),
                restarts: AtomicU64::new(0),
                ejections: ejections(&config.name),
                retry: Notify::new(),
                condemned: Notify::new(),
            };
            (Arc::new(replica), sender)
        };
        numbers.zip(&config.replicas).map(replica).unzip()
    }

    /// Its session, unless it lists other tools than its server.
    pub(in crate::fleet) fn up(&self) -> Option<Arc<Up>> {
        self.up.load_full().filter(|_| self.differs_since_us.load(Ordering::Relaxed) == 0)
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

    /// Takes a pass back, and tells what has come of it.
    fn leave(&self, pass: Pass, sign: Sign, now: Instant) {
        let turn = self.breaker().leave(pass, sign, now);
        let (server, replica) = (&self.config.name, self.n.0);
        match turn {
            Turn::Nothing => {}
            Turn::Ejected(pause) | Turn::Condemned(pause) => {
                self.ejections.increment(1);
                let pause_ms = pause.as_millis();
                warn!(server.id = %server, replica, %pause_ms, "Replica was ejected");
            }
            Turn::Readmitted => info!(server.id = %server, replica, "Replica has calls again"),
        }
        if matches!(turn, Turn::Condemned(_)) {
            self.condemned.notify_one();
        }
    }

    pub(in crate::fleet) fn set_vote(&self, vote: Vote) {
        let (relaxed, since) = (Ordering::Relaxed, &self.differs_since_us);
        match vote {
            Vote::Agrees => since.store(0, relaxed),
            Vote::Differs => {
                if since.compare_exchange(0, sys::unix_micros(), relaxed, relaxed).is_ok() {
                    let (server, n) = (&self.config.name, self.n.0);
                    warn!(server.id = %server, replica = n, "Replica has no calls: it lists other tools");
                }
            }
        }
    }

    /// If it is in a crash loop, its next start is now.
    pub(in crate::fleet) fn retry_now(&self) {
        self.retry.notify_waiters();
    }

    pub(in crate::fleet) fn state(&self) -> State {
        self.stage.borrow().state.clone()
    }

    /// Returns after its first start, well or not; `false` if there will be none.
    pub(in crate::fleet) async fn tried(&self) -> bool {
        let mut stage = self.stage.clone();
        stage.wait_for(|stage| !matches!(stage.state, State::Starting)).await.is_ok()
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
        let differs_since_us = self.differs_since_us.load(Ordering::Relaxed);
        let differs_since_us = (differs_since_us > 0).then_some(differs_since_us);
        let standing = up.as_ref().map_or(Standing::Closed, |up| self.standing(up, now));
        let ejected = self.breaker().ejected_since().map(|since| (since, standing));
        let stage = self.stage.borrow().clone();
        let credentials = self.target.credentials().into_iter();
        ReplicaStatus {
            n: self.n,
            credentials: credentials.map(|(at, value)| (at, value.clone())).collect(),
            idle: status::idle(&stage, differs_since_us, ejected, now),
            state: stage.state,
            since_us: stage.since_us,
            last_error: stage.last_error,
            agrees: differs_since_us.is_none(),
            breaker: standing.as_str(),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            expected_us: self.latency.micros(now),
            lately: Spread::of(iter::once(&self.lately), now).quantiles(),
            connection: self.generation.load(Ordering::Relaxed),
            restarts: self.restarts.load(Ordering::Relaxed),
            pid: up.as_ref().and_then(|up| up.session.pid()),
            stderr: self.tail.read(),
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
        let took = now.saturating_duration_since(self.since);
        self.replica.latency.observe(took, now);
        self.replica.lately.observe(took, now);
        self.replica.leave(pass, sign, now);
    }
}

/// Whoever called has gone.
impl Drop for Running {
    fn drop(&mut self) {
        self.hand_back(Sign::Nothing);
    }
}
