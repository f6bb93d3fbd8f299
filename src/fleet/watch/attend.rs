//! What is watched at a server follows what is wanted, for as long as one session lasts.
//!
//! A legacy server is told of each URI; a modern one gets one listen for all of them, for tasks and
//! for its lists, and a new one before the old one goes when another set is wanted. What may have
//! been missed in a gap counts as changed; so does what came before a session was listened to.
//! While the server is stopped nothing is asked for. Ends only by being dropped, with the session.

use std::{collections::BTreeSet, pin::Pin, time::Duration};

use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::{Instant, sleep, sleep_until},
};

use super::{
    Board, Part, Standing,
    held::{Held, Told},
};
use crate::{
    domain::{
        ResourceUri, Topic,
        limits::{RESTART_BACKOFF_MAX, RESTART_BACKOFF_MIN, WATCH_ASK_TIMEOUT},
    },
    gate::Epoch,
    upstream::{Honoured, ListenEnd, News, Session},
};

type Listening<'a> = Pin<Box<dyn Future<Output = ListenEnd> + Send + 'a>>;

impl Board {
    /// Runs beside the session; never returns.
    pub(in crate::fleet) async fn attend(&self, session: &Session, part: Part) {
        self.unsettle(part);
        let is_offered =
            if session.is_modern() { session.lets_listen() } else { session.lets_watch() };
        if is_offered && session.is_modern() {
            self.listen(session, part).await;
        } else if is_offered {
            self.subscribe(session, part).await;
        }
        self.refuse(part).await;
    }

