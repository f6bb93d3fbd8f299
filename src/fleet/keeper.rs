//! Sole writer of the catalog: what the replicas list, agreed on for each server, merged.
//!
//! Replicas of one server must offer the same tools and prompts. What most of them list counts; the
//! others get no calls until they list that as well. What a server lists stays listed for a grace
//! after its last replica went down, so that a restart is nobody's news; then it is withdrawn until
//! the server is back. Decides nothing about names: the catalog does.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until},
};

use super::{
    catalog::{Catalog, Clashes, Likeness, Shelf, Shelves, View, Views, offers},
    replica::Vote,
    roster::{Aside, Roster},
    server::Server,
};
use crate::{
    config::Finding,
    domain::{Generation, Principal, ReplicaNo, ServerName, limits::CATALOG_NEWS_MAX},
    gate::{PinError, Pins, Quarantine, Rules, Selection},
    sys,
};

/// What the keeper is told.
#[derive(Debug)]
pub(super) enum News {
    Listed {
        server: Arc<Server>,
        replica: ReplicaNo,
        shelf: Box<Shelf>,
        /// Told when the catalog with it is published.
        published: oneshot::Sender<()>,
    },
    /// Its session is over: what it listed no longer counts.
    Lost { server: Arc<Server>, replica: ReplicaNo },
    /// Another generation takes the place of the one that stands.
    Next { aside: Box<Aside>, published: oneshot::Sender<()> },
    /// The operator approves what is held back.
    Approve { who: String, selection: Selection, told: oneshot::Sender<Result<usize, PinError>> },
    /// `pins.lock` may be another.
    ReadPins { published: oneshot::Sender<()> },
}

/// What a server is known for, and what each of its replicas lists.
#[derive(Debug, Default)]
pub(super) struct Offer {
    votes: Votes,
    stands: Option<Arc<Shelf>>,
    /// Nobody lists it any more, and then it is withdrawn.
    ends: Option<Instant>,
}

/// What is published together.
#[derive(Debug)]
pub struct Edition {
    pub generation: Generation,
    pub rules: Arc<Rules>,
    pub roster: Arc<Roster>,
    pub catalog: Arc<Catalog>,
    views: Views,
}

impl Edition {
    pub fn new(
        generation: Generation,
        rules: Arc<Rules>,
        roster: Arc<Roster>,
        catalog: Catalog,
    ) -> Self {
        let views = Views::default();
        Self { generation, rules, roster, catalog: Arc::new(catalog), views }
    }

    /// The lists as a principal sees them.
    pub fn view(&self, principal: &Principal) -> Arc<View> {
        self.views.of(&self.catalog, &self.rules, principal)
    }
}

pub(super) struct Keeper<P> {
    pub(super) publish: P,
    pub(super) shown: Arc<Shown>,
    pub(super) generation: Generation,
    pub(super) rules: Arc<Rules>,
    pub(super) roster: Arc<Roster>,
    pub(super) pins: Pins,
}

/// What stands, for those who hold no edition.
#[derive(Debug)]
pub(super) struct Shown {
    pub(super) roster: ArcSwap<Roster>,
    /// What the catalog could not take from each server as it is.
    pub(super) clashes: ArcSwap<Clashes>,
    /// What is wrong with the policies in view of what the servers list.
    pub(super) mistakes: ArcSwap<Vec<String>>,
    /// What waits to be approved.
    pub(super) quarantine: ArcSwap<Quarantine>,
    /// Those that no new call gets to, until their processes are gone.
    leaving: Mutex<Vec<Leaving>>,
}

/// A server that is in no configuration any more.
#[derive(Clone, Debug)]
pub(super) struct Leaving {
    pub(super) server: Arc<Server>,
    pub(super) since_us: u64,
}

type Votes = BTreeMap<ReplicaNo, Arc<Shelf>>;

impl Offer {
    /// What it is known for.
    pub(super) fn stands(&self) -> Option<Arc<Shelf>> {
        self.stands.clone()
    }

    /// For the server that takes its place.
    pub(super) fn inherit(&self) -> Self {
        Self { stands: self.stands.clone(), ..Self::default() }
    }

    /// Begins the grace, or ends it.
    fn tend(&mut self, grace: Duration) {
        let is_orphaned = self.votes.is_empty() && self.stands.is_some();
        let end = self.ends.unwrap_or_else(|| Instant::now() + grace);
        self.ends = is_orphaned.then_some(end);
    }
}

