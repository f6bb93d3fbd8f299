//! The fleet: every server's replicas, and the merged catalog of what they list.
//!
//! Owns the sessions and the tasks that keep them alive. `Fleet::call` consumes a `Permit` and is
//! the only door to a server. Promises that one bad server fails only its own calls. Knows
//! nothing of applications, and of JSON-RPC only that answers are bytes.

mod backoff;
mod catalog;
mod lease;
mod naming;
mod relist;
mod replica;
mod stocking;
mod watch;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::{SemaphorePermit, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use catalog::{Catalog, Page, Resolved, UnknownCursor};
use catalog::{Clashes, Shelves};
use lease::Key;
pub use lease::Parked;
use replica::{Life, Listed, Replica};
pub use replica::{Ready, State};
use watch::Listener;
pub use watch::{Mailbox, NotWatched, Watch};

use crate::{
    config::{Isolation, Names, ServerConfig},
    domain::{Call, CallError, Caller, Sent, ServerName, Topic, Wish, limits::CATALOG_NEWS_MAX},
    gate::{Permit, Policy},
    upstream::{Connector, Draft, Manner, NoticeSender, Outgoing, Session},
    wire::{CallParams, Object, Response},
};

/// The handle on all servers; cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Fleet {
    replicas: HashMap<ServerName, Arc<Replica>>,
    /// What the catalog that stands could not take from each server as it is.
    clashes: Arc<ArcSwap<Clashes>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// A call that lacks nothing but its permit.
#[derive(Debug)]
pub struct Prepared<'a> {
    replica: &'a Replica,
    _place: SemaphorePermit<'a>,
    outgoing: Outgoing,
    /// The session that is everybody's, and the call as it is written there.
    drafted: Option<(Arc<Session>, Draft)>,
}

/// One line of the status.
#[derive(Clone, Debug)]
pub struct ServerStatus {
    pub server: ServerName,
    pub state: State,
    pub in_flight: usize,
    pub restarts: u64,
    /// The last lines the server wrote to its standard error.
    pub stderr: Vec<String>,
}

impl Fleet {
    /// Starts every server at once; none waits for another. Every new catalog is handed to
    /// `publish`, in order and from one task.
    pub fn start(
        servers: Vec<ServerConfig>,
        names: Names,
        policy: Arc<Policy>,
        connector: &Connector,
        publish: impl Fn(Arc<Catalog>) + Send + 'static,
    ) -> Self {
        let forward = match (names, servers.as_slice()) {
            (Names::Plain, [only]) => Some(only.name.clone()),
            (Names::Plain | Names::Prefixed, _) => None,
        };
        let (news, inbox) = mpsc::channel(CATALOG_NEWS_MAX);
        publish(Arc::new(Catalog::merge(&Shelves::new(), forward.clone(), &policy)));
        let clashes = Arc::<ArcSwap<Clashes>>::default();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let mut replicas = HashMap::new();
        for config in servers {
            let server = config.name.clone();
            let (replica, state) = Replica::new(config, connector, &stop, &tasks);
            replicas.insert(server, replica.clone());
            let life = Life {
                replica,
                state,
                connector: connector.clone(),
                names,
                news: news.clone(),
                stop: stop.clone(),
            };
            tasks.spawn(life.run());
        }
        let keeper = Keeper { publish, forward, policy, clashes: clashes.clone() };
        tasks.spawn(keeper.run(inbox));
        tasks.close();
        Self { replicas, clashes, stop, tasks }
    }

