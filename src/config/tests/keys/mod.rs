//! Every key of the file changes the checked value, and has the default that is written down.

mod rows;

use std::collections::BTreeSet;

use self::rows::{Into, ROWS};
use super::{ONE_SERVER, accepted, read_after};
use crate::config::{
    Code, Difference,
    auth::AUTH_KEYS,
    check::TOP_KEYS,
    gateway::{AUDIT_KEYS, GATEWAY_KEYS, LIMITS_KEYS, STOP_KEYS},
    remote::telemetry::TELEMETRY_KEYS,
    server::{REPLICA_KEYS, SERVER_KEYS},
};
fn written(into: Into, line: &str) -> String {
    match into {
        Into::Table(name) => format!("[{name}]\n{line}\n{ONE_SERVER}"),
        Into::Stdio => format!("{ONE_SERVER}{line}\n"),
        Into::Http => format!("[servers.a]\nurl = \"https://a.example/mcp\"\n{line}\n"),
    }
}

/// A file for each row.
pub(super) fn written_rows() -> Vec<String> {
    let line = |key: &str, value: &str| format!("{key} = {value}");
    ROWS.iter().map(|(into, key, value, ..)| written(*into, &line(key, value))).collect()
}

#[test]
fn every_key_changes_the_checked_value() {
    for (into, key, value, look, default, want) in ROWS {
        assert_eq!(look(&accepted(&written(into, ""))), default, "default of {key}");
        let config = accepted(&written(into, &format!("{key} = {value}")));
        assert_eq!(look(&config), want, "{key} = {value}");
    }
}

/// Either it is seen as a change of its server, or it is refused because it needs a restart.
#[test]
fn every_key_is_noticed_when_it_changes_in_a_running_gateway() {
    for (into, key, value, ..) in ROWS {
        let running = accepted(&written(into, ""));
        let text = written(into, &format!("{key} = {value}"));
        match (read_after(&running, &text), into) {
            (Err(refused), Into::Table(_)) => {
                let mut found = refused.errors.iter().map(|e| (e.code, e.line, e.column));
                // By default the admin socket moves with the state.
                let last = found.next_back();
                assert_eq!(last, Some((Code::NeedsRestart, 2, key.len() + 4)), "{key}");
            }
            (Ok(next), Into::Table(_)) if ["policy_mode", "principal_rate"].contains(&key) => {
                assert!(Difference::between(&running, &next).policies);
            }
            // What holds for servers that do not say it.
            (Ok(next), Into::Table(_)) if ["pins", "scan"].contains(&key) => {
                let difference = Difference::between(&running, &next);
                assert_eq!(difference.changed[0].keys, [key]);
            }
            (Ok(next), Into::Stdio | Into::Http) => {
                let difference = Difference::between(&running, &next);
                let keys: Vec<_> = difference.changed.iter().flat_map(|c| &c.keys).collect();
                let as_told = match key {
                    "env_http_headers" | "bearer_token_env_var" => "http_headers",
                    "replica" => "replicas",
                    key => key,
                };
                if key == "enabled" {
                    assert_eq!(difference.removed.len(), 1);
                } else {
                    assert_eq!(keys, [&as_told]);
                }
            }
            (read, _) => panic!("{key}: {read:?}"),
        }
    }
}

#[test]
fn every_key_has_a_row() {
    let rows: BTreeSet<_> = ROWS.iter().map(|row| row.1).collect();
    // The two ways to reach a server, and the tables themselves, have tests of their own.
    let elsewhere = [&TOP_KEYS[..], &["command", "url"]].concat();
    for key in [
        &TOP_KEYS[..],
        &GATEWAY_KEYS,
        &AUDIT_KEYS,
        &AUTH_KEYS,
        &STOP_KEYS,
        &LIMITS_KEYS,
        &TELEMETRY_KEYS,
        &SERVER_KEYS,
        &REPLICA_KEYS,
    ]
    .concat()
    {
        assert!(rows.contains(key) || elsewhere.contains(&key), "no row for `{key}`");
    }
}
