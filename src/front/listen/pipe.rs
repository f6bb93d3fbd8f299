//! Subscriptions of a client on a pair of pipes: a modern one's listens, a legacy one's resources.
//!
//! A listen ends when its client withdraws it, without an answer, or with its result when the
//! gateway drains. The transport owns the task that carries it and the one writer of the output.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Feed, News, Watching};
use crate::{
    front::{Front, peer::Peer},
    wire::{ErrorObject, Frame, Request, code, encode_error},
};

/// What a legacy client is told of resources that it watches and of pages that it was shown.
pub(in crate::front) async fn unasked(watching: Option<&Watching>) -> Vec<Frame> {
    match watching {
        Some(watching) => watching.unasked().await.iter().map(News::frame).collect(),
        None => std::future::pending().await,
    }
}

/// One subscription, until its client withdraws it or the drain begins.
pub(in crate::front) async fn listen_on_pipe(
    front: Arc<Front>,
    peer: Peer,
    request: Request,
    out: mpsc::Sender<Frame>,
) {
    // The subscription may last, its message need not.
    let id = request.id.detached();
    let fail = |error| {
        front.turn_message_away(&peer.caller, &error);
        encode_error(Some(&id), &error)
    };
    let said = async |frames: Vec<Frame>| {
        for frame in frames {
            if out.send(frame).await.is_err() {
                return false;
            }
        }
        true
    };
    let Some(ongoing) = peer.in_flight.begin(&id) else {
        let told = "a request with this id is in flight already";
        said(vec![fail(ErrorObject::new(code::INVALID_REQUEST, told))]).await;
        return;
    };
    let opening = async {
        let (_, caller) = peer.check(&request)?;
        Feed::open(&front, &caller, &request).await
    };
    let opened = tokio::select! {
        biased;
        () = ongoing.withdrawn.cancelled() => return,
        opened = opening => opened,
    };
    let (mut feed, acknowledged) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            said(vec![fail(error)]).await;
            return;
        }
    };
    drop(request);
    let mut frames = vec![acknowledged];
    while said(frames).await {
        frames = tokio::select! {
            biased;
            () = ongoing.withdrawn.cancelled() => return,
            () = front.drain.cancelled() => {
                said(vec![feed.end()]).await;
                return;
            }
            frames = feed.next() => frames,
        };
    }
}
