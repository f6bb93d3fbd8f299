//! `/ready` and the status: may traffic come, and how every server is.
//!
//! Ready means that the stop is clear, the audit can write and no server is in its first start.
//! A server that is down does not make the endpoint unready: the others serve.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{
    estop,
    reload::{self, merge},
};
use crate::{
    audit::{WitnessProblem, Witnessed},
    config::{Salt, Secret},
    domain::ServerName,
    fleet::{Mishap, Quantiles, ReplicaStatus, ServerStatus, State},
    front::{
        Front,
        http::{Body, json as json_response},
    },
    wire::List,
};

/// So many servers are named in one line.
const NAMED_MAX: usize = 3;

/// 200 or 503, for whoever asks: which servers there are, and what ails us, is not for strangers.
pub(in crate::front) fn is_ready(front: &Front) -> Response<Body> {
    let reasons = reasons(front, &front.fleet.states());
    let body = json!({ "ready": reasons.is_empty() });
    json_response(readiness(&reasons), Body::text(format!("{body}\n")))
}

fn readiness(reasons: &[String]) -> StatusCode {
    if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// The same with the reasons and the servers.
pub(in crate::front) fn ready(front: &Front) -> Response<Body> {
    let mut states = front.fleet.states();
    states.sort_by(|(one, _), (other, _)| one.cmp(other));
    let reasons = reasons(front, &states);
    let status = readiness(&reasons);
    let states = states.iter().map(|(name, state)| (name.to_string(), state.as_str().into()));
    let servers: serde_json::Map<String, Value> = states.collect();
    let body = json!({ "ready": reasons.is_empty(), "reasons": reasons, "servers": servers });
    json_response(status, Body::text(format!("{body}\n")))
}

fn reasons(front: &Front, states: &[(ServerName, State)]) -> Vec<String> {
    let starting = states.iter().filter(|(_, state)| matches!(state, State::Starting));
    let starting = starting.map(|(server, _)| format!("server `{server}` is starting"));
    reasons_of_its_own(front).into_iter().chain(starting).collect()
}

/// Without those of the servers.
fn reasons_of_its_own(front: &Front) -> Vec<String> {
    let mut reasons = Vec::new();
    if front.gate.latch().book().global().is_some() {
        reasons.push("the emergency stop is engaged".to_owned());
    }
    if !front.gate.is_recording() {
        reasons.push("the audit cannot write".to_owned());
    }
    if front.drain.is_cancelled() {
        reasons.push("shutting down".to_owned());
    }
    reasons
}

/// The line that `systemctl status` shows: what takes calls, and what keeps it from that.
pub(in crate::front) fn line(front: &Front) -> String {
    let mut states = front.fleet.states();
    states.sort_by(|(one, _), (other, _)| one.cmp(other));
    let (up, down): (Vec<_>, Vec<_>) =
        states.iter().partition(|(_, state)| matches!(state, State::Ready(_)));
    let mut reasons = down
        .iter()
        .take(NAMED_MAX)
        .map(|(server, state)| format!("`{server}` is in state {}", state.as_str()))
        .collect::<Vec<_>>();
    if down.len() > NAMED_MAX {
        reasons.push(format!("{} more servers are not ready", down.len() - NAMED_MAX));
    }
    // What matters most comes first.
    let first = reasons_of_its_own(front);
    let reasons: String = first.into_iter().chain(reasons).map(|why| format!("; {why}")).collect();
    let snapshot = front.publisher.load();
    let (tools, generation) = (snapshot.catalog.everything().len(List::Tools), snapshot.generation);
    let (up, all) = (up.len(), states.len());
    format!("{up} of {all} servers ready, {tools} tools, generation {generation}{reasons}")
}

/// Everything an operator asks first, as JSON.
pub(super) fn status(front: &Front) -> Value {
    let snapshot = front.publisher.load();
    let (tls, tokens) = front.gatekeeper.troubles();
    let salt = front.salt.as_ref();
    let told =
        |servers: &[ServerStatus]| servers.iter().map(|one| server(one, salt)).collect::<Vec<_>>();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "endpoint": front.endpoint.get(),
        "generation": snapshot.generation.0,
        "config": reload::standing(&front.reloads),
        "stop": estop::told(&front.gate),
        "tls": { "trouble": tls },
        "tokens": { "trouble": tokens },
        "audit": audit(front),
        "tools": snapshot.catalog.everything().len(List::Tools),
        "prompts": snapshot.catalog.everything().len(List::Prompts),
        "resources": snapshot.catalog.everything().len(List::Resources),
        "sessions": front.sessions.len(),
        "in_flight": front.limits.in_flight - front.in_flight.available_permits(),
        "servers": told(&front.fleet.status()),
        "draining": told(&front.fleet.leaving()),
    })
}

