//! The tasks of an HTTP session: what has no caller of its own. All end when the leash is dropped.
//!
//! A task that is lost to a defect of ours ends the session: nobody else would do its work, and
//! nobody would hear of it. Does not know what the tasks do.

use std::sync::Arc;

use tokio::{
    runtime::Handle,
    select,
    sync::{Semaphore, watch},
    time::timeout,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::domain::limits::{UPSTREAM_ERRAND_TIMEOUT, UPSTREAM_ERRANDS_MAX};

#[derive(Debug)]
pub(super) struct Tasks {
    tracker: TaskTracker,
    cancel: CancellationToken,
    over: Over,
    errands: Arc<Semaphore>,
    /// Named, because a withdrawn call starts its errand from a destructor.
    runtime: Handle,
}

/// Why the session is over, once it is. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Over(watch::Sender<Option<Arc<str>>>);

/// So many errands are under way that the server must be deaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Over {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// The first reason stands.
    pub(super) fn end(&self, why: &str) {
        self.0.send_if_modified(|over| {
            let first = over.is_none();
            if first {
                *over = Some(why.into());
            }
            first
        });
    }

    /// Waits until the session is over, and says why.
    pub(super) async fn closed(&self) -> String {
        match self.0.subscribe().wait_for(Option::is_some).await {
            Ok(why) => why.as_deref().unwrap_or_default().to_owned(),
            Err(_) => "the session was dropped".to_owned(),
        }
    }
}

impl Tasks {
    pub(super) fn new(over: Over) -> Self {
        Self {
            tracker: TaskTracker::new(),
            cancel: CancellationToken::new(),
            over,
            errands: Arc::new(Semaphore::new(UPSTREAM_ERRANDS_MAX)),
            runtime: Handle::current(),
        }
    }

    pub(super) fn leash(&self) -> DropGuard {
        self.cancel.clone().drop_guard()
    }

    pub(super) fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        let (cancel, epitaph) = (self.cancel.clone(), Epitaph(Some(self.over.clone())));
        let task = async move {
            select! {
                () = cancel.cancelled() => {}
                () = task => {}
            }
            epitaph.withhold();
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

/// Ends the session unless it is withheld, which only a task that ends in order does.
struct Epitaph(Option<Over>);

impl Epitaph {
    fn withhold(mut self) {
        self.0 = None;
    }
}

impl Drop for Epitaph {
    fn drop(&mut self) {
        if let Some(over) = &self.0 {
            over.end("a task of the session failed");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::{Over, Tasks};

    const WAIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_lost_task_ends_the_session() {
        let over = Over::new();
        let tasks = Tasks::new(over.clone());
        tasks.run(async {
            tokio::task::yield_now().await;
            panic!("as the test wants it")
        });
        let why = timeout(WAIT, over.closed()).await.unwrap();
        assert_eq!(why, "a task of the session failed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_ends_in_order_ends_no_session() {
        let over = Over::new();
        let tasks = Tasks::new(over.clone());
        tasks.run(async {});
        tasks.run(std::future::pending());
        assert!(timeout(WAIT, over.closed()).await.is_err(), "one is done");
        tasks.end().await;
        assert!(timeout(WAIT, over.closed()).await.is_err(), "the other was called off");
        over.end("first");
        over.end("second");
        assert_eq!(over.closed().await, "first");
    }
}
