//! A task beside the calls that may say a last word at the end.
//!
//! Whoever runs one is told when the end has come, and is waited for, but not for long.

use std::time::Duration;

use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// The task; none, if nobody needs one.
#[derive(Debug, Default)]
pub(super) struct Errand {
    task: JoinSet<()>,
    end: CancellationToken,
}

impl Errand {
    pub(super) fn start<F>(run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut errand = Self::default();
        errand.task.spawn(run(errand.end.clone()));
        errand
    }

    /// Lets it end by itself; says `late` if that takes longer.
    pub(super) async fn finish(mut self, wait: Duration, late: &str) {
        self.end.cancel();
        if timeout(wait, self.task.join_next()).await.is_err() {
            warn!("{late}");
        }
    }
}