impl Shown {
    pub(super) fn new(roster: Arc<Roster>) -> Self {
        Self {
            roster: ArcSwap::new(roster),
            clashes: ArcSwap::default(),
            mistakes: ArcSwap::default(),
            quarantine: ArcSwap::default(),
            leaving: Mutex::default(),
        }
    }

    fn depart<'a>(&self, servers: impl Iterator<Item = &'a Arc<Server>>) {
        let since_us = sys::unix_micros();
        let leaving = servers.map(|server| Leaving { server: server.clone(), since_us });
        self.still_there().extend(leaving);
    }

    pub(super) fn leaving(&self) -> Vec<Leaving> {
        self.still_there().clone()
    }

    /// Whoever looks forgets those that are gone.
    fn still_there(&self) -> MutexGuard<'_, Vec<Leaving>> {
        let mut leaving = self.leaving.lock().unwrap_or_else(PoisonError::into_inner);
        leaving.retain(|leaving| !leaving.server.is_gone());
        leaving
    }
}

impl<P: Fn(Edition)> Keeper<P> {
    /// All that waits becomes one edition: while one is made, many servers may list.
    pub(super) async fn run(mut self, mut inbox: mpsc::Receiver<News>) {
        let mut waiting = Vec::with_capacity(CATALOG_NEWS_MAX);
        loop {
            tokio::select! {
                n = inbox.recv_many(&mut waiting, CATALOG_NEWS_MAX) => match n {
                    0 => return,
                    _ => self.take(&mut waiting).await,
                },
                () = grace_over(self.first_end()) => self.withdraw().await,
            }
        }
    }

    async fn take(&mut self, waiting: &mut Vec<News>) {
        let (mut is_another, mut told, mut approved) = (false, Vec::new(), Vec::new());
        for news in waiting.drain(..) {
            match news {
                News::Listed { server, replica, shelf, published } => {
                    is_another |= self.note(&server, replica, Some(shelf));
                    told.push(published);
                }
                News::Lost { server, replica } => {
                    is_another |= self.note(&server, replica, None);
                }
                News::Next { aside, published } => {
                    let left = self.roster.servers().filter(|old| !aside.roster.has(old));
                    self.shown.depart(left);
                    self.generation = aside.generation;
                    (self.rules, self.roster) = (aside.rules, aside.roster);
                    // One that is new and down has what the one listed whose place it took.
                    for server in self.roster.servers() {
                        server.offer().tend(server.config.health.grace);
                    }
                    is_another = true;
                    told.push(published);
                }
                News::Approve { who, selection, told } => {
                    let result = self.pins.approve(&who, &selection).await;
                    is_another |= result.is_ok();
                    approved.push((told, result));
                }
                News::ReadPins { published } => {
                    self.pins.read_again().await;
                    is_another = true;
                    told.push(published);
                }
            }
        }
        if is_another {
            self.publish().await;
        }
        for (told, result) in approved {
            // Whoever went away finds it approved.
            drop(told.send(result));
        }
        for published in told {
            if published.send(()).is_err() {
                tracing::debug!("A server went down while its lists were published");
            }
        }
    }

    fn first_end(&self) -> Option<Instant> {
        self.roster.servers().filter_map(|server| server.offer().ends).min()
    }

    /// Nobody is to count on what has been gone for so long.
    async fn withdraw(&mut self) {
        let now = Instant::now();
        for server in self.roster.servers() {
            let mut offer = server.offer();
            if offer.ends.is_some_and(|end| end <= now) {
                (offer.stands, offer.ends) = (None, None);
                tracing::warn!(server.id = %server.config.name, "Lists of a server that is gone were withdrawn");
            }
        }
        self.publish().await;
    }

