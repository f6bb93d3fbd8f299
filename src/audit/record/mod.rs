//! What is put on record, and its bytes.
//!
//! A record is rendered on the side of whoever reports it, straight into bytes, so that the writer
//! thread only counts, hashes and writes. Arguments, results, questions and answers appear as
//! commitment and length, never as content. Strings that others chose are escaped and cut to a
//! bound. Every record has `seq`, `prev`, `ts` and `kind`; the bytes of each kind are golden.

mod approvals;
mod keys;
mod line;
mod matter;
mod own;
mod pins;
mod repeated;

use std::time::Duration;

use bytes::Bytes;

pub(super) use line::{Rendered, hex_digits};

pub use approvals::ApprovalRecord;
pub use keys::KeyRecord;
pub use own::Own;
pub use pins::PinRecord;

use line::Line;

use crate::{
    audit::{Repeat, TurnedAway},
    config::Digests,
    domain::{CallId, Caller, DenyReason, Generation, Grounds, Kind, Matter, Outcome, ReplicaNo},
};

/// One thing that happened. Borrowed: it is rendered before the reporter goes on.
#[derive(Clone, Copy, Debug)]
pub enum Record<'a> {
    /// The service came up with this configuration.
    Started { version: &'a str, config: &'a Digests, generation: Generation },
    /// The service went down in order.
    Stopped { why: &'a str },
    /// Another configuration is about to take the place of the one that stands.
    Reloaded {
        who: &'a str,
        before: &'a Digests,
        config: &'a Digests,
        generation: Generation,
        /// Names of servers, with commas between them.
        added: &'a str,
        removed: &'a str,
        changed: &'a str,
    },
    /// A configuration was not taken; this generation stays.
    ReloadRefused {
        who: &'a str,
        /// Unless the file could not be read.
        config: Option<&'a Digests>,
        generation: Generation,
        why: &'a str,
    },
    /// Every gate agreed; it is about to be sent.
    Intent { matter: Matter<'a>, grounds: &'a Grounds },
    /// One replica did not receive it; it is about to be sent to another.
    Resent { call: CallId, from: ReplicaNo, to: ReplicaNo },
    /// What came of an intent.
    Outcome { call: CallId, outcome: Outcome, result: Option<&'a Bytes>, elapsed: Duration },
    /// A gate said no.
    Denied { matter: Matter<'a>, grounds: &'a Grounds, reason: DenyReason, told: &'a str },
    /// Refused before it could become a call: `asked` is the name as the caller wrote it.
    Refused { call: CallId, caller: &'a Caller, about: Kind, asked: &'a str, reason: DenyReason },
    /// Refused as the call `first` was, and for there being too many: so many that have no record
    /// of their own, since then.
    Repeated { what: &'a Repeat, first: CallId, count: u64, since: u64 },
    /// Requests that nothing was read of that could be a call, or that were none: so many of one
    /// kind, the first of them at `since`.
    TurnedAway { what: &'a TurnedAway, who: Option<&'a str>, count: u64, since: u64 },
    /// A step of the emergency stop.
    Latch { step: LatchStep, id: &'a str, scope: &'a str, who: &'a str, why: &'a str },
    /// Something about what servers define.
    Pins(PinRecord<'a>),
    /// Something about an approval.
    Approval(ApprovalRecord<'a>),
    /// Something about API keys.
    Keys(KeyRecord<'a>),
    /// What the log says of itself.
    Own(Own<'a>),
}

/// How far a stop has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatchStep {
    Engaged,
    /// The first of two steps back: nothing is sent yet.
    Reset,
    Resumed,
    /// It was only tried out, and how fast it was is what `why` says.
    Drilled,
}

/// How a record changes which calls are under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Begins(CallId),
    Ends(CallId),
}

impl Line {
    fn refused(&mut self, (about, asked): (Kind, &str), reason: DenyReason) {
        self.text("about", about.as_str());
        self.text("asked", asked);
        self.text("reason", reason.as_str());
    }

    fn turned_away(&mut self, what: &TurnedAway, who: Option<&str>) {
        self.text("door", what.door);
        self.text("at", what.at);
        if what.status != 0 {
            self.number("status", what.status.into());
        }
        self.text("reason", what.reason);
        if let Some(who) = who {
            self.text("principal", who);
        }
    }

    fn of(&mut self, who: &str, why: &str) {
        self.text("who", who);
        self.text("why", why);
    }

    fn counted(&mut self, count: u64, since: u64) {
        self.number("count", count);
        self.number("since", since);
    }
}

impl Record<'_> {
    /// The word in the record's `kind` member.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Stopped { .. } => "stopped",
            Self::Reloaded { .. } => "reloaded",
            Self::ReloadRefused { .. } => "reload_refused",
            Self::Intent { matter: Matter::Call(_), .. } => "intent",
            Self::Intent { matter: Matter::Questions(_), .. } => "questions",
            Self::Intent { matter: Matter::Wish(_), .. } => "watch",
            Self::Resent { .. } => "resent",
            Self::Outcome { .. } => "outcome",
            Self::Denied { .. } => "denied",
            Self::Refused { .. } => "refused",
            Self::Repeated { .. } => "repeated",
            Self::TurnedAway { .. } => "turned_away",
            Self::Latch { step: LatchStep::Engaged, .. } => "latch_engaged",
            Self::Latch { step: LatchStep::Reset, .. } => "latch_reset",
            Self::Latch { step: LatchStep::Resumed, .. } => "latch_resumed",
            Self::Latch { step: LatchStep::Drilled, .. } => "latch_drilled",
            Self::Pins(record) => record.kind(),
            Self::Approval(record) => record.kind(),
            Self::Keys(record) => record.kind(),
            Self::Own(own) => own.kind(),
        }
    }

    fn step(&self) -> Option<Step> {
        if let Self::Intent { matter: Matter::Call(call), .. } = self {
            return Some(Step::Begins(call.id));
        }
        if let Self::Outcome { call, .. } | Self::Own(Own::Orphaned { call }) = self {
            return Some(Step::Ends(*call));
        }
        None
    }

    /// The line but for `seq` and `prev`, which the writer adds.
    pub(super) fn render(&self, unix_micros: u64) -> Rendered {
        let mut line = Line::new();
        line.number("ts", unix_micros);
        line.text("kind", self.kind());
        match *self {
            Self::Started { version, config, generation } => {
                line.text("version", version);
                line.digests(config);
                line.number("generation", generation.0);
            }
            Self::Stopped { why } => line.text("why", why),
            Self::Reloaded { who, before, config, generation, added, removed, changed } => {
                line.text("who", who);
                line.hex("before_sha256", &before.file);
                line.hex("before_policies_sha256", &before.policies);
                line.digests(config);
                line.number("generation", generation.0);
                line.text("added", added);
                line.text("removed", removed);
                line.text("changed", changed);
            }
            Self::ReloadRefused { who, config, generation, why } => {
                config.into_iter().for_each(|config| line.digests(config));
                line.number("generation", generation.0);
                line.of(who, why);
            }
            Self::Intent { matter, grounds } => {
                line.matter(matter);
                line.grounds(grounds);
            }
            Self::Resent { call, from, to } => {
                line.id("call", call);
                line.number("from", from.0.into());
                line.number("to", to.0.into());
            }
            Self::Outcome { call, outcome, result, elapsed } => {
                line.outcome(call, outcome, elapsed);
                if let Some(result) = result {
                    line.commit(("result_commit", "result_bytes"), result);
                }
            }
            Self::Denied { matter, grounds, reason, told } => {
                line.matter(matter);
                line.grounds(grounds);
                line.text("reason", reason.as_str());
                line.text("told", told);
            }
            Self::Refused { call, caller, about, asked, reason } => {
                line.id("call", call);
                line.caller(caller);
                line.refused((about, asked), reason);
            }
            Self::Repeated { what, first, count, since } => {
                line.repeat(what, first);
                line.counted(count, since);
            }
            Self::TurnedAway { what, who, count, since } => {
                line.turned_away(what, who);
                line.counted(count, since);
            }
            Self::Latch { step: _, id, scope, who, why } => {
                line.text("stop", id);
                line.text("scope", scope);
                line.of(who, why);
            }
            Self::Pins(record) => line.pins(record),
            Self::Approval(record) => line.approval_record(record),
            Self::Keys(record) => line.key_record(record),
            Self::Own(own) => line.own(own),
        }
        line.finish(self.step())
    }
}
