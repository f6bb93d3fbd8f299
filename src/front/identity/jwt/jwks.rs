//! The public keys of the issuer: from a file or a URL, kept for a while.
//!
//! Asks again now and then, and when a token names a key that nobody knows, but never more than
//! once a minute: tokens that are made up cost the issuer nothing. When it cannot be asked, the
//! keys that it named last stay good for an hour; when it answers that there are none, none are.

use std::{path::PathBuf, sync::Arc};

use http::StatusCode;
use serde::Deserialize;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout, timeout_at},
};

use super::signature::{PublicKey, Written};
use crate::{
    config::JwksPlace,
    domain::limits::{
        JWKS_BYTES_MAX, JWKS_FETCH_TIMEOUT, JWKS_KEPT_MAX, JWKS_KEYS_MAX, JWKS_PAUSE, JWKS_REFRESH,
        JWKS_RETRY,
    },
    sys::{self, Trust},
    upstream,
};

#[derive(Debug)]
pub(in crate::front::identity) struct Jwks {
    place: JwksPlace,
    trust: Trust,
    held: watch::Sender<Held>,
    /// Somebody has shown a key that nobody knows.
    wanted: Notify,
}

#[derive(Clone, Debug, Default)]
struct Held {
    keys: Arc<[PublicKey]>,
    /// When they were heard of.
    at: Option<Instant>,
    /// Before that, nobody is asked. Nothing: somebody is being asked for the first time.
    again_at: Option<Instant>,
    /// Why the last question had no answer.
    trouble: Option<String>,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

impl Jwks {
    pub(super) fn new(place: JwksPlace, trust: Trust) -> Self {
        Self { place, trust, held: watch::Sender::default(), wanted: Notify::new() }
    }

    /// The keys of that name; waits for the issuer if there is none and it may be asked. Without a
    /// name, the only one.
    pub(super) async fn named(&self, kid: Option<&str>) -> Vec<PublicKey> {
        let mut changes = self.held.subscribe();
        let known = changes.borrow_and_update().named(kid);
        let is_early = changes.borrow().again_at.is_some_and(|at| Instant::now() < at);
        if !known.is_empty() || is_early {
            return known;
        }
        self.wanted.notify_one();
        // However that ends, what is known then counts.
        timeout(JWKS_FETCH_TIMEOUT, changes.changed()).await.map(drop).unwrap_or_default();
        self.held.borrow().named(kid)
    }

    /// Why the issuer's keys are not known, or old.
    pub(in crate::front::identity) fn trouble(&self) -> Option<String> {
        self.held.borrow().trouble.clone()
    }

    /// Asks the issuer, again and again; the only one who does, so that nobody who goes away
    /// leaves a question half asked.
    pub(in crate::front::identity) async fn tend(&self) {
        loop {
            let asked = Instant::now();
            let heard = self.fetch().await;
            let trouble = match &heard {
                Ok(keys) if keys.is_empty() => Some("there is no key that can be used".to_owned()),
                Ok(_) => None,
                Err(why) => Some(why.clone()),
            };
            let (pause, refresh) = match &trouble {
                None => (JWKS_PAUSE, JWKS_REFRESH),
                Some(_) => (JWKS_RETRY, JWKS_RETRY),
            };
            match (&trouble, &heard) {
                (Some(why), _) => {
                    tracing::warn!(why, "The issuer's keys are not known; see auth.jwt.jwks");
                }
                (None, keys) => {
                    let keys = keys.as_ref().map_or(0, Vec::len);
                    tracing::info!(keys, "The issuer's keys are known");
                }
            }
            self.held.send_modify(|held| {
                held.again_at = Some(asked + pause);
                held.trouble = trouble;
                // An issuer that takes back its keys has answered.
                if let Ok(keys) = heard {
                    (held.keys, held.at) = (keys.into(), Some(asked));
                }
            });
            sleep_until(asked + pause).await;
            timeout_at(asked + refresh, self.wanted.notified()).await.unwrap_or_default();
        }
    }

    async fn fetch(&self) -> Result<Vec<PublicKey>, String> {
        let bytes = match &self.place {
            JwksPlace::File(path) => read(path.clone(), self.trust).await?,
            JwksPlace::Url(url) => get(url).await?,
        };
        let set: Set = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        let written = set.keys.into_iter().take(JWKS_KEYS_MAX);
        let written = written.filter_map(|key| serde_json::from_value::<Written>(key).ok());
        Ok(written.filter_map(PublicKey::of).collect())
    }
}

impl Held {
    fn named(&self, kid: Option<&str>) -> Vec<PublicKey> {
        if self.at.is_none_or(|at| at.elapsed() > JWKS_KEPT_MAX) {
            return Vec::new();
        }
        match (kid, &*self.keys) {
            (None, [only]) => vec![only.clone()],
            (None, _) => Vec::new(),
            (Some(kid), keys) => {
                keys.iter().filter(|key| key.kid.as_deref() == Some(kid)).cloned().collect()
            }
        }
    }
}

async fn read(path: PathBuf, trust: Trust) -> Result<Vec<u8>, String> {
    let read = move || {
        trust.look(&path)?;
        sys::read_bounded(&path, JWKS_BYTES_MAX)
    };
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// No redirect is followed: who may name the keys is written down.
async fn get(url: &http::Uri) -> Result<Vec<u8>, String> {
    match upstream::get(url, (JWKS_FETCH_TIMEOUT, JWKS_BYTES_MAX)).await {
        Ok((StatusCode::OK, body)) => Ok(body.to_vec()),
        Ok((status, _)) => Err(format!("the answer was {status}")),
        Err(error) => Err(error.to_string()),
    }
}
