//! The admin listener: status, metrics, reloads and the emergency stop, never an MCP tool.
//!
//! On a socket of its own, for the operator alone. Nothing here can define a command or a server.

mod approvals;
mod door;
mod estop;
mod heart;
mod pins;
mod reload;
mod routes;
mod seen;
mod status;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use routes::{Action, Found};

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
pub(super) use routes::vital;
pub(super) use status::{line as status_line, ready};

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
    match routes::find(request.uri().path(), request.method()) {
        Found::This(route) => act(front, visitor, (route.action, request)).await,
        Found::OtherMethod(allowed) => not_allowed(allowed),
        Found::Nothing => nothing_here(),
    }
}

async fn act(
    front: Arc<Front>,
    visitor: Visitor,
    (action, request): (Action, Request<Incoming>),
) -> Response<Body> {
    match action {
        Action::Health => plain(StatusCode::OK, "ok"),
        Action::Ready => ready(&front),
        Action::Metrics => seen::metrics(&front),
        Action::Status => told(StatusCode::OK, &status::status(&front)),
        Action::Stop(word) => of_the_stop(&front, visitor, (word, request)).await,
        Action::Reload => reload::reload(&front.reloads, visitor.principal.as_str()).await,
        Action::Diff => reload::diff(&front.reloads).await,
        Action::Pins => pins::pins(&front.fleet).await,
        Action::ApprovePins => match whole(request).await {
            Ok(body) => pins::approve(&front.fleet, visitor.principal.as_str(), &body).await,
            Err(refused) => refused,
        },
        Action::Document => told(StatusCode::OK, routes::document()),
        Action::ApprovalPage => {
            let id = approvals::on_page(request.uri().path());
            match (front.gate.approvals(), id) {
                (Some(approvals), Some(id)) => approvals::show(approvals, id),
                (_, _) => nothing_here(),
            }
        }
        Action::Approvals | Action::Allow | Action::Deny | Action::Forget => {
            of_approvals(&front, &visitor, (action, request)).await
        }
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
    (action, request): (Action, Request<Incoming>),
) -> Response<Body> {
    if !is_known(front, visitor, request.headers()) {
        return unknown();
    }
    let Some(approvals) = front.gate.approvals() else { return nothing_here() };
    if action == Action::Approvals {
        return approvals::list(approvals);
    }
    // Who has the token is not who calls tools by TCP.
    let who = match visitor.transport {
        Transport::Unix => visitor.principal.as_str(),
        Transport::Http | Transport::Stdio => "token",
    };
    match whole(request).await {
        Ok(body) => approvals::decide(approvals, (action, who), &body).await,
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
