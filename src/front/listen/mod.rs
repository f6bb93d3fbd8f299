//! What clients hear unasked: list changes, updated resources and tasks, for both eras.
//!
//! A `Feed` is one `subscriptions/listen` of a modern client, `Watching` the subscriptions of one
//! legacy session. Neither names to a server what its client may not see: each resource and each
//! task is admitted first, as for reading, on record and not while the gateway is stopped. Knows no
//! transport.

mod lookout;
mod pipe;
mod visits;
mod watching;

use std::{collections::BTreeSet, mem::take, sync::Arc};

use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    task::JoinSet,
    time::Instant,
};

use lookout::Lookouts;
pub(super) use pipe::{listen_on_pipe, unasked};
pub(super) use watching::{News, Watching};

use super::{
    Front, reject,
    snapshot::{Relisted, resolve},
};
use crate::{
    domain::{Caller, DenyReason, Kind, TaskStep, Topic, Wish, limits::WATCH_WAIT},
    fleet::{Mailbox, NotWatched, Watch},
    sys,
    wire::{
        ErrorObject, Filter, Frame, Meta, Request, RequestId, encode_acknowledged,
        encode_list_changed, encode_listen_end, encode_updated,
    },
};

/// One subscription that is acknowledged.
pub(super) struct Feed {
    id: RequestId,
    honoured: Filter,
    changes: watch::Receiver<Relisted>,
    seen: Relisted,
    mailbox: Arc<Mailbox>,
    /// Only where there are tasks: most subscriptions have none.
    lookouts: Option<Box<Lookouts>>,
    _watches: Vec<Watch>,
    _place: OwnedSemaphorePermit,
}

impl Feed {
    /// Opens it, and gives the acknowledgement, which must be said first.
    pub(super) async fn open(
        front: &Arc<Front>,
        caller: &Arc<Caller>,
        request: &Request,
    ) -> Result<(Self, Frame), ErrorObject> {
        let mut honoured = Filter::parse(request.params.as_ref())?;
        if !honoured.tasks.is_empty() && !Meta::parse(request.params.as_ref())?.takes_tasks() {
            return Err(ErrorObject::tasks_not_declared());
        }
        let place = front
            .listens
            .clone()
            .try_acquire_owned()
            .map_err(|_| ErrorObject::new(reject::BUSY, "there are too many subscriptions"))?;
        let mut changes = front.publisher.relisted(&caller.principal);
        let seen = *changes.borrow_and_update();
        let mailbox = Arc::<Mailbox>::default();
        let (uris, tasks) = (take(&mut honoured.uris), take(&mut honoured.tasks));
        let (uris, tasks) = tokio::join!(
            watch_all(front, caller, (Kind::Resource, uris), || mailbox.clone()),
            // Each is looked after by itself.
            watch_all(front, caller, (Kind::Task(TaskStep::Get), tasks), Arc::default),
        );
        honoured.uris = uris.iter().map(|one| one.name.clone()).collect();
        honoured.tasks = tasks.iter().map(|one| one.name.clone()).collect();
        let id = request.id.detached();
        let acknowledged = encode_acknowledged(&id, &honoured);
        let lookouts = Lookouts::begin((front, caller), request, tasks)?.map(Box::new);
        let feed = Self {
            id,
            honoured,
            changes,
            seen,
            mailbox,
            lookouts,
            _watches: uris.into_iter().map(|one| one.watch).collect(),
            _place: place,
        };
        Ok((feed, acknowledged))
    }

    /// What is to be said next; may be nothing. Safe to drop.
    pub(super) async fn next(&mut self) -> Vec<Frame> {
        loop {
            tokio::select! {
                updated = self.mailbox.heard(|| true) => {
                    let updated = updated.into_iter().filter_map(Topic::into_uri);
                    let said = updated.map(|uri| encode_updated(Some(&self.id), uri.as_str()));
                    return said.collect();
                }
                told = lookout::told(self.lookouts.as_deref_mut()) => return vec![told],
                changed = self.changes.changed() => {
                    if changed.is_err() {
                        return std::future::pending().await;
                    }
                    let now = *self.changes.borrow_and_update();
                    let news = now.news(std::mem::replace(&mut self.seen, now));
                    let heard = news.filter(|method| self.honoured.wants(method));
                    let said: Vec<Frame> =
                        heard.map(|method| encode_list_changed(Some(&self.id), method)).collect();
                    if !said.is_empty() {
                        return said;
                    }
                }
            }
        }
    }

    /// The end in good order.
    pub(super) fn end(&self) -> Frame {
        encode_listen_end(&self.id)
    }
}

/// One topic of a subscription, by the name that its client gave it.
struct Watched {
    name: String,
    watch: Watch,
    mailbox: Arc<Mailbox>,
}

/// Those that the client may see and whose servers agree, in order of name.
async fn watch_all(
    front: &Arc<Front>,
    caller: &Arc<Caller>,
    (kind, names): (Kind, Vec<String>),
    mailbox: impl Fn() -> Arc<Mailbox>,
) -> Vec<Watched> {
    // Side by side: each has a record to wait for, and a server.
    let mut asking = JoinSet::new();
    for name in names.into_iter().collect::<BTreeSet<_>>() {
        let (front, caller, mailbox) = (front.clone(), caller.clone(), mailbox());
        asking.spawn(async move {
            let watched = watch(&front, &caller, (kind, &name), &mailbox).await.ok().flatten();
            watched.map(|watch| Watched { name, watch, mailbox })
        });
    }
    let asked = asking.join_all().await;
    let mut watched: Vec<Watched> = asked.into_iter().flatten().collect();
    watched.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    watched
}

/// Asks for news of what the client may see, and waits for the server to agree; `Ok(None)` is all
/// that it learns of anything else.
async fn watch(
    front: &Front,
    caller: &Arc<Caller>,
    asked: (Kind, &str),
    mailbox: &Arc<Mailbox>,
) -> Result<Option<Watch>, NotWatched> {
    let snapshot = front.publisher.load();
    let id = front.ids.next(sys::unix_millis());
    let task = front.task_meant(caller, asked);
    let resolved = resolve(&snapshot, asked, task.as_ref());
    let topic = resolved.as_ref().and_then(|it| Topic::of(it.subject.clone()));
    let name = topic.as_ref().and_then(|topic| topic.known_as(asked.1).ok());
    let (Some(resolved), Some(topic), Some(name)) = (resolved, topic, name) else {
        front.gate.refuse(id, caller, asked, DenyReason::Unknown).await;
        return Ok(None);
    };
    let wish = Wish {
        id,
        caller: caller.clone(),
        server: resolved.server.clone(),
        topic,
        generation: snapshot.generation,
    };
    let permit = match front.gate.admit_wish(&snapshot.rules, wish, resolved.definition).await {
        Ok(permit) => permit,
        Err(refusal) if refusal.reason.hides() => return Ok(None),
        Err(_) => return Err(NotWatched::Unavailable),
    };
    let watch = front.fleet.watch(&permit, name, mailbox.clone())?;
    watch.honoured(Instant::now() + WATCH_WAIT).await?;
    Ok(Some(watch))
}
