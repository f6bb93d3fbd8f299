//! The admin listener: status, metrics, reloads and the emergency stop, never an MCP tool.
//!
//! On a listener of its own, for operators alone; each may do what his role lets him (`routes`).
//! Nothing here can define a command or a server.

mod approvals;
mod estop;
mod keys;
mod pins;
mod reload;
mod routes;
mod seen;
mod status;

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};

use routes::{Action, Found, Route};

use super::{
    Front,
    http::{Body, json as json_response, not_allowed, plain, refused, to_stranger},
    identity::{Link, Operator, Role},
    reject::{because, of},
};
use crate::domain::{
    Principal,
    limits::{ADMIN_BODY_BYTES_MAX, HTTP_BODY_TIMEOUT},
};

pub(super) use approvals::page as approval_page;
pub use estop::{Desk, Heart, open_door};
pub use pins::told as pins_told;
pub use reload::{Applied, Refused, ReloadAsk, Reloaded, Reloads, Standing};
pub(super) use routes::vital;
pub(super) use status::{is_ready, line as status_line, ready};

/// Every request on the admin listener.
pub(super) async fn answer(
    front: Arc<Front>,
    link: Link,
    request: Request<Incoming>,
) -> Response<Body> {
    // No web page has any business here, whatever its origin.
    let page = request.headers().contains_key(http::header::ORIGIN);
    if page || front.doors.check(request.headers(), request.uri()).is_err() {
        let told = "this Host or Origin may not speak here";
        return to_stranger(plain(StatusCode::FORBIDDEN, told));
    }
    let operator = front.gatekeeper.operator(&link, request.headers(), |h| front.desk.knows(h));
    let operator = match operator {
        Ok(operator) => operator,
        Err(refusal) => return refused(refusal, refusal.challenge()),
    };
    let who = Principal::new(&operator.who);
    let is_known = role(&front, &operator).is_some();
    let response = match routes::find(request.uri().path(), request.method()) {
        Found::This(route) if !may(&front, &operator, route) => not_yours(&operator, route.role),
        Found::This(route) => act(front, operator, (route.action, request)).await,
        Found::OtherMethod(allowed) => not_allowed(allowed),
        Found::Nothing => nothing_here(),
    };
    let response = of(who, response);
    if is_known { response } else { to_stranger(response) }
}

/// Where everybody is let in, everybody may look.
fn role(front: &Front, operator: &Operator) -> Option<Role> {
    let least = Some(Role::Viewer).filter(|_| front.gatekeeper.is_open());
    operator.role.max(least)
}

fn may(front: &Front, operator: &Operator, route: &Route) -> bool {
    role(front, operator) >= route.role
}

fn not_yours(operator: &Operator, needed: Option<Role>) -> Response<Body> {
    let word = |role: Option<Role>| role.map_or("none", Role::as_str);
    let (status, told) = match operator.role {
        Some(_) => {
            let (is, needed) = (word(operator.role), word(needed));
            (StatusCode::FORBIDDEN, format!("this takes the role {needed}; yours is {is}"))
        }
        None => {
            let told = "Authorization: Bearer and a key with a role, or the word in estop/token, \
                        are needed";
            (StatusCode::UNAUTHORIZED, told.to_owned())
        }
    };
    because(told_of(status, &told), "role")
}

async fn act(
    front: Arc<Front>,
    operator: Operator,
    (action, request): (Action, Request<Incoming>),
) -> Response<Body> {
    match action {
        Action::Health => plain(StatusCode::OK, "ok"),
        Action::Ready => ready(&front),
        Action::Metrics => seen::metrics(&front),
        Action::Status => told(StatusCode::OK, &status::status(&front)),
        Action::Stop(word) => of_the_stop(&front, operator, (word, request)).await,
        Action::Reload => reload::reload(&front.reloads, &operator.who).await,
        Action::Diff => reload::diff(&front.reloads).await,
        Action::Pins => pins::pins(&front.fleet).await,
        Action::Keys => keys::list(&front),
        Action::RefreshKeys => keys::refresh(&front, &operator.who).await,
        Action::ApprovePins => match whole(request).await {
            Ok(body) => pins::approve(&front.fleet, &operator.who, &body).await,
            Err(refused) => refused,
        },
        Action::Calls => seen::calls(&front),
        Action::Audit => told(StatusCode::OK, &seen::audit(&front.gate)),
        Action::Document => told(StatusCode::OK, routes::document()),
        Action::ApprovalPage => {
            let id = approvals::on_page(request.uri().path());
            match (front.gate.approvals(), id) {
                (Some(approvals), Some(id)) => approvals::show(approvals, id),
                (_, _) => nothing_here(),
            }
        }
        Action::Approvals | Action::Allow | Action::Deny | Action::Forget => {
            of_approvals(&front, &operator, (action, request)).await
        }
    }
}

fn nothing_here() -> Response<Body> {
    plain(
        StatusCode::NOT_FOUND,
        "nothing here; see /admin/status, /admin/reload, /admin/pins, /admin/approvals, /admin/keys \
         and /admin/estop",
    )
}

fn told_of(status: StatusCode, why: &str) -> Response<Body> {
    told(status, &json!({ "error": why }))
}

/// What waits for an approval.
async fn of_approvals(
    front: &Front,
    operator: &Operator,
    (action, request): (Action, Request<Incoming>),
) -> Response<Body> {
    let Some(approvals) = front.gate.approvals() else { return nothing_here() };
    if action == Action::Approvals {
        return approvals::list(approvals);
    }
    match whole(request).await {
        Ok(body) => approvals::decide(approvals, (action, &operator.who), &body).await,
        Err(refused) => refused,
    }
}

/// The same as at the stop's own door, for whoever comes here; on a thread where waiting harms
/// nobody.
async fn of_the_stop(
    front: &Arc<Front>,
    operator: Operator,
    (word, request): (estop::Word, Request<Incoming>),
) -> Response<Body> {
    let desk = front.desk.clone();
    let body = match whole(request).await {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let answer = move || desk.answer(&operator.who, word, &body);
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
