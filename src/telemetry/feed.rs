//! The feed of calls: what is decided, and what comes of it, told to whoever watches just now.
//!
//! Promises that a call never waits for who watches: whoever is too slow loses the oldest events,
//! and is told how many. While nobody watches, a call pays one look at a number. Arguments are
//! never in it, nor URIs, which callers choose freely. The record is the audit; this is a view.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::sync::broadcast::{self, error::RecvError};

use super::meters::{meters, method};
use crate::domain::{
    Call, CallId, Caller, DenyReason, Kind, Outcome, Verdict,
    limits::{FEED_EVENTS_MAX, FEED_VIEWERS_MAX, METRIC_LABEL_CHARS_MAX},
};

/// The feed of the process.
static FEED: LazyLock<Feed> = LazyLock::new(Feed::new);

struct Feed {
    viewers: AtomicUsize,
    tell: broadcast::Sender<Arc<Event>>,
}

/// A call that somebody sees.
#[derive(Clone, Debug)]
pub struct Seen {
    call: CallId,
    caller: Arc<Caller>,
    server: Option<String>,
    kind: Kind,
    /// Of a tool or a prompt.
    name: Option<String>,
}

/// One thing that happened.
#[derive(Debug)]
struct Event {
    at_us: u64,
    seen: Seen,
    what: What,
}

#[derive(Debug)]
enum What {
    Decided { reason: Option<DenyReason>, risk: Option<u8> },
    Ended { outcome: Outcome, took: Duration },
}

/// Somebody who watches; leaves when dropped.
#[derive(Debug)]
pub struct Viewer(broadcast::Receiver<Arc<Event>>);

impl Feed {
    fn new() -> Self {
        Self { viewers: AtomicUsize::new(0), tell: broadcast::Sender::new(FEED_EVENTS_MAX) }
    }

    fn is_watched(&self) -> bool {
        self.viewers.load(Relaxed) > 0
    }
}

impl Seen {
    /// Of a call that is judged; none while nobody watches.
    pub fn call(call: &Call) -> Option<Box<Self>> {
        FEED.is_watched().then(|| {
            let (kind, name) = (call.subject.kind(), call.subject.as_str());
            Box::new(Self {
                call: call.id,
                caller: call.caller.clone(),
                server: Some(call.server.to_string()),
                kind,
                name: shown(kind, name),
            })
        })
    }

    /// Of what never became a call, by the name that was asked for.
    pub fn asked(call: CallId, caller: &Caller, (kind, name): (Kind, &str)) -> Option<Box<Self>> {
        FEED.is_watched().then(|| {
            let caller = Arc::new(caller.clone());
            Box::new(Self { call, caller, server: None, kind, name: shown(kind, name) })
        })
    }

    pub fn decided(&self, at_us: u64, verdict: &Verdict, risk: Option<u8>) {
        let reason = match verdict {
            Verdict::Allow => None,
            Verdict::Hold => Some(DenyReason::Held),
            Verdict::Deny(refusal) => Some(refusal.reason),
        };
        self.tell(at_us, What::Decided { reason, risk });
    }

    pub fn refused(&self, at_us: u64, reason: DenyReason) {
        self.tell(at_us, What::Decided { reason: Some(reason), risk: None });
    }

    pub fn ended(&self, at_us: u64, outcome: Outcome, took: Duration) {
        self.tell(at_us, What::Ended { outcome, took });
    }

    fn tell(&self, at_us: u64, what: What) {
        // Nobody may be there any more.
        FEED.tell.send(Arc::new(Event { at_us, seen: self.clone(), what })).unwrap_or_default();
    }
}

/// What the caller chose freely is not shown; a name that it made up is short.
pub(super) fn shown(kind: Kind, name: &str) -> Option<String> {
    match kind {
        Kind::Tool | Kind::Prompt | Kind::PromptArgument => {
            Some(name.chars().take(METRIC_LABEL_CHARS_MAX).collect())
        }
        Kind::Resource | Kind::TemplateArgument | Kind::Task(_) => None,
    }
}

