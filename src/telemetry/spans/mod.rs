//! Spans of calls, for whoever collects traces.
//!
//! Owns the one queue between calls and their collector. Promises that a call never waits for it:
//! what finds it full is dropped and counted. While nobody collects, a call pays one look. What is
//! told of a call is what metrics and feed tell: never arguments, results, URIs or credentials.

#[cfg(feature = "otlp")]
mod otlp;

use std::{
    iter, mem,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    sync::mpsc::{Receiver, Sender, channel},
    time::{Instant, timeout_at},
};

#[cfg(feature = "otlp")]
pub use otlp::encode;

use super::{feed::shown, meters::meters};
use crate::domain::{
    CallId, Kind, ServerName, SpanId, TraceParent, Transport,
    limits::{SPANS_BATCH_MAX, SPANS_BATCH_WAIT, SPANS_QUEUE_MAX},
};

static COLLECTED: OnceLock<Sender<Span>> = OnceLock::new();

/// One step of a call that has ended.
#[derive(Clone, Debug)]
pub struct Span {
    /// Its own place in its trace.
    pub at: TraceParent,
    pub parent: Option<SpanId>,
    pub asked: Arc<Asked>,
    pub side: Side,
    pub began_us: u64,
    pub took: Duration,
    pub end: End,
}

/// What a call asked for.
#[cfg_attr(not(feature = "otlp"), expect(dead_code, reason = "read where spans are exported"))]
#[derive(Debug)]
pub struct Asked {
    call: CallId,
    kind: Kind,
    /// Of a tool or a prompt.
    name: Option<String>,
    transport: Transport,
}

/// Which part of a call it is.
#[derive(Clone, Debug)]
pub enum Side {
    /// From our client's request to its answer.
    Ours,
    /// What a server did for it, in however many attempts.
    Server(ServerName),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Well,
    /// The tool says that it failed.
    ToolError,
    /// A code of JSON-RPC, or a reason of ours.
    Error(String),
}

/// Spans on their way to a collector.
#[derive(Debug)]
pub struct Spans {
    queue: Receiver<Span>,
    /// Those that are waiting for others.
    batch: Vec<Span>,
}

impl Asked {
    /// None while nobody collects.
    pub fn of(call: CallId, (kind, name): (Kind, &str), transport: Transport) -> Option<Arc<Self>> {
        COLLECTED.get()?;
        Some(Arc::new(Self { call, kind, name: shown(kind, name), transport }))
    }
}

impl Span {
    pub fn tell(self) {
        let Some(queue) = COLLECTED.get() else { return };
        if queue.try_send(self).is_err() {
            meters().spans_lost.increment(1);
        }
    }
}

impl Spans {
    /// From now on spans are kept for the one who calls this first.
    pub fn collect() -> Option<Self> {
        let (sender, queue) = channel(SPANS_QUEUE_MAX);
        COLLECTED.set(sender).is_ok().then_some(Self { queue, batch: Vec::new() })
    }

    /// The next ones: as many as there are a while after the first. Nothing is lost when it is
    /// dropped.
    pub async fn batch(&mut self) -> Vec<Span> {
        if self.batch.is_empty() {
            self.queue.recv_many(&mut self.batch, SPANS_BATCH_MAX).await;
        }
        let end = Instant::now() + SPANS_BATCH_WAIT;
        while let Some(room) = SPANS_BATCH_MAX.checked_sub(self.batch.len()).filter(|n| *n > 0) {
            match timeout_at(end, self.queue.recv_many(&mut self.batch, room)).await {
                Ok(n) if n > 0 => {}
                Ok(_) | Err(_) => break,
            }
        }
        mem::take(&mut self.batch)
    }

    /// What has been told and not been taken.
    pub fn rest(&mut self) -> Vec<Span> {
        let mut rest = mem::take(&mut self.batch);
        rest.extend(iter::from_fn(|| self.queue.try_recv().ok()).take(SPANS_BATCH_MAX));
        rest
    }
}
