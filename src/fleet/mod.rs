//! The fleet: every server's replicas, and the merged catalog of their tools.
//!
//! Owns the sessions and the tasks that keep them alive. `Fleet::call` consumes a `Permit` and is
//! the only door to a server. Promises that one bad server fails only its own calls. Knows
//! nothing of applications, and of JSON-RPC only that answers are bytes.

mod backoff;
mod catalog;
mod naming;
mod replica;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use catalog::{Catalog, Page, Resolved, Tool, UnknownCursor};
use replica::{Life, Listed, Replica};
pub use replica::{Ready, State};

use crate::{
    config::{Names, ServerConfig},
    domain::{CallError, Sent, ServerName, limits::CATALOG_NEWS_MAX},
    gate::{Permit, Policy},
    upstream::{Connector, NoticeSender, Outgoing},
    wire::{CallParams, Response, headers::ParamHeader},
};

/// The handle on all servers; cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Fleet {
    replicas: HashMap<ServerName, Arc<Replica>>,
    stop: CancellationToken,
    tasks: TaskTracker,
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
        publish(Arc::new(Catalog::merge(&BTreeMap::new(), forward.clone(), &policy)));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let mut replicas = HashMap::new();
        for config in servers {
            let server = config.name.clone();
            let (replica, state) = Replica::new(config);
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
        tasks.spawn(keep_catalog(inbox, publish, forward, policy));
        tasks.close();
        Self { replicas, stop, tasks }
    }

    /// Sends an admitted call to its server and waits for the answer. Dropping the future cancels
    /// the call at the server.
    pub async fn call(
        &self,
        permit: Permit,
        params: CallParams,
        headers: Arc<[ParamHeader]>,
        notices: Option<&NoticeSender>,
    ) -> Result<Response, CallError> {
        let down = CallError::Unavailable { sent: Sent::No };
        let replica = self.replicas.get(&permit.call().server).ok_or(down)?;
        let _lease = replica.leases.try_acquire().map_err(|_| CallError::Busy)?;
        let session = replica.session.load_full().ok_or(down)?;
        let deadline = replica.config.tool_timeout;
        let outgoing = Outgoing { params, deadline, param_headers: headers };
        session.call(&permit, &outgoing, notices).await
    }

    /// Every server, in order of name.
    pub fn status(&self) -> Vec<ServerStatus> {
        let mut all: Vec<_> = self.replicas.values().map(|replica| status(replica)).collect();
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

fn status(replica: &Replica) -> ServerStatus {
    let session = replica.session.load_full();
    ServerStatus {
        server: replica.config.name.clone(),
        state: replica.state.borrow().clone(),
        in_flight: replica.config.in_flight.saturating_sub(replica.leases.available_permits()),
        restarts: replica.restarts.load(Ordering::Relaxed),
        stderr: session.map(|session| session.stderr_tail()).unwrap_or_default(),
    }
}

/// Sole writer of the catalog. A server that goes down keeps its tools listed: they come back.
async fn keep_catalog(
    mut inbox: mpsc::Receiver<Listed>,
    publish: impl Fn(Arc<Catalog>),
    forward: Option<ServerName>,
    policy: Arc<Policy>,
) {
    let mut shelves = BTreeMap::new();
    while let Some(Listed { server, shelf, published }) = inbox.recv().await {
        shelves.insert(server, Arc::new(shelf));
        publish(Arc::new(Catalog::merge(&shelves, forward.clone(), &policy)));
        if published.send(()).is_err() {
            tracing::debug!("A server went down while its tools were published");
        }
    }
}
