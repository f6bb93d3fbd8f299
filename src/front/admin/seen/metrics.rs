//! `GET /metrics`: what was recorded, and how things are at this moment.
//!
//! What is a state is read from whoever owns it when somebody looks, not counted a second time.

use std::{collections::BTreeSet, time::Duration};

use http::{HeaderValue, Response, header};

use crate::{
    domain::ServerName,
    fleet::ServerStatus,
    front::{
        Front,
        http::{Body, plain},
    },
    gate::{Scope, State},
    sys::{self, Pids, Process},
    telemetry::{
        Page,
        names::{self, Metric},
    },
};

/// Every name that a server's state can have.
const STATES: [&str; 7] =
    ["starting", "ready", "degraded", "down", "crash-loop", "gone", "draining"];
const SCOPES: [&str; 4] = ["global", "server", "tool", "principal"];
/// What is shown of a digest.
const DIGITS: usize = 12;

pub(in crate::front::admin) fn metrics(front: &Front) -> Response<Body> {
    let mut page = Page::default();
    of_servers(&mut page, &front.fleet.status(), &front.fleet.leaving());
    of_the_gate(&mut page, front);
    of_the_configuration(&mut page, front);
    of_the_process(&mut page);
    page.set(&names::SESSIONS, &[], number(front.sessions.len()));
    page.set(&names::BUILD, &[env!("CARGO_PKG_VERSION")], 1.0);
    let mut response = plain(http::StatusCode::OK, "");
    *response.body_mut() = Body::text(page.render());
    let form = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, form);
    response
}

fn of_servers(page: &mut Page, standing: &[ServerStatus], leaving: &[ServerStatus]) {
    let names: BTreeSet<&ServerName> =
        standing.iter().chain(leaving).map(|status| &status.server).collect();
    for name in names {
        let is_it = |status: &&ServerStatus| status.server == *name;
        let all = || standing.iter().chain(leaving).filter(is_it);
        for state in STATES {
            let is_so = all().any(|status| status.condition.name == state);
            page.set(&names::SERVER_STATE, &[name.as_str(), state], number(usize::from(is_so)));
        }
        let in_flight = all().map(|status| status.in_flight).sum();
        let waiting = all().map(|status| status.waiting).sum();
        let replicas = standing.iter().filter(is_it).flat_map(|status| &status.replicas);
        let restarts = replicas.map(|replica| replica.restarts).sum();
        page.set(&names::INFLIGHT, &[name.as_str()], number(in_flight));
        page.set(&names::WAITING, &[name.as_str()], number(waiting));
        page.set(&names::SERVER_RESTARTS, &[name.as_str()], figure(restarts));
    }
}

fn of_the_gate(page: &mut Page, front: &Front) {
    let book = front.gate.latch().book();
    for kind in SCOPES {
        let n = book.stops.iter().filter(|stop| kind_of(&stop.scope) == kind).count();
        page.set(&names::ESTOP_ENGAGED, &[kind], number(n));
    }
    let requests = front.gate.approvals().map(|all| all.list().0).unwrap_or_default();
    let pending = || requests.iter().filter(|one| one.state == State::Waiting);
    let now_ms = sys::unix_millis();
    let oldest = pending().map(|one| now_ms.saturating_sub(one.asked_ms)).max();
    let oldest = Duration::from_millis(oldest.unwrap_or_default()).as_secs_f64();
    page.set(&names::APPROVALS_PENDING, &[], number(pending().count()));
    page.set(&names::APPROVALS_OLDEST, &[], oldest);
    page.set(&names::AUDIT_HEALTHY, &[], number(usize::from(front.gate.is_recording())));
}

fn kind_of(scope: &Scope) -> &'static str {
    match scope {
        Scope::Global => "global",
        Scope::Server(_) => "server",
        Scope::Tool(..) => "tool",
        Scope::Principal(_) => "principal",
    }
}

fn of_the_configuration(page: &mut Page, front: &Front) {
    let standing = front.reloads.standing();
    let is_well = standing.last.as_ref().is_none_or(|last| last.result.is_ok());
    page.set(&names::RELOAD_SUCCESSFUL, &[], number(usize::from(is_well)));
    for (result, n) in [("applied", standing.applied), ("refused", standing.refused)] {
        page.set(&names::RELOADS, &[result], figure(n));
    }
    let digits = |digest: &[u8; 32]| -> String {
        let hex = digest.iter().map(|byte| format!("{byte:02x}"));
        hex.take(DIGITS / 2).collect()
    };
    let (generation, digest) = (standing.generation.0.to_string(), &standing.digest);
    let labels = [&generation, &digits(&digest.file), &digits(&digest.policies)];
    page.set(&names::REVISION, &labels.map(String::as_str), 1.0);
}

fn of_the_process(page: &mut Page) {
    let mut set = |metric: &'static Metric, now: Option<f64>| {
        if let Some(now) = now {
            page.set(metric, &[], now);
        }
    };
    if let Some(process) = Process::read() {
        set(&names::CPU, Some(process.cpu.as_secs_f64()));
        set(&names::RESIDENT, Some(figure(process.resident_bytes)));
        set(&names::VIRTUAL, Some(figure(process.virtual_bytes)));
        set(&names::FDS, Some(figure(process.open_fds)));
        set(&names::FDS_MAX, process.max_fds.map(figure));
        set(&names::THREADS, Some(figure(process.threads)));
        set(&names::STARTED, Some(figure(process.started_s)));
    }
    if let Some(Pids { now, max }) = Pids::read() {
        set(&names::PIDS, Some(figure(now)));
        set(&names::PIDS_MAX, max.map(figure));
    }
}

fn number(n: usize) -> f64 {
    figure(u64::try_from(n).unwrap_or(u64::MAX))
}

/// Beyond 2^53 the last digits are not kept, as Prometheus keeps none either.
#[expect(clippy::cast_precision_loss, reason = "that is what the format holds")]
fn figure(n: u64) -> f64 {
    n as f64
}
