//! What one legacy session watches and was shown, and which of its streams hears of it.
//!
//! A session has one mailbox. Over HTTP only the newest of its GET streams reads it, so that no
//! message comes twice; when that one closes, the next newest takes over. What nobody reads waits,
//! once for each URI. What was told is numbered, and a client that was cut off is told again what
//! came after the number it names: each list and each URI once. Ends with its session.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{visits::Visits, watch};
use crate::{
    domain::{Caller, Kind, ResourceUri, Topic, limits::LISTEN_URIS_MAX},
    fleet::{Mailbox, NotWatched, Watch},
    front::{
        Front,
        dispatch::Answer,
        method::Method,
        reject::{self, Reply},
        snapshot::Relisted,
    },
    wire::{
        ErrorObject, Frame, Request, Version, code, encode_list_changed, encode_own_result,
        encode_updated, encode_visited,
    },
};

#[derive(Debug, Default)]
pub(in crate::front) struct Watching {
    mailbox: Arc<Mailbox>,
    pub(in crate::front) visits: Visits,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    held: HashMap<ResourceUri, Watch>,
    streams: BTreeSet<u64>,
    next: u64,
    /// The lists as the session was last told of them.
    seen: Relisted,
    /// The number of the last thing told, and which one each was.
    last: u64,
    told: HashMap<News, u64>,
}

/// Something that is told without having been asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::front) enum News {
    /// By the method of its notification.
    Relisted(&'static str),
    Updated(ResourceUri),
    /// A page, by its server's id.
    Visited(String),
}

impl News {
    pub(in crate::front) fn frame(&self) -> Frame {
        match self {
            Self::Relisted(method) => encode_list_changed(None, method),
            Self::Updated(uri) => encode_updated(None, uri.as_str()),
            Self::Visited(id) => encode_visited(id),
        }
    }
}

/// One GET stream among those of its session.
pub(in crate::front) struct Stream {
    watching: Arc<Watching>,
    number: u64,
}

impl Watching {
    /// Answers `resources/subscribe` or `resources/unsubscribe`.
    pub(in crate::front) async fn answer(
        &self,
        front: &Front,
        peer: (Version, &Arc<Caller>),
        request: &Request,
        method: Method,
    ) -> Reply {
        let (to, caller) = peer;
        let fail =
            |code, told: &str| Reply::error(to, Some(&request.id), &ErrorObject::new(code, told));
        let Some(uri) = request.params.as_ref().and_then(|params| params.text("uri")) else {
            return fail(code::INVALID_PARAMS, "`uri` must be a string");
        };
        if method == Method::Unsubscribe {
            self.end(&uri);
            return Reply::ok(encode_own_result(&request.id, "{}"));
        }
        let unknown = || {
            let answer = Answer::Unknown { kind: Kind::Resource, name: uri.clone() };
            reject::reply(to, &request.id, answer)
        };
        let Ok(key) = ResourceUri::parse(&uri) else { return unknown() };
        if self.holds(&key) {
            return Reply::ok(encode_own_result(&request.id, "{}"));
        }
        let agreed = watch(front, caller, (Kind::Resource, &uri), &self.mailbox).await;
        match agreed.map(|watch| watch.map(|watch| self.keep(key, watch))) {
            Ok(None) => unknown(),
            Ok(Some(true)) => Reply::ok(encode_own_result(&request.id, "{}")),
            Ok(Some(false)) => fail(reject::BUSY, "this session watches too many resources"),
            Err(NotWatched::Refused) => {
                fail(code::INVALID_PARAMS, "the server of this resource lets nobody watch it")
            }
            Err(NotWatched::Unavailable) => {
                fail(reject::UNAVAILABLE, "this resource cannot be watched now")
            }
        }
    }

    /// What is to be told; for a client with one stream.
    pub(in crate::front) async fn unasked(&self) -> Vec<News> {
        self.news(|| true).await
    }

    /// Waits until there is something and `may_take`. Safe to drop.
    async fn news(&self, may_take: impl Fn() -> bool) -> Vec<News> {
        tokio::select! {
            updated = self.mailbox.heard(&may_take) => {
                // A session watches nothing else.
                updated.into_iter().filter_map(Topic::into_uri).map(News::Updated).collect()
            }
            visited = self.visits.heard(&may_take) => {
                visited.into_iter().map(News::Visited).collect()
            }
        }
    }

    /// The newest stream from now on. It begins with the lists as they are now, or behind what its
    /// client says it has heard.
    pub(in crate::front) fn stream(self: &Arc<Self>, now: Relisted, heard: Option<u64>) -> Stream {
        let mut inner = self.lock();
        let number = inner.next;
        inner.next = inner.next.wrapping_add(1);
        if inner.streams.is_empty() && heard.is_none() {
            inner.seen = now;
        }
        inner.streams.insert(number);
        drop(inner);
        Stream { watching: self.clone(), number }
    }

    fn holds(&self, uri: &ResourceUri) -> bool {
        self.lock().held.contains_key(uri)
    }

    fn keep(&self, uri: ResourceUri, watch: Watch) -> bool {
        let mut inner = self.lock();
        let has_room = inner.held.len() < LISTEN_URIS_MAX;
        if has_room {
            inner.held.insert(uri, watch);
        }
        has_room
    }

    fn end(&self, uri: &str) {
        let Ok(uri) = ResourceUri::parse(uri) else { return };
        let ended = self.lock().held.remove(&uri);
        drop(ended);
        self.mailbox.forget(&Topic::Resource(uri.clone()));
        self.lock().told.remove(&News::Updated(uri));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn tell(&mut self, news: impl Iterator<Item = News>) -> Vec<(u64, News)> {
        news.map(|one| {
            self.last = self.last.saturating_add(1);
            // What is not watched any more needs no memory, and who misses a visit asks again.
            let is_kept = match &one {
                News::Relisted(_) => true,
                News::Updated(uri) => self.held.contains_key(uri),
                News::Visited(_) => false,
            };
            if is_kept {
                self.told.insert(one.clone(), self.last);
            }
            (self.last, one)
        })
        .collect()
    }
}

impl Stream {
    /// The number of the last thing told.
    pub(in crate::front) fn last(&self) -> u64 {
        self.watching.lock().last
    }

    /// What was told since, in its order.
    pub(in crate::front) fn told_since(&self, heard: u64) -> Vec<(u64, News)> {
        let inner = self.watching.lock();
        let later = inner.told.iter().filter(|(_, number)| **number > heard);
        let mut later: Vec<_> = later.map(|(news, number)| (*number, news.clone())).collect();
        later.sort_unstable_by_key(|(number, _)| *number);
        later
    }

    /// The lists that have changed, if this is the newest stream.
    pub(in crate::front) fn relisted(&self, now: Relisted) -> Vec<(u64, News)> {
        let mut inner = self.watching.lock();
        if !self.is_newest_of(&inner) {
            return Vec::new();
        }
        let news = now.news(std::mem::replace(&mut inner.seen, now));
        inner.tell(news.map(News::Relisted))
    }

    /// What was updated or visited, once this is the newest stream.
    pub(in crate::front) async fn news(&self) -> Vec<(u64, News)> {
        let is_newest = || self.is_newest_of(&self.watching.lock());
        let news = self.watching.news(is_newest).await;
        self.watching.lock().tell(news.into_iter())
    }

    fn is_newest_of(&self, inner: &Inner) -> bool {
        inner.streams.last() == Some(&self.number)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.watching.lock().streams.remove(&self.number);
        self.watching.mailbox.ring();
        self.watching.visits.ring();
    }
}
