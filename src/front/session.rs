//! Sessions of legacy clients, and what each has in flight.
//!
//! A session belongs to the bond of whoever opened it (ADR 0046): for anybody else, and for the
//! same one with other rights or by another key, it does not exist. Ids are 128 random bits. The
//! number is bounded. When it is full, sessions past their time make room, then the longest idle
//! ones of whoever has the most; a session with a call or a stream never does. Modern clients have
//! no sessions.

use std::{
    collections::HashMap,
    fmt::Write,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use dashmap::DashMap;
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    identity::{Bond, Proof, Visitor},
    listen::Watching,
    questions::Acquaintance,
    replay::{Kept, Replay},
};
use crate::{
    domain::{
        Caller, Principal,
        limits::{SESSION_EVICT_IDLE_MIN, SESSION_EVICTED_SHARE, SESSION_IDLE_MAX},
    },
    wire::{RequestId, Version},
};

/// All legacy sessions of the endpoint.
#[derive(Debug)]
pub(super) struct Sessions {
    open: DashMap<String, Arc<LegacySession>>,
    max: usize,
    kept: Kept,
}

/// One legacy client's session.
#[derive(Debug)]
pub(super) struct LegacySession {
    id: String,
    pub(super) version: Version,
    pub(super) caller: Arc<Caller>,
    pub(super) in_flight: Arc<InFlight>,
    pub(super) known: Arc<Acquaintance>,
    pub(super) watching: Arc<Watching>,
    pub(super) replay: Arc<Replay>,
    bond: Bond,
    /// Of whoever opened it: it ends when that does.
    proof: Proof,
    /// Cancelled when the session ends; its streams end with it.
    pub(super) ended: CancellationToken,
    used_ms: AtomicU64,
}

/// The requests of one client that have no answer yet, so that it can withdraw them by id.
#[derive(Debug, Default)]
pub(super) struct InFlight(Mutex<Open>);

#[derive(Debug, Default)]
struct Open {
    requests: HashMap<RequestId, CancellationToken>,
    /// Nobody is there any more to take an answer.
    is_over: bool,
}

/// One request in flight; forgets itself when dropped.
#[derive(Debug)]
pub(super) struct Ongoing {
    owner: Arc<InFlight>,
    id: RequestId,
    pub(super) withdrawn: CancellationToken,
}

/// There is no room for another session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

impl Sessions {
    pub(super) fn new(max: usize) -> Self {
        Self { open: DashMap::new(), max, kept: Kept::default() }
    }

    /// Opens a session and gives its id.
    pub(super) fn open(
        &self,
        version: Version,
        (caller, known, visitor): (Caller, Acquaintance, &Visitor),
        now_ms: u64,
    ) -> Result<(String, Arc<LegacySession>), NoRoom> {
        if self.open.len() >= self.max {
            self.sweep(now_ms);
        }
        if self.open.len() >= self.max {
            self.evict(now_ms);
        }
        if self.open.len() >= self.max {
            return Err(NoRoom);
        }
        let id = mint().ok_or(NoRoom)?;
        let label = label(&id);
        let replay = Arc::new(Replay::new(&label, self.kept.clone()));
        let caller = Caller { conversation: Some(label.into()), ..caller };
        let session = Arc::new(LegacySession {
            id: id.clone(),
            version,
            caller: Arc::new(caller),
            in_flight: Arc::default(),
            known: Arc::new(known),
            watching: Arc::default(),
            replay,
            bond: visitor.bond(),
            proof: visitor.proof.clone(),
            ended: CancellationToken::new(),
            used_ms: AtomicU64::new(now_ms),
        });
        self.open.insert(id.clone(), session.clone());
        Ok((id, session))
    }

    /// The session of that id, if it is this visitor's.
    pub(super) fn find(
        &self,
        id: &str,
        visitor: &Visitor,
        now_ms: u64,
    ) -> Option<Arc<LegacySession>> {
        let session = self.open.get(id)?;
        if session.bond != visitor.bond() || session.proof.is_over() {
            return None;
        }
        session.used_ms.store(now_ms, Ordering::Relaxed);
        Some(session.clone())
    }

    /// Ends a session: its id means nothing afterwards.
    pub(super) fn end(&self, session: &LegacySession) {
        if let Some((_, session)) = self.open.remove(&session.id) {
            session.ended.cancel();
            session.in_flight.withdraw_all();
        }
    }

