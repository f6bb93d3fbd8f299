//! What clients hear unasked: list changes and updated resources, for both eras.
//!
//! A `Feed` is one `subscriptions/listen` of a modern client, `Watching` the subscriptions of one
//! legacy session. Neither names a resource to a server that its client may not see: the catalog
//! and the policy are asked first, as they are for reading. While the gateway is stopped nothing
//! new is watched. Knows no transport.

mod pipe;
mod watching;

use std::{collections::BTreeSet, sync::Arc};

use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::Instant,
};

pub(super) use pipe::{listen_on_pipe, updated};
pub(super) use watching::{News, Watching};

use super::{Front, reject, snapshot::Relisted};
use crate::{
    domain::{Kind, ResourceUri, limits::WATCH_WAIT},
    fleet::{Mailbox, NotWatched, Watch},
    wire::{
        ErrorObject, Filter, Frame, Request, RequestId, encode_acknowledged, encode_list_changed,
        encode_listen_end, encode_updated,
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
        request: &Request,
    ) -> Result<(Self, Frame), ErrorObject> {
        let mut honoured = Filter::parse(request.params.as_ref())?;
        let place = front
            .listens
            .clone()
            .try_acquire_owned()
            .map_err(|_| ErrorObject::new(reject::BUSY, "there are too many subscriptions"))?;
        let mut changes = front.publisher.relisted();
        let seen = *changes.borrow_and_update();
        let mailbox = Arc::<Mailbox>::default();
        let uris: BTreeSet<String> = std::mem::take(&mut honoured.uris).into_iter().collect();
        let asked: Vec<_> = uris
            .into_iter()
            .filter_map(|uri| Some((watch(front, &uri, &mailbox)?.ok()?, uri)))
            .collect();
        let until = Instant::now() + WATCH_WAIT;
        let mut watches = Vec::with_capacity(asked.len());
        for (watch, uri) in asked {
            if watch.honoured(until).await.is_ok() {
                watches.push(watch);
                honoured.uris.push(uri);
            }
        }
        let id = request.id.clone();
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

/// Asks for news of what the client may see; `None` is all that it learns of anything else.
fn watch(front: &Front, uri: &str, mailbox: &Arc<Mailbox>) -> Option<Result<Watch, NotWatched>> {
    let snapshot = front.publisher.load();
    let resolved = snapshot.catalog.resolve(Kind::Resource, uri)?;
    if !snapshot.policy.listed(resolved.server, &resolved.subject) {
        return None;
    }
    if front.gate.latch().epoch().is_err() {
        return Some(Err(NotWatched::Unavailable));
    }
    let uri = ResourceUri::parse(uri).ok()?;
    Some(front.fleet.watch(resolved.server, uri, mailbox.clone()))
}
