//! Sole writer of the catalog: what the replicas list, agreed on for each server, merged.
//!
//! Replicas of one server must offer the same tools and prompts. What most of them list counts; the
//! others get no calls until they list that as well. A server that goes down keeps its entries
//! listed: they come back. Decides nothing about names: the catalog does.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use super::{
    catalog::{Catalog, Clashes, Likeness, Shelf, Shelves},
    replica::Vote,
    server::Server,
};
use crate::{
    domain::{ReplicaNo, ServerName},
    gate::Policy,
};

/// What a replica tells the keeper.
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
}

pub(super) struct Keeper<P> {
    pub(super) publish: P,
    pub(super) forward: Option<ServerName>,
    pub(super) policy: Arc<Policy>,
    pub(super) clashes: Arc<ArcSwap<Clashes>>,
}

type Votes = BTreeMap<ReplicaNo, Arc<Shelf>>;

impl<P: Fn(Arc<Catalog>)> Keeper<P> {
    pub(super) async fn run(self, mut inbox: mpsc::Receiver<News>) {
        let mut shelves = Shelves::new();
        let mut votes: HashMap<ServerName, Votes> = HashMap::new();
        while let Some(news) = inbox.recv().await {
            let (server, latest, published) = match news {
                News::Listed { server, replica, shelf, published } => {
                    (server, Some((replica, shelf)), Some(published))
                }
                News::Lost { server, replica } => {
                    votes.entry(server.config.name.clone()).or_default().remove(&replica);
                    (server, None, None)
                }
            };
            let name = &server.config.name;
            let votes = votes.entry(name.clone()).or_default();
            let before = shelves.get(name).cloned();
            let latest = latest.map(|(replica, mut shelf)| {
                if let Some(before) = &before {
                    shelf.keep_missing(before);
                }
                let shelf = Arc::<Shelf>::from(shelf);
                votes.insert(replica, shelf.clone());
                shelf
            });
            if let Some(shelf) = settle(&server, votes, before.as_deref(), latest) {
                shelves.insert(name.clone(), shelf);
                let catalog = Catalog::merge(&shelves, self.forward.clone(), &self.policy);
                self.tell_clashes(catalog.clashes());
                (self.publish)(Arc::new(catalog));
            }
            if published.is_some_and(|published| published.send(()).is_err()) {
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

#[cfg(test)]
mod tests {
    use super::{Likeness, agree};

    #[test]
    fn what_most_replicas_list_is_what_the_server_offers() {
        let [a, b, c] = [1, 2, 3].map(|n| Likeness([n; 32]));
        let table: [(&[Likeness], Option<Likeness>, Option<Likeness>); 8] = [
            (&[], None, None),
            (&[], Some(a), None),
            (&[a], None, Some(a)),
            // It changed its lists, and is the only one.
            (&[b], Some(a), Some(b)),
            (&[a, b], Some(b), Some(b)),
            (&[a, b], None, Some(a)),
            (&[a, b, b], Some(a), Some(b)),
            (&[a, b, c], Some(c), Some(c)),
        ];
        for (listed, stands, want) in table {
            assert_eq!(agree(listed, stands), want, "{listed:?} {stands:?}");
        }
    }
}
