//! The admin listener: status, reloads and the emergency stop, never an MCP tool.
//!
//! On a socket of its own, for the operator alone. Nothing here can define a command or a server.

mod reload;
mod status;

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Front,
    http::{Body, Visitor, json as json_response, not_allowed, plain},
};
use crate::{
    domain::limits::{ADMIN_BODY_BYTES_MAX, HTTP_BODY_TIMEOUT},
    gate::Cause,
};

pub use reload::{Applied, Refused, ReloadAsk, Reloaded, Reloads, Standing};
pub(super) use status::ready;

/// `POST /admin/estop`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Engage {
    #[serde(default)]
    reason: String,
}

/// `POST /admin/estop/reset`: names the stop, so that nobody lifts one he has not seen.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reset {
    id: String,
    reason: String,
}

/// What is answered also when there is no room for more.
pub(super) const VITAL: &[&str] =
    &["/health", "/ready", "/admin/status", "/admin/estop", "/admin/estop/reset"];

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
        ("/admin/estop", &Method::GET) => told(StatusCode::OK, &status::stop(&front)),
        ("/admin/estop", &Method::POST) => match read::<Engage>(request).await {
            Ok(engage) => engaged(&front, &visitor, &engage),
            Err(refused) => refused,
        },
        ("/admin/estop/reset", &Method::POST) => match read::<Reset>(request).await {
            Ok(reset) => lifted(&front, &visitor, &reset),
            Err(refused) => refused,
        },
        ("/admin/reload", &Method::POST) => {
            reload::reload(&front.reloads, visitor.principal.as_str()).await
        }
        ("/admin/diff", &Method::GET) => reload::diff(&front.reloads).await,
        ("/admin/estop", _) => not_allowed("GET, POST"),
        ("/admin/estop/reset" | "/admin/reload", _) => not_allowed("POST"),
        ("/health" | "/ready" | "/admin/status" | "/admin/diff", _) => not_allowed("GET"),
        _ => plain(
            StatusCode::NOT_FOUND,
            "nothing here; see /admin/status, /admin/reload and /admin/estop",
        ),
    }
}

fn engaged(front: &Front, visitor: &Visitor, engage: &Engage) -> Response<Body> {
    let why = if engage.reason.is_empty() { "admin request" } else { &engage.reason };
    let who = visitor.principal.as_str().to_owned();
    front.gate.engage(Cause { who, why: why.to_owned() });
    told(StatusCode::OK, &status::stop(front))
}

fn lifted(front: &Front, visitor: &Visitor, reset: &Reset) -> Response<Body> {
    let by = visitor.principal.as_str();
    match front.gate.reset(&reset.id, &reset.reason, by) {
        Ok(_) => told(StatusCode::OK, &status::stop(front)),
        Err(error) => told(StatusCode::CONFLICT, &json!({ "error": error.to_string() })),
    }
}

fn told(status: StatusCode, value: &Value) -> Response<Body> {
    json_response(status, Body::text(format!("{value}\n")))
}

async fn read<T: for<'de> Deserialize<'de>>(
    request: Request<Incoming>,
) -> Result<T, Response<Body>> {
    let bad = || plain(StatusCode::BAD_REQUEST, "the body is not what this request takes");
    let body = Limited::new(request.into_body(), ADMIN_BODY_BYTES_MAX);
    let collected = tokio::time::timeout(HTTP_BODY_TIMEOUT, body.collect()).await;
    let raw = collected.map_err(|_| bad())?.map_err(|_| bad())?.to_bytes();
    let raw: &[u8] = if raw.is_empty() { b"{}" } else { &raw };
    serde_json::from_slice(raw).map_err(|_| bad())
}
