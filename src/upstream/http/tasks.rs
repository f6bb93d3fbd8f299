//! The tasks of an HTTP session: what has no caller of its own. All end when the leash is dropped.

use std::sync::Arc;

use tokio::{runtime::Handle, select, sync::Semaphore, time::timeout};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::domain::limits::{UPSTREAM_ERRAND_TIMEOUT, UPSTREAM_ERRANDS_MAX};

#[derive(Debug)]
pub(super) struct Tasks {
    tracker: TaskTracker,
    cancel: CancellationToken,
    errands: Arc<Semaphore>,
    /// Named, because a withdrawn call starts its errand from a destructor.
    runtime: Handle,
}

/// So many errands are under way that the server must be deaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Tasks {
    pub(super) fn new() -> Self {
        Self {
            tracker: TaskTracker::new(),
            cancel: CancellationToken::new(),
            errands: Arc::new(Semaphore::new(UPSTREAM_ERRANDS_MAX)),
            runtime: Handle::current(),
        }
    }

    pub(super) fn leash(&self) -> DropGuard {
        self.cancel.clone().drop_guard()
    }

    pub(super) fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        let cancel = self.cancel.clone();
        let task = async move {
            select! {
                () = cancel.cancelled() => {}
                () = task => {}
            }
        };
        self.tracker.spawn_on(task, &self.runtime);
    }

    pub(super) fn run_errand(
        &self,
        errand: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), TooMany> {
        let turn = Arc::clone(&self.errands).try_acquire_owned().map_err(|_| TooMany)?;
        self.run(async move {
            errand.await;
            drop(turn);
        });
        Ok(())
    }

    /// Ends every task and waits for it.
    pub(super) async fn end(&self) {
        self.cancel.cancel();
        self.tracker.close();
        // They end at their next step, so this does not wait for any server.
        timeout(UPSTREAM_ERRAND_TIMEOUT, self.tracker.wait()).await.ok();
    }
}
