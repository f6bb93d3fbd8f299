//! The sessions that belong to one caller each.
//!
//! Owns the table of them and the task of each: it opens the session when the first call comes,
//! ends it when nobody has used it for a while, and takes it off the table in either case. Two
//! callers never meet in one session, nor do two sets of capabilities. Bounded: beyond
//! `LEASES_MAX` a call is refused as busy. Knows nothing of questions.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::replica::chain;
use crate::{
    config::{Isolation, ServerConfig},
    domain::{
        CallError, Caller, Principal, Sent,
        limits::{LEASE_IDLE_MAX, LEASES_MAX},
    },
    upstream::{ConnectError, Connector, Session},
    wire::{Object, relayable},
};

/// Whose session it is. What a caller can be asked is part of it: a session that was opened for
/// one who can be asked more is not used for one who can be asked less.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    principal: Principal,
    conversation: Option<Arc<str>>,
    capabilities: Bytes,
}

/// The own sessions of one server.
#[derive(Debug)]
pub(super) struct Leases {
    table: Arc<Table>,
    config: Arc<ServerConfig>,
    connector: Connector,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// The place of one call in a session. While there is one, the session is not idle.
#[derive(Debug)]
pub(super) struct Seat {
    session: Arc<Session>,
    _user: Option<User>,
}

type Table = Mutex<HashMap<Key, Arc<Lease>>>;

#[derive(Debug)]
struct Lease {
    /// Empty until the session is open; closed when it is over.
    session: watch::Receiver<Option<Arc<Session>>>,
    users: watch::Sender<usize>,
}

/// One that is counted.
#[derive(Debug)]
struct User(Arc<Lease>);

impl Key {
    pub(super) fn of(isolation: Isolation, caller: &Caller, can: Option<&Object>) -> Self {
        let conversation = match isolation {
            Isolation::PerSession => caller.conversation.clone(),
            Isolation::Shared | Isolation::PerPrincipal => None,
        };
        let principal = caller.principal.clone();
        Self { principal, conversation, capabilities: relayable(can) }
    }
}

impl Leases {
    pub(super) fn new(
        config: Arc<ServerConfig>,
        connector: &Connector,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Self {
        let (connector, stop, tasks) = (connector.clone(), stop.clone(), tasks.clone());
        Self { table: Arc::default(), config, connector, stop, tasks }
    }

    /// A place in the caller's own session, which is opened if there is none.
    pub(super) async fn seat(&self, key: Key) -> Result<Seat, CallError> {
        let user = self.user(key)?;
        let mut session = user.0.session.clone();
        let open = session.wait_for(Option::is_some).await.ok().and_then(|open| open.clone());
        let session = open.ok_or(CallError::Unavailable { sent: Sent::No })?;
        Ok(Seat { session, _user: Some(user) })
    }

    fn user(&self, key: Key) -> Result<User, CallError> {
        let mut table = lock(&self.table);
        if let Some(lease) = table.get(&key) {
            return Ok(User::of(lease));
        }
        if self.stop.is_cancelled() {
            return Err(CallError::Unavailable { sent: Sent::No });
        }
        if table.len() >= LEASES_MAX {
            return Err(CallError::Busy);
        }
        let (open, session) = watch::channel(None);
        let lease = Arc::new(Lease { session, users: watch::Sender::new(0) });
        let user = User::of(&lease);
        table.insert(key.clone(), lease.clone());
        let keeper = Keeper {
            key,
            lease,
            table: self.table.clone(),
            config: self.config.clone(),
            connector: self.connector.clone(),
            stop: self.stop.clone(),
        };
        self.tasks.spawn(keeper.run(open));
        Ok(user)
    }
}

impl Seat {
    pub(super) fn shared(session: Arc<Session>) -> Self {
        Self { session, _user: None }
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }
}

impl User {
    fn of(lease: &Arc<Lease>) -> Self {
        lease.users.send_modify(|n| *n = n.saturating_add(1));
        Self(lease.clone())
    }
}

impl Drop for User {
    fn drop(&mut self) {
        self.0.users.send_modify(|n| *n = n.saturating_sub(1));
    }
}

/// What the task of one session works with.
struct Keeper {
    key: Key,
    lease: Arc<Lease>,
    table: Arc<Table>,
    config: Arc<ServerConfig>,
    connector: Connector,
    stop: CancellationToken,
}

impl Keeper {
    async fn run(self, open: watch::Sender<Option<Arc<Session>>>) {
        let connected = tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            connected = self.connector.connect_for(&self.config, self.key.capabilities.clone()) => {
                connected.inspect_err(|error| self.report(error)).ok()
            }
        };
        let Some(session) = connected.map(Arc::new) else {
            self.leave();
            return;
        };
        open.send_replace(Some(session.clone()));
        tokio::select! {
            biased;
            () = self.stop.cancelled() => self.leave(),
            _ = session.closed() => self.leave(),
            () = idle(&self.table, &self.key, &self.lease) => {}
        }
        session.close().await;
    }

    fn report(&self, error: &ConnectError) {
        let why = chain(error);
        tracing::warn!(server.id = %self.config.name, why, "A caller's own session did not open");
    }

    fn leave(&self) {
        lock(&self.table).remove(&self.key);
    }
}

/// Returns when nobody has used it for long, and it is off the table.
async fn idle(table: &Table, key: &Key, lease: &Lease) {
    let mut users = lease.users.subscribe();
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
        let mut table = lock(table);
        if *users.borrow() == 0 {
            table.remove(key);
            return;
        }
    }
}

fn lock(table: &Table) -> MutexGuard<'_, HashMap<Key, Arc<Lease>>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
