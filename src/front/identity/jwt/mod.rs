//! Access tokens: JWTs that an authorization server has made out for this gateway.
//!
//! A token counts only if it is signed by an algorithm of the list with a key of the issuer, is
//! for us by name, and now is within its time. Scopes and groups that it holds become groups of
//! its principal. A token is read once and goes no further.

mod jwks;
mod signature;

use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use serde_json::{Map, Value, json};

pub(super) use jwks::Jwks;
use signature::Algorithm;

use super::is_name;
use crate::{
    config::{JwtConfig, METADATA_PATH},
    domain::{
        Principal,
        limits::{JWT_BYTES_MAX, JWT_LEEWAY},
    },
    sys::Trust,
    wire::{Object, base64},
};

/// Decides about tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    config: JwtConfig,
    pub(super) keys: Jwks,
}

/// What a good token says.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) principal: Principal,
    /// For how long from now on.
    pub(super) lasts: Duration,
}

/// Why a token lets nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::front) enum NoToken {
    Form,
    /// It is made for something else than access.
    Kind,
    Algorithm,
    UnknownKey,
    Signature,
    Issuer,
    Audience,
    Expired,
    NotYet,
    /// It is good only together with a proof that nobody looks at here.
    Bound,
    /// It is good, and not enough.
    Scope,
}

/// What an access token says that it is, if it says so: RFC 9068, and what came before it.
const TYPES: [&str; 4] = ["jwt", "application/jwt", "at+jwt", "application/at+jwt"];

impl NoToken {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Form => "the token is no JWT",
            Self::Kind => "the token is no access token",
            Self::Algorithm => "the token's algorithm is not taken",
            Self::UnknownKey => "the token is signed with a key that its issuer does not name",
            Self::Signature => "the token's signature is wrong",
            Self::Issuer => "the token is of another issuer",
            Self::Audience => "the token is for somebody else",
            Self::Expired => "the token is over",
            Self::NotYet => "the token is not good yet",
            Self::Bound => "the token is bound to a proof that is not taken",
            Self::Scope => "the token lacks a scope",
        }
    }
}

impl Tokens {
    pub(super) fn new(config: JwtConfig, trust: Trust) -> Self {
        Self { keys: Jwks::new(config.jwks.clone(), trust), config }
    }