    /// A place at the server for a call that is being put on record, and the call as it will be
    /// written. Nothing is sent or started for it.
    pub fn prepare(
        &self,
        judged: &Call,
        params: Arc<CallParams>,
        manner: Manner,
    ) -> Result<Prepared<'_>, CallError> {
        let down = CallError::Unavailable { sent: Sent::No };
        let replica = self.replicas.get(&judged.server).ok_or(down)?;
        let place = replica.leases.try_acquire().map_err(|_| CallError::Busy)?;
        let deadline = replica.config.tool_timeout;
        let baggage = replica.config.baggage.clone();
        let outgoing = Outgoing { params, deadline, manner, baggage };
        let drafted = match replica.isolation() {
            Isolation::Shared => {
                let session = replica.session.load_full().ok_or(down)?;
                let draft = session.draft(judged, &outgoing);
                Some((session, draft))
            }
            // Their session may have to be opened first, which nobody does without a permit.
            Isolation::PerPrincipal | Isolation::PerSession => None,
        };
        Ok(Prepared { replica, _place: place, outgoing, drafted })
    }

    /// Sends an admitted call to its server and waits for the answer. Dropping the future cancels
    /// the call at the server.
    pub async fn call(
        &self,
        permit: Permit,
        prepared: Prepared<'_>,
        notices: Option<&NoticeSender>,
    ) -> Result<Response, CallError> {
        let Prepared { replica, _place, outgoing, drafted } = prepared;
        if let Some((session, draft)) = drafted {
            return session.send(&permit, (draft, &outgoing), notices).await;
        }
        let caller = &permit.call().caller;
        let key = Key::of(replica.isolation(), caller, outgoing.params.capabilities());
        let seat = replica.own_sessions.seat(key).await?;
        seat.session().call(&permit, &outgoing, notices).await
    }

    /// A call that this caller's own session has parked under this token, if it has one.
    pub fn parked(
        &self,
        server: &ServerName,
        caller: &Caller,
        can: Option<&Object>,
        token: &str,
    ) -> Option<Parked> {
        let replica = self.replicas.get(server)?;
        match replica.isolation() {
            Isolation::Shared => None,
            isolation @ (Isolation::PerPrincipal | Isolation::PerSession) => {
                Some(replica.own_sessions.parked(Key::of(isolation, caller, can), token))
            }
        }
    }

    /// This caller's conversation is over, and with it every session that was opened for it.
    pub fn forget(&self, caller: &Caller) {
        for replica in self.replicas.values() {
            replica.own_sessions.forget(caller);
        }
    }

    /// Asks for news of a server's resource or task, which the listener knows by `name`; whether
    /// that is granted, the watch says.
    pub fn watch(
        &self,
        permit: &Permit<Wish>,
        name: Topic,
        mailbox: Arc<Mailbox>,
    ) -> Result<Watch, NotWatched> {
        let Wish { server, topic, .. } = permit.matter();
        let replica = self.replicas.get(server).ok_or(NotWatched::Unavailable)?;
        match (topic, replica.isolation()) {
            // It runs where only its caller gets to, and nobody listens there.
            (Topic::Task(_), Isolation::PerPrincipal | Isolation::PerSession) => {
                Err(NotWatched::Refused)
            }
            (Topic::Task(_), Isolation::Shared) | (Topic::Resource(_), _) => {
                replica.board.add(topic.clone(), Listener { name, mailbox })
            }
        }
    }

    /// Every server, in order of name.
    pub fn status(&self) -> Vec<ServerStatus> {
        let clashes = self.clashes.load_full();
        let status = |replica: &Arc<Replica>| status(replica, &clashes);
        let mut all: Vec<_> = self.replicas.values().map(status).collect();
        all.sort_by(|a, b| a.server.cmp(&b.server));
        all
    }

    /// Waits until no server is in its first start any more.
    pub async fn settled(&self) {
        for replica in self.replicas.values() {
            let mut state = replica.state.clone();
            if state.wait_for(|state| !matches!(state, State::Starting)).await.is_err() {
                continue;
            }
        }
    }

    /// Ends every session in order and waits for it, at most `grace`.
    pub async fn shut_down(&self, grace: Duration) {
        self.stop.cancel();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            tracing::warn!("Some servers did not end in time");
        }
    }
}

fn status(replica: &Replica, clashes: &Clashes) -> ServerStatus {
    let session = replica.session.load_full();
    let mut state = replica.state.borrow().clone();
    if let State::Ready(ready) = &mut state {
        ready.problems.extend(clashes.get(&replica.config.name).into_iter().flatten().cloned());
    }
    ServerStatus {
        server: replica.config.name.clone(),
        state,
        in_flight: replica.config.in_flight.saturating_sub(replica.leases.available_permits()),
        restarts: replica.restarts.load(Ordering::Relaxed),
        stderr: session.map(|session| session.stderr_tail()).unwrap_or_default(),
    }
}

/// Sole writer of the catalog. A server that goes down keeps its entries listed: they come back.
struct Keeper<P> {
    publish: P,
    forward: Option<ServerName>,
    policy: Arc<Policy>,
    clashes: Arc<ArcSwap<Clashes>>,
}

impl<P: Fn(Arc<Catalog>)> Keeper<P> {
    async fn run(self, mut inbox: mpsc::Receiver<Listed>) {
        let mut shelves = Shelves::new();
        while let Some(Listed { server, mut shelf, published }) = inbox.recv().await {
            if let Some(before) = shelves.get(&server) {
                shelf.keep_missing(before);
            }
            shelves.insert(server, Arc::new(shelf));
            let catalog = Catalog::merge(&shelves, self.forward.clone(), &self.policy);
            self.tell_clashes(catalog.clashes());
            (self.publish)(Arc::new(catalog));
            if published.send(()).is_err() {
                tracing::debug!("A server went down while its lists were published");
            }
        }
    }

    fn tell_clashes(&self, clashes: &Clashes) {
        if **self.clashes.load() == *clashes {
            return;
        }
        for (server, sentences) in clashes {
            for problem in sentences {
                tracing::warn!(server.id = %server, problem, "Resources do not stand under their own URIs");
            }
        }
        self.clashes.store(Arc::new(clashes.clone()));
    }
}
