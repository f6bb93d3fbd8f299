//! Where a call stands in traces: its caller's, which goes on below us, and the spans we export.
//!
//! A caller's trace goes on as a step of ours, whether or not anybody collects. A trace of our own
//! is begun only for what is exported, and servers do not hear of it. What is dropped on the way
//! has been cancelled, and is told so.

use std::{num::NonZeroU64, sync::Arc};

use tokio::time::Instant;

use super::dispatch::{Answer, Ask};
use crate::{
    domain::{CallId, ServerName, SpanId, TraceParent},
    sys,
    telemetry::{Asked, End, Side, Span},
    wire::Body,
};

/// What one call says of itself in traces. In a box: few calls do, and all would carry it.
#[derive(Debug, Default)]
pub(super) struct Traced(Option<Box<Steps>>);

#[derive(Debug)]
struct Steps {
    /// Our step in the caller's trace or in our own.
    ours: TraceParent,
    /// What the server hears; a step below ours where that is told.
    onward: Option<TraceParent>,
    told: Option<Told>,
}

#[derive(Debug)]
struct Told {
    asked: Arc<Asked>,
    /// The span of the caller.
    parent: Option<SpanId>,
    /// The span of what the server does.
    below: TraceParent,
}

/// A step that is under way; told when it is dropped.
#[derive(Debug)]
pub(super) struct Open(Option<Box<(Span, Instant)>>);

impl Traced {
    /// Without randomness a call goes on untraced.
    pub(super) fn begin(id: CallId, ask: &Ask) -> Self {
        Self(Steps::begin(id, ask).map(Box::new))
    }

    /// In whose spans the lines of the log are.
    pub(super) fn ours(&self) -> Option<TraceParent> {
        self.0.as_ref().map(|steps| steps.ours)
    }

    pub(super) fn onward(&self) -> Option<TraceParent> {
        self.0.as_ref().and_then(|steps| steps.onward)
    }

    /// What we do for the caller.
    pub(super) fn serve(&self) -> Open {
        self.open(|ours, told| told.span((ours, told.parent), Side::Ours))
    }

    /// What a server does for us.
    pub(super) fn ask(&self, server: &ServerName) -> Open {
        self.open(|ours, told| {
            told.span((told.below, Some(ours.span_id())), Side::Server(server.clone()))
        })
    }

    fn open(&self, span: impl FnOnce(TraceParent, &Told) -> Span) -> Open {
        let steps = self.0.as_ref();
        let told = steps.and_then(|steps| Some((steps.ours, steps.told.as_ref()?)));
        Open(told.map(|(ours, told)| Box::new((span(ours, told), Instant::now()))))
    }
}

impl Steps {
    fn begin(id: CallId, ask: &Ask) -> Option<Self> {
        let parent = ask.params.trace_parent();
        let asked = Asked::of(id, (ask.params.kind(), ask.params.name()), ask.caller.transport);
        let asked = asked.filter(|_| parent.is_none_or(|parent| parent.is_sampled()));
        let Some(asked) = asked else {
            let ours = step(parent?)?;
            return Some(Self { ours, onward: Some(ours), told: None });
        };
        let ours = parent.map_or_else(begin, step)?;
        let below = step(ours)?;
        let onward = parent.map(|_| below);
        let parent = parent.map(|parent| parent.span_id());
        Some(Self { ours, onward, told: Some(Told { asked, parent, below }) })
    }
}

impl Told {
    fn span(&self, (at, parent): (TraceParent, Option<SpanId>), side: Side) -> Span {
        let end = End::Error("cancelled".to_owned());
        let (asked, began_us, took) = (self.asked.clone(), sys::unix_micros(), <_>::default());
        Span { at, parent, asked, side, began_us, took, end }
    }
}

impl Open {
    pub(super) fn end(mut self, end: impl FnOnce() -> End) {
        if let Some(open) = &mut self.0 {
            open.0.end = end();
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some((span, began)) = self.0.take().map(|open| *open) {
            Span { took: began.elapsed(), ..span }.tell();
        }
    }
}

/// How a call ended for its caller.
pub(super) fn end_of(answer: &Answer) -> End {
    let error = |what: &str| End::Error(what.to_owned());
    match answer {
        Answer::Reply(_, response) => end_of_body(&response.body),
        Answer::Asks { .. } | Answer::Task(_) => End::Well,
        Answer::LacksPages => error("pages_not_declared"),
        Answer::Unknown { .. } => error("unknown"),
        Answer::Refused { refusal, .. } => error(refusal.reason.as_str()),
        Answer::Failed { error: failed, .. } => error(failed.as_str()),
        Answer::Mismatch(_) => error("headers"),
    }
}

pub(super) fn end_of_body(body: &Body) -> End {
    match body {
        Body::Result(result) if result.peek("isError") == Some(b"true") => End::ToolError,
        Body::Result(_) => End::Well,
        Body::Error(error) => End::Error(error.integer("code").unwrap_or_default().to_string()),
    }
}

/// A trace of our own.
fn begin() -> Option<TraceParent> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).ok()?;
    TraceParent::begin(u128::from_ne_bytes(id), span_id()?)
}

/// A step of our own below `parent`.
fn step(parent: TraceParent) -> Option<TraceParent> {
    Some(parent.child(span_id()?))
}

fn span_id() -> Option<SpanId> {
    NonZeroU64::new(getrandom::u64().ok()?).map(SpanId)
}
