//! One live process or connection of a server, and the task that keeps it alive.
//!
//! The task alone decides the state: start, ask for the lists, hold the session until it ends,
//! wait, start again, for ever. Everybody else sees the state through a watch and the session
//! through a slot that is empty while there is none. A server that is down harms nobody: its calls
//! are refused at once, its tools stay listed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    backoff::Backoff,
    catalog::{Headers, Lists, Reading},
    keeper::News,
    relist::{Listing, keep_listed},
    server::Server,
    stocking::stock,
};
use crate::{
    config::{Isolation, Names, ReplicaConfig, ServerConfig, Target},
    domain::{Era, ReplicaNo},
    upstream::{Connector, Session},
    wire::List,
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
    pub in_flight: usize,
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
            Self::Gone => "gone",
        }
    }
}

/// The handle on one replica.
#[derive(Debug)]
pub(super) struct Replica {
    pub(super) n: ReplicaNo,
    pub(super) config: Arc<ServerConfig>,
    target: Target,
    session: ArcSwapOption<Session>,
    in_flight: AtomicUsize,
    /// It lists what its server is known for.
    agrees: AtomicBool,
    state: watch::Receiver<State>,
    restarts: AtomicU64,
}

/// How a replica's tools compare with those that its server is known for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vote {
    Agrees,
    Differs,
}

/// A call that a replica has; over when it is dropped.
#[derive(Debug)]
pub(super) struct Running(Arc<Replica>);

/// What the task of one replica works with.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) server: Arc<Server>,
    pub(super) replica: Arc<Replica>,
    pub(super) state: watch::Sender<State>,
    pub(super) connector: Connector,
    pub(super) names: Names,
    pub(super) news: mpsc::Sender<News>,
    pub(super) stop: CancellationToken,
}

impl Replica {
    /// All replicas of a server, and each one's state for whoever runs its life.
    pub(super) fn all(config: &Arc<ServerConfig>) -> (Vec<Arc<Self>>, Vec<watch::Sender<State>>) {
        let numbers = (0..).map(ReplicaNo);
        let replica = |(n, written): (ReplicaNo, &ReplicaConfig)| {
            let (sender, state) = watch::channel(State::Starting);
            let replica = Self {
                n,
                config: config.clone(),
                target: written.target.clone(),
                session: ArcSwapOption::empty(),
                in_flight: AtomicUsize::new(0),
                agrees: AtomicBool::new(true),
                state,
                restarts: AtomicU64::new(0),
            };
            (Arc::new(replica), sender)
        };
        numbers.zip(&config.replicas).map(replica).unzip()
    }

    /// Its session, while it may have calls.
    pub(super) fn usable(self: &Arc<Self>) -> Option<(Arc<Session>, &Arc<Self>)> {
        let session = self.session.load_full()?;
        self.agrees.load(Ordering::Relaxed).then_some((session, self))
    }

    pub(super) fn set_vote(&self, vote: Vote) {
        let agrees = vote == Vote::Agrees;
        if self.agrees.swap(agrees, Ordering::Relaxed) && !agrees {
            let (server, n) = (&self.config.name, self.n.0);
            warn!(server.id = %server, replica = n, "Replica has no calls: it lists other tools");
        }
    }

    pub(super) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Returns after its first start, well or not; `false` if there will be none.
    pub(super) async fn tried(&self) -> bool {
        let mut state = self.state.clone();
        state.wait_for(|state| !matches!(state, State::Starting)).await.is_ok()
    }

    /// Whose calls share its session, if it has one.
    pub(super) fn isolation(&self) -> Option<Isolation> {
        self.session.load().as_ref().map(|session| self.isolation_with(session))
    }

    /// Requests to a modern server behind HTTP share nothing that it could see.
    fn isolation_with(&self, session: &Session) -> Isolation {
        match self.target {
            Target::Http(_) if session.version().era() == Era::Modern => Isolation::Shared,
            Target::Http(_) | Target::Stdio(_) => self.config.isolation,
        }
    }

    pub(super) fn status(&self) -> ReplicaStatus {
        let session = self.session.load_full();
        ReplicaStatus {
            n: self.n,
            state: self.state(),
            agrees: self.agrees.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            restarts: self.restarts.load(Ordering::Relaxed),
            pid: session.as_ref().and_then(|session| session.pid()),
            stderr: session.map(|session| session.stderr_tail()).unwrap_or_default(),
        }
    }
}