    /// Ends those whose opener's proof has ended.
    pub(super) fn end_unproven(&self) -> Vec<Arc<LegacySession>> {
        let all = self.open.iter().map(|entry| entry.value().clone());
        let over: Vec<_> = all.filter(|session| session.proof.is_over()).collect();
        over.iter().for_each(|session| self.end(session));
        over
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Lets go of what was kept for too long for clients to come back for.
    pub(super) fn expire(&self, now: Instant) {
        if self.kept.load(Ordering::Relaxed) > 0 {
            self.open.iter().for_each(|session| session.replay.expire(now));
        }
    }

    fn sweep(&self, now_ms: u64) {
        let idle_max = u64::try_from(SESSION_IDLE_MAX.as_millis()).unwrap_or(u64::MAX);
        self.open.retain(|_, session| {
            let keep = session.idle_ms(now_ms) < idle_max || session.is_in_use();
            if !keep {
                session.ended.cancel();
            }
            keep
        });
    }

    /// Ends the longest idle sessions of the principal that has the most, several at once: looking
    /// through all of them for each newcomer would be a gift to whoever floods us.
    fn evict(&self, now_ms: u64) {
        let idle_min = u64::try_from(SESSION_EVICT_IDLE_MIN.as_millis()).unwrap_or(u64::MAX);
        let mut owners: HashMap<Principal, Owned> = HashMap::new();
        for session in &self.open {
            let owned = owners.entry(session.caller.principal.clone()).or_default();
            owned.count += 1;
            let idle_ms = session.idle_ms(now_ms);
            if idle_ms >= idle_min && !session.is_in_use() {
                owned.idle.push((idle_ms, session.id.clone()));
            }
        }
        let Some(mut most) = owners.into_values().max_by_key(|owned| owned.count) else { return };
        most.idle.sort_unstable_by(|a, b| b.cmp(a));
        let n_evicted = (self.max / SESSION_EVICTED_SHARE).max(1).min(most.idle.len());
        for (_, id) in most.idle.into_iter().take(n_evicted) {
            if let Some((_, session)) = self.open.remove(&id) {
                session.ended.cancel();
            }
        }
        tracing::warn!(n_evicted, "Sessions are full; the longest idle ones were ended");
    }
}

/// The sessions of one principal.
#[derive(Default)]
struct Owned {
    count: usize,
    /// How long each idle one has been so, in ms.
    idle: Vec<(u64, String)>,
}

impl LegacySession {
    fn idle_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.used_ms.load(Ordering::Relaxed))
    }

    /// A request or a stream holds the session itself, a call its place among those in flight.
    fn is_in_use(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) > 1 || !self.in_flight.is_empty()
    }
}

/// What logs and the audit call a session: its id is a key and stays out of both.
fn label(id: &str) -> String {
    Sha256::digest(id).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// 128 random bits, as text.
pub(super) fn mint() -> Option<String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes.iter().fold(String::with_capacity(32), |mut text, byte| {
        if write!(text, "{byte:02x}").is_err() {
            text.clear();
        }
        text
    }))
}

impl InFlight {
    /// Notes a request; `None` when the same id is in flight already. One that comes when all of
    /// them have been withdrawn is withdrawn from its beginning.
    pub(super) fn begin(self: &Arc<Self>, id: &RequestId) -> Option<Ongoing> {
        let withdrawn = CancellationToken::new();
        let mut open = self.lock();
        if open.requests.contains_key(id) {
            return None;
        }
        open.requests.insert(id.clone(), withdrawn.clone());
        if open.is_over {
            withdrawn.cancel();
        }
        drop(open);
        Some(Ongoing { owner: self.clone(), id: id.clone(), withdrawn })
    }

    /// Withdraws a request, if it is still in flight.
    pub(super) fn withdraw(&self, id: &RequestId) {
        let token = self.lock().requests.get(id).cloned();
        if let Some(token) = token {
            token.cancel();
        }
    }

    /// Nobody is there any more to take an answer.
    fn withdraw_all(&self) {
        let mut open = self.lock();
        open.is_over = true;
        let tokens: Vec<_> = open.requests.values().cloned().collect();
        drop(open);
        for token in tokens {
            token.cancel();
        }
    }

