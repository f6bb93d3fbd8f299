//! What legacy clients are sent as events: the streams of calls, and what nobody asked for.
//!
//! Every event has an id. A GET that names the last one it got goes on behind it: with the rest of
//! a call's stream, which is over with the answer, or with what nobody asked for. Headers leave at
//! once, and comments keep connections in use.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio::sync::mpsc;

use super::{find, primed};
use crate::{
    domain::limits::{NOTICE_QUEUE_MAX, SSE_KEEPALIVE},
    front::{
        Front,
        exchange::Exchange,
        http::{Body, STILL_HERE, Visitor, json, modern::invalid, not_allowed, plain, sse},
        listen::News,
        replay::{Lost, Reader, Replay, Resumed},
        session::LegacySession,
    },
    wire::{encode_error, headers},
};

const OPEN: Bytes = Bytes::from_static(b": open\n\n");

/// Answers a call with events from its first on.
pub(super) fn call(
    exchange: Exchange,
    front: &Arc<Front>,
    session: &LegacySession,
) -> Response<Body> {
    let Some((recorder, reader)) = session.replay.begin() else {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, "no stream can be opened");
    };
    front.tasks.spawn(exchange.record(recorder));
    let first = if primed(session) { reader.primer() } else { OPEN };
    follow(front, first, reader)
}

/// GET: the rest of a stream, or the one on which a session hears what nobody asked for.
pub(in crate::front::http) fn open(
    front: &Arc<Front>,
    visitor: &Visitor,
    sent: &HeaderMap,
) -> Response<Body> {
    let session = match find(front, visitor, sent) {
        Ok(session) => session,
        Err(_) if !sent.contains_key(headers::MCP_SESSION_ID) => return not_allowed("POST"),
        Err(refused) => return *refused,
    };
    let last = sent.get(headers::LAST_EVENT_ID).map(HeaderValue::to_str);
    match last.map(|id| session.replay.resume(id.unwrap_or_default())) {
        None => unasked(front, session, None),
        Some(Ok(Resumed::Unasked(heard))) => unasked(front, session, Some(heard)),
        Some(Ok(Resumed::Call(reader))) => follow(front, OPEN, reader),
        Some(Err(lost)) => {
            let (status, told) = match lost {
                Lost::Unknown => (StatusCode::BAD_REQUEST, "no event of this session has that id"),
                Lost::Gone => (StatusCode::GONE, "the rest of this stream is not kept any more"),
            };
            json(status, Body::frame(&encode_error(None, &invalid(told))))
        }
    }
}

/// Carries a call's events until they are over, or somebody else reads them.
fn follow(front: &Front, first: Bytes, mut reader: Reader) -> Response<Body> {
    let (parts, body) = mpsc::channel(NOTICE_QUEUE_MAX);
    front.tasks.spawn(async move {
        let mut part = first;
        while parts.send(part).await.is_ok() {
            part = tokio::select! {
                biased;
                () = parts.closed() => return,
                event = reader.next() => match event {
                    Some(event) => event,
                    None => return,
                },
                () = tokio::time::sleep(SSE_KEEPALIVE) => STILL_HERE,
            };
        }
    });
    sse(Body::Stream(body))
}

fn unasked(front: &Front, session: Arc<LegacySession>, heard: Option<u64>) -> Response<Body> {
    let (parts, body) = mpsc::channel(NOTICE_QUEUE_MAX);
    tell(front, session, heard, parts);
    sse(Body::Stream(body))
}

/// The same on a stream that has been opened for more than that.
pub(super) fn tell_unasked(front: &Front, session: Arc<LegacySession>, parts: mpsc::Sender<Bytes>) {
    tell(front, session, None, parts);
}

/// Carries list changes and updates until the session ends.
fn tell(
    front: &Front,
    session: Arc<LegacySession>,
    heard: Option<u64>,
    parts: mpsc::Sender<Bytes>,
) {
    let mut changes = front.publisher.relisted(&session.caller.principal);
    let now = *changes.borrow_and_update();
    let (drain, place) = (front.drain.clone(), session.watching.stream(now, heard));
    front.tasks.spawn(async move {
        let replay = session.replay.clone();
        let mut part = match heard {
            Some(heard) => [OPEN, events(&replay, place.told_since(heard))].concat().into(),
            None if primed(&session) => replay.unasked_primer(place.last()),
            None => OPEN,
        };
        // Something may have changed while nobody listened.
        changes.mark_changed();
        loop {
            if !part.is_empty() && parts.send(part).await.is_err() {
                return;
            }
            part = tokio::select! {
                biased;
                () = parts.closed() => return,
                () = session.ended.cancelled() => return,
                () = drain.cancelled() => return,
                changed = changes.changed() => match changed {
                    Ok(()) => {
                        let now = *changes.borrow_and_update();
                        events(&replay, place.relisted(now))
                    }
                    Err(_) => return,
                },
                news = place.news() => events(&replay, news),
                () = tokio::time::sleep(SSE_KEEPALIVE) => STILL_HERE,
            };
        }
    });
}

fn events(replay: &Replay, told: Vec<(u64, News)>) -> Bytes {
    let written = told.into_iter().map(|(nth, news)| replay.unasked(nth, &news.frame()));
    written.flatten().collect()
}
