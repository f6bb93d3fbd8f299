//! Reloads as the operator asks for them and is told of them.
//!
//! The work is done by one task of the room above; here are its mailbox and what it last said.
//! A request waits for its answer however long the reload takes. Decides nothing.

use std::sync::Arc;

use http::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    config::{Change, Colour, ConfigErrors, Difference, Digests, Finding},
    domain::{
        Generation, ServerName,
        limits::{RELOAD_MISTAKES_MAX, RELOADS_WAITING_MAX},
    },
    front::http::{Body, plain},
};

/// What is asked of the task that reloads.
#[derive(Debug)]
pub enum ReloadAsk {
    /// Take what the file says now.
    Reload { who: String, told: oneshot::Sender<Arc<Reloaded>> },
    /// Say what a reload would do.
    Plan { told: oneshot::Sender<Result<Difference, ConfigErrors>> },
}

/// The end of one reload.
#[derive(Debug)]
pub struct Reloaded {
    pub at_us: u64,
    pub who: String,
    pub result: Result<Applied, Refused>,
}

#[derive(Debug)]
pub struct Applied {
    /// The one that stands now.
    pub generation: Generation,
    /// Whether it is a new one.
    pub published: bool,
    pub difference: Difference,
    /// New and changed servers that are not ready, and why.
    pub down: Vec<(ServerName, String)>,
}

/// Why what stood before still stands.
#[derive(Debug)]
pub enum Refused {
    File(ConfigErrors),
    /// It could not be put on record.
    Audit(String),
}

/// What is running, as the reloads have left it.
#[derive(Clone, Debug)]
pub struct Standing {
    pub generation: Generation,
    pub since_us: u64,
    /// Of the configuration that runs.
    pub digest: Digests,
    /// Of the file that was last looked at, taken or not; `None` if it could not be read.
    pub seen: Option<Digests>,
    pub applied: u64,
    pub refused: u64,
    pub last: Option<Arc<Reloaded>>,
}

impl Standing {
    /// What the gateway was started with.
    pub fn first(generation: Generation, digest: Digests, since_us: u64) -> Self {
        let (seen, applied, refused, last) = (Some(digest), 0, 0, None);
        Self { generation, since_us, digest, seen, applied, refused, last }
    }

    /// How a reload ended; `digest` is that of what runs now.
    pub fn note(&mut self, done: &Arc<Reloaded>, digest: Digests) {
        match &done.result {
            Ok(applied) if applied.published => {
                self.applied = self.applied.saturating_add(1);
                (self.generation, self.since_us) = (applied.generation, done.at_us);
            }
            Ok(_) => {}
            Err(_) => self.refused = self.refused.saturating_add(1),
        }
        self.digest = digest;
        self.last = Some(done.clone());
    }
}

/// The handle on the task that reloads.
#[derive(Clone, Debug)]
pub struct Reloads {
    asks: mpsc::Sender<ReloadAsk>,
    standing: watch::Receiver<Standing>,
}

/// Nobody takes requests: too many wait, or the gateway is ending.
#[derive(Debug)]
pub struct NotTaken;

impl Reloads {
    /// The handle, and what the task itself needs.
    pub fn new(first: Standing) -> (Self, mpsc::Receiver<ReloadAsk>, watch::Sender<Standing>) {
        let (asks, inbox) = mpsc::channel(RELOADS_WAITING_MAX);
        let (tell, standing) = watch::channel(first);
        (Self { asks, standing }, inbox, tell)
    }

    pub fn standing(&self) -> Standing {
        self.standing.borrow().clone()
    }

    /// Asks for a reload; the answer may be waited for or not.
    pub fn ask(&self, who: String) -> Result<oneshot::Receiver<Arc<Reloaded>>, NotTaken> {
        let (told, answer) = oneshot::channel();
        self.asks.try_send(ReloadAsk::Reload { who, told }).map_err(|_| NotTaken)?;
        Ok(answer)
    }

