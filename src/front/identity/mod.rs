//! Who speaks: from what is known of a connection and one header to a principal, or a refusal.
//!
//! Promises that nobody becomes a `Visitor` but here, and that a visitor's proof can end: when its
//! key is revoked or its time is over, whatever was opened with it ends too. Decides who somebody
//! is, never what he may do with servers; of operators, it says which role they have. A key lets
//! nobody in before it is on record. Speaks to no connection.

mod jwt;
mod key;
mod keys;
mod ledger;
mod proof;
mod role;
mod tls;

use std::{future::pending, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, header};
use rustix::process::geteuid;
use serde_json::Value;
use tokio::{sync::Mutex, task::spawn_blocking, time::Instant};

use jwt::{NoToken, Tokens};
pub use key::{Key, KeyError, KeyFile, NewKey};
use keys::{Found, Keys, Known, NoKey};
use ledger::Ledger;
pub(super) use proof::{Bond, Proof, Visitor};
pub use role::Role;
pub(super) use tls::{Certified, Tls};
pub use tls::{TlsError, look_at_tls};

use tls::Asks;

use crate::{
    audit::{Audit, AuditError},
    config::{AuthConfig, AuthMode, TlsConfig},
    domain::{Principal, Transport, limits::PROVEN_NAME_BYTES_MAX},
    sys,
    wire::is_invisible,
};

/// What a connection shows of its other end before anything is said.
#[derive(Clone, Debug)]
pub(super) enum Link {
    /// Anybody who can reach the port.
    Tcp,
    /// The kernel says who has connected.
    Unix { uid: u32 },
    /// TLS, and what a client certificate says that was verified, if there was one.
    Tls { certified: Option<Certified> },
}

/// Somebody at the admin listener.
#[derive(Clone, Debug)]
pub(super) struct Operator {
    /// As the audit calls him.
    pub(super) who: String,
    /// Nobody, if none.
    pub(super) role: Option<Role>,
}

/// Why somebody is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nothing was shown.
    Nobody,
    /// What was shown is not good; why, for us and not for him.
    Bad(&'static str),
    /// A token that is not good, or not enough.
    Token(NoToken),
}

/// Decides who somebody is.
#[derive(Debug)]
pub(super) struct Gatekeeper {
    auth: AuthConfig,
    keys: Arc<Keys>,
    /// Held while keys are looked at: one after the other.
    ledger: Mutex<Ledger>,
    tokens: Option<Tokens>,
    tls: Option<Arc<Tls>>,
}

impl Gatekeeper {
    /// Lets nobody in by a key before `refresh`. `on_record` holds what the audit knows of `keys`.
    pub(super) fn new(
        (auth, places): (AuthConfig, Option<TlsConfig>),
        keys: KeyFile,
        (audit, on_record): (Audit, KeyFile),
    ) -> Result<Self, TlsError> {
        let trust = keys.trust();
        let tls = places.map(|places| Tls::open(places, Asks::by(&auth), trust)).transpose()?;
        let tokens = auth.jwt.clone().map(|jwt| Tokens::new(jwt, trust));
        let ledger = Mutex::new(Ledger::of(audit, on_record));
        let keys = Arc::new(Keys::of(keys));
        Ok(Self { auth, keys, ledger, tokens, tls: tls.map(Arc::new) })
    }

    /// Who an application is.
    pub(super) async fn admit(&self, link: &Link, headers: &HeaderMap) -> Result<Visitor, Refusal> {
        let transport = link.transport();
        let takes = |mode| self.auth.has(mode);
        if (takes(AuthMode::Keys) || self.tokens.is_some())
            && let Some(token) = bearer(headers)?
        {
            let (principal, proof) = self.by_token(token).await?;
            return Ok(Visitor { principal, transport, proof });
        }
        let is_open = takes(AuthMode::None);
        let (mut term, mut until) = (None, None);
        let principal = match link {
            Link::Unix { .. } if is_open || takes(AuthMode::Peer) => link.shows(),
            Link::Tls { certified: Some(one) } if takes(AuthMode::Mtls) => {
                if one.over.is_cancelled() {
                    return Err(Refusal::Bad("its authority counts no more"));
                }
                (term, until) = (Some(one.over.clone()), Instant::now().checked_add(left_of(one)?));
                one.who.clone()
            }
            Link::Tcp | Link::Tls { .. } if is_open => link.shows(),
            Link::Unix { .. } | Link::Tcp | Link::Tls { .. } => return Err(Refusal::Nobody),
        };
        Ok(Visitor { principal, transport, proof: Proof { term, until, key: None } })
    }

