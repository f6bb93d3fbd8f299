//! The fleet: every server's replicas, and the merged catalog of what they list.
//!
//! Owns the sessions and the tasks that keep them alive. `Fleet::call` consumes a `Permit` and is
//! the only door to a server. Promises that one bad server fails only its own calls. Knows
//! nothing of applications, and of JSON-RPC only that answers are bytes.

mod backoff;
mod balance;
mod catalog;
mod health;
mod keeper;
mod lease;
mod naming;
mod pins;
mod relist;
mod replica;
mod roster;
mod server;
mod status;
mod stocking;
mod watch;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use smallvec::SmallVec;
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use balance::queue::Place;
pub use catalog::{Catalog, Page, Resolved, UnknownCursor, View};
use health::retry::may_retry;
pub use keeper::Edition;
use keeper::{Keeper, News, Shown};
use lease::Key;
pub use lease::Parked;
use replica::Running;
pub use replica::{Mishap, Ready, State};
use roster::Nursery;
pub use roster::{Aside, Roster};
use server::Server;
pub use status::{Condition, Quantiles, ReplicaStatus, ServerStatus};
use watch::Listener;
pub use watch::{Mailbox, NotWatched, Watch};

use crate::{
    config::{Isolation, Names, ServerConfig},
    domain::{
        Call, CallError, Caller, Generation, ReplicaNo, Sent, ServerName, Topic, Wish,
        limits::CATALOG_NEWS_MAX,
    },
    gate::{Epoch, Latch, Permit, Pins, Rules},
    upstream::{self, Connector, Draft, NoticeSender, Outgoing, Session},
    wire::Response,
};

/// The handle on all servers; cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Fleet {
    shown: Arc<Shown>,
    nursery: Nursery,
}

/// A call that lacks nothing but its permit.
#[derive(Debug)]
pub struct Prepared {
    server: Arc<Server>,
    place: Option<Place>,
    outgoing: Outgoing,
    drafted: Option<Drafted>,
    /// The replicas that did not receive it.
    tried: SmallVec<[ReplicaNo; 2]>,
}

/// A call that has no answer, and how it may be tried again.
#[derive(Debug)]
pub struct Unanswered {
    pub error: CallError,
    pub again: Option<Box<Again>>,
}

/// A call that one replica did not receive and another may, once that is on record.
#[derive(Debug)]
pub struct Again {
    pub permit: Permit,
    pub prepared: Prepared,
    pub from: ReplicaNo,
    pub to: ReplicaNo,
}

/// What a server answered, and which of its replicas did.
#[derive(Debug)]
pub struct Answered {
    pub response: Response,
    pub at: ReplicaNo,
}

/// A call as it is written in a session that is everybody's.
#[derive(Debug)]
struct Drafted {
    session: Arc<Session>,
    draft: Draft,
    running: Running,
}

impl Drafted {
    fn new(session: Arc<Session>, running: Running, judged: &Call, outgoing: &Outgoing) -> Self {
        let draft = session.draft(judged, outgoing);
        Self { session, draft, running }
    }
}

impl Prepared {
    /// Waits for its place.
    async fn placed(mut self, judged: &Call) -> Result<Self, CallError> {
        self.place = Some(self.server.queue_up(&judged.caller.principal).await?);
        self.drafted(judged)
    }

    /// Chooses the replica and writes the call down for it.
    fn drafted(mut self, judged: &Call) -> Result<Self, CallError> {
        match self.server.isolation() {
            Isolation::Shared => {
                let picked = self.server.pick(judged, &self.tried);
                let (session, running) = picked.ok_or(CallError::Unavailable { sent: Sent::No })?;
                self.drafted = Some(Drafted::new(session, running, judged, &self.outgoing));
            }
            // Their session may have to be opened first, which nobody does without a permit.
            Isolation::PerPrincipal | Isolation::PerSession => {}
        }
        Ok(self)
    }

    /// The same for another replica, if it may be sent again and there is one.
    fn elsewhere(mut self, permit: Permit, from: ReplicaNo, error: CallError) -> Option<Again> {
        self.tried.push(from);
        let retries = u32::try_from(self.tried.len()).unwrap_or(u32::MAX).saturating_sub(1);
        // The budget is asked last: it is paid for an attempt that is made.
        let (session, running) = self.server.pick(permit.call(), &self.tried)?;
        let now = Instant::now();
        let repeat = self.server.repeat(&permit.call().subject);
        if !may_retry(error, repeat, retries, &self.server.budget, now) {
            return None;
        }
        let to = running.at();
        self.drafted = Some(Drafted::new(session, running, permit.call(), &self.outgoing));
        Some(Again { permit, prepared: self, from, to })
    }
}

