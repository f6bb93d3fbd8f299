//! Reading what a server answers to one POST: a message, a few on lines, or a stream of events.
//!
//! Promises exactly one answer or a reason; every size is bounded; notices are handed on as they
//! come. A connection goes back to the pool only if its answer was read to the end. A legacy
//! stream that breaks off is taken up again after the last event id, if the server gave one.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response as HttpResponse, StatusCode, header::CONTENT_TYPE};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{sleep, timeout};

use super::{
    Asked, Progress,
    core::Core,
    line::{Line, Slot},
};
use crate::{
    domain::{
        CallError, Era, Sent,
        limits::{
            SSE_RETRY, SSE_RETRY_MAX, SSE_RETRY_MIN, UPSTREAM_MESSAGE_BYTES_MAX,
            UPSTREAM_RESUMES_MAX, UPSTREAM_STREAM_END_GRACE,
        },
    },
    upstream::{
        inbound::{Heard, MALFORMED, meant, understand},
        pace::Tab,
    },
    wire::{Body, Message, Response, SseEvent, SseReader, WireError, decode},
};

/// Reads the answer to `asked`, whose head is here.
pub(super) async fn read(
    core: &Arc<Core>,
    slot: &mut Slot,
    head: HttpResponse<Incoming>,
    asked: &Asked<'_>,
) -> Result<Response, CallError> {
    let status = head.status();
    if status.is_success() && is_stream(head.headers()) {
        return Stream::new(core, asked).read(slot, head.into_body()).await;
    }
    let body = read_whole(core, slot, head.into_body()).await?;
    match among_lines(core, asked, body) {
        Some(Err(malformed)) if status.is_success() || status == StatusCode::NOT_FOUND => {
            Err(malformed)
        }
        Some(Ok(answer)) if status.is_success() || matches!(answer.body, Body::Error(_)) => {
            Ok(answer)
        }
        Some(Ok(_) | Err(_)) | None => Err(refusal(status)),
    }
}

/// What an answer without a JSON-RPC message in it means.
fn refusal(status: StatusCode) -> CallError {
    let protocol = |what| CallError::Protocol { what };
    match status.as_u16() {
        200..=299 => protocol("the answer is no JSON-RPC response to the request"),
        300..=399 => protocol("it redirects, which is not followed"),
        401 | 403 => CallError::Unauthorised,
        408 | 425 | 429 | 500..=599 => CallError::Unavailable { sent: Sent::Yes },
        _ => NO_ANSWER,
    }
}

/// The request was refused, and what came with that is no answer to it.
pub(super) const NO_ANSWER: CallError =
    CallError::Protocol { what: "it refused the request without a JSON-RPC error" };

pub(super) fn is_stream(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = value.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("text/event-stream")
}

/// The next piece of a body; none at its end.
pub(super) async fn next_piece(
    line: &mut Line,
    body: &mut Incoming,
) -> Option<Result<Bytes, hyper::Error>> {
    loop {
        match line.along(body.frame()).await? {
            // Trailers say nothing to us.
            Ok(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Some(Ok(data));
                }
            }
            Err(error) => return Some(Err(error)),
        }
    }
}

/// Reads a body to its end and gives the connection back.
async fn read_whole(core: &Core, slot: &mut Slot, mut body: Incoming) -> Result<Bytes, CallError> {
    let broken = CallError::Unavailable { sent: Sent::Yes };
    let line = slot.line.as_mut().ok_or(broken)?;
    let mut whole = Bytes::new();
    let mut pieces = BytesMut::new();
    while let Some(piece) = next_piece(line, &mut body).await {
        let piece = piece.map_err(|_| broken)?;
        if whole.len() + pieces.len() + piece.len() > UPSTREAM_MESSAGE_BYTES_MAX {
            return Err(CallError::Protocol { what: "the answer is too long" });
        }
        if whole.is_empty() && pieces.is_empty() {
            whole = piece;
        } else {
            pieces.extend_from_slice(&std::mem::take(&mut whole));
            pieces.extend_from_slice(&piece);
        }
    }
    if let Some(line) = slot.line.take() {
        core.pool.check_in(line).await;
    }
    Ok(if pieces.is_empty() { whole } else { pieces.freeze() })
}

/// Reads a body that does not matter, within bounds, to keep its connection.
pub(super) async fn read_off(core: &Core, mut slot: Slot, body: Incoming) {
    let read = read_whole(core, &mut slot, body);
    // A body that does not end costs its connection, nothing else.
    timeout(UPSTREAM_STREAM_END_GRACE, read).await.ok();
}

/// The answer in a body that is one message, or several on lines of their own.
fn among_lines(
    core: &Arc<Core>,
    asked: &Asked<'_>,
    body: Bytes,
) -> Option<Result<Response, CallError>> {
    let error = match decode(body.clone(), UPSTREAM_MESSAGE_BYTES_MAX) {
        Ok(message) => return hear(core, asked, message, Source::Alone).map(Ok),
        Err(error) => error,
    };
    let mut answer = None;
    for line in body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
        match decode(body.slice_ref(line), UPSTREAM_MESSAGE_BYTES_MAX) {
            Ok(message) => {
                answer = answer.or(hear(core, asked, message, Source::Stream).map(Ok));
            }
            Err(error) => answer = answer.or(malformed(core, asked, line, &error).map(Err)),
        }
    }
    if answer.is_none() {
        tracing::debug!(server.id = %core.server, %error, "Answer was not understood");
    }
    // Also when it is written over several lines.
    answer.or_else(|| (meant(&body, &error) == Some(asked.id)).then_some(Err(MALFORMED)))
}

