//! Pins as the operator sees and approves them.
//!
//! What is shown and what is approved are tied by a digest: whoever approves names what was seen.
//! Decides nothing.

use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    domain::ServerName,
    fleet::Fleet,
    front::http::{Body, plain},
    gate::{Approved, Finding, Held, Pin, PinError, Report, Selection},
};

/// `POST /admin/pins/approve`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Approve {
    server: Option<String>,
    name: Option<String>,
    seen: String,
}

/// `GET /admin/pins`.
pub(super) async fn pins(fleet: &Fleet) -> Response<Body> {
    match fleet.quarantine().report().await {
        Ok(report) => super::told(StatusCode::OK, &told(&report)),
        Err(error) => refused(&error),
    }
}

pub(super) async fn approve(fleet: &Fleet, who: &str, body: &[u8]) -> Response<Body> {
    let Ok(approve) = serde_json::from_slice::<Approve>(body) else {
        return plain(StatusCode::BAD_REQUEST, "the body is not what this request takes");
    };
    let Some(Pin(seen)) = Pin::parse(&approve.seen) else { return refused(&PinError::NotSeen) };
    let selection = Selection { server: approve.server, name: approve.name, seen };
    match fleet.approve(who.to_owned(), selection).await {
        Ok(n) => super::told(StatusCode::OK, &json!({ "approved": n })),
        Err(error) => refused(&error),
    }
}

fn refused(error: &PinError) -> Response<Body> {
    super::told(StatusCode::CONFLICT, &json!({ "error": error.to_string() }))
}

/// The same as JSON.
pub fn told(report: &Report) -> Value {
    json!({
        "lock": report.path,
        "problem": report.problem,
        "approved": report.approved.iter().map(approved).collect::<Vec<_>>(),
        "held": report.held.iter().map(held).collect::<Vec<_>>(),
    })
}

fn approved(approved: &Approved) -> Value {
    let Approved { server, list, name, pin, .. } = approved;
    json!({
        "server": server.as_str(), "kind": list.entry(), "name": name, "pin": pin.to_string(),
    })
}

fn held((server, held, difference): &(ServerName, Held, Vec<String>)) -> Value {
    let finding = |finding: &Finding| json!({ "class": finding.class.as_str(), "at": finding.at, "what": finding.what });
    json!({
        "server": server.as_str(),
        "kind": held.list.entry(),
        "name": held.name,
        "why": held.why.as_str(),
        "pin": held.pin.to_string(),
        "findings": held.findings.iter().map(finding).collect::<Vec<_>>(),
        "difference": difference,
    })
}
