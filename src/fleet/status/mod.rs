//! How servers and their replicas are, for the operator.
//!
//! Puts together what others own, and decides one thing: what to call it. A server is ready only
//! if every replica takes calls; what does not comes with the reason, in words. Changes nothing.

pub(super) mod lately;

use std::iter;

use tokio::time::Instant;

use super::{
    health::breaker::Standing,
    keeper::Leaving,
    replica::{Mishap, Stage, State},
    roster::Roster,
    server::Server,
};
use crate::{
    config::Secret,
    domain::{Generation, ReplicaNo, ServerName},
    sys,
};
pub use lately::Quantiles;
use lately::Spread;

/// How one server is.
#[derive(Clone, Debug)]
pub struct ServerStatus {
    pub server: ServerName,
    /// Of its best replica.
    pub state: State,
    pub condition: Condition,
    /// In which it was started.
    pub generation: Generation,
    pub in_flight: usize,
    /// Calls that wait for a place.
    pub waiting: usize,
    /// What its calls took lately, on all replicas and in callers' own sessions.
    pub lately: Quantiles,
    /// Sessions that belong to one caller each, and the last lines of all of them.
    pub own_sessions: usize,
    pub own_stderr: Vec<String>,
    pub replicas: Vec<ReplicaStatus>,
}

/// What to call that, why, and since when.
#[derive(Clone, Debug)]
pub struct Condition {
    pub name: &'static str,
    pub since_us: u64,
    pub why: Option<String>,
}

/// How one replica is.
#[derive(Clone, Debug)]
pub struct ReplicaStatus {
    pub n: ReplicaNo,
    pub state: State,
    pub since_us: u64,
    /// Why it has no calls, and since when, if it has none.
    pub idle: Option<Mishap>,
    /// The last one, however long ago.
    pub last_error: Option<Mishap>,
    /// Whether it lists what its server is known for; if not, it has no calls.
    pub agrees: bool,
    pub breaker: &'static str,
    pub in_flight: usize,
    /// What a call is expected to take.
    pub expected_us: u64,
    pub lately: Quantiles,
    /// Counts the sessions that it has had.
    pub connection: u64,
    pub restarts: u64,
    pub pid: Option<u32>,
    /// With what it comes to its server, by where that goes. Never to be shown.
    pub credentials: Vec<(String, Secret)>,
    /// The last lines that it wrote to its standard error, in this life or before.
    pub stderr: Vec<String>,
}

/// A server of the generation that stands.
pub(super) fn standing(server: &Server, problems: impl Iterator<Item = String>) -> ServerStatus {
    let mut told = told(server);
    if let State::Ready(ready) = &mut told.state {
        ready.problems.extend(problems);
    }
    told
}

/// A server of an earlier one.
pub(super) fn leaving(leaving: &Leaving, roster: &Roster) -> ServerStatus {
    let Leaving { server, since_us } = leaving;
    let why = match roster.server(&server.config.name) {
        Some(next) => format!("replaced by the one of generation {}", next.generation),
        None => "no longer in servers.toml".to_owned(),
    };
    let condition = Condition { name: "draining", since_us: *since_us, why: Some(why) };
    ServerStatus { condition, ..told(server) }
}

fn told(server: &Server) -> ServerStatus {
    let (in_flight, waiting) = server.crowd();
    let replicas: Vec<_> = server.replicas.iter().map(|replica| replica.status()).collect();
    let (state, own) = (server.state(), &server.own_sessions);
    let all = server.replicas.iter().map(|replica| &replica.lately);
    let lately = Spread::of(all.chain(iter::once(&own.lately)), Instant::now()).quantiles();
    ServerStatus {
        server: server.config.name.clone(),
        condition: condition(&state, &replicas),
        state,
        generation: server.generation,
        in_flight,
        waiting,
        lately,
        own_sessions: own.len(),
        own_stderr: own.tail.read(),
        replicas,
    }
}

