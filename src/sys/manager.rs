//! The service manager, if one has started us: what it is told by `sd_notify`, and what it keeps.
//!
//! Without one every word is said to nobody. A word that cannot be sent is no reason to fail: it is
//! logged, and the manager draws its own conclusions. Knows nothing of what the words mean here.

use std::{env, os::fd::AsFd, time::Duration};

use sd_notify::NotifyState;

/// A handle on it.
#[derive(Clone, Copy, Debug)]
pub struct Manager {
    is_there: bool,
    watchdog: Option<Duration>,
}

impl Manager {
    pub fn find() -> Self {
        let is_there = env::var_os("NOTIFY_SOCKET").is_some();
        Self { is_there, watchdog: sd_notify::watchdog_enabled().filter(|_| is_there) }
    }

    pub fn is_there(self) -> bool {
        self.is_there
    }

    /// It ends us if it does not hear that we are alive for so long.
    pub fn watchdog(self) -> Option<Duration> {
        self.watchdog
    }

    /// After the start, and after each reload.
    pub fn ready(self) {
        self.tell(&[NotifyState::Ready]);
    }

    pub fn reloading(self) {
        let now = NotifyState::monotonic_usec_now();
        self.tell(&[NotifyState::Reloading].into_iter().chain(now).collect::<Vec<_>>());
    }

    pub fn stopping(self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// The line that `systemctl status` shows.
    pub fn status(self, line: &str) {
        self.tell(&[NotifyState::Status(line)]);
    }

    pub fn alive(self) {
        self.tell(&[NotifyState::Watchdog]);
    }

    /// Leaves something with it, for the process that follows this one.
    pub fn keep(self, name: &str, what: impl AsFd) {
        if self.is_there {
            let words = [NotifyState::FdStore, NotifyState::FdName(name)];
            Self::sent(sd_notify::notify_with_fds(&words, &[what.as_fd()]));
        }
    }

    /// What was left under that name is of no use any more.
    pub fn forget(self, name: &str) {
        self.tell(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
    }

    fn tell(self, words: &[NotifyState<'_>]) {
        if self.is_there {
            Self::sent(sd_notify::notify(words));
        }
    }

    fn sent(result: std::io::Result<()>) {
        if let Err(error) = result {
            tracing::warn!(%error, "The service manager could not be told");
        }
    }
}
