//! What one legacy server was told of, URI by URI, and what it is being told now.
//!
//! Several URIs are asked for side by side, and one that is not answered holds up none that came
//! later, as long as there are places. What nobody wants any more before it is answered is given
//! up, and its end is said too, because the server may have agreed. Decides nothing by the clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tokio::task::{AbortHandle, JoinSet};

use crate::{
    domain::{CallError, ResourceUri, limits::WATCH_ASKS_MAX},
    gate::Epoch,
    upstream::Session,
};

/// The state of one session.
#[derive(Debug, Default)]
pub(super) struct Held {
    uris: BTreeSet<ResourceUri>,
    todo: VecDeque<(Change, ResourceUri)>,
    under_way: BTreeMap<ResourceUri, (Change, AbortHandle)>,
    asking: JoinSet<(Change, ResourceUri, Result<bool, CallError>)>,
}

/// What the server is told of one URI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Begin,
    End,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    Agreed(ResourceUri),
    Refused(ResourceUri),
    /// It was the end of one, was given up, or was cut off by the stop.
    Nothing,
}

impl Held {
    /// Whether the server has agreed to it and is not being told to end.
    pub(super) fn stands(&self, uri: &ResourceUri) -> bool {
        self.uris.contains(uri) && !self.under_way.contains_key(uri)
    }

    /// Takes in what is wanted now.
    pub(super) fn plan(&mut self, wanted: &BTreeSet<ResourceUri>) {
        let given_up: Vec<_> = self
            .under_way
            .extract_if(.., |uri, (change, _)| *change == Change::Begin && !wanted.contains(uri))
            .collect();
        for (uri, (_, task)) in given_up {
            task.abort();
            self.uris.insert(uri);
        }
        let ends = self.uris.difference(wanted).map(|uri| (Change::End, uri));
        let begins = wanted.difference(&self.uris).map(|uri| (Change::Begin, uri));
        let is_new = |(_, uri): &(Change, &ResourceUri)| !self.under_way.contains_key(*uri);
        let todo = ends.chain(begins).filter(is_new).map(|(change, uri)| (change, uri.clone()));
        self.todo = todo.collect();
    }

    /// Says as much of it as there are places for.
    pub(super) fn fill(&mut self, session: &Session, epoch: Epoch) {
        while self.under_way.len() < WATCH_ASKS_MAX {
            let Some((change, uri)) = self.todo.pop_front() else { return };
            let (session, about) = (session.clone(), uri.clone());
            let task = self.asking.spawn(async move {
                let told = match change {
                    Change::Begin => session.subscribe(about.as_str(), epoch).await,
                    Change::End => session.unsubscribe(about.as_str(), epoch).await,
                };
                (change, about, told)
            });
            self.under_way.insert(uri, (change, task));
        }
    }

    /// Waits for the next answer; for ever while nothing is asked. Safe to drop.
    pub(super) async fn told(&mut self) -> Told {
        let Some(told) = self.asking.join_next().await else {
            return std::future::pending().await;
        };
        // A task that was given up is no longer under way.
        let Ok((change, uri, told)) = told else { return Told::Nothing };
        if self.under_way.get(&uri).is_none_or(|(now, _)| *now != change) {
            return Told::Nothing;
        }
        self.under_way.remove(&uri);
        match (change, told) {
            (_, Err(CallError::Stopped { .. })) => Told::Nothing,
            (Change::Begin, Ok(true)) => {
                self.uris.insert(uri.clone());
                Told::Agreed(uri)
            }
            (Change::Begin, Ok(false) | Err(_)) => Told::Refused(uri),
            (Change::End, told) => {
                if told.is_err() {
                    tracing::debug!(uri = uri.as_str(), "Server did not end a subscription");
                }
                self.uris.remove(&uri);
                Told::Nothing
            }
        }
    }
}