    fn is_empty(&self) -> bool {
        self.lock().requests.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Ongoing {
    fn drop(&mut self) {
        self.owner.lock().requests.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Acquaintance, InFlight, NoRoom, Sessions, Visitor};
    use crate::{
        domain::{
            Caller, Era, Principal, Transport,
            limits::{SESSION_EVICT_IDLE_MIN, SESSION_IDLE_MAX},
        },
        wire::{RequestId, Version},
    };

    fn visitor(principal: &str) -> Visitor {
        Visitor::of_a_test(Principal::new(principal))
    }

    /// Opens a session; gives its id.
    fn open(sessions: &Sessions, visitor: &Visitor, now_ms: u64) -> Result<String, NoRoom> {
        let caller = Caller {
            principal: visitor.principal.clone(),
            client: "test".into(),
            conversation: None,
            era: Era::Legacy,
            transport: Transport::Http,
        };
        let of = (caller, Acquaintance::default(), visitor);
        sessions.open(Version::LATEST_LEGACY, of, now_ms).map(|(id, _)| id)
    }

    #[test]
    fn a_session_exists_only_for_whoever_opened_it_with_the_same_rights() {
        let sessions = Sessions::new(10);
        let with = |groups: &[&str]| {
            let groups = groups.iter().map(|one| (*one).to_owned());
            Visitor::of_a_test(Principal::in_groups("ann", groups))
        };
        let id = open(&sessions, &with(&["a", "b"]), 0).unwrap();
        let session = sessions.find(&id, &with(&["b", "a"]), 1).unwrap();
        assert!(!session.caller.conversation.as_ref().unwrap().contains(&id));
        for other in [with(&["a"]), with(&["a", "b", "c"]), with(&[]), visitor("bob")] {
            assert!(sessions.find(&id, &other, 1).is_none(), "{other:?}");
        }
        sessions.end(&session);
        assert!(sessions.find(&id, &with(&["a", "b"]), 1).is_none());
    }

    #[test]
    fn a_full_house_makes_room_of_idle_sessions_but_never_of_busy_ones() {
        let sessions = Sessions::new(2);
        let idle_ms = u64::try_from(SESSION_IDLE_MAX.as_millis()).unwrap();
        let (ann, bob) = (visitor("ann"), visitor("bob"));
        let busy = open(&sessions, &ann, 0).unwrap();
        let busy = sessions.find(&busy, &ann, 0).unwrap();
        let idle = open(&sessions, &ann, 0).unwrap();
        let ongoing = busy.in_flight.begin(&RequestId::from_u64(1)).unwrap();
        assert!(open(&sessions, &bob, 1).is_err());
        drop(busy);
        assert!(open(&sessions, &bob, idle_ms).is_ok());
        assert!(sessions.find(&idle, &ann, idle_ms).is_none());
        assert_eq!(sessions.len(), 2);
        drop(ongoing);
    }

    #[test]
    fn whoever_has_the_most_makes_room_with_the_longest_idle() {
        let sessions = Sessions::new(4);
        let open = |who: &str, at_ms: u64| open(&sessions, &visitor(who), at_ms);
        let idle_ms = u64::try_from(SESSION_EVICT_IDLE_MIN.as_millis()).unwrap();
        let bob = open("bob", 0).unwrap();
        let streaming = open("ann", 1).unwrap();
        let held = sessions.find(&streaming, &visitor("ann"), 1).unwrap();
        let (oldest, newest) = (open("ann", 2).unwrap(), open("ann", 3).unwrap());
        assert!(open("eve", idle_ms).is_err(), "nobody has been idle for long enough");
        assert!(open("eve", idle_ms + 2).is_ok());
        let is_there =
            |id: &str, who: &str| sessions.find(id, &visitor(who), idle_ms + 2).is_some();
        assert!(is_there(&bob, "bob") && is_there(&streaming, "ann") && is_there(&newest, "ann"));
        assert!(!is_there(&oldest, "ann"));
        assert!(!held.ended.is_cancelled());
    }

    #[test]
    fn a_request_in_flight_can_be_withdrawn_once_and_is_forgotten_at_its_end() {
        let in_flight = Arc::new(InFlight::default());
        let id = RequestId::from_u64(7);
        let ongoing = in_flight.begin(&id).unwrap();
        assert!(in_flight.begin(&id).is_none(), "the same id twice");
        in_flight.withdraw(&id);
        assert!(ongoing.withdrawn.is_cancelled());
        drop(ongoing);
        assert!(in_flight.is_empty());
        in_flight.withdraw(&id);
        in_flight.withdraw_all();
        let late = in_flight.begin(&id).unwrap();
        assert!(late.withdrawn.is_cancelled(), "it would run on for nobody");
    }
}
