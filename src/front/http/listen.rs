//! `subscriptions/listen` over HTTP: one response that lasts as long as the client reads it.
//!
//! Closing the response is how a client ends it. When the gateway drains, the subscription ends
//! with its result. One small task carries it, and comments keep the connection in use.

use std::sync::Arc;

use http::{Response, StatusCode};
use tokio::sync::mpsc;

use super::{
    Body, events,
    modern::written,
    plain,
    post::{Accepts, Asked},
    sse,
};
use crate::{
    domain::{
        Caller,
        limits::{NOTICE_QUEUE_MAX, SSE_KEEPALIVE},
    },
    front::{listen::Feed, reject::Reply},
    wire::{Request, Version},
};

pub(super) async fn listen(asked: Asked, caller: &Arc<Caller>, request: Request) -> Response<Body> {
    if asked.accepts == Accepts::JsonOnly {
        let told = "Accept must allow text/event-stream for subscriptions/listen";
        return plain(StatusCode::NOT_ACCEPTABLE, told);
    }
    let (mut feed, acknowledged) = match Feed::open(&asked.front, caller, &request).await {
        Ok(opened) => opened,
        Err(error) => {
            return written(&Reply::error(Version::MODERN, Some(&request.id), &error));
        }
    };
    let (parts, body) = mpsc::channel(NOTICE_QUEUE_MAX);
    let drain = asked.front.drain.clone();
    asked.front.tasks.spawn(async move {
        let mut part = events(std::iter::once(acknowledged));
        while parts.send(part).await.is_ok() {
            part = tokio::select! {
                biased;
                () = parts.closed() => return,
                () = drain.cancelled() => {
                    // Whoever is gone needs no last word.
                    parts.send(events(std::iter::once(feed.end()))).await.ok();
                    return;
                }
                frames = feed.next() => events(frames.into_iter()),
                () = tokio::time::sleep(SSE_KEEPALIVE) => super::STILL_HERE,
            };
        }
    });
    sse(Body::Stream(body))
}
