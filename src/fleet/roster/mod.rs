//! The servers of one generation, and how the next one is made beside it.
//!
//! A roster never changes: it is published with the catalog and rules that belong to it, and a
//! call that was judged under one goes to a server of that one. A server that two rosters have in
//! common is the same one, with its processes. One that no roster has any more gets no new call,
//! and ends when the calls that it has are over. Does not know what makes a reload good.

use std::{collections::HashMap, sync::Arc};

use smallvec::SmallVec;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{
    Prepared,
    catalog::{Shelves, offers},
    keeper::News,
    replica::{Life, State},
    server::Server,
};
use crate::{
    config::{Finding, Names, ServerConfig},
    domain::{
        Call, CallError, Generation, Kind, Sent, ServerName,
        limits::{LAST_CALL_GRACE, RELOAD_START_MAX, SERVER_SHARE_OF_ROOM},
    },
    gate::{OddTools, Rules},
    telemetry::Meter,
    upstream::{Connector, Manner, Outgoing},
    wire::CallParams,
};

/// The servers that calls of one generation may go to.
#[derive(Debug, Default)]
pub struct Roster {
    members: HashMap<ServerName, Arc<Member>>,
    /// Plain names: the one server, which may know what it does not list.
    forward: Option<ServerName>,
}

/// A server's place in every roster that has it.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) server: Arc<Server>,
    /// With the last roster, nobody can come any more.
    _unreachable: DropGuard,
}

/// The next generation: started, and known to nobody.
#[derive(Debug, Default)]
pub struct Aside {
    pub(super) generation: Generation,
    pub(super) roster: Arc<Roster>,
    pub(super) rules: Arc<Rules>,
    started: Vec<Arc<Server>>,
}

/// What a server is started with.
#[derive(Debug)]
pub(super) struct Nursery {
    pub(super) connector: Connector,
    pub(super) names: Names,
    pub(super) news: mpsc::Sender<News>,
    pub(super) stop: CancellationToken,
    pub(super) tasks: TaskTracker,
}

impl Roster {
    /// A place at the server for a call that is being put on record, and the call as it will be
    /// written. Nothing is sent or started for it. `room` calls more could be taken in all.
    pub fn prepare(
        &self,
        judged: &Call,
        params: Arc<CallParams>,
        manner: Manner,
        room: usize,
    ) -> Result<Prepared, CallError> {
        let down = CallError::Unavailable { sent: Sent::No };
        let server = self.server(&judged.server).ok_or(down)?.clone();
        let place = server.place(self.share(room))?;
        let deadline = server.config.tool_timeout;
        let baggage = server.config.baggage.clone();
        let outgoing = Outgoing { params, deadline, manner, baggage };
        server.budget.deposit();
        let prepared = Prepared { server, place, outgoing, drafted: None, tried: SmallVec::new() };
        // Without a place it waits, and nobody knows yet who will be there for it.
        if prepared.place.is_some() { prepared.drafted(judged) } else { Ok(prepared) }
    }

    /// How many calls one server may have: a part of what is left, so that any number of servers
    /// that hang leave something for the others. A server that is alone shares with nobody.
    fn share(&self, room: usize) -> usize {
        if self.members.len() < 2 {
            return usize::MAX;
        }
        room.saturating_mul(SERVER_SHARE_OF_ROOM).saturating_add(1)
    }

    /// Where a call to a server is counted that is not of a tool that it lists.
    pub fn meter(&self, server: &ServerName, kind: Kind) -> Meter {
        let found = self.server(server).map(|server| server.meters.get(kind));
        found.unwrap_or_else(|| Meter::unknown(kind))
    }

    pub(super) fn server(&self, name: &ServerName) -> Option<&Arc<Server>> {
        self.members.get(name).map(|member| &member.server)
    }

    pub(super) fn servers(&self) -> impl Iterator<Item = &Arc<Server>> {
        self.members.values().map(|member| &member.server)
    }

    /// Whether it is this very one, not another of the same name.
    pub(super) fn has(&self, server: &Arc<Server>) -> bool {
        self.server(&server.config.name).is_some_and(|member| Arc::ptr_eq(member, server))
    }

    /// All of them, in order.
    pub(super) fn names(&self) -> Vec<ServerName> {
        let mut names: Vec<_> = self.members.keys().cloned().collect();
        names.sort();
        names
    }

