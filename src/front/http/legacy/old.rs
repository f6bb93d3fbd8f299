//! The HTTP+SSE transport of 2024-11-05, deprecated: `GET /sse` and `POST /messages`, if switched
//! on.
//!
//! The stream begins with an event that names where to post, and carries every answer; a POST is
//! taken with 202. The session is as long as the stream, and so are its calls: nobody could ever
//! hear of them. The word in the endpoint counts only for whoever opened the stream, and
//! is no session id at `/mcp`.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use dashmap::DashMap;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{open_session, peer, stream};
use crate::{
    domain::{
        Era,
        limits::{NOTICE_QUEUE_MAX, OLD_REQUESTS_MAX},
    },
    front::{
        Front,
        exchange::{Exchange, Outlet},
        http::{
            Body, Visitor, json,
            modern::{accepted, invalid},
            plain, post, sse,
        },
        identity::Bond,
        method::{self, Method},
        peer::Peer,
        session::{LegacySession, mint},
    },
    wire::{
        self, ErrorObject, Frame, Message, Request as Asked, encode_error, encode_own_result,
        sse_event, sse_named,
    },
};

/// The streams that are open, by the word in their endpoint.
#[derive(Debug, Default)]
pub(in crate::front) struct OldStreams(DashMap<String, Arc<OldStream>>);

#[derive(Debug)]
struct OldStream {
    bond: Bond,
    out: mpsc::Sender<Bytes>,
    session: OnceLock<Arc<LegacySession>>,
    /// One permit a request that has no answer yet.
    places: Arc<Semaphore>,
}

const ENDPOINT: &str = "/messages?session=";

/// GET: a stream, until its client leaves or the drain begins.
pub(in crate::front::http) fn open(front: &Arc<Front>, visitor: &Visitor) -> Response<Body> {
    let Some(word) = mint() else {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, "no stream can be opened");
    };
    let (out, body) = mpsc::channel(NOTICE_QUEUE_MAX);
    let stream = Arc::new(OldStream {
        bond: visitor.bond(),
        out,
        session: OnceLock::new(),
        places: Arc::new(Semaphore::new(OLD_REQUESTS_MAX)),
    });
    stream.say(sse_named("endpoint", &format!("{ENDPOINT}{word}")));
    front.old_streams.0.insert(word.clone(), stream.clone());
    let front_of_task = front.clone();
    front.tasks.spawn(async move {
        let front = front_of_task;
        tokio::select! {
            () = stream.out.closed() => {}
            () = front.drain.cancelled() => {}
        }
        front.old_streams.0.remove(&word);
        if let Some(session) = stream.session.get() {
            front.sessions.end(session);
        }
    });
    sse(Body::Stream(body))
}

/// POST: one message of the client of a stream.
pub(in crate::front::http) async fn message(
    front: Arc<Front>,
    visitor: Visitor,
    request: Request<Incoming>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let word = parts.uri.path_and_query().and_then(|whole| whole.as_str().strip_prefix(ENDPOINT));
    let stream = word.and_then(|word| Some(front.old_streams.0.get(word)?.value().clone()));
    let Some(stream) = stream.filter(|stream| stream.bond == visitor.bond()) else {
        return plain(StatusCode::NOT_FOUND, "no such stream; GET /sse opens one");
    };
    if !post::is_json(&parts.headers) {
        return plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json");
    }
    let raw = match post::read(body, front.limits.body_bytes).await {
        Ok(raw) => raw,
        Err(refused) => return refused,
    };
    match (wire::decode(raw, front.limits.body_bytes), stream.session.get()) {
        (Err(error), _) => {
            let frame = encode_error(error.id().cloned().as_ref(), &ErrorObject::from(error));
            json(StatusCode::BAD_REQUEST, Body::frame(&frame))
        }
        (Ok(Message::Request(request)), _) if opens(&request) => {
            initialize(&front, &visitor, &stream, &request)
        }
        (Ok(_), None) => {
            let error = invalid("a client starts with initialize");
            json(StatusCode::BAD_REQUEST, Body::frame(&encode_error(None, &error)))
        }
        (Ok(Message::Request(request)), Some(session)) => {
            let Ok(place) = stream.places.clone().try_acquire_owned() else {
                let told = "too many requests of this stream wait for their answers";
                return plain(StatusCode::TOO_MANY_REQUESTS, told);
            };
            let peer = peer(session);
            let answering = answer(front.clone(), peer, stream.out.clone(), request, place);
            front.tasks.spawn(answering);
            accepted()
        }
        (Ok(Message::Notification(notification)), Some(session)) => {
            peer(session).hear(&front, &notification);
            accepted()
        }
        (Ok(Message::Response(response)), Some(session)) => {
            session.known.hear(response);
            accepted()
        }
    }
}

fn opens(request: &Asked) -> bool {
    method::known(Era::Legacy, &request.method) == Some(Method::Initialize)
}

fn initialize(
    front: &Arc<Front>,
    visitor: &Visitor,
    stream: &OldStream,
    request: &Asked,
) -> Response<Body> {
    let Ok((_, session)) = open_session(front, visitor, request) else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "too many sessions; see limits.sessions");
    };
    let result = method::initialize(session.version);
    if stream.session.set(session.clone()).is_err() {
        front.sessions.end(&session);
        let error = invalid("this stream is initialized already");
        return json(StatusCode::BAD_REQUEST, Body::frame(&encode_error(None, &error)));
    }
    // Nothing is said before it: only from here on anybody else writes.
    stream.say(event(&encode_own_result(&request.id, &result)));
    stream::tell_unasked(front, session, stream.out.clone());
    accepted()
}

/// Carries one request to its end, or to that of its stream.
async fn answer(
    front: Arc<Front>,
    peer: Peer,
    out: mpsc::Sender<Bytes>,
    request: Asked,
    place: OwnedSemaphorePermit,
) {
    let (lines, ears) = peer.wants(&request).open();
    let answering = Box::pin(peer.answer(front, request, lines));
    // In one piece: others write to the same stream.
    let dress = |frame: &Frame, parts: &mut VecDeque<Bytes>| parts.push_back(event(frame));
    Exchange::new(answering, ears).run(Outlet { out, dress, idle: None }).await;
    drop(place);
}

fn event(frame: &Frame) -> Bytes {
    sse_event(frame).concat().into()
}

impl OldStream {
    /// The first words of a stream always find room.
    fn say(&self, event: Bytes) {
        if self.out.try_send(event).is_err() {
            tracing::debug!("An old client was gone before its stream began");
        }
    }
}
