//! The one table of metrics: name, what it is, its labels, and what it tells.
//!
//! Whoever records or shows one names a constant from here; a dashboard or an alert that names
//! another is found by a test. Base units throughout: seconds, bytes, ratios. Records nothing.

/// One family of series.
#[derive(Debug, PartialEq)]
pub struct Metric {
    pub name: &'static str,
    pub shape: Shape,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

/// What kind of a family it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shape {
    Counter,
    Gauge,
    /// With the upper bounds of its buckets, but for the last, which has none.
    Histogram(&'static [f64]),
}

/// As the semantic conventions for MCP have them.
const OPERATION_S: &[f64] =
    &[0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
/// What is done on the way of every call.
const STEP_S: &[f64] = &[
    0.000_001, 0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001,
    0.002_5, 0.005, 0.01, 0.05, 0.1, 1.0,
];
const DISK_S: &[f64] =
    &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0];
const PEOPLE_S: &[f64] = &[1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0];
/// The thresholds lie between them, wherever an operator puts those.
const POINTS: &[f64] = &[0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 45.0, 60.0, 75.0, 90.0, 100.0];

/// A row of the table each.
macro_rules! table {
    ($($id:ident = $name:literal $shape:expr, [$($label:literal),*], $help:literal;)*) => {
        $(pub const $id: Metric = Metric {
            name: $name, shape: $shape, labels: &[$($label),*], help: $help,
        };)*
        /// All of them, in the order in which they are shown.
        pub const ALL: &[&Metric] = &[$(&$id),*];
    };
}

use Shape::{Counter, Gauge, Histogram};

table! {
    CALLS = "portcullis_calls_total" Counter,
        ["server", "tool", "transport", "decision", "outcome"],
        "Calls by what was decided and what came of them; of a refusal, outcome is the reason.";
    SERVER_OPERATION = "mcp_server_operation_duration_seconds" Histogram(OPERATION_S),
        ["mcp_method_name", "network_transport"],
        "From a client's request to its answer, refusals included.";
    CLIENT_OPERATION = "mcp_client_operation_duration_seconds" Histogram(OPERATION_S),
        ["mcp_method_name", "server"],
        "From an admitted call to its outcome: the wait for a place, and the server.";
    POLICY_OVERHEAD = "portcullis_policy_overhead_seconds" Histogram(STEP_S), [],
        "What all gates together took to decide on a call, without writing it down.";
    GATE_STAGE = "portcullis_gate_stage_seconds" Histogram(STEP_S), ["stage"],
        "What one gate took for a call; audit is the wait for its record.";
    RISK_SCORE = "portcullis_risk_score" Histogram(POINTS), [],
        "Points of the calls that were weighed.";
    SERVER_STATE = "portcullis_server_state" Gauge, ["server", "state"],
        "1 for the state that a server is in, 0 for the others.";
    SERVER_RESTARTS = "portcullis_server_restarts_total" Counter, ["server"],
        "Starts of a server's replicas after their first.";
    INFLIGHT = "portcullis_inflight" Gauge, ["server"],
        "Calls that a server has now.";
    WAITING = "portcullis_waiting" Gauge, ["server"],
        "Calls that wait for a place at a server now.";
    QUEUE_WAIT = "portcullis_queue_wait_seconds" Histogram(OPERATION_S), [],
        "How long calls waited for a place; those that found one at once are not in it.";
    EJECTIONS = "portcullis_replica_ejections_total" Counter, ["server"],
        "Replicas that got no calls for a while because too many of theirs had failed.";
    ESTOP_ENGAGED = "portcullis_estop_engaged" Gauge, ["scope"],
        "Emergency stops in force, by the kind of what they stop.";
    ESTOP_APPLY = "portcullis_estop_apply_seconds" Histogram(STEP_S), [],
        "From an engagement to the moment when nothing is sent and processes were told to end.";
    APPROVALS_PENDING = "portcullis_approvals_pending" Gauge, [],
        "Calls that wait for somebody's approval.";
    APPROVALS_OLDEST = "portcullis_approvals_oldest_seconds" Gauge, [],
        "How long the oldest of them has waited; 0 if none does.";
    APPROVAL_WAIT = "portcullis_approval_wait_seconds" Histogram(PEOPLE_S), [],
        "How long calls waited until somebody decided on them.";
    AUDIT_RECORDS = "portcullis_audit_records_total" Counter, [],
        "Records written to the audit log.";
    AUDIT_LOST = "portcullis_audit_records_lost_total" Counter, [],
        "Records that the audit log did not take.";
    AUDIT_APPEND = "portcullis_audit_append_seconds" Histogram(DISK_S), [],
        "What writing one batch of records took, with its sync to disk.";
    AUDIT_HEALTHY = "portcullis_audit_healthy" Gauge, [],
        "1 while the audit log takes records; without it every call is refused.";
    RELOAD_SUCCESSFUL = "portcullis_config_last_reload_successful" Gauge, [],
        "1 if the last reload was taken, or there was none; 0 if it was refused.";
    RELOADS = "portcullis_config_reloads_total" Counter, ["result"],
        "Reloads that were applied or refused.";
    REVISION = "portcullis_config_revision_info" Gauge, ["generation", "sha256", "policies_sha256"],
        "1, with what runs: the generation, and the first digits of the digests of its files.";
    SESSIONS = "portcullis_sessions" Gauge, [],
        "Sessions of legacy clients that are open.";
    FEED_LOST = "portcullis_feed_events_lost_total" Counter, [],
        "Events of the feed of calls that a viewer was too slow for.";
    SPANS_LOST = "portcullis_spans_lost_total" Counter, [],
        "Spans that no collector took in time.";
    BUILD = "portcullis_build_info" Gauge, ["version"],
        "1, with the version that runs.";
    PIDS = "portcullis_pids" Gauge, [],
        "Processes and threads in the gateway's cgroup, its servers included.";
    PIDS_MAX = "portcullis_pids_max" Gauge, [],
        "How many the cgroup may hold; missing if it is not limited.";
    CPU = "process_cpu_seconds_total" Counter, [],
        "CPU that the gateway itself has used, in seconds.";
    RESIDENT = "process_resident_memory_bytes" Gauge, [],
        "Memory of the gateway itself that is resident.";
    VIRTUAL = "process_virtual_memory_bytes" Gauge, [],
        "Memory that it has mapped.";
    FDS = "process_open_fds" Gauge, [],
        "File descriptors that it has open.";
    FDS_MAX = "process_max_fds" Gauge, [],
        "File descriptors that it may have open.";
    THREADS = "process_threads" Gauge, [],
        "Threads that it has.";
    STARTED = "process_start_time_seconds" Gauge, [],
        "When it was started, in seconds since 1970.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{ALL, Shape};

    #[test]
    fn every_metric_has_a_name_of_the_house_help_and_rising_buckets() {
        let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len(), "each once");
        for metric in ALL {
            let name = metric.name;
            let ours = ["portcullis_", "process_", "mcp_"];
            assert!(ours.iter().any(|prefix| name.starts_with(prefix)), "{name}");
            assert!(metric.help.ends_with('.') && metric.help.len() > 10, "{name}");
            let is_total = name.ends_with("_total");
            match metric.shape {
                Shape::Counter => assert!(is_total, "{name}"),
                Shape::Gauge => assert!(!is_total, "{name}"),
                Shape::Histogram(bounds) => {
                    assert!(!is_total && bounds.is_sorted_by(|a, b| a < b), "{name}");
                }
            }
        }
    }
}
