//! `keys`: make, show and take away API keys.
//!
//! Works on the file in the state directory, so that the first key can be made before the gateway
//! runs; then tells a running one to look at it. The text of a key is printed once, here.

use std::time::Duration;

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use crate::{
    cli::{Common, Ending, Failure, complain, find_gateway, say, service::ask},
    front::{Key, KeyError, KeyFile, NewKey, Role},
    gate::shown,
    sys,
};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Keys {
    /// Make a key. Its text is shown once, and kept nowhere.
    Add {
        #[command(flatten)]
        common: Common,
        /// Whose it is: policies and the audit call its owner `key:NAME`.
        name: String,
        /// A group that its owner is in, for policies. May be given several times.
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// A scope that it has: `Gw::Group::"scope:SCOPE"` in policies. May be given several times.
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
        /// What it may do at the admin listener: viewer, operator or admin. Without it, nothing.
        #[arg(long, value_parser = role)]
        role: Option<Role>,
        /// When it ends, from now on: 90d, 12h, 30m or 45s. Without it, when it is revoked.
        #[arg(long, value_name = "TIME", value_parser = time)]
        expires: Option<Duration>,
    },
    /// Which keys there are.
    List(Common),
    /// Take a key away: from now on it is good for nothing, and what was opened with it ends.
    Revoke {
        #[command(flatten)]
        common: Common,
        /// The id that `keys list` shows.
        id: String,
    },
}

pub(in crate::cli) fn keys(action: Keys) -> Result<Ending, Failure> {
    match action {
        Keys::Add { common, name, groups, scopes, role, expires } => {
            let expires_ms = expires.map(|time| sys::unix_millis().saturating_add(millis(time)));
            let (id, text) = file(&common)?
                .add(NewKey { name, groups, scopes, role, expires_ms }, sys::unix_millis())
                .map_err(|error| refused(&error))?;
            let is_taken = is_taken(&common);
            if common.json {
                let told = json!({ "id": id, "key": text, "running": is_taken });
                say(&told.to_string());
            } else {
                say(&text);
                complain(&format!("this is key {id}; it is not shown again"));
            }
            Ok(Ending::Fine)
        }
        Keys::List(common) => list(&common),
        Keys::Revoke { common, id } => {
            let key = file(&common)?.revoke(&id).map_err(|error| refused(&error))?;
            let is_taken = is_taken(&common);
            match (common.json, is_taken) {
                (true, _) => say(&json!({ "id": id, "running": is_taken }).to_string()),
                (false, true) => say(&format!("key {id} of {} is good for nothing now", key.name)),
                (false, false) => {
                    say(&format!("key {id} of {} is revoked; no gateway has said so", key.name));
                }
            }
            Ok(Ending::Fine)
        }
    }
}

fn list(common: &Common) -> Result<Ending, Failure> {
    let keys = file(common)?.read().map_err(|error| refused(&error))?;
    if common.json {
        say(&json!({ "keys": keys.iter().map(told).collect::<Vec<_>>() }).to_string());
        return Ok(Ending::Fine);
    }
    for key in &keys {
        let mut line = format!("{} {}", key.id, shown(&key.name));
        let lists = [("groups", &key.groups), ("scopes", &key.scopes)];
        for (word, list) in lists.into_iter().filter(|(_, list)| !list.is_empty()) {
            line.push_str(&format!("  {word} {}", shown(&list.join(","))));
        }
        if let Some(role) = key.role {
            line.push_str(&format!("  role {}", role.as_str()));
        }
        if let Some(at_ms) = key.expires_ms {
            line.push_str(&match at_ms.checked_sub(sys::unix_millis()) {
                Some(left_ms) if left_ms > 0 => format!("  ends in {}", in_words(left_ms)),
                Some(_) | None => "  is over".to_owned(),
            });
        }
        say(&line);
    }
    if keys.is_empty() {
        say("there are no keys; portcullis keys add NAME makes one");
    }
    Ok(Ending::Fine)
}

/// All but what tells it from another.
fn told(key: &Key) -> Value {
    json!({
        "id": key.id, "name": key.name, "groups": key.groups, "scopes": key.scopes,
        "role": key.role, "created_ms": key.created_ms, "expires_ms": key.expires_ms,
    })
}

fn file(common: &Common) -> Result<KeyFile, Failure> {
    Ok(KeyFile::at(find_gateway(&common.config)?.keys()))
}

/// Whether a running gateway has taken it already; one that has not been asked looks by itself.
fn is_taken(common: &Common) -> bool {
    ask(&common.config, Method::POST, "/admin/keys/refresh", None).is_ok()
}

fn refused(error: &KeyError) -> Failure {
    Failure::of(Ending::SaidNo, error)
}

fn role(word: &str) -> Result<Role, String> {
    Role::parse(word).ok_or_else(|| "one of viewer, operator, admin".to_owned())
}

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

fn time(word: &str) -> Result<Duration, String> {
    let wrong = || "a number and one of d, h, m, s: 90d".to_owned();
    let unit = word.chars().last().ok_or_else(wrong)?;
    let (_, seconds) = UNITS.into_iter().find(|(of, _)| *of == unit).ok_or_else(wrong)?;
    let count: u64 = word.trim_end_matches(unit).parse().map_err(|_| wrong())?;
    let all = count.checked_mul(seconds).filter(|all| *all > 0).ok_or_else(wrong)?;
    Ok(Duration::from_secs(all))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// In the largest unit that it has two of.
fn in_words(left_ms: u64) -> String {
    let seconds = left_ms / 1000;
    let (unit, of) = UNITS.into_iter().find(|(_, of)| seconds >= 2 * of).unwrap_or(('s', 1));
    format!("{}{unit}", seconds / of)
}
