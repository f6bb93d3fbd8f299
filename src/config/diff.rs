//! What changes when one configuration takes the place of another.
//!
//! Pure. Every field of the compared types is named here once, so that a new key cannot be
//! forgotten: without its name it does not compile. `[servers]` may change while the gateway runs;
//! the other tables hold what listeners, log and limits were built from, and need a restart.

use super::{
    AuditConfig, AuthConfig, Config, Gateway, HttpTarget, Limits, Pinning, ReplicaConfig,
    ServerConfig, StdioTarget, StopConfig, Target, TelemetryConfig, ToolFilter,
};
use crate::domain::ServerName;

/// Notes the keys of the fields that differ. A field that is neither compared here nor said to be
/// compared elsewhere does not compile.
macro_rules! compare {
    ($differing:expr, $type:ident, $before:expr, $after:expr,
     { $($key:literal: $field:ident),+ $(,)? } $(, elsewhere: $($other:ident),+)?) => {{
        let $type { $($field,)+ $($($other: _),+)? } = $before;
        $($differing.note($key, $field, &$after.$field);)+
    }};
}

/// How the enabled servers of two configurations differ; each list in order of name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    pub added: Vec<ServerName>,
    pub removed: Vec<ServerName>,
    pub changed: Vec<Change>,
    /// How many are the same.
    pub unchanged: usize,
    /// Whether what they allow may differ.
    pub policies: bool,
}

/// A server that both have, not quite the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub server: ServerName,
    /// As they are written in the file. Values may be secrets and are not told.
    pub keys: Vec<&'static str>,
    /// Whether its processes and sessions are replaced. Whitelist, pins and rates do not.
    pub replaced: bool,
}

impl Difference {
    pub fn between(before: &Config, after: &Config) -> Self {
        let policies = before.digest.policies != after.digest.policies
            || before.gateway.policy_mode != after.gateway.policy_mode
            || before.limits.principal_rate != after.limits.principal_rate;
        let mut difference = Self { policies, ..Self::default() };
        for server in &after.servers {
            match find(before, &server.name) {
                None => difference.added.push(server.name.clone()),
                Some(same) if same == server => difference.unchanged += 1,
                Some(other) => difference.changed.push(Change::between(other, server)),
            }
        }
        let gone = before.servers.iter().filter(|server| find(after, &server.name).is_none());
        difference.removed = gone.map(|server| server.name.clone()).collect();
        difference
    }

    pub fn is_empty(&self) -> bool {
        self.added.is_empty()
            && self.removed.is_empty()
            && self.changed.is_empty()
            && !self.policies
    }
}

impl Change {
    fn between(before: &ServerConfig, after: &ServerConfig) -> Self {
        let (keys, server) = (server_keys(before, after), after.name.clone());
        Self { server, keys, replaced: !after.runs_like(before) }
    }
}

impl ServerConfig {
    /// Whether what runs for the one may stay for the other.
    pub fn runs_like(&self, other: &Self) -> bool {
        let (filter, rates, risk) = (self.filter.clone(), self.rates.clone(), self.risk.clone());
        let pinning = self.pinning;
        self == &Self { filter, pinning, rates, risk, ..other.clone() }
    }
}

fn find<'a>(config: &'a Config, name: &ServerName) -> Option<&'a ServerConfig> {
    config.servers.iter().find(|server| server.name == *name)
}

/// Tables and keys of the file that differ although they cannot while the gateway runs.
pub(super) fn needing_restart(
    before: &Config,
    after: &Config,
) -> Vec<(&'static str, &'static str)> {
    let mut gateway = Differing::default();
    compare!(gateway, Gateway, &before.gateway, &after.gateway, {
        "listen": listen, "admin": admin, "tls": tls, "names": names, "state_dir": state_dir,
        "hosts": hosts, "origins": origins, "legacy_sse": legacy_sse, "policies": policies,
    }, elsewhere: policy_mode, pinning);
    let mut auth = Differing::default();
    compare!(auth, AuthConfig, &before.auth, &after.auth, { "modes": modes, "jwt": jwt });
    let mut audit = Differing::default();
    // The mark's place follows from `state_dir`.
    compare!(audit, AuditConfig, &before.audit, &after.audit, {
        "durability": durability, "payloads": payloads, "retention_days": retention,
        "witness_file": witness_file, "witness": witness,
    }, elsewhere: mark);
    let mut stop = Differing::default();
    // The places in memory follow from the environment.
    compare!(stop, StopConfig, &before.stop, &after.stop, {
        "auto_resume": auto_resume, "heartbeat_sec": heartbeat,
        "heartbeat_file": heartbeat_file, "denials_per_minute": denials_per_minute,
    }, elsewhere: memory);
    let mut limits = Differing::default();
    compare!(limits, Limits, &before.limits, &after.limits, {
        "body_bytes": body_bytes, "in_flight": in_flight, "sessions": sessions,
        "connections": connections,
    }, elsewhere: principal_rate);
    let mut telemetry = Differing::default();
    compare!(telemetry, TelemetryConfig, &before.telemetry, &after.telemetry, {
        "otlp": otlp, "otlp_headers": otlp_headers,
    });
    let tables = [
        ("gateway", gateway),
        ("auth", auth),
        ("audit", audit),
        ("stop", stop),
        ("limits", limits),
        ("telemetry", telemetry),
    ];
    let named = |(table, differing): (&'static str, Differing)| {
        differing.keys.into_iter().map(move |key| (table, key))
    };
    tables.into_iter().flat_map(named).collect()
}

