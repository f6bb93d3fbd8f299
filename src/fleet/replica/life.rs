//! The task that keeps one replica alive.
//!
//! It alone decides the state: start, ask for the lists, hold the session until it ends, wait as
//! long as `restarts` says, start again, for ever. A server that is down harms nobody: its calls
//! are refused at once, its tools stay listed. While it is stopped nothing is started, asked or
//! kept open. Chooses no replica and sends no call.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    Ready, Replica, Stage, State,
    restarts::{Next, Restarts},
};
use crate::{
    config::{Names, ReplicaConfig, Target},
    fleet::{
        catalog::{Headers, Lists, Reading},
        keeper::News,
        relist::{Listing, keep_listed},
        server::Server,
        stocking::stock,
        watch::Part,
    },
    gate::{Epoch, Marks, Origin},
    upstream::{Connector, Session},
    wire::List,
};

/// What the task of one replica works with.
#[derive(Debug)]
pub(in crate::fleet) struct Life {
    pub(in crate::fleet) server: Arc<Server>,
    pub(in crate::fleet) replica: Arc<Replica>,
    pub(in crate::fleet) stage: watch::Sender<Stage>,
    pub(in crate::fleet) connector: Connector,
    pub(in crate::fleet) names: Names,
    pub(in crate::fleet) news: mpsc::Sender<News>,
    pub(in crate::fleet) stop: CancellationToken,
}

/// A life that is over.
struct Ended {
    why: String,
    ready_for: Duration,
    /// What is left of it, to be closed: a child that hangs takes its time to end.
    session: Option<Arc<Session>>,
}

const STOPPED: &str = "the emergency stop is engaged";
const ISOLATED_ANYWAY: &str =
    "`isolation` changes nothing here: every request to a modern server behind HTTP stands alone";

impl Life {
    /// Lives until the gateway ends. Any end of a session is followed by a new start.
    pub(in crate::fleet) async fn run(self) {
        let mut restarts = Restarts::of(&self.replica.target);
        while let Some(epoch) = self.permitted().await {
            let Ended { why, ready_for, session } = self.live_once(epoch).await;
            if self.stop.is_cancelled() {
                close(session).await;
                break;
            }
            if !self.connector.latch().holds(epoch) {
                // Its end was no fault of its own.
                restarts = Restarts::of(&self.replica.target);
                self.turn(State::Backoff { why: STOPPED.to_owned() });
                close(session).await;
                continue;
            }
            // Without randomness the pause is the longest: late is safe.
            let chance = getrandom::u32().unwrap_or(u32::MAX);
            let next = restarts.after(ready_for, Instant::now(), chance);
            // Before anybody can see that there is something to retry.
            let retried = self.replica.retry.notified();
            // And before what is left has ended: nobody shall see it ready meanwhile.
            self.go_down(why, next);
            close(session).await;
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = tokio::time::sleep(next.pause()) => {}
                () = retried, if next == Next::CrashLoop => {}
            }
        }
        self.turn(State::Gone);
    }

    /// Waits while the server is stopped. `None`: the gateway ends.
    async fn permitted(&self) -> Option<Epoch> {
        if self.stop.is_cancelled() {
            return None;
        }
        let of = Marks::of_server(&self.replica.config.name);
        let latch = self.connector.latch();
        if latch.epoch(of).is_err() {
            self.turn(State::Backoff { why: STOPPED.to_owned() });
        }
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            epoch = latch.resumed(of) => Some(epoch),
        }
    }

    /// Returns when nothing of the server may be left. Its processes are not our business then.
    async fn stopped(&self, epoch: Epoch) {
        let of = Marks::of_server(&self.replica.config.name);
        self.connector.latch().over(of, epoch).await;
    }

    fn turn(&self, next: State) {
        self.stage.send_modify(|stage| stage.turn(next));
    }

    fn go_down(&self, why: String, next: Next) {
        let (server, replica) = (&self.replica.config.name, self.replica.n.0);
        let retry_ms = next.pause().as_millis();
        let state = match next {
            Next::Backoff(_) => {
                warn!(server.id = %server, replica, why, %retry_ms, "Server is down");
                State::Backoff { why }
            }
            Next::CrashLoop => {
                error!(server.id = %server, replica, why, %retry_ms, "Server is in a crash loop");
                State::CrashLoop { why }
            }
        };
        // The count first: who sees the state sees it complete.
        self.replica.count_restart();
        self.turn(state);
    }

    /// One session from birth to death.
    async fn live_once(&self, epoch: Epoch) -> Ended {
        let stillborn = |why| Ended { why, ready_for: Duration::ZERO, session: None };
        let config = &self.replica.config;
        let connecting = self.connector.connect(config, &self.replica.target, &self.replica.tail);
        let connected = tokio::select! {
            biased;
            () = self.stop.cancelled() => return stillborn(String::new()),
            () = self.stopped(epoch) => return stillborn(STOPPED.to_owned()),
            connected = connecting => connected,
        };
        let session = match connected {
            Ok(session) => Arc::new(session),
            Err(error) => return stillborn(chain(&error)),
        };
        let why = tokio::select! {
            biased;
            () = self.stop.cancelled() => String::new(),
            () = self.stopped(epoch) => STOPPED.to_owned(),
            why = self.serve(&session) => why,
            why = self.replica.look_after(&session) => why,
            () = self.attend(&session) => String::new(),
        };
        let ready_for = self.replica.close();
        let lost = News::Lost { server: self.server.clone(), replica: self.replica.n };
        // Without a keeper the gateway is about to end.
        self.news.send(lost).await.ok();
        Ended { why, ready_for, session: Some(session) }
    }

    /// Has what is watched at the server watched in this session: the tasks that run here, and
    /// everything else while no other replica does.
    async fn attend(&self, session: &Session) {
        let (board, at) = (&self.server.board, self.replica.n);
        let _floor = tokio::select! {
            biased;
            floor = self.server.floor.lock() => floor,
            // In boxes: two of a kind make a large future.
            () = Box::pin(board.attend(session, Part::Tasks(at))) => return,
        };
        Box::pin(board.attend(session, Part::All(at))).await;
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
        let mut shelf = stock(self.names, &Origin::of(config), lists, headers).await?;
        if self.replica.isolation_with(session) != config.isolation {
            shelf.problems.push(ISOLATED_ANYWAY.to_owned());
        }
        for problem in &shelf.problems {
            warn!(server.id = %config.name, problem, "Something about the server is not as it is meant");
        }
        let protocol = session.version().as_str();
        let ready = Ready { protocol, tools: shelf.n_tools(), problems: shelf.problems.clone() };
        match self.replica.state() {
            State::Ready(_) => {
                info!(server.id = %config.name, tools = ready.tools, "Lists were renewed")
            }
            State::Starting | State::Backoff { .. } | State::CrashLoop { .. } | State::Gone => {
                info!(server.id = %config.name, protocol, tools = ready.tools, "Server is ready");
            }
        }
        // The slot first, then the catalog, then the state: what is listed can be called, and
        // who waits for the state sees the catalog.
        self.replica.open(session.clone());
        let (published, done) = oneshot::channel();
        let (server, replica) = (self.server.clone(), self.replica.n);
        let news = News::Listed { server, replica, shelf: Box::new(shelf), published };
        // Without a keeper the gateway is about to end.
        if self.news.send(news).await.is_ok() && done.await.is_ok() {
            self.turn(State::Ready(ready));
        }
        Ok(())
    }
}

async fn close(session: Option<Arc<Session>>) {
    if let Some(session) = session {
        session.close().await;
    }
}

/// An error with its causes on one line.
pub(in crate::fleet) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
