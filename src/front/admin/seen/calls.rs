//! `GET /admin/calls`: the feed of calls as server-sent events, one JSON object each.
//!
//! A response that lasts as long as it is read. What a viewer is too slow for is lost to that
//! viewer alone, and counted for it.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::sync::mpsc;

use crate::{
    domain::limits::{FEED_KEEPALIVE, NOTICE_QUEUE_MAX},
    front::{
        Front,
        http::{Body, STILL_HERE, plain, sse},
    },
    telemetry::Viewer,
};

pub(in crate::front::admin) fn calls(front: &Arc<Front>) -> Response<Body> {
    let Some(mut viewer) = Viewer::new() else {
        let told = "too many watch already; close one, or read the audit";
        return plain(StatusCode::SERVICE_UNAVAILABLE, told);
    };
    let (parts, body) = mpsc::channel(NOTICE_QUEUE_MAX);
    let drain = front.drain.clone();
    front.tasks.spawn(async move {
        // Whoever watches knows then that nothing is missed from now on.
        let mut part = STILL_HERE;
        while parts.send(part).await.is_ok() {
            part = tokio::select! {
                biased;
                () = parts.closed() => return,
                () = drain.cancelled() => return,
                told = viewer.next() => Bytes::from(format!("data: {told}\n\n")),
                () = tokio::time::sleep(FEED_KEEPALIVE) => STILL_HERE,
            };
        }
    });
    sse(Body::Stream(body))
}