#[derive(Default)]
struct Differing {
    keys: Vec<&'static str>,
}

impl Differing {
    fn note<T: PartialEq>(&mut self, key: &'static str, before: &T, after: &T) {
        if before != after && !self.keys.contains(&key) {
            self.keys.push(key);
        }
    }
}

fn server_keys(before: &ServerConfig, after: &ServerConfig) -> Vec<&'static str> {
    let mut differing = Differing::default();
    replica_keys(&before.replicas, &after.replicas, &mut differing);
    compare!(differing, ToolFilter, &before.filter, &after.filter, {
        "enabled_tools": enabled, "disabled_tools": disabled,
    });
    compare!(differing, Pinning, &before.pinning, &after.pinning, {
        "pins": mode, "scan": scan,
    });
    compare!(differing, ServerConfig, before, after, {
        "baggage": baggage, "protocol": protocol, "isolation": isolation,
        "startup_timeout_sec": startup_timeout, "tool_timeout_sec": tool_timeout,
        "in_flight": in_flight, "queue": queue, "queue_timeout_sec": queue_timeout,
        "balance": balance, "affinity": affinity, "retry": repeatable, "health": health,
        "risk": risk, "rate": rates,
    }, elsewhere: name, replicas, filter, pinning);
    differing.keys
}

/// Of what each replica is; a replica more or less says no more than that.
fn replica_keys(before: &[ReplicaConfig], after: &[ReplicaConfig], differing: &mut Differing) {
    for (before, after) in before.iter().zip(after) {
        target_keys(&before.target, &after.target, differing);
        compare!(differing, ReplicaConfig, before, after, { "weight": weight }, elsewhere: target);
    }
    differing.note("replicas", &before.len(), &after.len());
}

fn target_keys(before: &Target, after: &Target, differing: &mut Differing) {
    match (before, after) {
        (Target::Stdio(before), Target::Stdio(after)) => {
            compare!(differing, StdioTarget, before, after, {
                "command": program, "args": args, "env": env, "cwd": cwd,
            });
        }
        (Target::Http(before), Target::Http(after)) => {
            // The three ways to write a header have become one list.
            compare!(differing, HttpTarget, before, after, {
                "url": url, "http_headers": headers,
            });
        }
        (Target::Stdio(_), Target::Http(_)) | (Target::Http(_), Target::Stdio(_)) => {
            differing.keys.extend(["command", "url"]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Config, Difference};
    use crate::config::Surroundings;

    fn config(text: &str) -> Config {
        let around = Surroundings::imagined(&[("HOME", "/home/op"), ("PATH", "/bin")]);
        Config::from_str_at(text, Path::new("/etc/servers.toml"), &around).unwrap()
    }

    /// `+added -removed ~changed:keys` of servers that are replaced, `=changed:keys` of others.
    #[track_caller]
    fn check(before: &str, after: &str, want: &str) {
        let difference = Difference::between(&config(before), &config(after));
        let added = difference.added.iter().map(|name| format!("+{name}"));
        let removed = difference.removed.iter().map(|name| format!("-{name}"));
        let changed = difference.changed.iter().map(|change| {
            let mark = if change.replaced { '~' } else { '=' };
            format!("{mark}{}:{}", change.server, change.keys.join(","))
        });
        let told: Vec<_> = added.chain(removed).chain(changed).collect();
        assert_eq!(told.join(" "), want);
        assert_eq!(difference.is_empty(), want.is_empty());
    }

    #[test]
    fn servers_are_told_apart_by_name_and_compared_by_what_they_mean() {
        let a = "[servers.a]\ncommand = \"git-mcp\"\n";
        let b = "[servers.b]\nurl = \"https://b.example/mcp\"\n";
        let both = format!("{a}{b}");
        check(&both, &format!("# a remark\n{b}{a}protocol = \"auto\"\n"), "");
        check(a, &both, "+b");
        check(&both, b, "-a");
        check(&both, &format!("{a}enabled = false\n{b}"), "-a");
        check(a, "[servers.c]\ncommand = \"git-mcp\"\n", "+c -a");
        check(&both, &format!("{a}args = [\"x\"]\n{b}in_flight = 3\n"), "~a:args ~b:in_flight");
        check(a, "[servers.a]\nurl = \"https://a.example/\"\n", "~a:command,url");
    }

    #[test]
    fn the_whitelist_and_the_pins_alone_replace_no_process() {
        let a = "[servers.a]\ncommand = \"git-mcp\"\n";
        check(a, &format!("{a}pins = \"locked\"\n"), "=a:pins");
        // What holds for all is a part of each server that does not say it.
        check(a, &format!("[gateway]\nscan = \"warn\"\n{a}"), "=a:scan");
        check(a, &format!("{a}disabled_tools = [\"x\"]\n"), "=a:disabled_tools");
        let more = format!("{a}enabled_tools = []\nargs = [\"x\"]\n");
        check(a, &more, "~a:args,enabled_tools");
    }
}