impl Viewer {
    /// None if too many watch already.
    pub fn new() -> Option<Self> {
        let more = |n: usize| (n < FEED_VIEWERS_MAX).then(|| n.saturating_add(1));
        FEED.viewers.fetch_update(Relaxed, Relaxed, more).ok()?;
        Some(Self(FEED.tell.subscribe()))
    }

    /// What happened next, as JSON; or how many things did that this viewer was too slow for.
    pub async fn next(&mut self) -> Value {
        match self.0.recv().await {
            Ok(event) => event.to_json(),
            Err(RecvError::Lagged(n)) => {
                meters().feed_lost.increment(n);
                json!({ "event": "lost", "lost": n })
            }
            // The sender lives as long as the process.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        FEED.viewers.fetch_sub(1, Relaxed);
    }
}

impl Event {
    fn to_json(&self) -> Value {
        let Self { at_us, seen: Seen { call, caller, server, kind, name }, what } = self;
        let mut told = json!({
            "at_us": at_us,
            "call": call.to_string(),
            "principal": caller.principal.as_str(),
            "client": caller.client.as_ref(),
            "transport": caller.transport.as_str(),
            "server": server,
            "method": method(*kind),
            "name": name,
        });
        let more = match what {
            What::Decided { reason, risk } => json!({
                "event": "decision",
                "verdict": match reason {
                    None => "allow",
                    Some(DenyReason::Held) => "hold",
                    Some(_) => "deny",
                },
                "reason": reason.map(DenyReason::as_str),
                "risk": risk,
            }),
            What::Ended { outcome, took } => json!({
                "event": "outcome",
                "outcome": match outcome {
                    Outcome::Answered => "answered",
                    Outcome::TaskBegun => "task",
                    Outcome::ServerError => "server_error",
                    Outcome::Failed(error) => error.as_str(),
                },
                "duration_us": u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            }),
        };
        if let (Some(told), Value::Object(more)) = (told.as_object_mut(), more) {
            told.extend(more);
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use std::{iter, sync::Arc, time::Duration};

    use super::{FEED_EVENTS_MAX, FEED_VIEWERS_MAX, Seen, Viewer};
    use crate::domain::{
        CallIds, Caller, DenyReason, Era, Kind, Nonce, Outcome, Principal, Transport,
    };

    fn caller() -> Caller {
        Caller {
            principal: Principal::new("ann"),
            client: Arc::from("it"),
            conversation: None,
            era: Era::Modern,
            transport: Transport::Http,
        }
    }

    /// One test: the feed is one for the process.
    #[tokio::test]
    async fn who_is_too_slow_is_told_how_much_he_lost_and_nobody_waits_for_him() {
        let id = CallIds::new(Nonce(1)).next(1);
        let seen = |kind, name| Seen::asked(id, &caller(), (kind, name));
        assert!(seen(Kind::Tool, "t").is_none(), "nobody watches");
        let mut slow = Viewer::new().unwrap();
        let secret = seen(Kind::Resource, "file:///secret").unwrap();
        secret.refused(1, DenyReason::Unknown);
        let told = slow.next().await;
        assert_eq!((&told["verdict"], &told["reason"]), (&"deny".into(), &"unknown".into()));
        assert!(!told.to_string().contains("secret"), "{told}");

        let one = seen(Kind::Tool, &"x".repeat(1000)).unwrap();
        for n in 0..2 * FEED_EVENTS_MAX {
            one.ended(u64::try_from(n).unwrap(), Outcome::Answered, Duration::from_micros(7));
        }
        let lost = slow.next().await;
        assert_eq!(lost["event"], "lost");
        let n_lost = usize::try_from(lost["lost"].as_u64().unwrap()).unwrap();
        assert!(n_lost >= FEED_EVENTS_MAX, "{lost}");
        let next = slow.next().await;
        assert_eq!(next["at_us"], n_lost, "the oldest that is left: {next}");
        assert_eq!((&next["outcome"], &next["duration_us"]), (&"answered".into(), &7.into()));
        assert_eq!(next["name"].as_str().unwrap().len(), 64);

        let others: Vec<Viewer> = iter::from_fn(Viewer::new).collect();
        assert_eq!(others.len(), FEED_VIEWERS_MAX - 1);
        drop(slow);
        assert!(Viewer::new().is_some());
    }
}