impl Running {
    pub(super) fn on(replica: &Arc<Replica>) -> Self {
        replica.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(replica.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

const ISOLATED_ANYWAY: &str =
    "`isolation` changes nothing here: every request to a modern server behind HTTP stands alone";

impl Life {
    /// Lives until the gateway ends. Any end of a session is followed by a new start.
    pub(super) async fn run(self) {
        let (server, n) = (self.replica.config.name.clone(), self.replica.n.0);
        let mut backoff = Backoff::default();
        while !self.stop.is_cancelled() {
            let born = Instant::now();
            let why = self.live_once().await;
            if self.stop.is_cancelled() {
                break;
            }
            // Without randomness the pause is the longest: late is safe.
            let chance = getrandom::u32().unwrap_or(u32::MAX);
            let pause = backoff.after(born.elapsed(), chance);
            warn!(server.id = %server, replica = n, why, retry_ms = %pause.as_millis(), "Server is down");
            self.state.send_replace(State::Backoff { why });
            self.replica.restarts.fetch_add(1, Ordering::Relaxed);
            self.sleep(pause).await;
        }
        self.state.send_replace(State::Gone);
    }

    /// One session from birth to death; says why it ended.
    async fn live_once(&self) -> String {
        let config = &self.replica.config;
        let connected = tokio::select! {
            biased;
            () = self.stop.cancelled() => return String::new(),
            connected = self.connector.connect(config, &self.replica.target) => connected,
        };
        let session = match connected {
            Ok(session) => Arc::new(session),
            Err(error) => return chain(&error),
        };
        let why = tokio::select! {
            biased;
            () = self.stop.cancelled() => String::new(),
            why = self.serve(&session) => why,
            () = self.attend(&session) => String::new(),
        };
        self.replica.session.store(None);
        let lost = News::Lost { server: self.server.clone(), replica: self.replica.n };
        // Without a keeper the gateway is about to end.
        self.news.send(lost).await.ok();
        session.close().await;
        why
    }

    /// Has what is watched at the server watched in this session, while no other replica does.
    async fn attend(&self, session: &Session) {
        let _floor = self.server.floor.lock().await;
        self.server.board.attend(session, self.connector.latch()).await;
    }

    /// Asks for the lists, opens the slot, and asks again whenever the server says so, but not
    /// in one breath. Only the first lists must come: later a server that is slow to list, or
    /// cannot, keeps its calls and its old lists.
    async fn serve(&self, session: &Arc<Session>) -> String {
        let list = || -> Listing<'_> {
            Box::pin(async {
                // In a box: four lists at once make a large future.
                let lists = Box::pin(self.lists(session)).await?;
                self.publish(session, lists).await
            })
        };
        let failed = |why: &str| {
            warn!(server.id = %self.replica.config.name, why, "Lists could not be renewed");
        };
        tokio::select! {
            biased;
            why = session.closed() => why,
            why = keep_listed(session.list_changed(), list, failed) => why,
        }
    }

    /// All lists at once. A server that cannot list its tools is down; one that cannot give
    /// another list is served without it, or with what it listed before; the operator is told.
    async fn lists(&self, session: &Session) -> Result<Lists, String> {
        let wait = self.replica.config.startup_timeout;
        let ask = async |list: List| {
            let method = list.method();
            match tokio::time::timeout(wait, session.list(list)).await {
                Ok(Ok(items)) => Ok(items),
                Ok(Err(error)) => Err(format!("{method} failed: {error}")),
                Err(_) => Err(format!("{method} did not answer in time")),
            }
        };
        let (tools, prompts, resources, templates) = tokio::join!(
            ask(List::Tools),
            ask(List::Prompts),
            ask(List::Resources),
            ask(List::Templates),
        );
        let (mut missing, mut problems) = (Vec::new(), Vec::new());
        let mut given = |list, listed: Result<_, String>| {
            listed.unwrap_or_else(|problem| {
                missing.push(list);
                problems.push(problem);
                Vec::new()
            })
        };
        let prompts = given(List::Prompts, prompts);
        let resources = given(List::Resources, resources);
        let templates = given(List::Templates, templates);
        let reading = match session.declares(List::Resources.capability()) {
            true => Reading::Declared,
            false => Reading::NotDeclared,
        };
        let (tools, tasks) = (tools?, session.tasks());
        Ok(Lists { tools, prompts, resources, templates, reading, tasks, missing, problems })
    }

    async fn publish(&self, session: &Arc<Session>, lists: Lists) -> Result<(), String> {
        let config = &self.replica.config;
        // Whichever replica lists: a call may go to one behind HTTP.
        let is_http = |replica: &ReplicaConfig| matches!(replica.target, Target::Http(_));
        let headers =
            if config.replicas.iter().any(is_http) { Headers::Sent } else { Headers::NotSent };
        let mut shelf = stock(self.names, &config.name, lists, headers).await?;
        if self.replica.isolation_with(session) != config.isolation {
            shelf.problems.push(ISOLATED_ANYWAY.to_owned());
        }
        for problem in &shelf.problems {
            warn!(server.id = %config.name, problem, "Something about the server is not as it is meant");
        }
        let protocol = session.version().as_str();
        let ready = Ready { protocol, tools: shelf.n_tools(), problems: shelf.problems.clone() };
        match &*self.replica.state.borrow() {
            State::Ready(_) => {
                info!(server.id = %config.name, tools = ready.tools, "Lists were renewed")
            }
            State::Starting | State::Backoff { .. } | State::Gone => {
                info!(server.id = %config.name, protocol, tools = ready.tools, "Server is ready");
            }
        }
        // The slot first, then the catalog, then the state: what is listed can be called, and
        // who waits for the state sees the catalog.
        self.replica.session.store(Some(session.clone()));
        let (published, done) = oneshot::channel();
        let (server, replica) = (self.server.clone(), self.replica.n);
        let news = News::Listed { server, replica, shelf: Box::new(shelf), published };
        // Without a keeper the gateway is about to end.
        if self.news.send(news).await.is_ok() && done.await.is_ok() {
            self.state.send_replace(State::Ready(ready));
        }
        Ok(())
    }

    async fn sleep(&self, pause: Duration) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// An error with its causes on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
