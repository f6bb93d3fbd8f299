//! Who watches which resource or task of one server, counted, so that each is watched once there.
//!
//! A `Watch` is one watcher's share: with the last share of a topic the server is no longer asked
//! for it. Updates go into mailboxes, which hold each topic at most once: a slow reader costs no
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

use crate::domain::{ReplicaNo, ResourceUri, Topic, limits::WATCHED_MAX};

/// What one listener has not been told yet.
#[derive(Debug)]
pub struct Mailbox<T = Topic> {
    untold: Mutex<BTreeSet<T>>,
    bell: Notify,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self { untold: Mutex::default(), bell: Notify::new() }
    }
}

impl<T: Ord> Mailbox<T> {
    fn put(&self, one: T) {
        self.lock().insert(one);
        self.ring();
    }

    /// Drops it where `max` things wait already.
    pub fn put_within(&self, max: usize, one: T) {
        if self.lock().len() < max {
            self.put(one);
        }
    }

    /// Everybody who waits looks again.
    pub fn ring(&self) {
        self.bell.notify_waiters();
    }

    /// What came since the last time. Waits until there is something and `may_take`.
    pub async fn heard(&self, may_take: impl Fn() -> bool) -> BTreeSet<T> {
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

    /// What was not told yet about it never will be.
    pub fn forget(&self, one: &T) {
        self.lock().remove(one);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<T>> {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why something is not watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotWatched {
    /// Its server does not offer that, or refused.
    Refused,
    /// Its server is down or slow, or too much is watched there.
    Unavailable,
}

/// What of it one session is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    /// The tasks that run at this replica: no other knows of them.
    Tasks(ReplicaNo),
    /// Those and everything that each replica has alike; one of them at a time is asked for it.
    All(ReplicaNo),
}

impl Part {
    fn holds(self, topic: &Topic) -> bool {
        match (self, topic) {
            (Self::Tasks(at) | Self::All(at), Topic::Task(task)) => task.at == at,
            (Self::All(_), Topic::Resource(_)) => true,
            (Self::Tasks(_), Topic::Resource(_)) => false,
        }
    }
}

/// Everything that is watched at one server.
#[derive(Debug, Default)]
pub(super) struct Board {
    topics: Mutex<BTreeMap<Topic, Followed>>,
    /// Grows when another set of topics is wanted.
    wanted: watch::Sender<u64>,
    /// Grows when it has become clear how some topic stands.
    settled: watch::Sender<u64>,
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct Followed {
    standing: Standing,
    listeners: HashMap<u64, Listener>,
}

/// Who is told of a topic, and by which name.
#[derive(Debug)]
pub(super) struct Listener {
    /// As its client knows it; the server's own, but for the prefix of a URI.
    pub(super) name: Topic,
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

/// One watcher's share of a topic; dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    board: Arc<Board>,
    topic: Topic,
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
        self.board.lock().get(&self.topic).map(|followed| followed.standing).unwrap_or_default()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.board.remove(&self.topic, self.key);
    }
}

impl Followed {
    fn tell(&self) {
        self.listeners.values().for_each(|Listener { name, mailbox }| mailbox.put(name.clone()));
    }
}

impl Board {
    pub(super) fn add(
        self: &Arc<Self>,
        topic: Topic,
        listener: Listener,
    ) -> Result<Watch, NotWatched> {
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        let mut topics = self.lock();
        let is_new = !topics.contains_key(&topic);
        if is_new && topics.len() >= WATCHED_MAX {
            return Err(NotWatched::Unavailable);
        }
        topics.entry(topic.clone()).or_default().listeners.insert(key, listener);
        drop(topics);
        if is_new {
            self.wanted.send_modify(|n| *n += 1);
        }
        Ok(Watch { board: self.clone(), topic, key })
    }

    fn remove(&self, topic: &Topic, key: u64) {
        let mut topics = self.lock();
        let Some(followed) = topics.get_mut(topic) else { return };
        followed.listeners.remove(&key);
        let is_last = followed.listeners.is_empty();
        if is_last {
            topics.remove(topic);
        }
        drop(topics);
        if is_last {
            self.wanted.send_modify(|n| *n += 1);
        }
    }

    fn topics(&self, part: Part) -> BTreeSet<Topic> {
        self.lock().keys().filter(|topic| part.holds(topic)).cloned().collect()
    }

    /// Takes in whether the server has agreed; for what it has not been asked, `stands` says none.
    fn settle(&self, part: Part, stands: impl Fn(&Topic) -> Option<Standing>) {
        for (topic, followed) in self.lock().iter_mut().filter(|(topic, _)| part.holds(topic)) {
            followed.standing = stands(topic).unwrap_or(followed.standing);
        }
        self.settled.send_modify(|n| *n += 1);
    }

    /// A new session knows nothing of what was agreed with the last one.
    fn unsettle(&self, part: Part) {
        let mut topics = self.lock();
        let ours = topics.iter_mut().filter(|(topic, _)| part.holds(topic));
        ours.for_each(|(_, followed)| followed.standing = Standing::Asked);
    }

    fn tell_of_resource(&self, uri: &str) {
        let Ok(uri) = ResourceUri::parse(uri) else { return };
        if let Some(followed) = self.lock().get(&Topic::Resource(uri)) {
            followed.tell();
        }
    }

    /// Another replica may have a task of the same id.
    fn tell_of_task(&self, part: Part, id: &str) {
        let is_it = |topic: &Topic| matches!(topic, Topic::Task(task) if task.id.as_str() == id);
        self.tell(|topic| part.holds(topic) && is_it(topic));
    }

    /// News may have been lost.
    fn tell_all(&self, part: Part) {
        self.tell(|topic| part.holds(topic));
    }

    fn tell(&self, is_meant: impl Fn(&Topic) -> bool) {
        let topics = self.lock();
        let meant = topics.iter().filter(|(topic, _)| is_meant(topic));
        meant.for_each(|(_, followed)| followed.tell());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Topic, Followed>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, sync::Arc, time::Duration};

    use tokio::time::Instant;

    use super::{Board, Listener, Mailbox, NotWatched, Part, Standing};
    use crate::domain::{CallIds, Nonce, ReplicaNo, ResourceUri, Task, TaskId, ToolName, Topic};

    const ALL: Part = Part::All(ReplicaNo(0));

    fn uri(text: &str) -> Topic {
        Topic::Resource(ResourceUri::parse(text).unwrap())
    }

    fn task(id: &str, at: u16) -> Topic {
        let (tool, id) = (ToolName::parse("t").unwrap(), TaskId::parse(id).unwrap());
        let (begun_by, at) = (CallIds::new(Nonce(1)).next(1), ReplicaNo(at));
        Topic::Task(Arc::new(Task { tool, id, begun_by, at }))
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
        board.tell_of_resource("a:b");
        board.tell_of_resource("a:b");
        board.tell_of_resource("a:c");
        for mailbox in &mailboxes {
            assert_eq!(mailbox.heard(|| true).await, BTreeSet::from([uri("a:b")]));
        }
        let [first, last] = watches;
        drop(first);
        assert_eq!((*changes.borrow(), board.topics(ALL).len()), (1, 1));
        board.tell_of_resource("a:b");
        assert!(mailboxes[0].lock().is_empty(), "who left hears nothing");
        drop(last);
        assert_eq!((*changes.borrow(), board.topics(ALL).len()), (2, 0));
    }

    #[tokio::test]
    async fn each_listener_is_told_by_the_name_that_it_knows() {
        let board = Arc::<Board>::default();
        let mailbox = Arc::<Mailbox>::default();
        let names = ["a:b", "via.s+a:b"];
        let add = |name| board.add(uri("a:b"), listener(name, mailbox.clone())).unwrap();
        let [_plain, prefixed] = names.map(add);
        assert_eq!(board.topics(ALL), BTreeSet::from([uri("a:b")]), "the server hears of one");
        board.tell_of_resource("a:b");
        assert_eq!(mailbox.heard(|| true).await, names.map(uri).into());
        board.tell_all(ALL);
        assert_eq!(mailbox.heard(|| true).await, names.map(uri).into());
        drop(prefixed);
        board.tell_of_resource("a:b");
        assert_eq!(mailbox.heard(|| true).await, BTreeSet::from([uri("a:b")]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_waits_for_the_server_but_not_for_ever() {
        let board = Arc::<Board>::default();
        let add = |text| board.add(uri(text), listener(text, Arc::default())).unwrap();
        let (yes, no, late) = (add("a:yes"), add("a:no"), add("a:late"));
        let until = Instant::now() + Duration::from_secs(2);
        let answers = [(uri("a:yes"), Standing::Honoured), (uri("a:no"), Standing::Refused)];
        let answer = |topic: &Topic| {
            answers.iter().find(|(asked, _)| asked == topic).map(|(_, stands)| *stands)
        };
        let settle = async { board.settle(ALL, answer) };
        let (got, ()) = tokio::join!(yes.honoured(until), settle);
        assert_eq!(got, Ok(()));
        assert_eq!(no.honoured(until).await, Err(NotWatched::Refused));
        assert_eq!(late.honoured(until).await, Err(NotWatched::Unavailable));
    }

    #[tokio::test]
    async fn a_task_and_a_resource_of_one_name_are_two() {
        let board = Arc::<Board>::default();
        let mailboxes = [Arc::<Mailbox>::default(), Arc::default()];
        let topics = [uri("a:b"), task("a:b", 0)];
        let watch = |(topic, mailbox): (&Topic, &Arc<Mailbox>)| {
            let listener = Listener { name: topic.clone(), mailbox: mailbox.clone() };
            board.add(topic.clone(), listener).unwrap()
        };
        let _watches: Vec<_> = topics.iter().zip(&mailboxes).map(watch).collect();
        board.tell_of_resource("a:b");
        assert_eq!(mailboxes[0].heard(|| true).await, BTreeSet::from([uri("a:b")]));
        assert!(mailboxes[1].lock().is_empty());
        board.tell_of_task(ALL, "a:b");
        assert_eq!(mailboxes[1].heard(|| true).await, BTreeSet::from([task("a:b", 0)]));
        assert!(mailboxes[0].lock().is_empty());
    }

    #[tokio::test]
    async fn a_replica_is_asked_for_its_own_tasks_and_one_for_all_else() {
        let board = Arc::<Board>::default();
        let topics = [uri("a:b"), task("one", 0), task("one", 1)];
        let mailboxes = [(); 3].map(|()| Arc::<Mailbox>::default());
        let watch = |(topic, mailbox): (&Topic, &Arc<Mailbox>)| {
            let listener = Listener { name: topic.clone(), mailbox: mailbox.clone() };
            board.add(topic.clone(), listener).unwrap()
        };
        let watches: Vec<_> = topics.iter().zip(&mailboxes).map(watch).collect();
        let of_second = Part::Tasks(ReplicaNo(1));
        assert_eq!(board.topics(ALL), topics[..2].iter().cloned().collect());
        assert_eq!(board.topics(of_second), topics[2..].iter().cloned().collect());
        board.tell_of_task(of_second, "one");
        assert_eq!(mailboxes[2].heard(|| true).await.len(), 1);
        assert!(mailboxes[1].lock().is_empty(), "it is another's");
        board.settle(of_second, |_| Some(Standing::Refused));
        let stand = watches.iter().map(super::Watch::standing).collect::<Vec<_>>();
        assert_eq!(stand, [Standing::Asked, Standing::Asked, Standing::Refused]);
    }
}
