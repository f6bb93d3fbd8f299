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
pub(super) struct Publisher {
    current: ArcSwap<Snapshot>,
    /// Counts published snapshots, for those who must wake on one.
    published: watch::Sender<u64>,
}

impl Publisher {
    pub(super) fn new(generation: Generation, policy: Arc<Policy>, catalog: Arc<Catalog>) -> Self {
        let first = Snapshot { generation, policy, catalog };
        Self { current: ArcSwap::from_pointee(first), published: watch::Sender::new(0) }
    }

    pub(super) fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Wakes after every new snapshot.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }

    /// Follows the fleet's catalog until the fleet is gone.
    pub(super) async fn follow(&self, mut catalogs: watch::Receiver<Arc<Catalog>>) {
        while catalogs.changed().await.is_ok() {
            let catalog = catalogs.borrow_and_update().clone();
            let old = self.current.load_full();
            let new = Snapshot { generation: old.generation, policy: old.policy.clone(), catalog };
            self.current.store(Arc::new(new));
            self.published.send_modify(|n| *n = n.wrapping_add(1));
        }
    }
}