/// Counts what could not be decoded. If it was meant as the answer, there will be no other.
fn malformed(core: &Core, asked: &Asked<'_>, raw: &[u8], error: &WireError) -> Option<CallError> {
    core.counts.noise();
    (meant(raw, error) == Some(asked.id)).then_some(MALFORMED)
}

/// Where a message was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// It is the whole body: an error without an id can only mean this request.
    Alone,
    Stream,
}

/// Does what a message asks for, and returns it if it is the answer.
fn hear(core: &Arc<Core>, asked: &Asked<'_>, message: Message, source: Source) -> Option<Response> {
    core.counts.hear();
    match understand(message, &core.declared) {
        Heard::Answer { id, response } => {
            let nameless = response.id.is_none() && source == Source::Alone;
            if id == Some(asked.id) || nameless {
                return Some(response);
            }
            core.counts.stray();
        }
        Heard::Progress { id, notice }
            if id == Some(asked.id) && asked.progress == Progress::Wanted =>
        {
            core.forward(asked.notices, notice);
        }
        Heard::Progress { id, notice } => core.route(id, notice),
        // It came with the answer to this call, so it belongs to it.
        Heard::Log(notice) => match asked.notices {
            Some(_) => core.forward(asked.notices, notice),
            None => core.route(Some(asked.id), notice),
        },
        // Without anybody who attends nobody is told.
        Heard::News(news) => drop(core.news.send(news)),
        Heard::ListChanged => core.list_changed.send_modify(|n| *n += 1),
        Heard::Asked(question) => {
            if let Some(version) = asked.about.version {
                core.asked(Some(asked.id), question, version);
            }
        }
        Heard::Other => {}
    }
    None
}

/// An answer as a stream of events.
struct Stream<'a> {
    core: &'a Arc<Core>,
    asked: &'a Asked<'a>,
    reader: SseReader,
    last_id: Option<String>,
    retry: Duration,
    /// Resumptions since the last event.
    fruitless: usize,
    tab: Tab,
}

impl<'a> Stream<'a> {
    fn new(core: &'a Arc<Core>, asked: &'a Asked<'a>) -> Self {
        let reader = SseReader::new(UPSTREAM_MESSAGE_BYTES_MAX);
        let tab = Tab::default();
        Self { core, asked, reader, last_id: None, retry: SSE_RETRY, fruitless: 0, tab }
    }

    async fn read(mut self, slot: &mut Slot, body: Incoming) -> Result<Response, CallError> {
        let broken = CallError::Unavailable { sent: Sent::Yes };
        let mut body = body;
        loop {
            let line = slot.line.as_mut().ok_or(broken)?;
            let Some(Ok(piece)) = next_piece(line, &mut body).await else {
                body = Box::pin(self.resume(slot)).await?;
                continue;
            };
            self.reader.push(&piece);
            self.tab.came(piece.len());
            // The answer is the last thing that is read, and free.
            if let Some(answer) = self.take_events() {
                park(self.core, slot, body);
                return answer;
            }
            self.tab.pay(self.reader.n_waiting(), &self.core.unasked).await;
        }
    }

    fn take_events(&mut self) -> Option<Result<Response, CallError>> {
        while let Some(event) = self.reader.next() {
            self.tab.event(0);
            match event {
                Ok(event) => {
                    if let Some(answer) = self.take(event) {
                        return Some(answer);
                    }
                }
                Err(_) => self.core.counts.noise(),
            }
        }
        None
    }

    fn take(&mut self, event: SseEvent) -> Option<Result<Response, CallError>> {
        self.fruitless = 0;
        self.retry = event.retry.unwrap_or(self.retry).clamp(SSE_RETRY_MIN, SSE_RETRY_MAX);
        self.last_id = event.id.or_else(|| self.last_id.take());
        if event.data.is_empty() || event.event.is_some_and(|kind| kind != "message") {
            return None;
        }
        match decode(event.data.clone(), UPSTREAM_MESSAGE_BYTES_MAX) {
            Ok(message) => hear(self.core, self.asked, message, Source::Stream).map(Ok),
            Err(error) => malformed(self.core, self.asked, &event.data, &error).map(Err),
        }
    }

    /// A stream that ended without the answer is asked for again, after the last event seen.
    async fn resume(&mut self, slot: &mut Slot) -> Result<Incoming, CallError> {
        let broken = CallError::Unavailable { sent: Sent::Yes };
        slot.line = None;
        let version = self.asked.about.version.filter(|version| version.era() == Era::Legacy);
        let (Some(last_id), Some(version)) = (&self.last_id, version) else {
            return Err(broken);
        };
        self.reader = SseReader::new(UPSTREAM_MESSAGE_BYTES_MAX);
        while self.fruitless < UPSTREAM_RESUMES_MAX {
            self.fruitless += 1;
            sleep(self.retry).await;
            // Whatever becomes of it, the server has had the call: it is never posted again.
            let session = self.core.conversation.session();
            let again = self.core.open_stream(slot, version, session.as_ref(), Some(last_id)).await;
            match again {
                Ok(head) if head.status().is_success() && is_stream(head.headers()) => {
                    return Ok(head.into_body());
                }
                Ok(head) if !head.status().is_server_error() => return Err(broken),
                // It may be starting anew.
                Ok(_) | Err(_) => slot.line = None,
            }
        }
        Err(broken)
    }
}

/// What matters is here; the rest should end now. The caller does not wait for that.
pub(super) fn park(core: &Arc<Core>, slot: &mut Slot, body: Incoming) {
    let parked = Slot::holding(slot.line.take());
    let core_of_task = Arc::clone(core);
    let task = async move { read_off(&core_of_task, parked, body).await };
    // Without a turn the connection is closed instead of kept.
    core.tasks.run_errand(task).ok();
}