/// What a call waits for before it is sent, but not beyond a stop.
async fn unless_stopped<T>(
    latch: &Latch,
    permit: &Permit,
    waiting: impl Future<Output = Result<T, CallError>>,
) -> Result<T, CallError> {
    tokio::select! {
        biased;
        // First: whoever need not wait pays nothing, and the latch is asked again by the sender.
        waited = waiting => waited,
        () = latch.passed(permit.epoch()) => Err(CallError::Stopped { sent: Sent::No }),
    }
}

impl Fleet {
    /// Starts every server at once; none waits for another. Every edition is handed to `publish`,
    /// in order; all but the first, which lists nothing, from one task.
    pub fn start(
        generation: Generation,
        desired: (Vec<ServerConfig>, Arc<Rules>),
        (names, connector): (Names, &Connector),
        pins: Pins,
        publish: impl Fn(Edition) + Send + Sync + 'static,
    ) -> Self {
        let (news, inbox) = mpsc::channel(CATALOG_NEWS_MAX);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let nursery = Nursery { connector: connector.clone(), names, news, stop, tasks };
        let first = nursery.raise(generation, &Roster::default(), desired);
        let Aside { roster, rules, .. } = first;
        let shown = Arc::new(Shown::new(roster.clone()));
        let mut keeper = Keeper { publish, shown: shown.clone(), generation, rules, roster, pins };
        keeper.publish_first();
        let stop = nursery.stop.clone();
        nursery.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = keeper.run(inbox) => {}
            }
        });
        nursery.tasks.close();
        Self { shown, nursery }
    }

    /// Starts what these servers need beside what runs, and waits until it is known how it is.
    /// Dropping it ends what was started; nobody has seen it.
    pub async fn build(
        &self,
        generation: Generation,
        desired: (Vec<ServerConfig>, Arc<Rules>),
    ) -> Aside {
        let before = self.shown.roster.load_full();
        let aside = self.nursery.raise(generation, &before, desired);
        drop(before);
        aside.settled().await;
        aside
    }

    /// Publishes all of it at once. The servers that are left behind finish their calls. Gives
    /// the new servers that are not ready, and why.
    pub async fn publish(&self, aside: Aside) -> Vec<(ServerName, String)> {
        let down = aside.down();
        let (published, done) = oneshot::channel();
        let next = News::Next { aside: Box::new(aside), published };
        // Without a keeper the gateway is about to end.
        if self.nursery.news.send(next).await.is_err() || done.await.is_err() {
            tracing::debug!("The gateway ended before a reload");
        }
        down
    }

    /// The operator may have mended what makes servers crash: those in a crash loop are started
    /// at once.
    pub fn retry_now(&self) {
        for server in self.shown.roster.load().servers() {
            server.replicas.iter().for_each(|replica| replica.retry_now());
        }
    }

    /// Sends an admitted call to its server and waits for the answer. Dropping the future cancels
    /// the call at the server.
    pub async fn call(
        &self,
        permit: Permit,
        prepared: Prepared,
        notices: Option<&NoticeSender>,
    ) -> Result<Answered, Unanswered> {
        let lost = |error| Unanswered { error, again: None };
        let latch = self.nursery.connector.latch();
        let prepared = match prepared.place {
            Some(_) => prepared,
            None => {
                let placed = Box::pin(prepared.placed(permit.call()));
                unless_stopped(latch, &permit, placed).await.map_err(lost)?
            }
        };
        let Prepared { server, place, outgoing, drafted, tried } = prepared;
        let Some(Drafted { session, draft, running }) = drafted else {
            let _place = place;
            let (own, isolation) = (&server.own_sessions, server.isolation());
            let called = own.call(isolation, (latch, &permit), &outgoing, notices).await;
            // Whoever comes back has the same session of its own, wherever that is.
            let at = ReplicaNo::default();
            return called.map(|response| Answered { response, at }).map_err(lost);
        };
        let ended = session.send(&permit, (draft, &outgoing), notices).await;
        let at = running.at();
        running.conclude(&ended);
        let error = match ended {
            Ok(response) => return Ok(Answered { response, at }),
            Err(error) => error,
        };
        let once_more = Prepared { server, place, outgoing, drafted: None, tried };
        let again = once_more.elsewhere(permit, at, error).map(Box::new);
        Err(Unanswered { error, again })
    }

    /// A call that this caller's own session has parked under this token, if it has one.
    pub fn parked(
        &self,
        server: &ServerName,
        caller: &Caller,
        declared: Bytes,
        token: &str,
    ) -> Option<Parked> {
        let roster = self.shown.roster.load();
        let server = roster.server(server)?;
        match server.isolation() {
            Isolation::Shared => None,
            isolation @ (Isolation::PerPrincipal | Isolation::PerSession) => {
                Some(server.own_sessions.parked(Key::of(isolation, caller, declared), token))
            }
        }
    }

    /// This caller, who has declared so much, says that its roots are others now: its own sessions
    /// are told, as far as there are any.
    pub fn roots_changed(&self, caller: &Caller, declared: &Bytes, epoch: Epoch) {
        for server in self.shown.roster.load().servers() {
            let session = match server.isolation() {
                Isolation::Shared => None,
                isolation @ (Isolation::PerPrincipal | Isolation::PerSession) => {
                    server.own_sessions.open(&Key::of(isolation, caller, declared.clone()))
                }
            };
            if let Some(session) = session {
                session.roots_changed(epoch);
            }
        }
    }

    /// What the server says on this caller's own session, if it has one that is open.
    pub fn news(
        &self,
        server: &ServerName,
        caller: &Caller,
        declared: Bytes,
    ) -> Option<broadcast::Receiver<upstream::News>> {
        let roster = self.shown.roster.load();
        let server = roster.server(server)?;
        match server.isolation() {
            Isolation::Shared => None,
            isolation @ (Isolation::PerPrincipal | Isolation::PerSession) => {
                let key = Key::of(isolation, caller, declared);
                server.own_sessions.open(&key).map(|session| session.news())
            }
        }
    }

    /// This caller's conversation is over, and with it every session that was opened for it.
    pub fn forget(&self, caller: &Caller) {
        for server in self.shown.roster.load().servers() {
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
        let roster = self.shown.roster.load();
        let server = roster.server(server).ok_or(NotWatched::Unavailable)?;
        match (topic, server.isolation()) {
            // It runs where only its caller gets to, and nobody listens there.
            (Topic::Task(_), Isolation::PerPrincipal | Isolation::PerSession) => {
                Err(NotWatched::Refused)
            }
            // It ran at a replica that a reload took away.
            (Topic::Task(task), Isolation::Shared)
                if !server.replicas.iter().any(|replica| replica.n == task.at) =>
            {
                Err(NotWatched::Refused)
            }
            (Topic::Task(_), Isolation::Shared) | (Topic::Resource(_), _) => {
                server.board.add(topic.clone(), Listener { name, mailbox })
            }
        }
    }

    /// Every server, in order of name.
    pub fn status(&self) -> Vec<ServerStatus> {
        let clashes = self.shown.clashes.load_full();
        let quarantine = self.shown.quarantine.load_full();
        let told = |server: &Arc<Server>| {
            let name = &server.config.name;
            let clashes = clashes.get(name).into_iter().flatten().cloned();
            status::standing(server, clashes.chain(quarantine.sentence(name)))
        };
        let mut all: Vec<_> = self.shown.roster.load().servers().map(told).collect();
        all.sort_by(|a, b| a.server.cmp(&b.server));
        all
    }

    /// Servers that are in no configuration any more and not gone yet, in the order of leaving.
    pub fn leaving(&self) -> Vec<ServerStatus> {
        let roster = self.shown.roster.load();
        self.shown.leaving().iter().map(|leaving| status::leaving(leaving, &roster)).collect()
    }

    /// The state of every server, in no order.
    pub fn states(&self) -> Vec<(ServerName, State)> {
        let state = |server: &Arc<Server>| (server.config.name.clone(), server.state());
        self.shown.roster.load().servers().map(state).collect()
    }

    /// Waits until no server is in its first start any more.
    pub async fn settled(&self) {
        for server in self.shown.roster.load_full().servers() {
            server.settled().await;
        }
    }

    /// Ends every session in order and waits for it, at most `grace`.
    pub async fn shut_down(&self, grace: Duration) {
        self.nursery.stop.cancel();
        if tokio::time::timeout(grace, self.nursery.tasks.wait()).await.is_err() {
            tracing::warn!("Some servers did not end in time");
        }
    }
}
