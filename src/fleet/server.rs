//! One server: its replicas, the places for calls to it, and which replica takes a call.
//!
//! Owns what its replicas share: the bound on calls, the sessions that belong to one caller each,
//! and the board of what is watched. Promises that a call goes to a replica that is ready and lists
//! what the server is known for, if there is one. Starts nothing: each replica has its own life.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    keeper::Offer,
    lease::Leases,
    replica::{Replica, Running, State},
    watch::Board,
};
use crate::{
    config::{Isolation, ServerConfig},
    domain::CallError,
    upstream::{Connector, Session},
};

#[derive(Debug)]
pub(super) struct Server {
    pub(super) config: Arc<ServerConfig>,
    pub(super) replicas: Vec<Arc<Replica>>,
    /// One permit a call in flight.
    places: Arc<Semaphore>,
    /// The sessions of callers who share none.
    pub(super) own_sessions: Leases,
    pub(super) board: Arc<Board>,
    /// Whose session is asked for what the board wants: one at a time.
    pub(super) floor: Arc<tokio::sync::Mutex<()>>,
    /// The keeper's alone.
    offer: Mutex<Offer>,
    turn: AtomicUsize,
}

impl Server {
    /// The server, and each replica's state for whoever runs its life. If it takes the place of
    /// another, what is watched there goes on here, and it is known for the same until it lists.
    pub(super) fn new(
        config: ServerConfig,
        (connector, stop, tasks): (&Connector, &CancellationToken, &TaskTracker),
        before: Option<&Self>,
    ) -> (Arc<Self>, Vec<watch::Sender<State>>) {
        let config = Arc::new(config);
        let (replicas, states) = Replica::all(&config);
        let server = Self {
            replicas,
            places: Arc::new(Semaphore::new(config.in_flight)),
            own_sessions: Leases::new(config.clone(), connector, stop, tasks),
            board: before.map(|before| before.board.clone()).unwrap_or_default(),
            floor: before.map(|before| before.floor.clone()).unwrap_or_default(),
            offer: Mutex::new(before.map(|before| before.offer().inherit()).unwrap_or_default()),
            turn: AtomicUsize::new(0),
            config,
        };
        (Arc::new(server), states)
    }

    /// A place among the calls of this server.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, CallError> {
        self.places.clone().try_acquire_owned().map_err(|_| CallError::Busy)
    }

    /// Returns when it has no call. Nobody may ask for a place any more.
    pub(super) async fn idle(&self) {
        let all = u32::try_from(self.config.in_flight).unwrap_or(u32::MAX);
        drop(self.places.acquire_many(all).await);
    }

    pub(super) fn offer(&self) -> MutexGuard<'_, Offer> {
        self.offer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.config.in_flight.saturating_sub(self.places.available_permits())
    }

    /// The shared session of the replica whose turn it is, and the note that it has a call more.
    pub(super) fn pick(&self) -> Option<(Arc<Session>, Running)> {
        let usable: Vec<_> = self.replicas.iter().filter_map(|replica| replica.usable()).collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let (session, replica) =
            usable.into_iter().cycle().nth(turn.checked_rem(self.replicas.len())?)?;
        Some((session, Running::on(replica)))
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
            State::Gone => 3,
        };
        states.into_iter().min_by_key(rank).unwrap_or(State::Gone)
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
