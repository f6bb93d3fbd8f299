//! Who tells the audit of requests that were turned away before they were calls.
//!
//! A response says by `because` why it is a refusal; one that says nothing is judged by its status.
//! What the road of a call refused is on record already, call by call, and is not told again. Every
//! response of every door passes here, so that no refusal is left out by whoever words it.

use http::{Response, StatusCode};

use super::Reply;
use crate::{
    audit::{Refusals, TurnedAway},
    domain::{Caller, Principal, Transport},
    front::{Front, identity::Link},
    wire::{ErrorObject, code},
};

/// What a response says of itself.
#[derive(Clone, Copy, Debug)]
enum Told {
    /// The audit knows of it.
    OnRecord,
    Because(&'static str),
}

/// Stands at one door.
#[derive(Clone, Debug)]
pub(in crate::front) struct Porter {
    door: &'static str,
    refusals: Refusals,
}

/// What is looked at by whoever watches us: an answer of theirs is no refusal.
const WATCHED: &str = "/ready";

/// The paths that are told apart.
const PATHS: [&str; 8] = [
    "/mcp",
    "/sse",
    "/messages",
    "/health",
    WATCHED,
    "/admin/status",
    "/admin/reload",
    "/admin/diff",
];

/// And what is below these.
const BELOW: [&str; 5] =
    ["/admin/estop", "/admin/approvals", "/admin/pins", "/admin/keys", "/.well-known"];

impl Porter {
    pub(in crate::front) fn new(door: &'static str, refusals: Refusals) -> Self {
        Self { door, refusals }
    }

    /// Sees an answer out.
    pub(in crate::front) fn sees<B>(&self, path: &str, response: &Response<B>, link: &Link) {
        let status = response.status();
        let reason = match response.extensions().get() {
            Some(Told::OnRecord) => return,
            Some(Told::Because(reason)) => *reason,
            None if path == WATCHED && status == StatusCode::SERVICE_UNAVAILABLE => return,
            None if status.is_client_error() || status.is_server_error() => {
                status.canonical_reason().unwrap_or("status")
            }
            None => return,
        };
        let is_at = |known: &&&str| path == **known;
        let is_below = |known: &&&str| path.starts_with(**known);
        let at = PATHS.iter().find(is_at).or_else(|| BELOW.iter().find(is_below));
        let who = response.extensions().get::<Principal>().cloned();
        let who = who.unwrap_or_else(|| link.shows());
        self.refuses((at.copied().unwrap_or("other"), status), reason, Some(&who));
    }

    /// Turns away what no answer of ours is given to.
    pub(in crate::front) fn refuses(
        &self,
        (at, status): (&'static str, StatusCode),
        reason: &'static str,
        who: Option<&Principal>,
    ) {
        let what = TurnedAway { door: self.door, at, status: status.as_u16(), reason };
        self.refusals.note(what, who);
    }
}

/// A refusal, and the word for it on record.
pub(in crate::front) fn because<B>(mut response: Response<B>, why: &'static str) -> Response<B> {
    response.extensions_mut().insert(Told::Because(why));
    response
}

/// A response to somebody who is known; only a refusal has to say so.
pub(in crate::front) fn of<B>(who: Principal, mut response: Response<B>) -> Response<B> {
    if !response.status().is_success() {
        response.extensions_mut().insert(who);
    }
    response
}

/// A response of a reply, which knows whether it is on record.
pub(in crate::front) fn as_told<B>(reply: &Reply, mut response: Response<B>) -> Response<B> {
    if let Some(why) = reply.refused {
        return because(response, why);
    }
    if !response.status().is_success() {
        response.extensions_mut().insert(Told::OnRecord);
    }
    response
}

impl Front {
    /// A message that was refused where no HTTP status says so.
    pub(in crate::front) fn turn_message_away(&self, caller: &Caller, error: &ErrorObject) {
        self.note_message(caller.transport, &caller.principal, word(error.code));
    }

    /// The same of a reply, which is told once.
    pub(in crate::front) fn noted(&self, caller: &Caller, mut reply: Reply) -> Reply {
        if let Some(reason) = reply.refused.take() {
            self.note_message(caller.transport, &caller.principal, reason);
        }
        reply
    }

    pub(in crate::front) fn note_message(
        &self,
        transport: Transport,
        who: &Principal,
        reason: &'static str,
    ) {
        let door = match transport {
            Transport::Stdio => "stdio",
            Transport::Http | Transport::Unix => "main",
        };
        let what = TurnedAway { door, at: "message", status: 0, reason };
        self.gate.audit().refusals().note(what, Some(who));
    }
}

/// The word for a code that we answer with.
pub(in crate::front) fn word(code: i64) -> &'static str {
    match code {
        code::PARSE_ERROR => "parse_error",
        code::INVALID_REQUEST => "invalid_request",
        code::METHOD_NOT_FOUND => "method_not_found",
        code::INVALID_PARAMS => "invalid_params",
        code::HEADER_MISMATCH => "header_mismatch",
        code::MISSING_CAPABILITY => "missing_capability",
        code::UNSUPPORTED_VERSION => "unsupported_version",
        super::BUSY => "busy",
        super::UNAVAILABLE => "unavailable",
        _ => "error",
    }
}
