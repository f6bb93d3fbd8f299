//! Every answer in one table: what happened, and what the application is told.
//!
//! Replies of a server pass through with the caller's id; refusals and failures get the codes of
//! the design's table, always with `callId`, `sent` and `reason`, so that a caller knows whether
//! it may try again. Nothing here reveals whether a hidden tool exists.

mod porter;

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

pub(super) use porter::{Porter, as_told, because, of, word};

use super::dispatch::Answer;
use crate::{
    domain::{ApprovalId, CallError, CallId, DenyReason, Era, ExposedName, Kind, Refusal, Sent},
    wire::{
        Body, Caching, ErrorObject, Frame, RequestId, Version, code, encode_error,
        encode_own_result, encode_result, relay_error,
    },
};

/// Our own codes; outside the range that JSON-RPC and MCP keep for themselves.
const STOPPED: i64 = -31001;
pub(super) const UNAVAILABLE: i64 = -31002;
pub(super) const BUSY: i64 = -31003;
const DEADLINE: i64 = -31004;
const AUDIT: i64 = -31005;
const PROTOCOL: i64 = -31006;
const INTERNAL: i64 = -32603;
/// Legacy only.
const RESOURCE_NOT_FOUND: i64 = -32002;

const UNKNOWN_TASK: &str = "Unknown task: no such id was given to this caller since the gateway \
    was started; the call has to be made again";

/// How long a caller should wait before it tries again.
const RETRY_UNAVAILABLE_MS: u64 = 1_000;
const RETRY_BUSY_MS: u64 = 100;

/// One JSON-RPC response and the HTTP status that goes with it.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) frame: Frame,
    pub(super) status: StatusCode,
    /// Why it is refused, unless the audit knows.
    pub(super) refused: Option<&'static str>,
}

impl Reply {
    pub(super) fn ok(frame: Frame) -> Self {
        Self { frame, status: StatusCode::OK, refused: None }
    }

    pub(super) fn error(to: Version, id: Option<&RequestId>, error: &ErrorObject) -> Self {
        let refused = Some(word(error.code));
        Self { frame: encode_error(id, error), status: status(to, error.code), refused }
    }
}

/// The table. Whatever a call has come to, it is on record.
pub(super) fn reply(to: Version, id: &RequestId, answer: Answer) -> Reply {
    Reply { refused: None, ..reply_of(to, id, answer) }
}

fn reply_of(to: Version, id: &RequestId, answer: Answer) -> Reply {
    match answer {
        Answer::Reply(kind, response) => match response.body {
            Body::Result(result) => Reply::ok(encode_result(to, id, &result, caching(kind))),
            Body::Error(error) => Reply {
                status: status(to, error.integer("code").unwrap_or_default()),
                frame: relay_error(to, id, &error),
                refused: None,
            },
        },
        Answer::Asks { asked, .. } => {
            Reply::ok(encode_result(to, id, asked.hand_out().result(), Caching::Never))
        }
        Answer::LacksPages => Reply::error(to, Some(id), &ErrorObject::pages_not_declared()),
        Answer::Task(told) => Reply::ok(encode_result(to, id, &told, Caching::Never)),
        Answer::Unknown { kind, name } => Reply::error(to, Some(id), &unknown(to, kind, &name)),
        Answer::Refused { id: call, kind, refusal } => refused(to, id, (call, kind), refusal),
        Answer::Failed { id: call, error } => Reply::error(to, Some(id), &failed(call, error)),
        Answer::Mismatch(mismatch) => Reply::error(to, Some(id), &mismatch.into()),
    }
}

fn caching(kind: Kind) -> Caching {
    match kind {
        Kind::Resource => Caching::Hinted,
        Kind::Tool
        | Kind::Prompt
        | Kind::PromptArgument
        | Kind::TemplateArgument
        | Kind::Task(_) => Caching::Never,
    }
}

/// The one sentence for what does not exist and for what is hidden.
fn unknown(to: Version, kind: Kind, name: &str) -> ErrorObject {
    let named = |what: &str| {
        let shown = ExposedName::parse(name);
        let shown = shown.map_or_else(|error| error.to_string(), |name| name.to_string());
        ErrorObject::new(code::INVALID_PARAMS, format!("Unknown {what}: {shown}"))
    };
    match kind {
        Kind::Tool => named("tool"),
        Kind::Prompt | Kind::PromptArgument => named("prompt"),
        Kind::Task(_) => ErrorObject::new(code::INVALID_PARAMS, UNKNOWN_TASK),
        Kind::Resource | Kind::TemplateArgument => {
            let code = match to.era() {
                Era::Modern => code::INVALID_PARAMS,
                Era::Legacy => RESOURCE_NOT_FOUND,
            };
            let data = Some(json!({ "uri": name }).to_string().into());
            ErrorObject { code, message: "Resource not found".to_owned(), data }
        }
    }
}

