//! The sessions that belong to one caller each.
//!
//! Owns the table of them and the task of each: it opens the session when the first call comes,
//! opens it again after a pause if that failed, and ends it when nobody has used it for a while or
//! its conversation is over. Two callers never meet in one session, nor do two sets of
//! capabilities. Bounded: beyond `LEASES_MAX` a call is refused as busy. Asks and answers nothing.

mod keeper;
mod parked;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::{sync::watch, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::{Isolation, ServerConfig},
    domain::{CallError, Caller, Principal, Sent, limits::LEASES_MAX},
    fleet::{status::lately::Lately, unless_stopped},
    gate::{Latch, Marks, Permit, Stopped},
    upstream::{Connector, NoticeSender, Outgoing, Session, Tail},
    wire::Response,
};
use keeper::Keeper;
pub use parked::Parked;

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
    pub(super) lately: Lately,
    /// What all of their children have written to their standard error.
    pub(super) tail: Tail,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// The place of one call in a session. While there is one, the session is not idle.
#[derive(Debug)]
struct Seat {
    session: Arc<Session>,
    _user: User,
}

type Table = Mutex<HashMap<Key, Arc<Lease>>>;

#[derive(Debug)]
struct Lease {
    standing: watch::Receiver<Standing>,
    users: watch::Sender<usize>,
    /// Its conversation is over.
    over: CancellationToken,
}

#[derive(Clone, Debug)]
enum Standing {
    /// Whoever comes waits.
    Opening,
    Open(Arc<Session>),
    /// It did not open, or broke; whoever comes is told so until the next try.
    Down,
}

/// One that is counted.
#[derive(Debug)]
struct User(Arc<Lease>);

impl Key {
    pub(super) fn of(isolation: Isolation, caller: &Caller, capabilities: Bytes) -> Self {
        let conversation = match isolation {
            Isolation::PerSession => caller.conversation.clone(),
            Isolation::Shared | Isolation::PerPrincipal => None,
        };
        let principal = caller.principal.clone();
        Self { principal, conversation, capabilities }
    }
}

impl Leases {
    pub(super) fn new(
        config: Arc<ServerConfig>,
        connector: &Connector,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Self {
        Self {
            table: Arc::default(),
            config,
            connector: connector.clone(),
            lately: Lately::new(Instant::now()),
            tail: Tail::default(),
            stop: stop.clone(),
            tasks: tasks.clone(),
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        lock(&self.table).len()
    }

    /// The answer to a call in the session that belongs to its caller alone.
    pub(super) async fn call(
        &self,
        isolation: Isolation,
        (latch, permit): (&Latch, &Permit),
        outgoing: &Outgoing,
        notices: Option<&NoticeSender>,
    ) -> Result<Response, CallError> {
        let key = Key::of(isolation, &permit.call().caller, outgoing.params.declared());
        let seat = unless_stopped(latch, permit, self.seat(key)).await?;
        let begun = Instant::now();
        let ended = seat.session.call(permit, outgoing, notices).await;
        let now = Instant::now();
        self.lately.observe(now.saturating_duration_since(begun), now);
        ended
    }

    /// A place in the caller's own session, which is opened if there is none.
    async fn seat(&self, key: Key) -> Result<Seat, CallError> {
        let user = self.user(key)?;
        let mut standing = user.0.standing.clone();
        let settled = standing.wait_for(|now| !matches!(now, Standing::Opening)).await;
        match settled.map(|now| now.clone()) {
            Ok(Standing::Open(session)) => Ok(Seat { session, _user: user }),
            Ok(Standing::Down | Standing::Opening) | Err(_) => {
                Err(CallError::Unavailable { sent: Sent::No })
            }
        }
    }

    /// Ends the sessions that belong to this caller's conversation.
    pub(super) fn forget(&self, caller: &Caller) {
        let is_theirs = |key: &Key| {
            key.conversation.is_some()
                && key.conversation == caller.conversation
                && key.principal == caller.principal
        };
        for (_, lease) in lock(&self.table).iter().filter(|(key, _)| is_theirs(key)) {
            lease.over.cancel();
        }
    }

    /// The session of this key, if there is one.
    pub(super) fn open(&self, key: &Key) -> Option<Arc<Session>> {
        open(&self.table, key)
    }

    /// A call of theirs that waits for an answer of theirs.
    pub(super) fn parked(&self, key: Key, token: &str) -> Parked {
        Parked::new(&self.table, key, token)
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
        let of = Marks::between(&self.config.name, &key.principal);
        let epoch = self.connector.latch().epoch(of);
        let epoch = epoch.map_err(|Stopped| CallError::Stopped { sent: Sent::No })?;
        let (sender, standing) = watch::channel(Standing::Opening);
        let (users, over) = (watch::Sender::new(0), CancellationToken::new());
        let lease = Arc::new(Lease { standing, users, over });
        let user = User::of(&lease);
        table.insert(key.clone(), lease.clone());
        let keeper = Keeper {
            key,
            lease,
            table: self.table.clone(),
            config: self.config.clone(),
            connector: self.connector.clone(),
            tail: self.tail.clone(),
            stop: self.stop.clone(),
            epoch,
        };
        self.tasks.spawn(keeper.run(sender));
        Ok(user)
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

fn open(table: &Table, key: &Key) -> Option<Arc<Session>> {
    let lease = lock(table).get(key).cloned()?;
    let standing = lease.standing.borrow().clone();
    match standing {
        Standing::Open(session) => Some(session),
        Standing::Opening | Standing::Down => None,
    }
}

fn lock(table: &Table) -> MutexGuard<'_, HashMap<Key, Arc<Lease>>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
