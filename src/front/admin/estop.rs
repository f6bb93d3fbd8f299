//! What can be asked of the emergency stop, whoever carries the question.
//!
//! Engaging is easy: all that it needs is somebody who may speak here. Lifting names the stop's id
//! and takes two steps. Each word is on record with who said it. Blocks for a moment where the
//! disk is told; knows no connection.

use http::{Method, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::gate::{Book, Category, Cause, Gate, LiftError, Phase, Scope, Stop};

pub(super) const STATE: &str = "/admin/estop";
pub(super) const RESET: &str = "/admin/estop/reset";
pub(super) const RESUME: &str = "/admin/estop/resume";

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Status,
    Engage,
    Reset,
    Resume,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Engage {
    #[serde(default)]
    reason: String,
    #[serde(default = "everything")]
    scope: String,
    #[serde(default)]
    category: Category,
}

/// Names the stop, so that nobody lifts one he has not seen.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reset {
    id: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resume {
    id: String,
}

impl Word {
    pub(super) fn of(path: &str, method: &Method) -> Option<Self> {
        match (path, method) {
            (STATE, &Method::GET) => Some(Self::Status),
            (STATE, &Method::POST) => Some(Self::Engage),
            (RESET, &Method::POST) => Some(Self::Reset),
            (RESUME, &Method::POST) => Some(Self::Resume),
            _ => None,
        }
    }
}

pub(super) fn allowed(path: &str) -> &'static str {
    if path == STATE { "GET, POST" } else { "POST" }
}

/// Does what is asked, and says how it stands then or why it was not done.
pub(super) fn answer(gate: &Gate, who: &str, word: Word, body: &[u8]) -> (StatusCode, Value) {
    let done = match word {
        Word::Status => Ok(()),
        Word::Engage => read(body).and_then(|engage| press(gate, who, engage)),
        Word::Reset => read(body).and_then(|Reset { id, reason }| {
            gate.reset(&id, &reason, who).map(drop).map_err(lift_error)
        }),
        Word::Resume => {
            read(body).and_then(|Resume { id }| gate.resume(&id, who).map(drop).map_err(lift_error))
        }
    };
    match done {
        Ok(()) => (StatusCode::OK, told(gate)),
        Err((status, why)) => (status, json!({ "error": why })),
    }
}

fn press(gate: &Gate, who: &str, engage: Engage) -> Result<(), (StatusCode, String)> {
    let Engage { reason, scope, category } = engage;
    let scope: Scope =
        scope.parse().map_err(|error| (StatusCode::BAD_REQUEST, format!("{error}")))?;
    let why = if reason.is_empty() { "admin request" } else { &reason };
    gate.engage(Cause::new(who, why).of(scope).by(category));
    Ok(())
}

fn everything() -> String {
    Scope::Global.to_string()
}

fn lift_error(error: LiftError) -> (StatusCode, String) {
    (StatusCode::CONFLICT, error.to_string())
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, (StatusCode, String)> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| {
        (StatusCode::BAD_REQUEST, format!("the body is not what this request takes: {error}"))
    })
}

/// The latch as the operator sees it: every stop, and first what stops most.
pub(super) fn told(gate: &Gate) -> Value {
    let book = gate.latch().book();
    let first = book.global().or(book.stops.first());
    let mut told = json!({
        "engaged": !book.is_clear(),
        "state": state(&book),
        "stops": book.stops.iter().map(stop).collect::<Vec<_>>(),
    });
    if let Some(first) = first {
        super::reload::merge(&mut told, stop(first));
    }
    told
}

fn state(book: &Book) -> &'static str {
    let is_stopped = book.stops.iter().any(|stop| stop.phase == Phase::Stopped);
    match (book.is_clear(), is_stopped) {
        (true, _) => "running",
        (false, true) => "stopped",
        (false, false) => "ready",
    }
}

fn stop(stop: &Stop) -> Value {
    json!({
        "id": stop.id,
        "scope": stop.scope.to_string(),
        "category": stop.category.number(),
        "phase": stop.phase,
        "who": stop.who,
        "why": stop.why,
        "at_us": stop.at_us,
    })
}