    /// A key of ours says so by its form; anything else is the issuer's.
    async fn by_token(&self, token: &str) -> Result<(Principal, Proof), Refusal> {
        let now_ms = sys::unix_millis();
        match &self.tokens {
            Some(tokens) if !key::is_one(token) || !self.auth.has(AuthMode::Keys) => {
                let told = tokens.read(token, now_ms).await.map_err(Refusal::Token)?;
                let until = Instant::now().checked_add(told.lasts);
                Ok((told.principal, Proof { term: None, until, key: None }))
            }
            Some(_) | None => {
                let known = self.keys.find(token, now_ms).map_err(Refusal::from)?;
                let (term, key) = (Some(known.over.clone()), Some(known.id.clone()));
                let proof = Proof { term, until: None, key };
                Ok((known.principal.clone(), proof))
            }
        }
    }

    /// What the listener speaks, if that is not plain HTTP.
    pub(super) fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
    }

    /// Where clients get tokens for us, if tokens are taken.
    pub(super) fn metadata(&self, path: &str) -> Option<Value> {
        self.tokens.as_ref()?.metadata(path)
    }

    /// What an application that is refused is told to bring.
    pub(super) fn challenge(&self, refusal: Refusal) -> HeaderValue {
        let why = match refusal {
            Refusal::Nobody => None,
            // It has the form of a token, as far as its bearer knows.
            Refusal::Bad(_) => Some(NoToken::Form),
            Refusal::Token(why) => Some(why),
        };
        let of_tokens = self.tokens.as_ref().and_then(|tokens| tokens.challenge(why));
        of_tokens.unwrap_or_else(|| refusal.challenge())
    }

    /// Has the issuer's keys at hand; runs for ever.
    pub(super) async fn tend(&self) {
        match &self.tokens {
            Some(tokens) => tokens.keys.tend().await,
            None => pending().await,
        }
    }

    /// Who an operator is. `is_token`: whether the word of the stop was said.
    pub(super) fn operator(
        &self,
        link: &Link,
        headers: &HeaderMap,
        is_token: impl FnOnce(&HeaderMap) -> bool,
    ) -> Result<Operator, Refusal> {
        let of = |who: &str, role| Ok(Operator { who: who.to_owned(), role });
        if is_token(headers) {
            return of("token", Some(Role::Admin));
        }
        if let Some(token) = bearer(headers)? {
            let known = self.keys.find(token, sys::unix_millis()).map_err(Refusal::from)?;
            return of(known.principal.as_str(), known.role());
        }
        match link {
            Link::Unix { uid } => {
                let is_owner = *uid == 0 || *uid == geteuid().as_raw();
                of(&format!("uid:{uid}"), is_owner.then_some(Role::Admin))
            }
            Link::Tcp | Link::Tls { .. } => of("local", None),
        }
    }

    /// Whether anybody who reaches us is let in.
    pub(super) fn is_open(&self) -> bool {
        self.auth.has(AuthMode::None)
    }

    /// Looks whether keys have come or gone. What is gone ends at once, what has come is good once
    /// it is on record. `who` said that we should look. Whoever waits for it may go away: what is
    /// not done then is done by the next who looks.
    pub(super) async fn refresh(&self, who: &str) -> Result<(), KeyError> {
        let mut ledger = self.ledger.lock().await;
        let (keys, now_ms) = (self.keys.clone(), sys::unix_millis());
        keys.end_over(now_ms);
        // A look that panics has seen nothing.
        let looked = spawn_blocking(move || keys.look()).await.unwrap_or_default();
        let Some(Found { stamp, contents }) = looked else { return Ok(()) };
        let told = match &contents {
            Ok(contents) => {
                self.keys.let_go(contents);
                let told = ledger.tell(who, contents, now_ms).await;
                told.inspect(|()| self.keys.take(contents))
            }
            Err(_) => contents.map(drop),
        };
        let is_seen_to = match &told {
            // A log that has failed stays so.
            Ok(()) | Err(KeyError::Audit(AuditError::Failed)) => true,
            Err(KeyError::Audit(_)) => false,
            Err(error) => !error.may_hide_revocations(),
        };
        if is_seen_to {
            self.keys.is_seen_to(stamp);
        }
        told
    }

    /// Looks whether there are other certificates. Blocks.
    pub(super) fn refresh_tls(&self) {
        match self.tls.as_ref().map(|tls| tls.refresh()) {
            Some(Ok(true)) => tracing::info!("New connections get the new certificate"),
            Some(Err(error)) => {
                tracing::error!(%error, "The old certificate stays: the new files are not usable");
            }
            Some(Ok(false)) | None => {}
        }
    }

    /// What of it an operator has to mend: of the certificates, and of the issuer's keys.
    pub(super) fn troubles(&self) -> (Option<String>, Option<String>) {
        let of_tls = self.tls.as_ref().and_then(|tls| tls.trouble());
        (of_tls, self.tokens.as_ref().and_then(|tokens| tokens.keys.trouble()))
    }

    /// The keys that are known, without anything that is secret.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        self.keys.list().into_iter().map(|known: Arc<Known>| known.key.clone())
    }
}

