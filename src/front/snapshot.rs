//! What one call sees of the configuration: one value, loaded once per call.
//!
//! The `Publisher` is its sole writer. A call that has begun keeps the snapshot it began with,
//! however often a new one is published meanwhile.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::{domain::Generation, fleet::Catalog, gate::Policy};

/// Policy and catalog that belong together.
#[derive(Debug)]
pub struct Snapshot {
    pub generation: Generation,
    pub policy: Arc<Policy>,
    pub catalog: Arc<Catalog>,
}

/// Publishes snapshots; readers pay one atomic load.
#[derive(Debug)]
pub struct Publisher {
    current: ArcSwap<Snapshot>,
    /// Counts changes of the visible list of tools, for those who must wake on one.
    relisted: watch::Sender<u64>,
}

impl Publisher {
    /// Begins with an empty catalog: no server has answered yet.
    pub fn new(generation: Generation, policy: Arc<Policy>) -> Arc<Self> {
        let first = Snapshot { generation, policy, catalog: Arc::default() };
        let current = ArcSwap::from_pointee(first);
        Arc::new(Self { current, relisted: watch::Sender::new(0) })
    }

    pub(super) fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Wakes when the list that applications see has changed.
    pub(super) fn relisted(&self) -> watch::Receiver<u64> {
        self.relisted.subscribe()
    }

    /// Publishes a new catalog beside the policy that stands. Called by the fleet's one keeper.
    pub fn publish_catalog(&self, catalog: Arc<Catalog>) {
        let old = self.current.load_full();
        let same_list = old.catalog.lists_the_same(&catalog);
        let new = Snapshot { generation: old.generation, policy: old.policy.clone(), catalog };
        self.current.store(Arc::new(new));
        if !same_list {
            self.relisted.send_modify(|n| *n = n.wrapping_add(1));
        }
    }
}
