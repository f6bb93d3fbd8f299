//! Who watches which resource of one server, counted, so that each is watched once at the server.
//!
//! A `Watch` is one watcher's share: with the last share of a URI the server is no longer asked
//! for it. Updates go into mailboxes, which hold each URI at most once: a slow reader costs no
//! memory and loses nothing but repetitions. `attend` makes the server's side agree with it.

mod attend;
mod held;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout_at},
};

use crate::domain::{ResourceUri, limits::WATCHED_MAX};

/// What one listener has not been told yet.
#[derive(Debug, Default)]
pub struct Mailbox {
    updated: Mutex<BTreeSet<ResourceUri>>,
    bell: Notify,
}

impl Mailbox {
    fn put(&self, uri: &ResourceUri) {
        self.lock().insert(uri.clone());
        self.ring();
    }

    /// Everybody who waits looks again.
    pub fn ring(&self) {
        self.bell.notify_waiters();
    }

    /// What was updated since the last time. Waits until there is something and `may_take`.
    pub async fn heard(&self, may_take: impl Fn() -> bool) -> BTreeSet<ResourceUri> {
        loop {
            let mut bell = std::pin::pin!(self.bell.notified());
            // From here on no ringing is missed.
            bell.as_mut().enable();
            if may_take() {
                let heard = std::mem::take(&mut *self.lock());
                if !heard.is_empty() {
                    return heard;
                }
            }
            bell.await;
        }
    }

