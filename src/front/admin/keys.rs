//! API keys, as an operator sees them: whose they are and until when, never what they are.
//!
//! They are made and revoked in their file; here the gateway is told to look at it now.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{Front, told, told_of};
use crate::front::{http::Body, identity::Key};

pub(super) const KEYS: &str = "/admin/keys";
pub(super) const REFRESH: &str = "/admin/keys/refresh";

/// Those by which the gateway lets in.
pub(super) fn list(front: &Front) -> Response<Body> {
    let keys: Vec<_> = front.gatekeeper.keys().map(|key| shown(&key)).collect();
    told(StatusCode::OK, &json!({ "keys": keys }))
}

/// When it is answered, keys that are gone let nobody in, and what they had opened has ended.
pub(super) async fn refresh(front: &Front, who: &str) -> Response<Body> {
    match front.refresh_keys(who).await {
        Ok(()) => list(front),
        Err(error) => told_of(StatusCode::CONFLICT, &error.to_string()),
    }
}

fn shown(key: &Key) -> Value {
    json!({
        "id": key.id, "name": key.name, "groups": key.groups, "scopes": key.scopes,
        "role": key.role, "created_ms": key.created_ms, "expires_ms": key.expires_ms,
    })
}
