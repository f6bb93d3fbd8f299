//! The fleet: every server's replicas, and the merged catalog of what they list.
//!
//! Owns the sessions and the tasks that keep them alive. `Fleet::call` consumes a `Permit` and is
//! the only door to a server. Promises that one bad server fails only its own calls. Knows
//! nothing of applications, and of JSON-RPC only that answers are bytes.

mod backoff;
#[cfg_attr(not(test), expect(dead_code, reason = "wired in the next commit"))]
mod balance;
mod catalog;
#[cfg_attr(not(test), expect(dead_code, reason = "wired in the next commit"))]
mod health;
mod keeper;
mod lease;
mod naming;
mod relist;
mod replica;
mod server;
mod stocking;
mod watch;

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use catalog::{Catalog, Page, Resolved, UnknownCursor};
use catalog::{Clashes, Shelves};
use keeper::Keeper;
use lease::Key;
pub use lease::Parked;
use replica::{Life, Running};
pub use replica::{Ready, ReplicaStatus, State};
use server::Server;
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
    servers: HashMap<ServerName, Arc<Server>>,
    /// What the catalog that stands could not take from each server as it is.
    clashes: Arc<ArcSwap<Clashes>>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// A call that lacks nothing but its permit.
#[derive(Debug)]
pub struct Prepared {
    server: Arc<Server>,
    _place: OwnedSemaphorePermit,
    outgoing: Outgoing,
    drafted: Option<Drafted>,
}

/// A call as it is written in a session that is everybody's.
#[derive(Debug)]
struct Drafted {
    session: Arc<Session>,
    draft: Draft,
    _running: Running,
}

/// One line of the status.
#[derive(Clone, Debug)]
pub struct ServerStatus {
    pub server: ServerName,
    pub state: State,
    pub in_flight: usize,
    pub replicas: Vec<ReplicaStatus>,
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
        let mut running = HashMap::new();
        for config in servers {
            let (server, states) = Server::new(config, connector, &stop, &tasks);
            for (replica, state) in server.replicas.iter().zip(states) {
                let life = Life {
                    server: server.clone(),
                    replica: replica.clone(),
                    state,
                    connector: connector.clone(),
                    names,
                    news: news.clone(),
                    stop: stop.clone(),
                };
                tasks.spawn(life.run());
            }
            running.insert(server.config.name.clone(), server);
        }
        let keeper = Keeper { publish, forward, policy, clashes: clashes.clone() };
        tasks.spawn(keeper.run(inbox));
        tasks.close();
        Self { servers: running, clashes, stop, tasks }
    }

    /// A place at the server for a call that is being put on record, and the call as it will be
    /// written. Nothing is sent or started for it.
    pub fn prepare(
        &self,
        judged: &Call,
        params: Arc<CallParams>,
        manner: Manner,
    ) -> Result<Prepared, CallError> {
        let down = CallError::Unavailable { sent: Sent::No };
        let server = self.servers.get(&judged.server).ok_or(down)?.clone();
        let place = server.place()?;
        let deadline = server.config.tool_timeout;
        let baggage = server.config.baggage.clone();
        let outgoing = Outgoing { params, deadline, manner, baggage };
        let drafted = match server.isolation() {
            Isolation::Shared => {
                let (session, running) = server.pick().ok_or(down)?;
                let draft = session.draft(judged, &outgoing);
                Some(Drafted { session, draft, _running: running })
            }
            // Their session may have to be opened first, which nobody does without a permit.
            Isolation::PerPrincipal | Isolation::PerSession => None,
        };
        Ok(Prepared { server, _place: place, outgoing, drafted })
    }

    /// Sends an admitted call to its server and waits for the answer. Dropping the future cancels
    /// the call at the server.
    pub async fn call(
        &self,
        permit: Permit,
        prepared: Prepared,
        notices: Option<&NoticeSender>,
    ) -> Result<Response, CallError> {
        let Prepared { server, _place, outgoing, drafted } = prepared;
        if let Some(Drafted { session, draft, _running }) = drafted {
            return session.send(&permit, (draft, &outgoing), notices).await;
        }
        let caller = &permit.call().caller;
        let key = Key::of(server.isolation(), caller, outgoing.params.capabilities());
        let seat = server.own_sessions.seat(key).await?;
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
        let server = self.servers.get(server)?;
        match server.isolation() {
            Isolation::Shared => None,
            isolation @ (Isolation::PerPrincipal | Isolation::PerSession) => {
                Some(server.own_sessions.parked(Key::of(isolation, caller, can), token))
            }
        }
    }

    /// This caller's conversation is over, and with it every session that was opened for it.
    pub fn forget(&self, caller: &Caller) {
        for server in self.servers.values() {
            server.own_sessions.forget(caller);
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
        let server = self.servers.get(server).ok_or(NotWatched::Unavailable)?;
        match (topic, server.isolation()) {
            // It runs where only its caller gets to, and nobody listens there.
            (Topic::Task(_), Isolation::PerPrincipal | Isolation::PerSession) => {
                Err(NotWatched::Refused)
            }
            (Topic::Task(_), Isolation::Shared) | (Topic::Resource(_), _) => {
                server.board.add(topic.clone(), Listener { name, mailbox })
            }
        }
    }

    /// Every server, in order of name.
    pub fn status(&self) -> Vec<ServerStatus> {
        let clashes = self.clashes.load_full();
        let status = |server: &Arc<Server>| status(server, &clashes);
        let mut all: Vec<_> = self.servers.values().map(status).collect();
        all.sort_by(|a, b| a.server.cmp(&b.server));
        all
    }

    /// Waits until no server is in its first start any more.
    pub async fn settled(&self) {
        for server in self.servers.values() {
            server.settled().await;
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

fn status(server: &Server, clashes: &Clashes) -> ServerStatus {
    let mut state = server.state();
    if let State::Ready(ready) = &mut state {
        ready.problems.extend(clashes.get(&server.config.name).into_iter().flatten().cloned());
    }
    ServerStatus {
        server: server.config.name.clone(),
        state,
        in_flight: server.in_flight(),
        replicas: server.replicas.iter().map(|replica| replica.status()).collect(),
    }
}