fn refused(to: Version, id: &RequestId, (call, kind): (CallId, Kind), refusal: Refusal) -> Reply {
    let Refusal { reason, told, retry, approval } = refusal;
    let error = |code, message, retry_ms| {
        Reply::error(
            to,
            Some(id),
            &answer(call, code, message, (reason.as_str(), Sent::No, retry_ms)),
        )
    };
    match reason {
        DenyReason::Stopped => error(STOPPED, told, None),
        // Worded as `Answer::Mismatch`, which names the header.
        DenyReason::Headers => error(code::HEADER_MISMATCH, told, None),
        DenyReason::State => error(code::INVALID_PARAMS, told, None),
        // Such an answer is `Unknown`; and if it ever were not, this says no more.
        DenyReason::NotListed | DenyReason::Pin | DenyReason::Unknown | DenyReason::OutOfScope => {
            Reply::error(to, Some(id), &ErrorObject::new(code::INVALID_PARAMS, told))
        }
        // Only the result of a tool can say that it is an error.
        DenyReason::Schema
        | DenyReason::Policy
        | DenyReason::Risk
        | DenyReason::Held
        | DenyReason::Approval => match kind {
            Kind::Tool => Reply::ok(told_as_result(to, id, call, (reason, &told, approval))),
            Kind::Prompt
            | Kind::Resource
            | Kind::PromptArgument
            | Kind::TemplateArgument
            | Kind::Task(_) => error(code::INVALID_PARAMS, told, None),
        },
        DenyReason::AuditUnavailable => error(AUDIT, told, Some(RETRY_UNAVAILABLE_MS)),
        DenyReason::Overloaded => error(BUSY, told, Some(RETRY_BUSY_MS)),
        DenyReason::Rate => error(BUSY, told, retry.map(millis)),
        DenyReason::Internal => error(INTERNAL, told, None),
    }
}

/// No sooner than that.
fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

/// A refusal that the model may read and react to.
fn told_as_result(
    to: Version,
    id: &RequestId,
    call: CallId,
    (reason, told, approval): (DenyReason, &str, Option<ApprovalId>),
) -> Frame {
    let mut meta =
        json!({ "portcullis/callId": call.to_string(), "portcullis/reason": reason.as_str() });
    if let (Some(id), Some(meta)) = (approval, meta.as_object_mut()) {
        meta.insert("portcullis/approval".to_owned(), id.to_string().into());
    }
    let mut result = json!({
        "content": [{ "type": "text", "text": told }],
        "isError": true,
        "_meta": meta,
    });
    if let (Era::Modern, Some(result)) = (to.era(), result.as_object_mut()) {
        result.insert("resultType".to_owned(), "complete".into());
    }
    encode_own_result(id, &result.to_string())
}

fn failed(call: CallId, error: CallError) -> ErrorObject {
    let (code, retry_ms) = match error {
        CallError::Stopped { .. } => (STOPPED, None),
        CallError::Unavailable { .. } => (UNAVAILABLE, Some(RETRY_UNAVAILABLE_MS)),
        CallError::Unauthorised => (UNAVAILABLE, None),
        CallError::Busy | CallError::Crowded | CallError::Queued => (BUSY, Some(RETRY_BUSY_MS)),
        CallError::Deadline { .. } => (DEADLINE, None),
        CallError::Protocol { .. } => (PROTOCOL, None),
        CallError::Cancelled { .. } => (code::INTERNAL, None),
        CallError::Withheld { reason } => withheld(reason),
    };
    answer(call, code, error.to_string(), (error.as_str(), error.sent(), retry_ms))
}

fn withheld(reason: DenyReason) -> (i64, Option<u64>) {
    match reason {
        DenyReason::Stopped => (STOPPED, None),
        DenyReason::AuditUnavailable => (AUDIT, Some(RETRY_UNAVAILABLE_MS)),
        DenyReason::NotListed
        | DenyReason::Pin
        | DenyReason::Unknown
        | DenyReason::OutOfScope
        | DenyReason::Headers
        | DenyReason::State
        | DenyReason::Schema
        | DenyReason::Policy
        | DenyReason::Risk
        | DenyReason::Held
        | DenyReason::Approval
        | DenyReason::Rate
        | DenyReason::Overloaded
        | DenyReason::Internal => (INTERNAL, None),
    }
}

fn answer(
    call: CallId,
    code: i64,
    message: String,
    (reason, sent, retry_ms): (&str, Sent, Option<u64>),
) -> ErrorObject {
    let mut data = json!({ "callId": call.to_string(), "sent": sent.as_str(), "reason": reason });
    if let (Some(ms), Some(data)) = (retry_ms, data.as_object_mut()) {
        data.insert("retryAfterMs".to_owned(), ms.into());
    }
    ErrorObject { code, message, data: Some(data.to_string().into()) }
}

/// Modern requests carry some JSON-RPC errors in the HTTP status; legacy ones are 200 always.
fn status(to: Version, code: i64) -> StatusCode {
    match (to.era(), code) {
        (Era::Legacy, _) => StatusCode::OK,
        (Era::Modern, code::METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
        (
            Era::Modern,
            code::PARSE_ERROR
            | code::INVALID_REQUEST
            | code::HEADER_MISMATCH
            | code::MISSING_CAPABILITY
            | code::UNSUPPORTED_VERSION,
        ) => StatusCode::BAD_REQUEST,
        (Era::Modern, _) => StatusCode::OK,
    }
}
