//! The one endpoint: listeners, both eras' adapters, the call path, and the admin surface.
//!
//! Turns bytes from applications into judged calls and answers into bytes. `dispatch.rs` is the
//! road of one call; `http/` and `stdio.rs` carry it, `peer.rs` and `http/modern.rs` adapt the
//! eras, `reject.rs` words every refusal. Promises that nothing reaches the fleet but through
//! `Gate::admit`.

mod admin;
mod dispatch;
mod exchange;
mod http;
mod identity;
mod listen;
mod method;
mod peer;
mod questions;
mod reject;
mod replay;
mod session;
mod snapshot;
mod stdio;
mod tasks;
mod traced;

use std::{
    future::poll_fn,
    io,
    path::Path,
    pin::pin,
    sync::{Arc, OnceLock},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime::Runtime,
    sync::Semaphore,
    task::spawn_blocking,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use admin::{
    Applied, Desk, Heart, Refused, ReloadAsk, Reloaded, Reloads, Standing, open_door, pins_told,
};
pub use identity::{Key, KeyError, KeyFile, NewKey, Role, TlsError, look_at_tls};
pub use snapshot::Publisher;

use crate::{
    config::{Config, Limits, Listen, Salt},
    domain::{
        CallIds, Nonce,
        limits::{
            ABANDON_GRACE, ADMIN_CONNECTIONS_MAX, ADMIN_THREADS, DRAIN_GRACE, KEYS_POLL,
            LISTENS_MAX, REPLAY_SWEEP,
        },
    },
    fleet::Fleet,
    gate::Gate,
    sys::{Inherited, Manager, spawn_vital},
};

/// Why the endpoint cannot open.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    #[error("cannot listen on {at}; is another portcullis running there?")]
    Bind {
        at: String,
        #[source]
        source: io::Error,
    },
    #[error("the system gave no randomness")]
    Random,
    #[error("the API keys are not usable")]
    Keys(#[from] KeyError),
    #[error("the admin listener cannot have threads of its own")]
    Admin(#[source] io::Error),
    #[error("TLS cannot be spoken")]
    Tls(#[from] TlsError),
}

/// What every connection shares.
#[derive(Debug)]
pub struct Front {
    gate: Gate,
    desk: Arc<Desk>,
    fleet: Arc<Fleet>,
    publisher: Arc<Publisher>,
    reloads: Reloads,
    sessions: session::Sessions,
    /// Whether there is the transport of 2024-11-05, and who uses it.
    legacy_sse: bool,
    old_streams: http::OldStreams,
    ids: CallIds,
    sealer: questions::Sealer,
    doors: http::Doors,
    gatekeeper: identity::Gatekeeper,
    /// Without it no fingerprints are shown.
    salt: Option<Salt>,
    limits: Limits,
    /// One permit a call in flight, over all servers.
    in_flight: Semaphore,
    /// One permit a subscription of a modern client.
    listens: Arc<Semaphore>,
    /// Where the MCP endpoint really listens, once it does.
    endpoint: OnceLock<String>,
    /// And the admin surface.
    admin: OnceLock<String>,
    /// Cancelled when no new request is taken any more.
    drain: CancellationToken,
    /// Cancelled when calls in flight have had their grace.
    abandon: CancellationToken,
    tasks: TaskTracker,
}

impl Front {
    pub fn new(
        config: &Config,
        (gate, desk): (Gate, Arc<Desk>),
        fleet: Arc<Fleet>,
        (publisher, reloads): (Arc<Publisher>, Reloads),
    ) -> Result<Arc<Self>, FrontError> {
        let on_record = (gate.audit().clone(), KeyFile::at(config.gateway.recorded_keys()));
        let keys = KeyFile::at(config.gateway.keys());
        let ways = (config.auth.clone(), config.gateway.tls.clone());
        let gatekeeper = identity::Gatekeeper::new(ways, keys, on_record)?;
        let nonce = getrandom::u32().map_err(|_| FrontError::Random)?;
        Ok(Arc::new(Self {
            gate,
            desk,
            fleet,
            publisher,
            reloads,
            sessions: session::Sessions::new(config.limits.sessions),
            legacy_sse: config.gateway.legacy_sse,
            old_streams: http::OldStreams::default(),
            sealer: questions::Sealer::new().ok_or(FrontError::Random)?,
            ids: CallIds::new(Nonce(nonce)),
            doors: http::Doors::new(&config.gateway.hosts, &config.gateway.origins),
            gatekeeper,
            salt: salt(&config.gateway.salt()),
            limits: config.limits,
            in_flight: Semaphore::new(config.limits.in_flight),
            listens: Arc::new(Semaphore::new(LISTENS_MAX)),
            endpoint: OnceLock::new(),
            admin: OnceLock::new(),
            drain: CancellationToken::new(),
            abandon: CancellationToken::new(),
            tasks: TaskTracker::new(),
        }))
    }

    /// Takes the API keys, before anybody is let in by one.
    pub async fn take_keys(&self) -> Result<(), FrontError> {
        Ok(self.refresh_keys("start").await?)
    }

    /// Opens the MCP endpoint; returns where it really listens.
    pub async fn listen(
        self: &Arc<Self>,
        at: &Listen,
        inherited: (Manager, &mut Inherited),
    ) -> Result<String, FrontError> {
        let listener = http::Listener::bind(at, "endpoint", inherited).await?;
        let (address, front) = (listener.address(), self.clone());
        let serve = http::Serve {
            answer: move |link, request| http::answer(front.clone(), link, request),
            places: http::Places::new(self.limits.connections, http::VITAL),
            porter: reject::Porter::new("main", self.gate.audit().refusals()),
            tls: self.gatekeeper.tls(),
            drain: self.drain.clone(),
            tasks: self.tasks.clone(),
        };
        self.tasks.spawn(http::serve(listener, serve));
        self.tasks.spawn(tend(self.clone()));
        self.tasks.spawn(sweep(self.clone()));
        Ok(self.endpoint.get_or_init(|| address).clone())
    }

    /// Opens the admin listener, with connections, a runtime and threads of its own: nothing that
    /// calls do keeps it from answering.
    pub async fn listen_admin(
        self: &Arc<Self>,
        at: &Listen,
        inherited: (Manager, &mut Inherited),
    ) -> Result<String, FrontError> {
        let threads = Threads::new().map_err(FrontError::Admin)?;
        let mut binding = pin!(http::Listener::bind(at, "admin", inherited));
        // What is opened belongs to the runtime that it is opened in.
        let listener = poll_fn(|context| {
            let _inside = threads.0.as_ref().map(Runtime::enter);
            binding.as_mut().poll(context)
        });
        let listener = listener.await?;
        let (address, front) = (listener.address(), self.clone());
        let serve = http::Serve {
            answer: move |link, request| admin::answer(front.clone(), link, request),
            places: http::Places::new(ADMIN_CONNECTIONS_MAX, admin::vital()),
            porter: reject::Porter::new("admin", self.gate.audit().refusals()),
            tls: None,
            drain: self.drain.clone(),
            tasks: self.tasks.clone(),
        };
        self.tasks.spawn(watch_keys(self.clone()));
        let tasks = self.tasks.clone();
        let run = async move {
            tasks.spawn(http::serve(listener, serve));
            // The connections are among them.
            tasks.wait().await;
        };
        spawn_vital("admin-main", move || threads.run(run)).map_err(FrontError::Admin)?;
        Ok(self.admin.get_or_init(|| address).clone())
    }

    /// Serves one client on a pair of pipes, until its input ends.
    pub async fn serve_pipes(
        self: &Arc<Self>,
        input: impl AsyncRead + Unpin,
        output: impl AsyncWrite + Unpin + Send + 'static,
    ) {
        stdio::serve(self.clone(), input, output).await;
    }

    /// How things are, in one line for whoever supervises us.
    pub fn status_line(&self) -> String {
        admin::status_line(self)
    }

    /// Takes nothing new from now on.
    pub fn begin_drain(&self) {
        self.drain.cancel();
        self.tasks.close();
    }

    /// Takes nothing new, lets what is in flight finish within the grace, then ends it.
    pub async fn drain(&self) {
        self.begin_drain();
        if tokio::time::timeout(DRAIN_GRACE, self.tasks.wait()).await.is_err() {
            tracing::warn!("Calls were still in flight when their grace ended");
            self.abandon.cancel();
            if tokio::time::timeout(ABANDON_GRACE, self.tasks.wait()).await.is_err() {
                tracing::warn!("Some clients did not take their last answer");
            }
        }
    }
}

impl Front {
    /// Takes what has become of the keys, on record; what was opened with a proof that has ended,
    /// ends.
    async fn refresh_keys(&self, who: &str) -> Result<(), KeyError> {
        let told = self.gatekeeper.refresh(who).await;
        for session in self.sessions.end_unproven() {
            self.fleet.forget(&session.caller);
        }
        told
    }
}

/// A view for the operator is no reason not to start.
fn salt(path: &Path) -> Option<Salt> {
    Salt::kept_at(path)
        .inspect_err(
            |error| tracing::warn!(%error, "Credentials have no fingerprints in the status"),
        )
        .ok()
}

/// Looks at keys and certificates now and then, for whoever changes them without saying so.
async fn watch_keys(front: Arc<Front>) {
    while tokio::time::timeout(KEYS_POLL, front.drain.cancelled()).await.is_err() {
        let looking = front.clone();
        // A look that panics has seen nothing.
        spawn_blocking(move || looking.gatekeeper.refresh_tls()).await.unwrap_or_default();
        if let Err(error) = front.refresh_keys("file").await {
            tracing::error!(%error, "API keys could not be taken; those that were known stay good");
        }
    }
}

/// The admin listener's own runtime. It may be dropped anywhere: nobody waits for its threads.
#[derive(Debug)]
struct Threads(Option<Runtime>);

impl Threads {
    fn new() -> io::Result<Self> {
        let mut threads = tokio::runtime::Builder::new_multi_thread();
        threads.worker_threads(ADMIN_THREADS).thread_name("admin").enable_all();
        threads.build().map(|runtime| Self(Some(runtime)))
    }

    fn run(&self, what: impl Future<Output = ()>) {
        if let Some(runtime) = &self.0 {
            runtime.block_on(what);
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Has what tokens are judged by at hand, until the end begins.
async fn tend(front: Arc<Front>) {
    tokio::select! {
        () = front.drain.cancelled() => {}
        () = front.gatekeeper.tend() => {}
    }
}

/// Lets go of what legacy clients did not come back for.
async fn sweep(front: Arc<Front>) {
    while tokio::time::timeout(REPLAY_SWEEP, front.drain.cancelled()).await.is_err() {
        front.sessions.expire(Instant::now());
    }
}