/// The server is as its best replica, and has been since the first of those was; but for one that
/// is ready and has replicas that take no calls.
fn condition(best: &State, replicas: &[ReplicaStatus]) -> Condition {
    let idle = || replicas.iter().filter_map(|replica| Some((replica.n, replica.idle.as_ref()?)));
    if let (State::Ready(_), Some((n, first))) = (best, idle().min_by_key(|(_, idle)| idle.at_us)) {
        let (n, n_idle, n_all) = (n.0, idle().count(), replicas.len());
        let why = match n_all {
            1 => first.why.clone(),
            _ => format!("{n_idle} of {n_all} replicas without calls; replica {n}: {}", first.why),
        };
        return Condition { name: "degraded", since_us: first.at_us, why: Some(why) };
    }
    let is_as_good = |replica: &&ReplicaStatus| replica.state.as_str() == best.as_str();
    let since_us = replicas.iter().filter(is_as_good).map(|replica| replica.since_us).min();
    let why = best.why().map(str::to_owned);
    Condition { name: best.as_str(), since_us: since_us.unwrap_or_default(), why }
}

/// Why a replica has no calls, if it has none.
pub(super) fn idle(
    stage: &Stage,
    differs_since_us: Option<u64>,
    ejected: Option<(Instant, Standing)>,
    now: Instant,
) -> Option<Mishap> {
    let since = |at_us: u64, why: &str| Some(Mishap { why: why.to_owned(), at_us });
    match &stage.state {
        State::Ready(_) => {}
        State::Starting => return since(stage.since_us, "it has never been ready yet"),
        State::Gone => return since(stage.since_us, "it has ended"),
        State::Backoff { why } | State::CrashLoop { why } => return since(stage.since_us, why),
    }
    if let Some(at_us) = differs_since_us {
        return since(at_us, "it lists other tools than its server is known for");
    }
    let (opened, standing) = ejected?;
    let ago = now.saturating_duration_since(opened).as_micros();
    let at_us = sys::unix_micros().saturating_sub(u64::try_from(ago).unwrap_or(u64::MAX));
    match standing {
        Standing::Closed | Standing::HalfOpen => None,
        Standing::Open { until } => {
            let rest = until.saturating_duration_since(now).as_secs().saturating_add(1);
            since(at_us, &format!("too many of its calls failed; it is tried again in {rest} s"))
        }
        Standing::Probed => since(at_us, "too many of its calls failed; one tries it"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Mishap, Stage, Standing, State, idle};
    use crate::fleet::replica::Ready;

    #[test]
    fn a_replica_without_calls_says_why_and_since_when() {
        let now = Instant::now() + Duration::from_secs(100);
        let ready = Ready { protocol: "2026-07-28", tools: 1, problems: Vec::new() };
        let stage = |state| Stage { state, since_us: 5, last_error: None };
        let well = stage(State::Ready(ready));
        let down = stage(State::Backoff { why: "it fell".to_owned() });
        let told = |stage: &Stage, differs, standing: Option<Standing>| {
            let ejected = standing.map(|standing| (now - Duration::from_secs(60), standing));
            idle(stage, differs, ejected, now)
        };
        let open = Some(Standing::Open { until: now + Duration::from_millis(29_500) });
        for standing in [None, Some(Standing::Closed), Some(Standing::HalfOpen)] {
            assert!(told(&well, None, standing).is_none());
        }
        let Mishap { why, at_us } = told(&down, Some(7), open).unwrap();
        assert_eq!((why.as_str(), at_us), ("it fell", 5));
        let Mishap { why, at_us } = told(&well, Some(7), open).unwrap();
        assert!(why.contains("other tools") && at_us == 7, "{why}");
        for (standing, what) in [(open, "in 30 s"), (Some(Standing::Probed), "one tries")] {
            let Mishap { why, at_us } = told(&well, None, standing).unwrap();
            let ago = crate::sys::unix_micros() - at_us;
            assert!(why.contains(what) && (60_000_000..70_000_000).contains(&ago), "{why} {ago}");
        }
        for state in [State::Starting, State::Gone] {
            assert!(told(&stage(state), None, None).is_some());
        }
    }
}