impl Link {
    /// Who it seems to be, as far as the connection tells: for the record of refusals.
    pub(super) fn shows(&self) -> Principal {
        match self {
            Self::Tcp => Principal::new("local"),
            Self::Unix { uid } => Principal::new(&format!("uid:{uid}")),
            Self::Tls { certified: Some(one) } => one.who.clone(),
            Self::Tls { certified: None } => Principal::new("local"),
        }
    }

    fn transport(&self) -> Transport {
        match self {
            Self::Tcp | Self::Tls { .. } => Transport::Http,
            Self::Unix { .. } => Transport::Unix,
        }
    }
}

impl Refusal {
    /// The stable word for logs and the record.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Nobody => "no credentials",
            Self::Bad(why) => why,
            Self::Token(why) => why.as_str(),
        }
    }

    /// What is asked for where only our own keys count.
    pub(super) fn challenge(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Nobody => "Bearer",
            Self::Bad(_) | Self::Token(_) => "Bearer error=\"invalid_token\"",
        })
    }

    /// Whether more of the same would do.
    pub(super) fn lacks_scope(self) -> bool {
        self == Self::Token(NoToken::Scope)
    }
}

impl From<NoKey> for Refusal {
    fn from(no_key: NoKey) -> Self {
        Self::Bad(match no_key {
            NoKey::Foreign => "the token is no key",
            NoKey::Wrong => "the key is unknown, revoked or wrong",
            NoKey::Expired => "the key is over",
        })
    }
}

/// How long a certificate is good; a connection may outlive it.
fn left_of(one: &Certified) -> Result<Duration, Refusal> {
    let left_ms = one.until_s.saturating_mul(1000).saturating_sub(sys::unix_millis());
    if left_ms == 0 {
        Err(Refusal::Bad("the certificate is over"))
    } else {
        Ok(Duration::from_millis(left_ms))
    }
}

/// What can stand in a log and in a policy, and looks like what it is.
fn is_name(text: &str) -> bool {
    let is_odd = |c: char| c != ' ' && is_invisible(c);
    (1..=PROVEN_NAME_BYTES_MAX).contains(&text.len()) && !text.chars().any(is_odd)
}

/// The bearer token of a request. Two headers have two readings and are none.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (first, second) = (all.next(), all.next());
    let Some(value) = first else { return Ok(None) };
    let words = value.to_str().ok().filter(|_| second.is_none()).and_then(|v| v.split_once(' '));
    match words {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        Some(_) | None => Err(Refusal::Bad("the Authorization header is not `Bearer TOKEN`")),
    }
}

#[cfg(test)]
mod tests;