    /// The server offers nothing of the kind.
    async fn refuse(&self, part: Part) {
        let mut wanted = self.wanted.subscribe();
        loop {
            wanted.borrow_and_update();
            self.settle(part, |_| Some(Standing::Refused));
            if wanted.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// A legacy server: each URI by itself.
    async fn subscribe(&self, session: &Session, part: Part) {
        let mut news = session.news();
        let mut wanted = self.wanted.subscribe();
        let mut held = Held::default();
        let mut memory = session.memory();
        // What was watched before this session may have been updated unheard.
        let mut unheard = self.uris(part);
        loop {
            let epoch = session.resumed().await;
            wanted.borrow_and_update();
            let uris = self.uris(part);
            held.plan(&uris);
            self.settle(part, |topic| match topic {
                Topic::Resource(uri) => held.stands(uri).then_some(Standing::Honoured),
                // It knows none that could be watched.
                Topic::Task(_) => Some(Standing::Refused),
            });
            loop {
                held.fill(session, epoch);
                tokio::select! {
                    told = held.told() => match told {
                        Told::Agreed(uri) => {
                            self.settle_one(part, &uri, Standing::Honoured);
                            if unheard.remove(&uri) {
                                self.tell_of_resource(uri.as_str());
                            }
                        }
                        Told::Refused(uri) => self.settle_one(part, &uri, Standing::Refused),
                        // It may be wanted again, or be cut off.
                        Told::Nothing => break,
                    },
                    heard = news.recv() => self.hear(part, heard).await,
                    changed = wanted.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    () = session.next_memory(memory) => {
                        memory = session.memory();
                        held = Held::default();
                        unheard = self.uris(part);
                        break;
                    }
                }
            }
        }
    }

    /// A modern server: one listen for everything. Returns when it turns out to have none.
    async fn listen(&self, session: &Session, part: Part) {
        let mut news = session.news();
        let mut wanted = self.wanted.subscribe();
        let mut current: Option<Listening<'_>> = None;
        let mut pause = RESTART_BACKOFF_MIN;
        // The first lists may be older than the first listen.
        let mut had_gap = true;
        loop {
            let epoch = session.resumed().await;
            wanted.borrow_and_update();
            let asked = self.topics(part);
            if asked.is_empty() && matches!(part, Part::Tasks(_)) {
                // Nothing runs here that anybody follows.
                current = None;
                if wanted.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let open = Opening { session, epoch, part, asked: &asked, current: &mut current };
            match self.open(open, &mut news).await {
                Ok((next, honoured)) => {
                    // Only now the old one goes.
                    current = Some(next);
                    self.settle(part, |topic| match asked.contains(topic) {
                        true if honoured.grants(topic) => Some(Standing::Honoured),
                        true => Some(Standing::Refused),
                        false => None,
                    });
                    if std::mem::take(&mut had_gap) {
                        session.lists_may_differ();
                        self.tell_all(part);
                    }
                    pause = RESTART_BACKOFF_MIN;
                }
                Err(ListenEnd::NotOffered) => return,
                Err(ListenEnd::Over) => {
                    had_gap |= current.is_none();
                    self.wait(part, (pause, &mut news), &mut current).await;
                    pause = pause.saturating_mul(2).min(RESTART_BACKOFF_MAX);
                    continue;
                }
            }
            loop {
                tokio::select! {
                    heard = news.recv() => self.hear(part, heard).await,
                    changed = wanted.changed() => match changed {
                        Ok(()) => break,
                        Err(_) => return,
                    },
                    end = during(&mut current) => {
                        current = None;
                        had_gap = true;
                        if end == ListenEnd::NotOffered {
                            return;
                        }
                        self.wait(part, (pause, &mut news), &mut current).await;
                        break;
                    }
                }
            }
        }
    }

    /// Opens a listen and waits for its acknowledgement; the one that stands goes on meanwhile.
    async fn open<'a>(
        &self,
        opening: Opening<'a, '_>,
        news: &mut broadcast::Receiver<News>,
    ) -> Result<(Listening<'a>, Honoured), ListenEnd> {
        let Opening { session, epoch, part, asked, current } = opening;
        let id = session.draw_own_id();
        let mut next: Listening<'a> = Box::pin(session.listen(id, asked.clone(), epoch));
        let until = Instant::now() + WATCH_ASK_TIMEOUT;
        loop {
            tokio::select! {
                biased;
                heard = news.recv() => match heard {
                    Ok(News::Acknowledged { id: own, honoured }) if own == id => {
                        return Ok((next, honoured));
                    }
                    heard => self.hear(part, heard).await,
                },
                end = &mut next => return Err(end),
                _ = during(current) => *current = None,
                () = sleep_until(until) => return Err(ListenEnd::Over),
            }
        }
    }

    /// A pause in which what is still open is heard.
    async fn wait(
        &self,
        part: Part,
        (pause, news): (Duration, &mut broadcast::Receiver<News>),
        current: &mut Option<Listening<'_>>,
    ) {
        let until = Instant::now() + pause;
        loop {
            tokio::select! {
                heard = news.recv() => self.hear(part, heard).await,
                _ = during(current) => *current = None,
                () = sleep_until(until) => return,
            }
        }
    }

    fn uris(&self, part: Part) -> BTreeSet<ResourceUri> {
        self.topics(part).into_iter().filter_map(Topic::into_uri).collect()
    }

    fn settle_one(&self, part: Part, uri: &ResourceUri, stands: Standing) {
        let is_it = |topic: &Topic| matches!(topic, Topic::Resource(one) if one == uri);
        self.settle(part, |topic| is_it(topic).then_some(stands));
    }

    async fn hear(&self, part: Part, heard: Result<News, RecvError>) {
        match heard {
            Ok(News::Updated(uri)) => self.tell_of_resource(&uri),
            Ok(News::Task(id)) => self.tell_of_task(part, &id),
            // Of a listen that was given up; a page, of which only those know who were shown it.
            Ok(News::Acknowledged { .. } | News::Visited(_)) => {}
            Err(RecvError::Lagged(_)) => self.tell_all(part),
            // The session is ending; whoever holds it drops us.
            Err(RecvError::Closed) => sleep(RESTART_BACKOFF_MAX).await,
        }
    }
}

/// What is needed to open a listen.
struct Opening<'a, 'b> {
    session: &'a Session,
    epoch: Epoch,
    part: Part,
    asked: &'b BTreeSet<Topic>,
    current: &'b mut Option<Listening<'a>>,
}

/// Carries on with a listen; for ever without one.
async fn during(listening: &mut Option<Listening<'_>>) -> ListenEnd {
    match listening {
        Some(listening) => listening.as_mut().await,
        None => std::future::pending().await,
    }
}
