//! The handles with which the calls of a tool are counted and timed.
//!
//! They are made when a server lists it, or is made itself; what a call adds is an addition. A name
//! becomes a label only when a server of ours lists it, and only so many of each server do: the
//! rest, and whatever nobody listed, is `other`.

use std::{
    array,
    collections::HashMap,
    sync::{LazyLock, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use metrics::{Counter, Histogram};

use super::{
    meters::{METHODS, TOOLS_CALL, method, method_place, transport_place},
    names,
    recorder::BOARD,
};
use crate::domain::{
    CallError, DenyReason, Kind, Outcome, ServerName, Transport,
    limits::{METRIC_LABEL_CHARS_MAX, METRIC_SERVERS_MAX, METRIC_TOOLS_PER_SERVER_MAX},
};

/// The label of whatever has none of its own.
pub(super) const OTHER: &str = "other";

/// The series of one tool of one server, or of another kind of call to it. Cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Meter(&'static Series);

/// Kept for good: there is a bounded number of them.
struct Series {
    server: String,
    tool: String,
    method: &'static str,
    /// By transport, and then by what was decided and came of it.
    ends: [OnceLock<Box<[OnceLock<Counter>]>>; 3],
    took: OnceLock<Histogram>,
}

/// Where a server counts calls that are not of a tool that it lists.
#[derive(Clone, Copy, Debug)]
pub struct KindMeters([Meter; METHODS.len()]);

impl KindMeters {
    pub fn of(server: &ServerName) -> Self {
        Self::named(server.as_str())
    }

    fn named(server: &str) -> Self {
        let tool = |method| if method == TOOLS_CALL { OTHER } else { method };
        Self(METHODS.map(|method| Meter::find(server, tool(method), method)))
    }

    pub fn get(&self, kind: Kind) -> Meter {
        let [first, ..] = self.0;
        self.0.get(method_place(kind)).copied().unwrap_or(first)
    }
}

/// Counts how often replicas of a server got no calls because too many had failed.
pub fn ejections(server: &ServerName) -> Counter {
    BOARD.counter(&names::EJECTIONS, &[&label(server.as_str())])
}

type Registry = HashMap<String, HashMap<String, Meter>>;

static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(Mutex::default);

impl Meter {
    /// Of a tool that the server lists.
    pub fn of_tool(server: &ServerName, tool: &str) -> Self {
        Self::find(server.as_str(), &label(tool), method(Kind::Tool))
    }

    /// Of calls of this kind to a server, as far as they are not of a tool that it lists.
    pub fn of_kind(server: &ServerName, kind: Kind) -> Self {
        KindMeters::of(server).get(kind)
    }

    /// Of what is no server's.
    pub fn unknown(kind: Kind) -> Self {
        static UNKNOWN: LazyLock<KindMeters> = LazyLock::new(|| KindMeters::named(OTHER));
        UNKNOWN.get(kind)
    }

    fn find(server: &str, tool: &str, method: &'static str) -> Self {
        let server = label(server);
        let mut servers = REGISTRY.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = servers.len() >= METRIC_SERVERS_MAX && !servers.contains_key(&server);
        let server = if is_full { OTHER.to_owned() } else { server };
        let tools = servers.entry(server.clone()).or_default();
        let is_full = tools.len() >= METRIC_TOOLS_PER_SERVER_MAX && !tools.contains_key(tool);
        // What is no tool has a name of ours.
        let tool = if is_full && method == TOOLS_CALL { OTHER } else { tool };
        *tools.entry(tool.to_owned()).or_insert_with(|| {
            let tool = tool.to_owned();
            let ends = array::from_fn(|_| OnceLock::new());
            Self(Box::leak(Box::new(Series { server, tool, method, ends, took: OnceLock::new() })))
        })
    }

    /// The call was refused.
    pub fn refused(self, transport: Transport, reason: DenyReason) {
        self.count(transport, reason as usize);
    }

    /// An admitted call came to its end.
    pub fn ended(self, transport: Transport, outcome: Outcome, took: Duration) {
        self.count(transport, DenyReason::ALL.len() + outcome_place(outcome));
        let Series { server, method, took: histogram, .. } = self.0;
        let make = || BOARD.histogram(&names::CLIENT_OPERATION, &[*method, server.as_str()]);
        histogram.get_or_init(make).record(took);
    }

    fn count(self, transport: Transport, end: usize) {
        let n_ends = DenyReason::ALL.len() + OUTCOMES.len();
        let ends = self.0.ends.get(transport_place(transport)).map(|of_transport| {
            of_transport.get_or_init(|| (0..n_ends).map(|_| OnceLock::new()).collect())
        });
        if let Some(counter) = ends.and_then(|ends| ends.get(end)) {
            counter.get_or_init(|| self.register(transport, end)).increment(1);
        }
    }

    fn register(self, transport: Transport, end: usize) -> Counter {
        let (decision, outcome) = match DenyReason::ALL.get(end) {
            Some(DenyReason::Held) => ("hold", DenyReason::Held.as_str()),
            Some(reason) => ("deny", reason.as_str()),
            None => {
                let outcome = OUTCOMES.get(end.saturating_sub(DenyReason::ALL.len()));
                ("allow", outcome.copied().unwrap_or(OTHER))
            }
        };
        let Series { server, tool, .. } = self.0;
        BOARD.counter(&names::CALLS, &[server, tool, transport.as_str(), decision, outcome])
    }
}

impl std::fmt::Debug for Series {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.server, self.tool)
    }
}