    /// What a replica lists now, or that it lists nothing; whether the catalog is another then. Of
    /// a server that is not yet on the roster, or no longer, nobody is told.
    fn note(&self, server: &Arc<Server>, replica: ReplicaNo, shelf: Option<Box<Shelf>>) -> bool {
        let mut offer = server.offer();
        let before = offer.stands.clone();
        let latest = shelf.map(|mut shelf| {
            if let Some(before) = &before {
                shelf.keep_missing(before);
                shelf.share(before);
            }
            Arc::<Shelf>::from(shelf)
        });
        match &latest {
            Some(shelf) => offer.votes.insert(replica, shelf.clone()),
            None => offer.votes.remove(&replica),
        };
        let settled = settle(server, &offer.votes, before.as_deref(), latest);
        let is_news = settled.is_some();
        offer.stands = settled.or(before);
        let is_seen = self.roster.has(server);
        if is_seen {
            offer.tend(server.config.health.grace);
        }
        is_news && is_seen
    }

    /// The first edition, of servers that have listed nothing yet.
    pub(super) fn publish_first(&mut self) {
        self.publish_free(Shelves::default());
    }

    async fn publish(&mut self) {
        let shelves = self.roster.shelves();
        let listed: Vec<_> = shelves.iter().map(|(server, shelf)| shelf.listed(server)).collect();
        self.pins.judge(self.rules.pins(), &listed).await;
        drop(listed);
        let quarantine = self.pins.quarantine();
        let free = |(server, shelf): (ServerName, Arc<Shelf>)| {
            let free = shelf.without_held(&server, quarantine).map_or(shelf, Arc::new);
            (server, free)
        };
        self.publish_free(shelves.into_iter().map(free).collect());
    }

    /// What is free to be used.
    fn publish_free(&mut self, shelves: Shelves) {
        let names = self.roster.names();
        let (rules, mistakes) = self.rules.bind(&offers(&names, &shelves, self.pins.odd()));
        self.rules = Arc::new(rules);
        self.tell_mistakes(mistakes);
        let catalog = Catalog::merge(shelves, self.roster.forward(), &self.rules);
        self.tell_clashes(catalog.clashes());
        self.shown.quarantine.store(self.pins.quarantine().clone());
        self.shown.roster.store(self.roster.clone());
        let (rules, roster) = (self.rules.clone(), self.roster.clone());
        (self.publish)(Edition::new(self.generation, rules, roster, catalog));
    }

    /// Policies that do not fit what the servers list now deny; the operator has to know.
    fn tell_mistakes(&self, mistakes: Vec<Finding>) {
        let told: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        if **self.shown.mistakes.load() == told {
            return;
        }
        for mistake in &told {
            tracing::warn!(mistake, "A policy does not fit what the servers list");
        }
        self.shown.mistakes.store(Arc::new(told));
    }

    fn tell_clashes(&self, clashes: &Clashes) {
        if **self.shown.clashes.load() == *clashes {
            return;
        }
        for (server, sentences) in clashes {
            for problem in sentences {
                tracing::warn!(server.id = %server, problem, "Resources do not stand under their own URIs");
            }
        }
        self.shown.clashes.store(Arc::new(clashes.clone()));
    }
}

/// Returns at that moment, if there is one.
async fn grace_over(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// Has every replica know whether it agrees; the shelf to publish, if it is another one.
fn settle(
    server: &Server,
    votes: &Votes,
    before: Option<&Shelf>,
    latest: Option<Arc<Shelf>>,
) -> Option<Arc<Shelf>> {
    let listed: Vec<Likeness> = votes.values().map(|shelf| shelf.likeness()).collect();
    let stands = before.map(Shelf::likeness);
    let chosen = agree(&listed, stands)?;
    for replica in &server.replicas {
        let differs = votes.get(&replica.n).is_some_and(|shelf| shelf.likeness() != chosen);
        replica.set_vote(if differs { Vote::Differs } else { Vote::Agrees });
    }
    // The newest of those that agree: its resources may be others.
    let fresh = latest.filter(|shelf| shelf.likeness() == chosen);
    let standing = || votes.values().find(|shelf| shelf.likeness() == chosen).cloned();
    fresh.or_else(|| standing().filter(|_| stands != Some(chosen)))
}

/// What most list. Of equals, what stands already; else what the first of them lists.
fn agree(listed: &[Likeness], stands: Option<Likeness>) -> Option<Likeness> {
    let count = |of: Likeness| listed.iter().filter(|likeness| **likeness == of).count();
    let most = listed.iter().map(|likeness| count(*likeness)).max()?;
    let is_most = |likeness: &Likeness| count(*likeness) == most;
    stands.filter(is_most).or_else(|| listed.iter().copied().find(is_most))
}
