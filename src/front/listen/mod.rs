//! What clients hear unasked: list changes and updated resources, for both eras.
//!
//! A `Feed` is one `subscriptions/listen` of a modern client, `Watching` the subscriptions of one
//! legacy session. Neither names a resource to a server that its client may not see: each is
//! admitted first, as for reading, on record and not while the gateway is stopped. Knows no
//! transport.

mod pipe;
mod watching;

use std::{collections::BTreeSet, sync::Arc};

use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    task::JoinSet,
    time::Instant,
};

pub(super) use pipe::{listen_on_pipe, updated};
pub(super) use watching::{News, Watching};

use super::{Front, reject, snapshot::Relisted};
use crate::{
    domain::{Caller, DenyReason, Kind, ResourceUri, Wish, limits::WATCH_WAIT},
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
        if honoured.names_tasks && !Meta::parse(request.params.as_ref())?.takes_tasks() {
            return Err(ErrorObject::tasks_not_declared());
        }
        let place = front
            .listens
            .clone()
            .try_acquire_owned()
            .map_err(|_| ErrorObject::new(reject::BUSY, "there are too many subscriptions"))?;
        let mut changes = front.publisher.relisted();
        let seen = *changes.borrow_and_update();
        let mailbox = Arc::<Mailbox>::default();
        let uris: BTreeSet<String> = std::mem::take(&mut honoured.uris).into_iter().collect();
        // Side by side: each has a record to wait for, and a server.
        let mut asking = JoinSet::new();
        for uri in uris {
            let (front, caller, mailbox) = (front.clone(), caller.clone(), mailbox.clone());
            asking.spawn(async move {
                let watched = watch(&front, &caller, &uri, &mailbox).await.ok().flatten();
                watched.map(|watch| (uri, watch))
            });
        }
        let mut watches = Vec::new();
        while let Some(asked) = asking.join_next().await {
            let Some((uri, watch)) = asked.ok().flatten() else { continue };
            honoured.uris.push(uri);
            watches.push(watch);
        }
        honoured.uris.sort_unstable();
        let id = request.id.detached();
        let acknowledged = encode_acknowledged(&id, &honoured);
        let feed = Self { id, honoured, changes, seen, mailbox, _watches: watches, _place: place };
        Ok((feed, acknowledged))
    }

    /// What is to be said next; may be nothing. Safe to drop.
    pub(super) async fn next(&mut self) -> Vec<Frame> {
        loop {
            tokio::select! {
                updated = self.mailbox.heard(|| true) => {
                    let said = updated.iter().map(|uri| encode_updated(Some(&self.id), uri.as_str()));
                    return said.collect();
                }
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

/// Asks for news of what the client may see, and waits for the server to agree; `Ok(None)` is all
/// that it learns of anything else.
async fn watch(
    front: &Front,
    caller: &Arc<Caller>,
    uri: &str,
    mailbox: &Arc<Mailbox>,
) -> Result<Option<Watch>, NotWatched> {
    let snapshot = front.publisher.load();
    let id = front.ids.next(sys::unix_millis());
    let resolved = snapshot.catalog.resolve(Kind::Resource, uri);
    let own = resolved.as_ref().and_then(|it| ResourceUri::parse(it.subject.as_str()).ok());
    let (Some(resolved), Some(own), Ok(name)) = (resolved, own, ResourceUri::parse(uri)) else {
        front.gate.refuse(id, caller, (Kind::Resource, uri), DenyReason::Unknown).await;
        return Ok(None);
    };
    let wish = Wish {
        id,
        caller: caller.clone(),
        server: resolved.server.clone(),
        uri: own,
        generation: snapshot.generation,
    };
    let permit = match front.gate.admit_wish(&snapshot.policy, wish, resolved.definition).await {
        Ok(permit) => permit,
        Err(refusal) if refusal.reason.hides() => return Ok(None),
        Err(_) => return Err(NotWatched::Unavailable),
    };
    let watch = front.fleet.watch(&permit, name, mailbox.clone())?;
    watch.honoured(Instant::now() + WATCH_WAIT).await?;
    Ok(Some(watch))
}
