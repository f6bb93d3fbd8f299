//! The adapter for legacy clients: sessions, DELETE, and batches of 2025-03-26; `stream` has what
//! is sent as events, `old` the transport of 2024-11-05.
//!
//! A lost connection does not cancel a legacy call: it runs on to its outcome. A session is
//! looked up for every request and exists only for whoever opened it, with the same rights.

pub(super) mod old;
mod stream;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, HeaderValue, Response, StatusCode};
pub(super) use stream::open;
use tokio_util::task::TaskTracker;

use super::{
    Body, Visitor, json,
    modern::{accepted, invalid, written},
    plain,
    post::{Accepts, Asked},
};
use crate::{
    domain::{Caller, Era, limits::STREAM_AFTER},
    front::{
        Front,
        exchange::{Answering, Exchange, First},
        method::{self, Method},
        peer::Peer,
        questions::Acquaintance,
        reject::Reply,
        session::{LegacySession, NoRoom},
    },
    sys,
    wire::{
        Message, Request, Version, WireError, encode_error, encode_own_result, headers, join_batch,
    },
};

pub(super) async fn answer(asked: Asked, message: Message) -> Response<Body> {
    if let Message::Request(request) = &message
        && method::known(Era::Legacy, &request.method) == Some(Method::Initialize)
    {
        return initialize(&asked, request);
    }
    let session = match find(&asked.front, &asked.visitor, &asked.parts.headers) {
        Ok(session) => session,
        Err(refused) => return *refused,
    };
    let peer = peer(&session);
    match message {
        Message::Request(request) => {
            let (lines, ears) = asked.heard(peer.wants(&request)).open();
            // Straight into its box: a call's future is large, and every move would copy it.
            let answering = Box::pin(peer.answer(asked.front.clone(), request, lines));
            let answering = Detached::new(&asked.front.tasks, answering);
            let exchange = Exchange::new(Box::pin(answering), ears);
            respond(exchange, &asked, &session).await
        }
        Message::Notification(notification) => {
            peer.hear(&asked.front, &notification);
            accepted()
        }
        Message::Response(response) => {
            peer.known.hear(response);
            accepted()
        }
    }
}

/// JSON when there is nothing to stream, events when there is, or when it takes long: then a client
/// that has an event id loses nothing with its connection.
async fn respond(mut exchange: Exchange, asked: &Asked, session: &LegacySession) -> Response<Body> {
    let resumes = primed(session) && asked.accepts == Accepts::JsonAndSse;
    let first = match resumes {
        true => exchange.first_within(STREAM_AFTER).await,
        false => exchange.first().await,
    };
    match first {
        First::Answer(reply) => reply.map_or_else(accepted, |reply| written(&reply)),
        First::Streams => stream::call(exchange, &asked.front, session),
    }
}

/// Whether this client knows events without content; older ones would trip over them.
fn primed(session: &LegacySession) -> bool {
    session.version >= Version::V2025_11_25
}

/// The members of a batch run side by side; their answers go back together.
pub(super) async fn batch(
    asked: Asked,
    messages: Vec<Result<Message, WireError>>,
) -> Response<Body> {
    let session = match find(&asked.front, &asked.visitor, &asked.parts.headers) {
        Ok(session) => session,
        Err(refused) => return *refused,
    };
    if session.version != Version::V2025_03_26 {
        let error = invalid("batches belong to protocol version 2025-03-26 only");
        return json(StatusCode::BAD_REQUEST, Body::frame(&encode_error(None, &error)));
    }
    let front = asked.front.clone();
    let tasks = asked.front.tasks.clone();
    let peer = peer(&session);
    let answering = async move {
        let frames = peer.answer_all(front, messages).await;
        (!frames.is_empty()).then(|| Reply::ok(join_batch(&frames)))
    };
    match Detached::new(&tasks, Box::pin(answering)).await {
        Some(reply) => written(&reply),
        None => accepted(),
    }
}

fn initialize(asked: &Asked, request: &Request) -> Response<Body> {
    let Ok((id, session)) = open_session(&asked.front, &asked.visitor, request) else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "too many sessions; see limits.sessions");
    };
    let result = method::initialize(session.version);
    let mut response = written(&Reply::ok(encode_own_result(&request.id, &result)));
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(headers::MCP_SESSION_ID, id);
    }
    response
}

/// A session for whoever says `initialize`, and its id.
fn open_session(
    front: &Front,
    visitor: &Visitor,
    request: &Request,
) -> Result<(String, Arc<LegacySession>), NoRoom> {
    let version = method::negotiate(request.params.as_ref());
    let client = request.params.as_ref().and_then(|params| params.object("clientInfo"));
    let caller = Caller {
        principal: visitor.principal.clone(),
        client: Caller::client_of(client.and_then(|info| info.text("name")).as_deref()),
        conversation: None,
        era: Era::Legacy,
        transport: visitor.transport,
    };
    let known = Acquaintance::new(request.params.as_ref());
    front.sessions.open(version, (caller, known, visitor), sys::unix_millis())
}

/// The session that a request names, if it is this visitor's and speaks a version we know.
fn find(
    front: &Front,
    visitor: &Visitor,
    sent: &HeaderMap,
) -> Result<Arc<LegacySession>, Box<Response<Body>>> {
    let refused =
        |status, told| Box::new(json(status, Body::frame(&encode_error(None, &invalid(told)))));
    let version = sent.get(headers::MCP_PROTOCOL_VERSION).map(HeaderValue::to_str);
    let known = |text: &str| Version::parse(text).is_some_and(|v| v.era() == Era::Legacy);
    if version.is_some_and(|text| !text.is_ok_and(known)) {
        return Err(refused(StatusCode::BAD_REQUEST, "unsupported MCP-Protocol-Version"));
    }
    let Some(id) = sent.get(headers::MCP_SESSION_ID) else {
        let told = "Mcp-Session-Id is missing; a legacy client starts with initialize";
        return Err(refused(StatusCode::BAD_REQUEST, told));
    };
    let id = id.to_str().unwrap_or_default();
    front
        .sessions
        .find(id, visitor, sys::unix_millis())
        .ok_or_else(|| refused(StatusCode::NOT_FOUND, "session not found; initialize again"))
}

fn peer(session: &LegacySession) -> Peer {
    Peer {
        version: session.version,
        caller: session.caller.clone(),
        in_flight: session.in_flight.clone(),
        known: session.known.clone(),
        watching: session.watching.clone(),
    }
}

pub(super) fn delete(front: &Front, visitor: &Visitor, sent: &HeaderMap) -> Response<Body> {
    match find(front, visitor, sent) {
        Err(_) if !sent.contains_key(headers::MCP_SESSION_ID) => super::not_allowed("POST"),
        Err(refused) => *refused,
        Ok(session) => {
            front.sessions.end(&session);
            front.fleet.forget(&session.caller);
            Response::new(Body::empty())
        }
    }
}

/// A call that outlives its connection: dropped before its end, it goes on as a task.
struct Detached {
    tasks: TaskTracker,
    call: Option<Answering>,
}

impl Detached {
    fn new(tasks: &TaskTracker, call: Answering) -> Self {
        Self { tasks: tasks.clone(), call: Some(call) }
    }
}

impl Future for Detached {
    type Output = Option<Reply>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(call) = self.call.as_mut() else { return Poll::Ready(None) };
        let reply = std::task::ready!(call.as_mut().poll(cx));
        self.call = None;
        Poll::Ready(reply)
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            self.tasks.spawn(call);
        }
    }
}