    async fn plan(&self) -> Result<Result<Difference, ConfigErrors>, NotTaken> {
        let (told, answer) = oneshot::channel();
        self.asks.try_send(ReloadAsk::Plan { told }).map_err(|_| NotTaken)?;
        answer.await.map_err(|_| NotTaken)
    }
}

/// `POST /admin/reload`: answers when it is done, or refused.
pub(super) async fn reload(reloads: &Reloads, who: &str) -> Response<Body> {
    let Ok(answer) = reloads.ask(who.to_owned()) else { return not_taken() };
    let Ok(reloaded) = answer.await else { return not_taken() };
    let status = if reloaded.result.is_ok() { StatusCode::OK } else { StatusCode::CONFLICT };
    let mut told = end(&reloaded);
    if let (Some(told), Err(Refused::File(errors))) = (told.as_object_mut(), &reloaded.result) {
        told.insert("text".to_owned(), errors.render(Colour::Never).into());
    }
    super::told(status, &told)
}

/// `GET /admin/diff`.
pub(super) async fn diff(reloads: &Reloads) -> Response<Body> {
    match reloads.plan().await {
        Ok(Ok(difference)) => super::told(StatusCode::OK, &differing(&difference)),
        Ok(Err(errors)) => {
            let mut told = errors.to_json();
            if let Some(told) = told.as_object_mut() {
                told.insert("text".to_owned(), errors.render(Colour::Never).into());
            }
            super::told(StatusCode::CONFLICT, &told)
        }
        Err(NotTaken) => not_taken(),
    }
}

fn not_taken() -> Response<Body> {
    plain(StatusCode::SERVICE_UNAVAILABLE, "too many reloads wait, or the gateway is ending")
}

/// What runs and how the last reload went, for the status.
pub(super) fn standing(reloads: &Reloads) -> Value {
    let standing = reloads.standing();
    json!({
        "generation": standing.generation.0,
        "since_us": standing.since_us,
        "sha256": hex(&standing.digest.file),
        "policies_sha256": hex(&standing.digest.policies),
        "reloads": { "applied": standing.applied, "refused": standing.refused },
        "last_reload": standing.last.as_deref().map(end),
    })
}

fn end(reloaded: &Reloaded) -> Value {
    let mut told = json!({ "at_us": reloaded.at_us, "who": reloaded.who });
    let more = match &reloaded.result {
        Ok(applied) => {
            let down: Vec<_> = applied.down.iter().map(down).collect();
            let mut more = differing(&applied.difference);
            let fields = json!({
                "result": if applied.published { "applied" } else { "unchanged" },
                "generation": applied.generation.0,
                "down": down,
            });
            merge(&mut more, fields);
            more
        }
        Err(Refused::File(errors)) => {
            let first = errors.errors.iter().take(RELOAD_MISTAKES_MAX);
            let first: Vec<_> = first.map(Finding::to_json).collect();
            json!({
                "result": "refused",
                "error": match errors.errors.len() {
                    1 => "the configuration has a mistake".to_owned(),
                    n => format!("the configuration has {n} mistakes"),
                },
                "errors": first,
            })
        }
        Err(Refused::Audit(why)) => json!({ "result": "refused", "error": why, "errors": [] }),
    };
    merge(&mut told, more);
    told
}

fn down((server, why): &(ServerName, String)) -> Value {
    json!({ "server": server.as_str(), "why": why })
}

fn differing(difference: &Difference) -> Value {
    let names = |names: &[ServerName]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let changed = |change: &Change| {
        json!({
            "server": change.server.as_str(), "keys": change.keys, "replaced": change.replaced,
        })
    };
    json!({
        "added": names(&difference.added),
        "removed": names(&difference.removed),
        "changed": difference.changed.iter().map(changed).collect::<Vec<_>>(),
        "unchanged": difference.unchanged,
        "policies": difference.policies,
    })
}

pub(super) fn merge(into: &mut Value, more: Value) {
    if let (Some(into), Value::Object(more)) = (into.as_object_mut(), more) {
        into.extend(more);
    }
}

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
