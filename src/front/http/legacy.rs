//! The adapter for legacy clients: sessions, GET streams, DELETE, and batches of 2025-03-26.
//!
//! A lost connection does not cancel a legacy call: it runs on to its outcome. A session is
//! looked up for every request and exists only for the principal that opened it.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::{
    Body, Visitor, json,
    modern::{accepted, invalid, respond, written},
    plain,
    post::Asked,
    sse,
};
use crate::{
    domain::{
        Caller, Era,
        limits::{NOTICE_QUEUE_MAX, SSE_KEEPALIVE},
    },
    front::{
        Front,
        exchange::{Answering, Exchange, Fate},
        method::{self, Method},
        peer::Peer,
        questions::Acquaintance,
        reject::Reply,
        session::LegacySession,
    },
    sys,
    wire::{
        Frame, Message, Meta, Request, Version, WireError, encode_error, encode_list_changed,
        encode_own_result, encode_updated, headers, join_batch, sse_event,
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
            let token = Meta::progress_token_of(request.params.as_ref());
            let (lines, ears) = asked.heard(peer.wants(token)).open();
            // Straight into its box: a call's future is large, and every move would copy it.
            let answering = Box::pin(peer.answer(asked.front.clone(), request, lines));
            let answering = Detached::new(&asked.front.tasks, answering);
            let exchange = Exchange::new(Box::pin(answering), ears);
            respond(exchange, &asked.front.tasks, Fate::RunsOn).await
        }
        Message::Notification(notification) => {
            peer.hear(&notification);
            accepted()
        }
        Message::Response(response) => {
            peer.known.hear(response);
            accepted()
        }
    }
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
    let answering = async move {
        let frames = peer(&session).answer_all(front, messages).await;
        (!frames.is_empty()).then(|| Reply::ok(join_batch(&frames)))
    };
    match Detached::new(&tasks, Box::pin(answering)).await {
        Some(reply) => written(&reply),
        None => accepted(),
    }
}

fn initialize(asked: &Asked, request: &Request) -> Response<Body> {
    let version = method::negotiate(request.params.as_ref());
    let client = request.params.as_ref().and_then(|params| params.object("clientInfo"));
    let caller = Caller {
        principal: asked.visitor.principal.clone(),
        client: Caller::client_of(client.and_then(|info| info.text("name")).as_deref()),
        conversation: None,
        era: Era::Legacy,
    };
    let known = Acquaintance::new(request.params.as_ref());
    let opened = asked.front.sessions.open(version, (caller, known), sys::unix_millis());
    let Ok((id, _)) = opened else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "too many sessions; see limits.sessions");
    };
    let result = method::initialize(version);
    let mut response = written(&Reply::ok(encode_own_result(&request.id, &result)));
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(headers::MCP_SESSION_ID, id);
    }
    response
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
        .find(id, &visitor.principal, sys::unix_millis())
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
            Response::new(Body::empty())
        }
    }
}

/// The stream on which a session hears what nobody asked for. Its headers leave at once.
pub(super) fn stream(front: &Arc<Front>, visitor: &Visitor, sent: &HeaderMap) -> Response<Body> {
    let session = match find(front, visitor, sent) {
        Ok(session) => session,
        Err(_) if !sent.contains_key(headers::MCP_SESSION_ID) => {
            return super::not_allowed("POST");
        }
        Err(refused) => return *refused,
    };
    let (parts, body) = mpsc::channel(NOTICE_QUEUE_MAX);
    let mut changes = front.publisher.relisted();
    let mut seen = *changes.borrow_and_update();
    let (drain, place) = (front.drain.clone(), session.watching.stream());
    front.tasks.spawn(async move {
        let mut part = Bytes::from_static(b": open\n\n");
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
                        let news = now.news(std::mem::replace(&mut seen, now));
                        let news = news.filter(|_| place.is_newest());
                        events(news.map(|method| encode_list_changed(None, method)))
                    }
                    Err(_) => return,
                },
                updated = place.updated() => {
                    events(updated.iter().map(|uri| encode_updated(None, uri.as_str())))
                }
                () = tokio::time::sleep(SSE_KEEPALIVE) => Bytes::from_static(b": still here\n\n"),
            };
        }
    });
    sse(Body::Stream(body))
}

pub(super) fn events(frames: impl Iterator<Item = Frame>) -> Bytes {
    frames.flat_map(|frame| sse_event(&frame).concat()).collect()
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