    /// What was not told yet about a URI never will be.
    pub fn forget(&self, uri: &ResourceUri) {
        self.lock().remove(uri);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<ResourceUri>> {
        self.updated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a resource is not watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotWatched {
    /// Its server does not offer that, or refused.
    Refused,
    /// Its server is down or slow, or too many resources are watched.
    Unavailable,
}

/// Everything that is watched at one server.
#[derive(Debug, Default)]
pub(super) struct Board {
    topics: Mutex<BTreeMap<ResourceUri, Topic>>,
    /// Grows when another set of URIs is wanted.
    wanted: watch::Sender<u64>,
    /// Grows when it has become clear how some URI stands.
    settled: watch::Sender<u64>,
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct Topic {
    standing: Standing,
    listeners: HashMap<u64, Listener>,
}

/// Who is told of a resource, and by which name.
#[derive(Debug)]
pub(super) struct Listener {
    /// As its client knows it; the server's own, but for a prefix.
    pub(super) name: ResourceUri,
    pub(super) mailbox: Arc<Mailbox>,
}

/// What the server makes of our wish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    #[default]
    Asked,
    Honoured,
    Refused,
}

/// One watcher's share of a URI; dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    board: Arc<Board>,
    uri: ResourceUri,
    key: u64,
}

impl Watch {
    /// Waits until the server has agreed.
    pub async fn honoured(&self, until: Instant) -> Result<(), NotWatched> {
        let mut settled = self.board.settled.subscribe();
        let clear = settled.wait_for(|_| self.standing() != Standing::Asked);
        if timeout_at(until, clear).await.is_err() {
            return Err(NotWatched::Unavailable);
        }
        match self.standing() {
            Standing::Honoured => Ok(()),
            Standing::Refused => Err(NotWatched::Refused),
            Standing::Asked => Err(NotWatched::Unavailable),
        }
    }

    fn standing(&self) -> Standing {
        self.board.lock().get(&self.uri).map(|topic| topic.standing).unwrap_or_default()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.board.remove(&self.uri, self.key);
    }
}

impl Topic {
    fn tell(&self) {
        self.listeners.values().for_each(|Listener { name, mailbox }| mailbox.put(name));
    }
}

impl Board {
    pub(super) fn add(
        self: &Arc<Self>,
        uri: ResourceUri,
        listener: Listener,
    ) -> Result<Watch, NotWatched> {
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        let mut topics = self.lock();
        let is_new = !topics.contains_key(&uri);
        if is_new && topics.len() >= WATCHED_MAX {
            return Err(NotWatched::Unavailable);
        }
        topics.entry(uri.clone()).or_default().listeners.insert(key, listener);
        drop(topics);
        if is_new {
            self.wanted.send_modify(|n| *n += 1);
        }
        Ok(Watch { board: self.clone(), uri, key })
    }

    fn remove(&self, uri: &ResourceUri, key: u64) {
        let mut topics = self.lock();
        let Some(topic) = topics.get_mut(uri) else { return };
        topic.listeners.remove(&key);
        let is_last = topic.listeners.is_empty();
        if is_last {
            topics.remove(uri);
        }
        drop(topics);
        if is_last {
            self.wanted.send_modify(|n| *n += 1);
        }
    }

    fn uris(&self) -> BTreeSet<ResourceUri> {
        self.lock().keys().cloned().collect()
    }

    fn settle(&self, asked: &BTreeSet<ResourceUri>, honoured: impl Fn(&ResourceUri) -> bool) {
        for (uri, topic) in self.lock().iter_mut().filter(|(uri, _)| asked.contains(*uri)) {
            let stands = if honoured(uri) { Standing::Honoured } else { Standing::Refused };
            topic.standing = stands;
        }
        self.settled.send_modify(|n| *n += 1);
    }

    /// A new session knows nothing of what was agreed with the last one.
    fn unsettle(&self) {
        self.lock().values_mut().for_each(|topic| topic.standing = Standing::Asked);
    }

    fn tell(&self, uri: &str) {
        if let Some(topic) = self.lock().get(uri) {
            topic.tell();
        }
    }

    /// News may have been lost.
    fn tell_all(&self) {
        self.lock().values().for_each(Topic::tell);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ResourceUri, Topic>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc, time::Duration};

    use tokio::time::Instant;

    use super::{Board, Listener, Mailbox, NotWatched};
    use crate::domain::ResourceUri;

    fn uri(text: &str) -> ResourceUri {
        ResourceUri::parse(text).unwrap()
    }

    fn listener(name: &str, mailbox: Arc<Mailbox>) -> Listener {
        Listener { name: uri(name), mailbox }
    }

    #[tokio::test]
    async fn two_watchers_are_one_wish_and_the_last_one_ends_it() {
        let board = Arc::<Board>::default();
        let mailboxes = [Arc::<Mailbox>::default(), Arc::default()];
        let changes = board.wanted.subscribe();
        let watches = mailboxes.clone().map(|m| board.add(uri("a:b"), listener("a:b", m)).unwrap());
        assert_eq!(*changes.borrow(), 1);
        board.tell("a:b");
        board.tell("a:b");
        board.tell("a:c");
        for mailbox in &mailboxes {
            assert_eq!(mailbox.heard(|| true).await, BTreeSet::from([uri("a:b")]));
        }
        let [first, last] = watches;
        drop(first);
        assert_eq!((*changes.borrow(), board.uris().len()), (1, 1));
        board.tell("a:b");
        assert!(mailboxes[0].lock().is_empty(), "who left hears nothing");
        drop(last);
        assert_eq!((*changes.borrow(), board.uris().len()), (2, 0));
    }

    #[tokio::test]
    async fn each_listener_is_told_by_the_name_that_it_knows() {
        let board = Arc::<Board>::default();
        let mailbox = Arc::<Mailbox>::default();
        let names = ["a:b", "via.s+a:b"];
        let add = |name| board.add(uri("a:b"), listener(name, mailbox.clone())).unwrap();
        let [_plain, prefixed] = names.map(add);
        assert_eq!(board.uris(), BTreeSet::from([uri("a:b")]), "the server hears of one");
        board.tell("a:b");
        assert_eq!(mailbox.heard(|| true).await, names.map(uri).into());
        board.tell_all();
        assert_eq!(mailbox.heard(|| true).await, names.map(uri).into());
        drop(prefixed);
        board.tell("a:b");
        assert_eq!(mailbox.heard(|| true).await, BTreeSet::from([uri("a:b")]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_waits_for_the_server_but_not_for_ever() {
        let board = Arc::<Board>::default();
        let add = |text| board.add(uri(text), listener(text, Arc::default())).unwrap();
        let (yes, no, late) = (add("a:yes"), add("a:no"), add("a:late"));
        let until = Instant::now() + Duration::from_secs(2);
        let asked = [uri("a:yes"), uri("a:no")].into();
        let settle = async { board.settle(&asked, |one| *one == uri("a:yes")) };
        let (got, ()) = tokio::join!(yes.honoured(until), settle);
        assert_eq!(got, Ok(()));
        assert_eq!(no.honoured(until).await, Err(NotWatched::Refused));
        assert_eq!(late.honoured(until).await, Err(NotWatched::Unavailable));
    }
}
