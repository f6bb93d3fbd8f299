//! The task of one session that belongs to one caller.
//!
//! Opens it when somebody comes, and after a failure only when the pause is over and somebody has
//! come again: a server that does not open costs each caller one start a pause. Takes the session
//! off the table before it ends it, so that nobody is handed one that is ending.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{Key, Lease, Standing, Table, lock};
use crate::{
    config::{ServerConfig, Target},
    domain::limits::LEASE_IDLE_MAX,
    fleet::{backoff::Backoff, replica::chain},
    gate::{Category, Epoch, Marks},
    upstream::{Connector, Session, Tail},
};

/// What the task works with.
pub(super) struct Keeper {
    pub(super) key: Key,
    pub(super) lease: Arc<Lease>,
    pub(super) table: Arc<Table>,
    pub(super) config: Arc<ServerConfig>,
    pub(super) connector: Connector,
    pub(super) tail: Tail,
    pub(super) stop: CancellationToken,
    /// In which it may live.
    pub(super) epoch: Epoch,
}

/// How one session came to its end.
enum Ended {
    /// Nobody needs it any more, and it is off the table.
    Left,
    Broken {
        why: String,
    },
}

impl Keeper {
    pub(super) async fn run(self, standing: watch::Sender<Standing>) {
        let mut backoff = Backoff::default();
        // A replica that does not open a session may be down: the next time another is tried.
        for target in self.targets().cycle() {
            let born = Instant::now();
            let Ended::Broken { why } = self.live_once(target, &standing).await else { return };
            // Without randomness the pause is the longest: late is safe.
            let chance = getrandom::u32().unwrap_or(u32::MAX);
            let pause = backoff.after(born.elapsed(), chance);
            let retry_ms = pause.as_millis();
            tracing::warn!(server.id = %self.config.name, why, %retry_ms, "A caller's own session is down");
            standing.send_replace(Standing::Down);
            tokio::select! {
                biased;
                () = self.dismissed() => return self.leave(),
                () = sleep(pause) => {}
            }
            standing.send_replace(Standing::Opening);
            if !self.is_wanted().await {
                return;
            }
        }
    }

    /// The replicas in the order of this caller: not everybody begins with the same.
    fn targets(&self) -> impl Iterator<Item = &Target> + Clone {
        let replicas = &self.config.replicas;
        let mut hasher = DefaultHasher::new();
        self.key.hash(&mut hasher);
        let n = u64::try_from(replicas.len()).unwrap_or(u64::MAX);
        let first = hasher.finish().checked_rem(n).and_then(|n| usize::try_from(n).ok());
        let (before, from) =
            replicas.split_at_checked(first.unwrap_or_default()).unwrap_or_default();
        from.iter().chain(before).map(|replica| &replica.target)
    }

    async fn live_once(&self, target: &Target, standing: &watch::Sender<Standing>) -> Ended {
        let capabilities = self.key.capabilities.clone();
        let connecting = self.connector.connect_for(&self.config, target, capabilities, &self.tail);
        let connected = tokio::select! {
            biased;
            () = self.dismissed() => {
                self.leave();
                return Ended::Left;
            }
            connected = connecting => connected,
        };
        let session = match connected {
            Ok(session) => Arc::new(session),
            Err(error) => return Ended::Broken { why: chain(&error) },
        };
        standing.send_replace(Standing::Open(session.clone()));
        let ended = self.hold(&session).await;
        if let Ended::Broken { .. } = ended {
            standing.send_replace(Standing::Down);
        }
        if self.connector.latch().category(self.of()) == Some(Category::Kill) {
            // Without the last who holds it, its process is killed.
            standing.send_replace(Standing::Down);
            return ended;
        }
        session.close().await;
        ended
    }

    async fn hold(&self, session: &Session) -> Ended {
        tokio::select! {
            biased;
            () = self.dismissed() => {
                self.leave();
                Ended::Left
            }
            why = session.closed() => Ended::Broken { why },
            () = self.idle() => Ended::Left,
        }
    }

    /// Returns when the gateway ends, or the conversation that this was for, or when either the
    /// server or its caller is stopped.
    async fn dismissed(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.lease.over.cancelled() => {}
            () = self.connector.latch().over(self.of(), self.epoch) => {}
        }
    }

    /// Waits until somebody is there. `false`: nobody came for long, and it is off the table.
    async fn is_wanted(&self) -> bool {
        let mut users = self.lease.users.subscribe();
        tokio::select! {
            biased;
            () = self.dismissed() => {
                self.leave();
                false
            }
            // It holds a sender itself, so this cannot fail.
            wanted = users.wait_for(|n| *n > 0) => wanted.is_ok(),
            () = self.idle() => false,
        }
    }

    /// Returns when nobody has used it for long, and it is off the table.
    async fn idle(&self) {
        let mut users = self.lease.users.subscribe();
        loop {
            let is_used = *users.borrow_and_update() > 0;
            if is_used {
                // It holds a sender itself, so this cannot fail.
                users.changed().await.ok();
                continue;
            }
            let until = Instant::now() + LEASE_IDLE_MAX;
            tokio::select! {
                biased;
                _ = users.changed() => continue,
                () = sleep_until(until) => {}
            }
            // Nobody is counted in without the table.
            let mut table = lock(&self.table);
            if *users.borrow() == 0 {
                table.remove(&self.key);
                return;
            }
        }
    }

    /// What a stop must concern that is to end it.
    fn of(&self) -> Marks {
        Marks::between(&self.config.name, &self.key.principal)
    }

    fn leave(&self) {
        lock(&self.table).remove(&self.key);
    }
}
