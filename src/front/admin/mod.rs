//! The admin listener: status, reloads and the emergency stop, never an MCP tool.
//!
//! On a socket of its own, for the operator alone. Nothing here can define a command or a server.

mod approvals;
mod door;
mod estop;
mod heart;
mod pins;
mod reload;
mod status;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use super::{
    Front,
    http::{Body, Visitor, json as json_response, not_allowed, plain},
};
use crate::domain::{
    Transport,
    limits::{ADMIN_BODY_BYTES_MAX, HTTP_BODY_TIMEOUT},
};

pub(super) use approvals::page as approval_page;
pub use door::open_door;
pub use estop::Desk;
pub use heart::Heart;
pub use pins::told as pins_told;
pub use reload::{Applied, Refused, ReloadAsk, Reloaded, Reloads, Standing};
pub(super) use status::ready;

/// What is answered also when there is no room for more.
pub(super) const VITAL: &[&str] = &[
    "/health",
    "/ready",
    "/admin/status",
    estop::STATE,
    estop::RESET,
    estop::RESUME,
    estop::HEARTBEAT,
];

/// Every request on the admin listener.
pub(super) async fn answer(
    front: Arc<Front>,
    visitor: Visitor,
    request: Request<Incoming>,
) -> Response<Body> {
    // No web page has any business here, whatever its origin.
    let page = request.headers().contains_key(http::header::ORIGIN);
    if page || front.doors.check(request.headers(), request.uri()).is_err() {
        return plain(StatusCode::FORBIDDEN, "this Host or Origin may not speak here");
    }
    let method = request.method().clone();
    match (request.uri().path(), &method) {
        ("/health", &Method::GET) => plain(StatusCode::OK, "ok"),
        ("/ready", &Method::GET) => ready(&front),
        ("/admin/status", &Method::GET) => told(StatusCode::OK, &status::status(&front)),
        (
            path @ (estop::STATE | estop::RESET | estop::RESUME | estop::DRILL | estop::HEARTBEAT),
            _,
        ) => match estop::Word::of(path, &method) {
            Some(word) => of_the_stop(&front, visitor, (word, request)).await,
            None => not_allowed(estop::allowed(path)),
        },
        ("/admin/reload", &Method::POST) => {
            reload::reload(&front.reloads, visitor.principal.as_str()).await
        }
        ("/admin/diff", &Method::GET) => reload::diff(&front.reloads).await,
        ("/admin/pins", &Method::GET) => pins::pins(&front.fleet).await,
        ("/admin/pins/approve", &Method::POST) => match whole(request).await {
            Ok(body) => pins::approve(&front.fleet, visitor.principal.as_str(), &body).await,
            Err(refused) => refused,
        },
        (path, &Method::GET) if let Some(id) = approvals::on_page(path) => {
            match front.gate.approvals() {
                Some(approvals) => approvals::show(approvals, id),
                None => nothing_here(),
            }
        }
        (approvals::LIST | approvals::ALLOW | approvals::DENY | approvals::FORGET, _) => {
            of_approvals(&front, &visitor, request).await
        }
        ("/admin/reload" | "/admin/pins/approve", _) => not_allowed("POST"),
        ("/health" | "/ready" | "/admin/status" | "/admin/diff" | "/admin/pins", _) => {
            not_allowed("GET")
        }
        _ => nothing_here(),
    }
}

fn nothing_here() -> Response<Body> {
    plain(
        StatusCode::NOT_FOUND,
        "nothing here; see /admin/status, /admin/reload, /admin/pins, /admin/approvals and \
         /admin/estop",
    )
}

/// Whoever comes by TCP may be anybody on this machine.
fn is_known(front: &Front, visitor: &Visitor, headers: &HeaderMap) -> bool {
    visitor.transport == Transport::Unix || front.desk.knows(headers)
}

fn unknown() -> Response<Body> {
    let why = json!({ "error": "Authorization: Bearer and the word in estop/token are needed" });
    told(StatusCode::UNAUTHORIZED, &why)
}

/// What waits for an approval, for who may decide on it.
async fn of_approvals(
    front: &Front,
    visitor: &Visitor,
    request: Request<Incoming>,
) -> Response<Body> {
    if !is_known(front, visitor, request.headers()) {
        return unknown();
    }
    let Some(approvals) = front.gate.approvals() else { return nothing_here() };
    let path = request.uri().path().to_owned();
    match (path.as_str(), request.method()) {
        (approvals::LIST, &Method::GET) => return approvals::list(approvals),
        (approvals::LIST, _) => return not_allowed("GET"),
        (_, &Method::POST) => {}
        (_, _) => return not_allowed("POST"),
    }
    // Who has the token is not who calls tools by TCP.
    let who = match visitor.transport {
        Transport::Unix => visitor.principal.as_str(),
        Transport::Http | Transport::Stdio => "token",
    };
    match whole(request).await {
        Ok(body) => approvals::decide(approvals, (&path, who), &body).await,
        Err(refused) => refused,
    }
}

/// The same as at the stop's own door, for whoever comes here; on a thread where waiting harms
/// nobody.
async fn of_the_stop(
    front: &Arc<Front>,
    visitor: Visitor,
    (word, request): (estop::Word, Request<Incoming>),
) -> Response<Body> {
    let desk = front.desk.clone();
    if word != estop::Word::Status && !is_known(front, &visitor, request.headers()) {
        return unknown();
    }
    let body = match whole(request).await {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let answer = move || desk.answer(visitor.principal.as_str(), word, &body);
    match tokio::task::spawn_blocking(answer).await {
        Ok((status, value)) => told(status, &value),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the stop could not be asked"),
    }
}

fn told(status: StatusCode, value: &Value) -> Response<Body> {
    json_response(status, Body::text(format!("{value}\n")))
}

/// The body of a request, bounded in size and time.
async fn whole(request: Request<Incoming>) -> Result<Bytes, Response<Body>> {
    let bad = || plain(StatusCode::BAD_REQUEST, "the body is not what this request takes");
    let body = Limited::new(request.into_body(), ADMIN_BODY_BYTES_MAX);
    let collected = tokio::time::timeout(HTTP_BODY_TIMEOUT, body.collect()).await;
    Ok(collected.map_err(|_| bad())?.map_err(|_| bad())?.to_bytes())
}
