//! Who speaks: from what is known of a connection and one header to a principal, or a refusal.
//!
//! Promises that nobody becomes a `Visitor` but here, and that a visitor's proof can end: when its
//! key is revoked or its time is over, whatever was opened with it ends too. Decides who somebody
//! is, never what he may do with servers; of operators, it says which role they have. A key lets
//! nobody in before it is on record. Speaks to no connection.

mod key;
mod keys;
mod ledger;
mod role;

use std::{future::pending, sync::Arc};

use http::{HeaderMap, header};
use rustix::process::geteuid;
use tokio::{sync::Mutex, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

pub use key::{Key, KeyError, KeyFile, NewKey};
use keys::{Keys, Known, NoKey};
use ledger::Ledger;
pub use role::Role;

use crate::{
    audit::{Audit, AuditError},
    config::{AuthConfig, AuthMode},
    domain::{Principal, Transport},
    sys,
};

/// What a connection shows of its other end before anything is said.
#[derive(Clone, Debug)]
pub(super) enum Link {
    /// Anybody who can reach the port.
    Tcp,
    /// The kernel says who has connected.
    Unix { uid: u32 },
}

/// Somebody who was let in.
#[derive(Clone, Debug)]
pub(super) struct Visitor {
    pub(super) principal: Principal,
    pub(super) transport: Transport,
    pub(super) proof: Proof,
}

/// That somebody was let in, and until when. Nobody else can make one.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    /// Of what can be taken back.
    term: Option<CancellationToken>,
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
}

/// Decides who somebody is.
#[derive(Debug)]
pub(super) struct Gatekeeper {
    auth: AuthConfig,
    keys: Arc<Keys>,
    /// Held while keys are looked at: one after the other.
    ledger: Mutex<Ledger>,
}

impl Gatekeeper {
    /// Lets nobody in by a key before `refresh`. `on_record` holds what the audit knows of `keys`.
    pub(super) fn new(
        auth: AuthConfig,
        keys: KeyFile,
        (audit, on_record): (Audit, KeyFile),
    ) -> Self {
        let ledger = Mutex::new(Ledger::of(audit, on_record));
        Self { auth, keys: Arc::new(Keys::of(keys)), ledger }
    }

    /// Who an application is.
    pub(super) fn admit(&self, link: &Link, headers: &HeaderMap) -> Result<Visitor, Refusal> {
        let transport = link.transport();
        if self.auth.has(AuthMode::Keys)
            && let Some(token) = bearer(headers)?
        {
            let known = self.keys.find(token, sys::unix_millis()).map_err(Refusal::from)?;
            let proof = Proof { term: Some(known.over.clone()) };
            return Ok(Visitor { principal: known.principal.clone(), transport, proof });
        }
        let by_kernel = self.auth.has(AuthMode::None) || self.auth.has(AuthMode::Peer);
        let principal = match link {
            Link::Unix { .. } if by_kernel => link.shows(),
            Link::Tcp if self.auth.has(AuthMode::None) => link.shows(),
            Link::Unix { .. } | Link::Tcp => return Err(Refusal::Nobody),
        };
        Ok(Visitor { principal, transport, proof: Proof { term: None } })
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
            Link::Tcp => of("local", None),
        }
    }

    /// Whether anybody who reaches us is let in.
    pub(super) fn is_open(&self) -> bool {
        self.auth.has(AuthMode::None)
    }

    /// Looks whether keys have come or gone; whether one has ended. What is gone ends at once, what
    /// has come is good once it is on record. `who` said that we should look.
    pub(super) async fn refresh(&self, who: &str) -> (bool, Result<(), KeyError>) {
        let mut ledger = self.ledger.lock().await;
        let (keys, now_ms) = (self.keys.clone(), sys::unix_millis());
        let mut has_ended = keys.end_over(now_ms);
        // A look that panics has seen nothing.
        let looked = spawn_blocking(move || keys.look()).await.unwrap_or(Ok(None));
        let found = match looked {
            Ok(Some(found)) => found,
            Ok(None) => return (has_ended, Ok(())),
            Err(error) => return (has_ended, Err(error)),
        };
        has_ended |= self.keys.let_go(&found);
        let told = ledger.tell(who, &found, now_ms).await;
        match &told {
            Ok(()) => self.keys.take(&found),
            // A log that has failed stays so.
            Err(KeyError::Audit(AuditError::Failed)) => {}
            Err(_) => self.keys.look_again(),
        }
        (has_ended, told)
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
        }
    }

    fn transport(&self) -> Transport {
        match self {
            Self::Tcp => Transport::Http,
            Self::Unix { .. } => Transport::Unix,
        }
    }
}

impl Proof {
    pub(super) fn is_over(&self) -> bool {
        self.term.as_ref().is_some_and(CancellationToken::is_cancelled)
    }

    /// Whether it can end at all.
    pub(super) fn can_end(&self) -> bool {
        self.term.is_some()
    }

    /// Returns when it is good no more.
    pub(super) async fn over(self) {
        match self.term {
            Some(term) => term.cancelled_owned().await,
            None => pending().await,
        }
    }

    /// For tests of what comes after it.
    #[cfg(test)]
    pub(in crate::front) fn of_a_test() -> Self {
        Self { term: None }
    }
}

impl Refusal {
    /// The stable word for logs and the record.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Nobody => "no credentials",
            Self::Bad(why) => why,
        }
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