/// Whether it is written, and whether somebody else has seen it.
fn audit(front: &Front) -> Value {
    let mut told = json!({ "healthy": front.gate.is_recording() });
    if let Some(Witnessed { name, size, at, problem }) = front.gate.audit().witness() {
        let is_evidence = problem.as_ref().is_some_and(WitnessProblem::is_evidence);
        let problem = problem.map(|problem| problem.to_string());
        merge(
            &mut told,
            json!({ "witness": { "name": name, "records": size, "at": at, "problem": problem,
                                 "alarm": is_evidence } }),
        );
    }
    told
}

fn server(server: &ServerStatus, salt: Option<&Salt>) -> Value {
    let mut line = json!({
        "name": server.server.as_str(),
        "state": server.condition.name,
        "since_us": server.condition.since_us,
        "generation": server.generation.0,
        "in_flight": server.in_flight,
        "waiting": server.waiting,
        "own_sessions": { "open": server.own_sessions, "stderr": server.own_stderr },
        "restarts": server.replicas.iter().map(|replica| replica.restarts).sum::<u64>(),
        "stderr": server.replicas.iter().flat_map(|replica| &replica.stderr).collect::<Vec<_>>(),
        "replicas": server.replicas.iter().map(|one| replica(one, salt)).collect::<Vec<_>>(),
    });
    merge(&mut line, lately(&server.lately));
    merge(&mut line, about(&server.state, server.condition.why.as_deref()));
    line
}

fn replica(replica: &ReplicaStatus, salt: Option<&Salt>) -> Value {
    let mishap = |mishap: &Mishap| json!({ "at_us": mishap.at_us, "why": mishap.why });
    let mut line = json!({
        "n": replica.n.0,
        "state": replica.state.as_str(),
        "since_us": replica.since_us,
        "last_error": replica.last_error.as_ref().map(mishap),
        "agrees": replica.agrees,
        "breaker": replica.breaker,
        "connection": replica.connection,
        "expected_us": replica.expected_us,
        "in_flight": replica.in_flight,
        "restarts": replica.restarts,
        "pid": replica.pid,
        "credentials": credentials(replica, salt),
        "stderr": replica.stderr,
    });
    merge(&mut line, lately(&replica.lately));
    let why = replica.idle.as_ref().map(|idle| idle.why.as_str());
    merge(&mut line, about(&replica.state, why));
    line
}

/// Shows whether one has changed, and not what it is.
fn credentials(replica: &ReplicaStatus, salt: Option<&Salt>) -> Value {
    let of = |(at, value): &(String, Secret)| {
        Some((at.clone(), value.fingerprint(salt?).map(Value::from)?))
    };
    replica.credentials.iter().filter_map(of).collect::<serde_json::Map<_, _>>().into()
}

fn lately(lately: &Quantiles) -> Value {
    json!({ "calls": lately.calls, "p50_us": lately.p50_us, "p99_us": lately.p99_us })
}

/// `why` is there if something is not as it should be.
fn about(state: &State, why: Option<&str>) -> Value {
    let mut about = json!({});
    if let State::Ready(ready) = state {
        let (protocol, tools, problems) = (ready.protocol, ready.tools, &ready.problems);
        about = json!({ "protocol": protocol, "tools": tools, "problems": problems });
    }
    if let Some(why) = why {
        merge(&mut about, json!({ "why": why }));
    }
    about
}