    pub(super) async fn read(&self, token: &str, now_ms: u64) -> Result<Told, NoToken> {
        if token.len() > JWT_BYTES_MAX {
            return Err(NoToken::Form);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(NoToken::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(NoToken::Form)?;
        let header = read_json(header).ok_or(NoToken::Form)?;
        let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::parse);
        let algorithm = algorithm.ok_or(NoToken::Algorithm)?;
        // What is critical must be understood, and we understand none of it.
        if header.contains_key("crit") {
            return Err(NoToken::Form);
        }
        if !header.get("typ").is_none_or(is_access) {
            return Err(NoToken::Kind);
        }
        let kid = match header.get("kid") {
            None => None,
            Some(kid) => Some(kid.as_str().ok_or(NoToken::Form)?),
        };
        let signature = unbase64(signature).ok_or(NoToken::Form)?;
        let keys = self.keys.named(kid).await;
        let mut fitting = keys.iter().filter(|key| key.fits(algorithm)).peekable();
        fitting.peek().ok_or(NoToken::UnknownKey)?;
        if !fitting.any(|key| key.verifies(algorithm, signed.as_bytes(), &signature)) {
            return Err(NoToken::Signature);
        }
        self.judge(&read_json(claims).ok_or(NoToken::Form)?, now_ms / 1000)
    }

    /// Of a token that is its issuer's.
    fn judge(&self, claims: &Map<String, Value>, now_s: u64) -> Result<Told, NoToken> {
        let text = |key: &str| claims.get(key).and_then(Value::as_str).unwrap_or_default();
        if text("iss") != self.config.issuer {
            return Err(NoToken::Issuer);
        }
        let is_us = |one: &Value| one.as_str() == Some(&self.config.resource);
        let is_for_us = match claims.get("aud") {
            Some(Value::Array(several)) => several.iter().any(is_us),
            one => one.is_some_and(is_us),
        };
        if !is_for_us {
            return Err(NoToken::Audience);
        }
        let leeway_s = JWT_LEEWAY.as_secs();
        let expires_s = seconds(claims.get("exp")).flatten().ok_or(NoToken::Form)?;
        let until_s = expires_s.saturating_add(leeway_s);
        if until_s <= now_s {
            return Err(NoToken::Expired);
        }
        for key in ["nbf", "iat"] {
            let from_s = seconds(claims.get(key)).ok_or(NoToken::Form)?;
            if from_s.is_some_and(|from_s| from_s > now_s.saturating_add(leeway_s)) {
                return Err(NoToken::NotYet);
            }
        }
        if claims.contains_key("cnf") {
            return Err(NoToken::Bound);
        }
        let subject = Some(text("sub")).filter(|name| is_name(name)).ok_or(NoToken::Form)?;
        let scopes = words(claims.get("scope").or(claims.get("scp")));
        if self.config.scopes.iter().any(|needed| !scopes.contains(needed)) {
            return Err(NoToken::Scope);
        }
        let groups = names(claims.get(&self.config.groups_claim));
        let groups = groups.into_iter().filter(|group| !Principal::is_scope_group(group));
        let scopes = scopes.iter().map(|scope| Principal::scope_group(scope));
        let name = format!("{}|{subject}", self.config.issuer);
        let lasts = Duration::from_secs(until_s - now_s);
        Ok(Told { principal: Principal::in_groups(&name, groups.chain(scopes)), lasts })
    }

    /// RFC 9728: where a client gets a token for us, if it asks at the right place: that of the
    /// whole host, of the resource, or of the endpoint behind a proxy.
    pub(super) fn metadata(&self, path: &str) -> Option<Value> {
        let rest = path.strip_prefix(METADATA_PATH)?;
        if !rest.is_empty() && rest != "/mcp" && !self.config.metadata_url().ends_with(path) {
            return None;
        }
        Some(json!({
            "resource": self.config.resource,
            "authorization_servers": [self.config.issuer],
            "scopes_supported": self.config.scopes,
            "bearer_methods_supported": ["header"],
        }))
    }

    /// What somebody without a good token is told; `None` has shown none.
    pub(super) fn challenge(&self, why: Option<NoToken>) -> Option<HeaderValue> {
        let error = match why {
            None => "",
            Some(NoToken::Scope) => "error=\"insufficient_scope\", ",
            Some(_) => "error=\"invalid_token\", ",
        };
        let place = self.config.metadata_url();
        let scope = match self.config.scopes.as_slice() {
            [] => String::new(),
            scopes => format!(", scope=\"{}\"", scopes.join(" ")),
        };
        HeaderValue::try_from(format!("Bearer {error}resource_metadata=\"{place}\"{scope}")).ok()
    }
}

/// Whole seconds of a NumericDate; `None` if it is something else, `Some(None)` if it is absent.
fn seconds(value: Option<&Value>) -> Option<Option<u64>> {
    let Some(value) = value else { return Some(None) };
    let text = value.is_number().then(|| value.to_string())?;
    let whole = text.split_once('.').map_or(text.as_str(), |(whole, _)| whole);
    whole.parse().ok().map(Some)
}

/// One text with words in it, or a list of them.
fn words(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(text)) => {
            text.split_ascii_whitespace().filter(|word| is_name(word)).map(str::to_owned).collect()
        }
        other => names(other),
    }
}

/// One name, whatever stands in it, or a list of them.
fn names(value: Option<&Value>) -> Vec<String> {
    let all = match value {
        Some(Value::String(_)) => value.map(std::slice::from_ref).unwrap_or_default(),
        Some(Value::Array(list)) => list,
        Some(_) | None => &[],
    };
    all.iter().filter_map(Value::as_str).filter(|name| is_name(name)).map(str::to_owned).collect()
}

fn is_access(typ: &Value) -> bool {
    typ.as_str().is_some_and(|typ| TYPES.iter().any(|known| known.eq_ignore_ascii_case(typ)))
}

/// An object that has one reading: no key stands in it twice.
fn read_json(part: &str) -> Option<Map<String, Value>> {
    let bytes = Bytes::from(unbase64(part)?);
    Object::parse(bytes.clone()).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// Base 64 for URLs, without padding.
fn unbase64(text: &str) -> Option<Vec<u8>> {
    if text.contains(['+', '/', '=']) {
        return None;
    }
    let mut usual = text.replace('-', "+").replace('_', "/");
    let padding = (4 - usual.len() % 4) % 4;
    usual.push_str("==".get(..padding)?);
    base64::decode(usual.as_bytes())
}

#[cfg(test)]
mod tests;