const OUTCOMES: [&str; 13] = [
    "answered",
    "task",
    "server_error",
    "stopped",
    "unavailable",
    "queue_full",
    "crowded",
    "queue_timeout",
    "deadline",
    "protocol",
    "upstream_unauthorised",
    "cancelled",
    "withheld",
];

fn outcome_place(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Answered => 0,
        Outcome::TaskBegun => 1,
        Outcome::ServerError => 2,
        Outcome::Failed(error) => match error {
            CallError::Stopped { .. } => 3,
            CallError::Unavailable { .. } => 4,
            CallError::Busy => 5,
            CallError::Crowded => 6,
            CallError::Queued => 7,
            CallError::Deadline { .. } => 8,
            CallError::Protocol { .. } => 9,
            CallError::Unauthorised => 10,
            CallError::Cancelled { .. } => 11,
            CallError::Withheld { .. } => 12,
        },
    }
}

fn label(name: &str) -> String {
    name.chars().take(METRIC_LABEL_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BOARD, Meter, OUTCOMES, names, outcome_place};
    use crate::{
        domain::{
            CallError, DenyReason, Kind, Outcome, Sent, ServerName, Transport,
            limits::METRIC_TOOLS_PER_SERVER_MAX,
        },
        telemetry::recorder::Series,
    };

    /// The calls of one server: tool, decision, outcome, how often.
    fn calls(server: &str) -> Vec<(String, String, String, u64)> {
        let all = BOARD.family(&names::CALLS).into_iter().filter_map(|(labels, series)| {
            let [of, tool, _, decision, outcome] =
                labels.into_iter().map(|(_, value)| value).collect::<Vec<_>>().try_into().ok()?;
            let Series::Counter(count) = series else { return None };
            (of == server).then(|| (tool, decision, outcome, count.read()))
        });
        all.collect()
    }

    #[test]
    fn a_server_that_lists_ten_thousand_tools_has_no_more_series_than_its_share() {
        let server = ServerName::parse("hoarder").unwrap();
        for n in 0..10_000 {
            let long = format!("tool{n}{}", "x".repeat(1000));
            Meter::of_tool(&server, &long).refused(Transport::Http, DenyReason::Policy);
        }
        Meter::of_kind(&server, Kind::Prompt).refused(Transport::Http, DenyReason::Held);
        let calls = calls("hoarder");
        assert_eq!(calls.len(), METRIC_TOOLS_PER_SERVER_MAX + 2);
        assert!(calls.iter().all(|(tool, ..)| tool.len() <= 64));
        let n: u64 = calls.iter().map(|(.., n)| n).sum();
        assert_eq!(n, 10_001);
        let rest = 10_000 - u64::try_from(METRIC_TOOLS_PER_SERVER_MAX).unwrap();
        let other = ("other".to_owned(), "deny".to_owned(), "policy".to_owned(), rest);
        let held = ("prompts/get".to_owned(), "hold".to_owned(), "held".to_owned(), 1);
        assert!(calls.contains(&other) && calls.contains(&held));
    }

    #[test]
    fn every_end_of_a_call_has_a_series_of_its_own() {
        let server = ServerName::parse("ends").unwrap();
        let sent = Sent::No;
        let errors = [
            CallError::Stopped { sent },
            CallError::Unavailable { sent },
            CallError::Busy,
            CallError::Crowded,
            CallError::Queued,
            CallError::Deadline { sent },
            CallError::Protocol { what: "x" },
            CallError::Unauthorised,
            CallError::Cancelled { sent },
        ];
        let meter = Meter::of_tool(&server, "t");
        for error in errors {
            assert_eq!(OUTCOMES[outcome_place(Outcome::Failed(error))], error.as_str());
            meter.ended(Transport::Stdio, Outcome::Failed(error), Duration::ZERO);
        }
        let others = [Outcome::Answered, Outcome::TaskBegun, Outcome::ServerError];
        let withheld = Outcome::Failed(CallError::Withheld { reason: DenyReason::Policy });
        for outcome in others.into_iter().chain([withheld]) {
            meter.ended(Transport::Stdio, outcome, Duration::ZERO);
        }
        DenyReason::ALL.iter().for_each(|reason| meter.refused(Transport::Stdio, *reason));
        let calls = calls("ends");
        assert_eq!(calls.len(), OUTCOMES.len() + DenyReason::ALL.len());
        assert!(calls.iter().all(|(.., n)| *n == 1), "{calls:?}");
        for reason in DenyReason::ALL {
            let found = calls.iter().find(|(_, decision, outcome, _)| {
                decision != "allow" && outcome == reason.as_str()
            });
            let (_, decision, ..) = found.unwrap();
            assert_eq!(decision == "hold", reason == DenyReason::Held, "{reason}");
        }
    }
}
