//! What is measured without the labels of a tool, and the laps by which the gates are timed.
//!
//! All of it is made once for the process. Timing a stage costs a look at the clock and an
//! addition. Knows no names but those that the protocol and the gates have.

use std::{sync::LazyLock, time::Duration};

use metrics::{Counter, Histogram};
use tokio::time::Instant;

use super::{meter::OTHER, names, recorder::BOARD};
use crate::domain::{Kind, TaskStep, Transport};

/// The gates in their order, as far as they are timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Latch,
    Risk,
    /// Whether there is such a thing, as it was approved and is listed.
    Whitelist,
    Schema,
    Policy,
    Rate,
    Approval,
    /// The wait for the record of an intent.
    Audit,
}

/// What is measured without labels of a tool.
pub struct Meters {
    pub policy_overhead: Histogram,
    pub risk_score: Histogram,
    pub queue_wait: Histogram,
    pub estop_apply: Histogram,
    pub approval_wait: Histogram,
    pub audit_records: Counter,
    pub audit_lost: Counter,
    pub audit_append: Histogram,
    pub feed_lost: Counter,
    pub spans_lost: Counter,
    stages: [Histogram; Stage::ALL.len()],
    operations: [[Histogram; METHODS.len()]; 3],
}

/// The meters of the process.
pub fn meters() -> &'static Meters {
    static METERS: LazyLock<Meters> = LazyLock::new(Meters::new);
    &METERS
}

/// What is done one after the other, each timed from where the one before ended.
#[derive(Debug)]
pub struct Laps {
    first: Instant,
    last: Instant,
}

/// Hears that a stage is over.
pub trait Lap {
    fn lap(&mut self, stage: Stage);
}

pub(super) const TOOLS_CALL: &str = "tools/call";
/// The methods by which calls are made.
pub(super) const METHODS: [&str; 7] = [
    TOOLS_CALL,
    "prompts/get",
    "resources/read",
    "completion/complete",
    "tasks/get",
    "tasks/update",
    "tasks/cancel",
];

/// The method of a call of this kind.
pub fn method(kind: Kind) -> &'static str {
    METHODS.get(method_place(kind)).copied().unwrap_or(OTHER)
}

pub(super) fn method_place(kind: Kind) -> usize {
    match kind {
        Kind::Tool => 0,
        Kind::Prompt => 1,
        Kind::Resource => 2,
        Kind::PromptArgument | Kind::TemplateArgument => 3,
        Kind::Task(TaskStep::Get) => 4,
        Kind::Task(TaskStep::Update) => 5,
        Kind::Task(TaskStep::Cancel) => 6,
    }
}

impl Stage {
    pub const ALL: [Self; 8] = [
        Self::Latch,
        Self::Risk,
        Self::Whitelist,
        Self::Schema,
        Self::Policy,
        Self::Rate,
        Self::Approval,
        Self::Audit,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Latch => "latch",
            Self::Risk => "risk",
            Self::Whitelist => "whitelist",
            Self::Schema => "schema",
            Self::Policy => "policy",
            Self::Rate => "rate",
            Self::Approval => "approval",
            Self::Audit => "audit",
        }
    }
}

impl Meters {
    fn new() -> Self {
        let histogram = |metric| BOARD.histogram(metric, &[]);
        let operation = |transport: &Transport| {
            let network = network(*transport);
            METHODS.map(|method| BOARD.histogram(&names::SERVER_OPERATION, &[method, network]))
        };
        Self {
            policy_overhead: histogram(&names::POLICY_OVERHEAD),
            risk_score: histogram(&names::RISK_SCORE),
            queue_wait: histogram(&names::QUEUE_WAIT),
            estop_apply: histogram(&names::ESTOP_APPLY),
            approval_wait: histogram(&names::APPROVAL_WAIT),
            audit_records: BOARD.counter(&names::AUDIT_RECORDS, &[]),
            audit_lost: BOARD.counter(&names::AUDIT_LOST, &[]),
            audit_append: histogram(&names::AUDIT_APPEND),
            feed_lost: BOARD.counter(&names::FEED_LOST, &[]),
            spans_lost: BOARD.counter(&names::SPANS_LOST, &[]),
            stages: Stage::ALL.map(|stage| BOARD.histogram(&names::GATE_STAGE, &[stage.as_str()])),
            operations: TRANSPORTS.each_ref().map(operation),
        }
    }

    pub fn stage(&self, stage: Stage, took: Duration) {
        if let Some(histogram) = self.stages.get(stage as usize) {
            histogram.record(took);
        }
    }

    /// A client has its answer.
    pub fn operation(&self, (transport, kind): (Transport, Kind), took: Duration) {
        let of_transport = self.operations.get(transport_place(transport));
        if let Some(histogram) = of_transport.and_then(|all| all.get(method_place(kind))) {
            histogram.record(took);
        }
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meters")
    }
}

const TRANSPORTS: [Transport; 3] = [Transport::Http, Transport::Unix, Transport::Stdio];

pub(super) fn transport_place(transport: Transport) -> usize {
    match transport {
        Transport::Http => 0,
        Transport::Unix => 1,
        Transport::Stdio => 2,
    }
}

/// As the semantic conventions call it.
fn network(transport: Transport) -> &'static str {
    match transport {
        Transport::Http => "tcp",
        Transport::Unix => "unix",
        Transport::Stdio => "pipe",
    }
}

impl Laps {
    pub fn begin() -> Self {
        let now = Instant::now();
        Self { first: now, last: now }
    }

    /// The end of the last lap.
    pub fn now(&self) -> Instant {
        self.last
    }

    /// From the beginning to the end of the last lap.
    pub fn so_far(&self) -> Duration {
        self.last.saturating_duration_since(self.first)
    }
}

impl Lap for Laps {
    fn lap(&mut self, stage: Stage) {
        let now = Instant::now();
        meters().stage(stage, now.saturating_duration_since(self.last));
        self.last = now;
    }
}

/// Nobody wants to know.
impl Lap for () {
    fn lap(&mut self, _: Stage) {}
}
