//! One live process or connection of a server, and the task that keeps it alive.
//!
//! The task alone decides the state: start, ask for the lists, hold the session until it ends,
//! wait, start again, for ever. Everybody else sees the state through a watch and the session
//! through a slot that is empty while there is none. A server that is down harms nobody: its calls
//! are refused at once, its tools stay listed.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use super::{
    backoff::Backoff,
    catalog::{Headers, Lists, Reading, Shelf},
    lease::Leases,
    relist::{Listing, keep_listed},
    stocking::stock,
    watch::Board,
};
use crate::{
    config::{Isolation, Names, ServerConfig, Target},
    domain::{Era, ServerName},
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
    pub(super) config: Arc<ServerConfig>,
    pub(super) session: ArcSwapOption<Session>,
    /// One permit a call in flight.
    pub(super) leases: Semaphore,
    /// The sessions of callers who share none.
    pub(super) own_sessions: Leases,
    pub(super) state: watch::Receiver<State>,
    pub(super) board: Arc<Board>,
    pub(super) restarts: std::sync::atomic::AtomicU64,
}

/// News for the keeper of the catalog.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) server: ServerName,
    pub(super) shelf: Shelf,
    /// Told when the catalog with it is published.
    pub(super) published: oneshot::Sender<()>,
}

/// What the task of one replica works with.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) replica: Arc<Replica>,
    pub(super) state: watch::Sender<State>,
    pub(super) connector: Connector,
    pub(super) names: Names,
    pub(super) news: mpsc::Sender<Listed>,
    pub(super) stop: CancellationToken,
}

impl Replica {
    pub(super) fn new(
        config: ServerConfig,
        connector: &Connector,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> (Arc<Self>, watch::Sender<State>) {
        let (sender, state) = watch::channel(State::Starting);
        let config = Arc::new(config);
        let replica = Self {
            session: ArcSwapOption::empty(),
            leases: Semaphore::new(config.in_flight),
            own_sessions: Leases::new(config.clone(), connector, stop, tasks),
            config,
            state,
            board: Arc::default(),
            restarts: 0.into(),
        };
        (Arc::new(replica), sender)
    }

    /// Whose calls share a session.
    pub(super) fn isolation(&self) -> Isolation {
        self.session
            .load()
            .as_ref()
            .map_or(self.config.isolation, |session| self.isolation_with(session))
    }

    /// Requests to a modern server behind HTTP share nothing that it could see.
    fn isolation_with(&self, session: &Session) -> Isolation {
        match self.config.target {
            Target::Http(_) if session.version().era() == Era::Modern => Isolation::Shared,
            Target::Http(_) | Target::Stdio(_) => self.config.isolation,
        }
    }
}

const ISOLATED_ANYWAY: &str =
    "`isolation` changes nothing here: every request to a modern server behind HTTP stands alone";

impl Life {
    /// Lives until the gateway ends. Any end of a session is followed by a new start.
    pub(super) async fn run(self) {
        let server = self.replica.config.name.clone();
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
            warn!(server.id = %server, why, retry_ms = %pause.as_millis(), "Server is down");
            self.state.send_replace(State::Backoff { why });
            self.replica.restarts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
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
            connected = self.connector.connect(config) => connected,
        };
        let session = match connected {
            Ok(session) => Arc::new(session),
            Err(error) => return chain(&error),
        };
        let why = tokio::select! {
            biased;
            () = self.stop.cancelled() => String::new(),
            why = self.serve(&session) => why,
            () = self.replica.board.attend(&session, self.connector.latch()) => String::new(),
        };
        self.replica.session.store(None);
        session.close().await;
        why
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
        let headers = match config.target {
            Target::Stdio(_) => Headers::NotSent,
            Target::Http(_) => Headers::Sent,
        };
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
        let news = Listed { server: config.name.clone(), shelf, published };
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
