//! The adapter for modern clients: every request stands alone.
//!
//! Checks in the order that the specification asks for: method, `_meta`, headers against body,
//! version. Closing the response is how a client cancels, so the call lives in the response.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use http::{Response, StatusCode};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::{Body, json, plain, post::Asked, sse};
use crate::{
    domain::{
        Caller, Era,
        limits::{NOTICE_QUEUE_MAX, SSE_KEEPALIVE},
    },
    front::{
        dispatch::Ask,
        exchange::{Exchange, First, Outlet, Wants},
        method::{self, Method, Plan},
        reject::{self, Reply},
    },
    wire::{
        CallParams, ErrorObject, Frame, Message, Meta, Request, ShownParams, Version, code,
        encode_own_result, headers_agree, sse_event,
    },
};

pub(super) async fn answer(asked: Asked, message: Message) -> Response<Body> {
    match message {
        Message::Request(request) => match checked(&asked, &request) {
            Ok((method, meta)) => go(asked, request, method, meta).await,
            Err(error) => malformed(&request, &error),
        },
        // The one client notification of this era belongs to stdio; over HTTP it is closing.
        Message::Notification(_) => accepted(),
        Message::Response(_) => {
            plain(StatusCode::BAD_REQUEST, "modern clients send no JSON-RPC responses")
        }
    }
}

/// A request that was not understood: the HTTP status says so too.
fn malformed(request: &Request, error: &ErrorObject) -> Response<Body> {
    let status = match error.code {
        code::METHOD_NOT_FOUND => StatusCode::NOT_FOUND,
        _ => StatusCode::BAD_REQUEST,
    };
    written(&Reply { status, ..Reply::error(Version::MODERN, Some(&request.id), error) })
}

fn checked(asked: &Asked, request: &Request) -> Result<(Method, Meta), ErrorObject> {
    let method = method::known(Era::Modern, &request.method)
        .ok_or_else(|| method::unknown_method(&request.method))?;
    let meta = Meta::required(request.params.as_ref())?;
    headers_agree(&asked.parts.headers, request, &meta)?;
    match meta.version().and_then(Version::parse) {
        Some(version) if version.era() == Era::Modern => Ok((method, meta)),
        Some(_) | None => Err(ErrorObject::unsupported_version(meta.version())),
    }
}

async fn go(asked: Asked, request: Request, method: Method, meta: Meta) -> Response<Body> {
    let caller = caller(&asked, &meta);
    if method == Method::Listen {
        return super::listen::listen(asked, &caller, request).await;
    }
    // The snapshot is let go: held for a call, it would keep servers that a reload has removed.
    let plan = method::plan(
        &asked.front.publisher.load(),
        (Version::MODERN, &asked.visitor.principal),
        method,
        &request,
    );
    match plan {
        Plan::Result(result) => {
            let frame = encode_own_result(&request.id, &result);
            written(&Reply::ok(frame))
        }
        Plan::Fail(error) => written(&Reply::error(Version::MODERN, Some(&request.id), &error)),
        Plan::Call(params) => call(asked, request, params, caller).await,
    }
}

/// Who asks: every request says so itself.
fn caller(asked: &Asked, meta: &Meta) -> Arc<Caller> {
    Arc::new(Caller {
        principal: asked.visitor.principal.clone(),
        client: Caller::client_of(meta.client_name().as_deref()),
        conversation: None,
        era: Era::Modern,
        transport: asked.visitor.transport,
    })
}

async fn call(
    asked: Asked,
    request: Request,
    params: Arc<CallParams>,
    caller: Arc<Caller>,
) -> Response<Body> {
    let wants = Wants {
        token: params.progress_token().cloned(),
        level: params.log_level(),
        answers: false,
    };
    let shown = Some(ShownParams::of(&asked.parts.headers));
    let (lines, ears) = asked.heard(wants).open();
    let (tasks, front) = (asked.front.tasks.clone(), asked.front);
    let answering = Box::pin(async move {
        let answer = front.call(Ask { caller, params, shown, visitor: None }, lines.notices).await;
        Some(reject::reply(Version::MODERN, &request.id, answer))
    });
    respond(Exchange::new(answering, ears), &tasks).await
}

/// JSON when there is nothing to stream, SSE when there is.
async fn respond(mut exchange: Exchange, tasks: &TaskTracker) -> Response<Body> {
    match exchange.first().await {
        First::Answer(Some(reply)) => return written(&reply),
        First::Answer(None) => return accepted(),
        First::Streams => {}
    }
    let (out, body) = mpsc::channel(NOTICE_QUEUE_MAX);
    let dress = |frame: &Frame, parts: &mut VecDeque<Bytes>| parts.extend(sse_event(frame));
    let idle: fn() -> Bytes = || super::STILL_HERE;
    let idle = Some((SSE_KEEPALIVE, idle));
    tasks.spawn(exchange.run(Outlet { out, dress, idle }));
    sse(Body::Stream(body))
}

pub(super) fn written(reply: &Reply) -> Response<Body> {
    reject::as_told(reply, json(reply.status, Body::frame(&reply.frame)))
}

pub(super) fn accepted() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

/// What a message that is none gets: used by both adapters.
pub(super) fn invalid(told: &'static str) -> ErrorObject {
    ErrorObject::new(code::INVALID_REQUEST, told)
}
