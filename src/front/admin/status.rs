//! `/ready` and the status: may traffic come, and how every server is.
//!
//! Ready means that the stop is clear, the audit can write and no server is in its first start.
//! A server that is down does not make the endpoint unready: the others serve.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::reload;
use crate::{
    fleet::{ReplicaStatus, ServerStatus, State},
    front::{
        Front,
        http::{Body, json as json_response},
    },
    gate::LatchState,
    wire::List,
};

/// 200, or 503 with the reasons.
pub(in crate::front) fn ready(front: &Front) -> Response<Body> {
    let reasons = reasons(front);
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let servers: Value = front
        .fleet
        .status()
        .iter()
        .map(|server| (server.server.to_string(), Value::from(server.state.as_str())))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let body = json!({ "ready": reasons.is_empty(), "reasons": reasons, "servers": servers });
    json_response(status, Body::text(format!("{body}\n")))
}

fn reasons(front: &Front) -> Vec<String> {
    let mut reasons = Vec::new();
    if front.gate.latch().epoch().is_err() {
        reasons.push("the emergency stop is engaged".to_owned());
    }
    if !front.gate.is_recording() {
        reasons.push("the audit cannot write".to_owned());
    }
    if front.drain.is_cancelled() {
        reasons.push("shutting down".to_owned());
    }
    let starting = front.fleet.status();
    let starting = starting.iter().filter(|server| matches!(server.state, State::Starting));
    reasons.extend(starting.map(|server| format!("server `{}` is starting", server.server)));
    reasons
}

/// Everything an operator asks first, as JSON.
pub(super) fn status(front: &Front) -> Value {
    let snapshot = front.publisher.load();
    let servers: Vec<Value> = front.fleet.status().iter().map(server).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "endpoint": front.endpoint.get(),
        "generation": snapshot.generation.0,
        "config": reload::standing(&front.reloads),
        "stop": stop(front),
        "audit": { "healthy": front.gate.is_recording() },
        "tools": snapshot.catalog.len(List::Tools),
        "prompts": snapshot.catalog.len(List::Prompts),
        "resources": snapshot.catalog.len(List::Resources),
        "sessions": front.sessions.len(),
        "in_flight": front.limits.in_flight - front.in_flight.available_permits(),
        "servers": servers,
    })
}

/// The latch as the operator sees it.
pub(super) fn stop(front: &Front) -> Value {
    match front.gate.latch().state() {
        LatchState::Clear => json!({ "engaged": false }),
        LatchState::Engaged(stop) => json!({
            "engaged": true, "id": stop.id, "who": stop.who, "why": stop.why, "at_us": stop.at_us,
        }),
    }
}

fn server(server: &ServerStatus) -> Value {
    let mut line = json!({
        "name": server.server.as_str(),
        "state": server.state.as_str(),
        "in_flight": server.in_flight,
        "waiting": server.waiting,
        "restarts": server.replicas.iter().map(|replica| replica.restarts).sum::<u64>(),
        "stderr": server.replicas.iter().flat_map(|replica| &replica.stderr).collect::<Vec<_>>(),
        "replicas": server.replicas.iter().map(replica).collect::<Vec<_>>(),
    });
    extend(&mut line, about(&server.state));
    line
}

fn replica(replica: &ReplicaStatus) -> Value {
    let mut line = json!({
        "n": replica.n.0,
        "state": replica.state.as_str(),
        "agrees": replica.agrees,
        "breaker": replica.breaker,
        "latency_us": replica.latency_us,
        "in_flight": replica.in_flight,
        "restarts": replica.restarts,
        "pid": replica.pid,
        "stderr": replica.stderr,
    });
    extend(&mut line, about(&replica.state));
    line
}

fn about(state: &State) -> Value {
    match state {
        State::Ready(ready) => json!({
            "protocol": ready.protocol, "tools": ready.tools, "problems": ready.problems,
        }),
        State::Backoff { why } | State::CrashLoop { why } => json!({ "why": why }),
        State::Starting | State::Gone => json!({}),
    }
}

fn extend(line: &mut Value, more: Value) {
    if let (Some(line), Value::Object(more)) = (line.as_object_mut(), more) {
        line.extend(more);
    }
}
