//! Notices that `servers.toml`, or one of the policies, is another one.
//!
//! Watches its directory, because editors rename and Kubernetes swaps a link: whatever happens
//! there means "look again", and only another digest than the last one looked at means "reload".
//! So neither our own reading nor other files in the directory make a reload. Where the system
//! tells of nothing (network file systems, a link to elsewhere), a look now and then is the net.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use notify::{
    Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode},
};
use tokio::{
    sync::Notify,
    task::spawn_blocking,
    time::{Instant, timeout, timeout_at},
};
use tracing::warn;

use crate::{
    config,
    domain::limits::{RELOAD_POLL, RELOAD_QUIET, RELOAD_QUIET_MAX},
    front::Reloads,
};

/// Runs for ever.
pub(super) async fn watch(file: PathBuf, policies: PathBuf, reloads: Reloads) {
    let stirred = Arc::new(Notify::new());
    let mut watcher = watcher(&file, stirred.clone())
        .inspect_err(|error| warn!(%error, poll_s = RELOAD_POLL.as_secs(), "No news of changes to servers.toml; it is looked at now and then"))
        .ok();
    loop {
        if let Some(watcher) = &mut watcher {
            also(watcher, &policies);
        }
        let (path, dir) = (file.clone(), policies.clone());
        // A read that panics is no news.
        let digest = spawn_blocking(move || config::digest(&path, &dir)).await.ok();
        if digest.is_some_and(|digest| digest != reloads.standing().seen)
            && let Ok(answer) = reloads.ask("file".to_owned())
        {
            // The next look compares with what this one found.
            drop(answer.await);
        }
        if timeout(RELOAD_POLL, stirred.notified()).await.is_ok() {
            settled(&stirred).await;
        }
    }
}

/// Directories that may have come, or come again, since the last look; of one that is not there,
/// the directory above tells when it comes.
fn also(watcher: &mut RecommendedWatcher, policies: &Path) {
    for dir in [policies, &policies.join("tests")] {
        if let Err(error) = watcher.watch(dir, RecursiveMode::NonRecursive) {
            tracing::debug!(%error, dir = %dir.display(), "Not watched");
        }
    }
}

/// Returns once nothing has happened for a while.
async fn settled(stirred: &Notify) {
    let latest = Instant::now() + RELOAD_QUIET_MAX;
    while timeout_at(latest.min(Instant::now() + RELOAD_QUIET), stirred.notified()).await.is_ok() {}
}

fn watcher(file: &Path, stirred: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An error may mean that events were lost.
        if event.map_or(true, |event| changes(event.kind)) {
            stirred.notify_one();
        }
    })?;
    let directory = file.parent().unwrap_or(file);
    watcher.watch(directory, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Opening and reading, which we do ourselves, change nothing.
fn changes(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        EventKind::Any
        | EventKind::Create(_)
        | EventKind::Modify(_)
        | EventKind::Remove(_)
        | EventKind::Other => true,
    }
}
