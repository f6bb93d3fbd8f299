//! What can be asked of the emergency stop, whoever carries the question.
//!
//! Engaging is easy: all that it needs is somebody who may speak here. Lifting names the stop's id
//! and takes two steps, unless the operator wants one. Each word is on record with who said it.
//! Waits a moment for disk and processes, so it is asked where waiting harms nobody. Knows no
//! connection.

mod door;
mod heart;

use std::{
    fmt,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use http::{HeaderMap, Method, StatusCode, header};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

pub use door::open_door;
pub use heart::Heart;

use super::reload::merge;
use crate::{
    domain::limits::{ESTOP_DRILL_MAX, ESTOP_SAVED_WAIT},
    front::reject::Porter,
    gate::{Book, Category, Cause, Engaged, Gate, LiftError, Phase, Scope, Stop},
    sys,
};

pub(super) const STATE: &str = "/admin/estop";
pub(super) const RESET: &str = "/admin/estop/reset";
pub(super) const RESUME: &str = "/admin/estop/resume";
pub(super) const DRILL: &str = "/admin/estop/drill";
pub(super) const HEARTBEAT: &str = "/admin/estop/heartbeat";

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Status,
    Engage,
    Reset,
    Resume,
    Drill,
    Heartbeat,
}

/// Who answers.
pub struct Desk {
    gate: Gate,
    auto_resume: bool,
    heart: Option<Arc<Heart>>,
    /// Whether a process is left of what is stopped.
    has_processes: Box<dyn Fn() -> bool + Send + Sync>,
    token: [u8; 32],
}

/// Why it was not done.
type Refused = (StatusCode, String);

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

/// What is stopped for it has to be said.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Drill {
    scope: String,
    #[serde(default)]
    category: Category,
}

impl Word {
    pub(super) fn of(path: &str, method: &Method) -> Option<Self> {
        match (path, method) {
            (STATE, &Method::GET) => Some(Self::Status),
            (STATE, &Method::POST) => Some(Self::Engage),
            (RESET, &Method::POST) => Some(Self::Reset),
            (RESUME, &Method::POST) => Some(Self::Resume),
            (DRILL, &Method::POST) => Some(Self::Drill),
            (HEARTBEAT, &Method::POST) => Some(Self::Heartbeat),
            _ => None,
        }
    }
}

impl Desk {
    /// `token` is where the word is kept by which requests over TCP are told from others'; it is
    /// made if there is none.
    pub fn new(
        gate: Gate,
        token: &Path,
        (auto_resume, heart): (bool, Option<Arc<Heart>>),
        has_processes: impl Fn() -> bool + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let word = sys::secret_word(token)?;
        let (token, has_processes) = (Sha256::digest(word).into(), Box::new(has_processes));
        Ok(Self { gate, auto_resume, heart, has_processes, token })
    }

    pub(super) fn porter(&self) -> Porter {
        Porter::new("stop", self.gate.audit().refusals())
    }

    /// Whether a request carries the token.
    pub(super) fn knows(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let word = given.and_then(|value| value.strip_prefix("Bearer "));
        // Of digests, how far they agree tells nobody anything.
        word.is_some_and(|word| <[u8; 32]>::from(Sha256::digest(word)) == self.token)
    }

    /// Does what is asked, and says how it stands then or why it was not done.
    pub(super) fn answer(&self, who: &str, word: Word, body: &[u8]) -> (StatusCode, Value) {
        let done = match word {
            Word::Status => Ok(told(&self.gate)),
            Word::Engage => read(body).and_then(|engage| self.engage(who, engage)),
            Word::Reset => read(body).and_then(|reset| self.reset(who, &reset)),
            Word::Resume => read(body).and_then(|Resume { id }| self.resume(who, &id)),
            Word::Drill => read(body).and_then(|drill| self.drill(who, &drill)),
            Word::Heartbeat => self.beat(),
        };
        done.map_or_else(
            |(status, why)| (status, json!({ "error": why })),
            |told| (StatusCode::OK, told),
        )
    }

    fn engage(&self, who: &str, engage: Engage) -> Result<Value, Refused> {
        let Engage { reason, scope, category } = engage;
        let why = if reason.is_empty() { "admin request" } else { &reason };
        self.gate.engage(Cause::new(who, why).of(parse(&scope)?).by(category));
        let is_saved = self.gate.latch().saved(ESTOP_SAVED_WAIT);
        let mut told = told(&self.gate);
        merge(&mut told, json!({ "saved": is_saved }));
        Ok(told)
    }

    fn reset(&self, who: &str, Reset { id, reason }: &Reset) -> Result<Value, Refused> {
        self.gate.reset(id, reason, who).map_err(refused)?;
        if self.auto_resume {
            return self.resume(who, id);
        }
        Ok(told(&self.gate))
    }

    fn resume(&self, who: &str, id: &str) -> Result<Value, Refused> {
        self.gate.resume(id, who).map_err(refused)?;
        Ok(told(&self.gate))
    }

    /// The stop in earnest, measured, and taken back at once.
    fn drill(&self, who: &str, Drill { scope, category }: &Drill) -> Result<Value, Refused> {
        let scope = parse(scope)?;
        if !self.gate.latch().book().is_clear() {
            let why = "something is stopped already; lift it before a drill".to_owned();
            return Err((StatusCode::CONFLICT, why));
        }
        let begun = Instant::now();
        let engaged = self.gate.engage(Cause::new(who, "drill").of(scope).by(*category));
        let engaged_in = begun.elapsed();
        let Engaged::Now(stop) = engaged else {
            let why = "somebody stopped it at the same moment; this is no drill".to_owned();
            return Err((StatusCode::CONFLICT, why));
        };
        let is_saved = self.gate.latch().saved(ESTOP_DRILL_MAX);
        let saved_in = begun.elapsed();
        while (self.has_processes)() && begun.elapsed() < ESTOP_DRILL_MAX {
            thread::sleep(Duration::from_millis(1));
        }
        let gone_in = begun.elapsed();
        let is_gone = !(self.has_processes)();
        let figures = json!({
            "engaged_us": micros(engaged_in),
            "saved_us": is_saved.then(|| micros(saved_in)),
            "processes_gone_us": is_gone.then(|| micros(gone_in)),
        });
        self.gate.record_drill(&stop, who, &figures.to_string());
        self.gate.reset(&stop.id, "drill over", who).map_err(refused)?;
        self.gate.resume(&stop.id, who).map_err(refused)?;
        let mut told = told(&self.gate);
        merge(&mut told, json!({ "drill": figures }));
        Ok(told)
    }

    fn beat(&self) -> Result<Value, Refused> {
        let none = || (StatusCode::CONFLICT, "no heartbeat is expected: see [stop]".to_owned());
        self.heart.as_ref().ok_or_else(none)?.beat();
        Ok(told(&self.gate))
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("auto_resume", &self.auto_resume).finish_non_exhaustive()
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn parse(scope: &str) -> Result<Scope, Refused> {
    scope.parse().map_err(|error| (StatusCode::BAD_REQUEST, format!("{error}")))
}

fn everything() -> String {
    Scope::Global.to_string()
}

fn refused(error: LiftError) -> Refused {
    (StatusCode::CONFLICT, error.to_string())
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
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
        merge(&mut told, stop(first));
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
