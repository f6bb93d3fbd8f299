//! One POST: its body read within limits, decoded strictly, and handed to the adapter of its era.
//!
//! Which era a message belongs to is decided here and nowhere else, by the rules of
//! `docs/ARCHITECTURE.md`, "Two eras, one endpoint".

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::{
    Body, Visitor, legacy,
    modern::{self, written},
    plain,
};
use crate::{
    domain::{Era, limits::HTTP_BODY_TIMEOUT},
    front::{Front, exchange::Wants, reject::Reply},
    wire::{self, Batch, ErrorObject, Message, Version, headers},
};

/// Which answers the client can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepts {
    JsonOnly,
    JsonAndSse,
}

pub(super) async fn post(
    front: Arc<Front>,
    visitor: Visitor,
    request: Request<Incoming>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if !is_json(&parts.headers) {
        return plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type must be application/json");
    }
    let Some(accepts) = accepts(&parts.headers) else {
        return plain(StatusCode::NOT_ACCEPTABLE, "Accept must allow application/json");
    };
    let raw = match read(body, front.limits.body_bytes).await {
        Ok(raw) => raw,
        Err(refused) => return refused,
    };
    let decoded = match wire::decode_batch(raw, front.limits.body_bytes) {
        Ok(decoded) => decoded,
        Err(error) => {
            let id = error.id().cloned();
            let reply = Reply::error(Version::MODERN, id.as_ref(), &ErrorObject::from(error));
            return written(&Reply { status: StatusCode::BAD_REQUEST, ..reply });
        }
    };
    let asked = Asked { front, visitor, parts, accepts };
    match decoded {
        Batch::Many(messages) => legacy::batch(asked, messages).await,
        Batch::Single(message) => match era(&asked.parts.headers, &message) {
            // In boxes: who else waits on this way would have to make room for both.
            Era::Modern => Box::pin(modern::answer(asked, message)).await,
            Era::Legacy => Box::pin(legacy::answer(asked, message)).await,
        },
    }
}

/// A POST whose body has been read.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) front: Arc<Front>,
    pub(super) visitor: Visitor,
    pub(super) parts: Parts,
    pub(super) accepts: Accepts,
}

impl Asked {
    /// What the client hears before an answer: nothing where it takes no stream.
    pub(super) fn heard(&self, wants: Wants) -> Wants {
        match self.accepts {
            Accepts::JsonAndSse => wants,
            Accepts::JsonOnly => Wants::default(),
        }
    }
}

/// The rules, in order: what the message says of itself, then a legacy session, then the header.
fn era(headers: &HeaderMap, message: &Message) -> Era {
    let (method, params) = match message {
        Message::Request(request) => (request.method.as_str(), request.params.as_ref()),
        Message::Notification(notice) => (notice.method.as_str(), notice.params.as_ref()),
        Message::Response(_) => ("", None),
    };
    let says_modern = params.is_some_and(wire::Meta::names_a_version);
    let version = headers.get(headers::MCP_PROTOCOL_VERSION).map(|value| value.as_bytes());
    // Revisions are dates: the first modern one and everything after it compares greater.
    let header_is_modern = version.is_some_and(|v| v >= Version::MODERN.as_str().as_bytes());
    let in_session = headers.contains_key(headers::MCP_SESSION_ID);
    match (says_modern, in_session, method) {
        (true, _, _) => Era::Modern,
        (false, true, _) if !header_is_modern => Era::Legacy,
        (false, _, "initialize") => Era::Legacy,
        (false, _, _) if header_is_modern => Era::Modern,
        (false, _, _) => Era::Legacy,
    }
}

pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()) else {
        return false;
    };
    let media = value.split(';').next().unwrap_or_default().trim();
    media.eq_ignore_ascii_case("application/json")
}

fn accepts(headers: &HeaderMap) -> Option<Accepts> {
    let mut values = headers.get_all(header::ACCEPT).iter().peekable();
    if values.peek().is_none() {
        return Some(Accepts::JsonOnly);
    }
    let (mut json, mut sse) = (false, false);
    for value in values.filter_map(|value| value.to_str().ok()) {
        for media in value.split(',') {
            match media.split(';').next().unwrap_or_default().trim() {
                "*/*" => (json, sse) = (true, true),
                "application/json" | "application/*" => json = true,
                "text/event-stream" | "text/*" => sse = true,
                _ => {}
            }
        }
    }
    match (json, sse) {
        (true, true) => Some(Accepts::JsonAndSse),
        (true, false) => Some(Accepts::JsonOnly),
        (false, _) => None,
    }
}

pub(super) async fn read(body: Incoming, bytes_max: usize) -> Result<Bytes, Response<Body>> {
    let collected = Limited::new(body, bytes_max).collect();
    match tokio::time::timeout(HTTP_BODY_TIMEOUT, collected).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than limits.body_bytes"))
        }
        Ok(Err(_)) => Err(plain(StatusCode::BAD_REQUEST, "the body did not arrive whole")),
        Err(_) => Err(plain(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")),
    }
}