    /// What each of them lists; those that have not listed yet are missing.
    pub(super) fn shelves(&self) -> Shelves {
        let shelf =
            |server: &Arc<Server>| Some((server.config.name.clone(), server.offer().stands()?));
        self.servers().filter_map(shelf).collect()
    }

    pub(super) fn forward(&self) -> Option<ServerName> {
        self.forward.clone()
    }
}

impl Aside {
    /// Waits until every new server has listed or failed to, but not for ever.
    pub(super) async fn settled(&self) {
        let all = async {
            for server in &self.started {
                server.settled().await;
            }
        };
        if timeout(RELOAD_START_MAX, all).await.is_err() {
            tracing::warn!("Some servers are still starting; the reload goes on without them");
        }
    }

    /// Looks at the rules in view of what the servers list, and gives the mistakes that shows.
    pub fn bind(&mut self) -> Vec<Finding> {
        let shelves = self.roster.shelves();
        // What is odd matters to no policy; the keeper knows it when these rules come in force.
        let (names, odd) = (self.roster.names(), OddTools::new());
        let (rules, mistakes) = self.rules.bind(&offers(&names, &shelves, &odd));
        self.rules = Arc::new(rules);
        mistakes
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The new servers that are not ready, and why.
    pub(super) fn down(&self) -> Vec<(ServerName, String)> {
        let down = |server: &Arc<Server>| {
            let why = match server.state() {
                State::Ready(_) => return None,
                State::Starting => "it is still starting".to_owned(),
                State::Backoff { why } | State::CrashLoop { why } => why,
                State::Gone => "it is gone".to_owned(),
            };
            Some((server.config.name.clone(), why))
        };
        self.started.iter().filter_map(down).collect()
    }
}

impl Nursery {
    /// What follows `before`: servers that stay as they are, and others that are started now.
    pub(super) fn raise(
        &self,
        generation: Generation,
        before: &Roster,
        (servers, rules): (Vec<ServerConfig>, Arc<Rules>),
    ) -> Aside {
        let forward = match (self.names, servers.as_slice()) {
            (Names::Plain, [only]) => Some(only.name.clone()),
            (Names::Plain | Names::Prefixed, _) => None,
        };
        let (mut members, mut started) = (HashMap::new(), Vec::new());
        for config in servers {
            let (name, old) = (config.name.clone(), before.members.get(&config.name));
            let member = match old {
                Some(same) if config.runs_like(&same.server.config) => same.clone(),
                other => {
                    let before = other.map(|member| &*member.server);
                    let member = self.start(generation, config, before);
                    started.push(member.server.clone());
                    member
                }
            };
            members.insert(name, member);
        }
        Aside { generation, roster: Arc::new(Roster { members, forward }), rules, started }
    }

    /// `before` is the server whose place it takes.
    fn start(
        &self,
        generation: Generation,
        config: ServerConfig,
        before: Option<&Server>,
    ) -> Arc<Member> {
        let stop = self.stop.child_token();
        let means = (&self.connector, &stop, &self.tasks);
        let (server, stages) = Server::new(generation, config, means, before);
        for (replica, stage) in server.replicas.iter().zip(stages) {
            let life = Life {
                server: server.clone(),
                replica: replica.clone(),
                stage,
                connector: self.connector.clone(),
                names: self.names,
                news: self.news.clone(),
                stop: stop.clone(),
            };
            self.tasks.spawn(life.run());
        }
        let unreachable = CancellationToken::new();
        self.tasks.spawn(see_off(server.clone(), unreachable.clone(), stop));
        Arc::new(Member { server, _unreachable: unreachable.drop_guard() })
    }
}

/// Ends a server that no call can reach any more, once those that did are over.
async fn see_off(server: Arc<Server>, unreachable: CancellationToken, stop: CancellationToken) {
    // Every call has a deadline of its own.
    let patience = server.config.tool_timeout + LAST_CALL_GRACE;
    let last_call = async {
        unreachable.cancelled().await;
        if timeout(patience, server.idle()).await.is_err() {
            tracing::warn!(server.id = %server.config.name, "Server is ended with calls in flight");
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = last_call => stop.cancel(),
    }
}
