//! The endpoint over HTTP: `/mcp` in both eras, the two paths of the old transport, `/health` and
//! `/ready`.
//!
//! `guard` looks first, then `identity` says who it is; `post` reads one body and tells the eras
//! apart, `modern` and `legacy` are the two adapters, `body` writes the answer. Header, body and
//! time limits hold for every connection. Knows nothing of servers.

mod body;
mod connection;
mod guard;
mod legacy;
mod listen;
mod modern;
mod patient;
mod post;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;

pub(super) use body::Body;
pub(super) use connection::{Listener, Places, Serve, serve, to_stranger};
pub(super) use guard::Doors;
use guard::Foreign;
use legacy::old;
pub(super) use legacy::old::OldStreams;

use super::{
    Front, admin,
    identity::{Link, Refusal, Visitor},
    reject::{because, of},
};
use crate::{
    config::METADATA_PATH,
    wire::{Frame, headers, sse_event},
};

/// What is answered also when there is no room for more.
pub(super) const VITAL: &[&str] = &["/health", "/ready"];

/// Every request on the main listener.
pub(super) async fn answer(
    front: Arc<Front>,
    link: Link,
    request: Request<Incoming>,
) -> Response<Body> {
    if let Err(foreign) = front.doors.check(request.headers(), request.uri()) {
        let (told, why) = match foreign {
            Foreign::Host => ("this Host is not served here; see gateway.hosts", "host"),
            Foreign::Origin => ("this Origin may not speak here; see gateway.origins", "origin"),
        };
        return to_stranger(because(plain(StatusCode::FORBIDDEN, told), why));
    }
    if let Some(told) = unasked(&front, &request) {
        return to_stranger(told);
    }
    let visitor = match front.gatekeeper.admit(&link, request.headers()).await {
        Ok(visitor) => visitor,
        Err(refusal) => return refused(refusal, front.gatekeeper.challenge(refusal)),
    };
    let (who, proof) = (visitor.principal.clone(), visitor.proof.clone());
    let answered = route(front.clone(), visitor, request);
    if !proof.can_end() {
        return of(who, answered.await);
    }
    tokio::select! {
        biased;
        () = proof.clone().over() => refused(OVER, front.gatekeeper.challenge(OVER)),
        response = answered => of(who, response.map(|body| body.until(proof.over()))),
    }
}

/// Said to whoever waits for an answer.
const OVER: Refusal = Refusal::Bad("the proof has ended meanwhile");

/// Every refusal of somebody who could not show who he is.
pub(super) fn refused(refusal: Refusal, challenge: HeaderValue) -> Response<Body> {
    let (status, told) = match refusal {
        _ if refusal.lacks_scope() => (StatusCode::FORBIDDEN, "the token lacks a scope"),
        Refusal::Nobody => {
            (StatusCode::UNAUTHORIZED, "who are you? Authorization: Bearer is needed")
        }
        Refusal::Bad(_) | Refusal::Token(_) => {
            (StatusCode::UNAUTHORIZED, "what you show is good for nothing here")
        }
    };
    let mut response = plain(status, told);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    because(response, refusal.as_str())
}

/// What is answered without asking who it is.
fn unasked(front: &Front, request: &Request<Incoming>) -> Option<Response<Body>> {
    Some(match (request.uri().path(), request.method()) {
        ("/health", &Method::GET) => plain(StatusCode::OK, "ok"),
        ("/ready", &Method::GET) if front.gatekeeper.is_open() => admin::ready(front),
        ("/ready", &Method::GET) => admin::is_ready(front),
        ("/health" | "/ready", _) => not_allowed("GET"),
        (path, &Method::GET) if path.starts_with(METADATA_PATH) => metadata(front, path),
        _ => return None,
    })
}

fn metadata(front: &Front, path: &str) -> Response<Body> {
    match front.gatekeeper.metadata(path) {
        Some(metadata) => json(StatusCode::OK, Body::text(metadata.to_string())),
        None => plain(StatusCode::NOT_FOUND, "there is no such resource that takes tokens here"),
    }
}

/// Every request of somebody who is known.
async fn route(front: Arc<Front>, visitor: Visitor, request: Request<Incoming>) -> Response<Body> {
    match (request.uri().path(), request.method()) {
        ("/mcp", &Method::POST) => post::post(front, visitor, request).await,
        ("/mcp", &Method::GET) => legacy::open(&front, &visitor, request.headers()),
        ("/mcp", &Method::DELETE) => legacy::delete(&front, &visitor, request.headers()),
        ("/mcp", _) => not_allowed("POST, GET, DELETE"),
        ("/sse", &Method::GET) if front.legacy_sse => old::open(&front, &visitor),
        ("/sse", _) if front.legacy_sse => not_allowed("GET"),
        ("/messages", &Method::POST) if front.legacy_sse => {
            old::message(front, visitor, request).await
        }
        ("/messages", _) if front.legacy_sse => not_allowed("POST"),
        _ => plain(StatusCode::NOT_FOUND, "nothing here; the endpoint is /mcp"),
    }
}

/// A short answer for people.
pub(super) fn plain(status: StatusCode, text: &str) -> Response<Body> {
    let mut response = Response::new(Body::text(format!("{text}\n")));
    *response.status_mut() = status;
    set(&mut response, header::CONTENT_TYPE, "text/plain; charset=utf-8");
    response
}

pub(super) fn not_allowed(allowed: &'static str) -> Response<Body> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "this method is not allowed here");
    set(&mut response, header::ALLOW, allowed);
    response
}

pub(super) fn json(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    set(&mut response, header::CONTENT_TYPE, "application/json");
    response
}

/// A comment now and then, so that nothing between us and a client gives up.
pub(super) const STILL_HERE: Bytes = Bytes::from_static(b": still here\n\n");

fn events(frames: impl Iterator<Item = Frame>) -> Bytes {
    frames.flat_map(|frame| sse_event(&frame).concat()).collect()
}

pub(super) fn sse(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    set(&mut response, header::CONTENT_TYPE, "text/event-stream");
    set(&mut response, header::CACHE_CONTROL, "no-cache");
    set(&mut response, headers::X_ACCEL_BUFFERING, "no");
    response
}

fn set(response: &mut Response<Body>, name: header::HeaderName, value: &'static str) {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
}
