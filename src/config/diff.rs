//! What changes when one configuration takes the place of another.
//!
//! Pure. Every field of the compared types is named here, so that a new key cannot be forgotten:
//! without a line of its own it does not compile. `[servers]` may change while the gateway runs;
//! the other tables hold what listeners, log and limits were built from, and need a restart.

use super::{
    AuditConfig, Config, Gateway, HttpTarget, Limits, ReplicaConfig, ServerConfig, StdioTarget,
    Target, ToolFilter,
};
use crate::domain::ServerName;

/// How the enabled servers of two configurations differ; each list in order of name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    pub added: Vec<ServerName>,
    pub removed: Vec<ServerName>,
    pub changed: Vec<Change>,
    /// How many are the same.
    pub unchanged: usize,
}

/// A server that both have, not quite the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub server: ServerName,
    /// As they are written in the file. Values may be secrets and are not told.
    pub keys: Vec<&'static str>,
    /// Whether its processes and sessions are replaced. The whitelist alone needs no new ones.
    pub replaced: bool,
}

impl Difference {
    pub fn between(before: &Config, after: &Config) -> Self {
        let mut difference = Self::default();
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
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
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
        self == &Self { filter: self.filter.clone(), ..other.clone() }
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
    let Gateway { listen, admin, names, state_dir, hosts, origins, legacy_sse } = &before.gateway;
    let gateway = &after.gateway;
    let mut differing = Differing::default();
    differing.note("listen", listen, &gateway.listen);
    differing.note("admin", admin, &gateway.admin);
    differing.note("names", names, &gateway.names);
    differing.note("state_dir", state_dir, &gateway.state_dir);
    differing.note("hosts", hosts, &gateway.hosts);
    differing.note("origins", origins, &gateway.origins);
    differing.note("legacy_sse", legacy_sse, &gateway.legacy_sse);
    let mut all: Vec<_> = differing.keys.into_iter().map(|key| ("gateway", key)).collect();

    let AuditConfig { durability } = before.audit;
    if durability != after.audit.durability {
        all.push(("audit", "durability"));
    }

    let Limits { body_bytes, in_flight, sessions, connections } = before.limits;
    let limits = after.limits;
    let mut differing = Differing::default();
    differing.note("body_bytes", &body_bytes, &limits.body_bytes);
    differing.note("in_flight", &in_flight, &limits.in_flight);
    differing.note("sessions", &sessions, &limits.sessions);
    differing.note("connections", &connections, &limits.connections);
    all.extend(differing.keys.into_iter().map(|key| ("limits", key)));
    all
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
    let ServerConfig {
        name: _,
        replicas,
        filter,
        baggage,
        protocol,
        isolation,
        startup_timeout,
        tool_timeout,
        in_flight,
        queue,
        queue_timeout,
        balance,
        affinity,
        repeatable,
    } = before;
    let mut differing = Differing::default();
    replica_keys(replicas, &after.replicas, &mut differing);
    let ToolFilter { enabled, disabled } = filter;
    differing.note("enabled_tools", enabled, &after.filter.enabled);
    differing.note("disabled_tools", disabled, &after.filter.disabled);
    differing.note("baggage", baggage, &after.baggage);
    differing.note("protocol", protocol, &after.protocol);
    differing.note("isolation", isolation, &after.isolation);
    differing.note("startup_timeout_sec", startup_timeout, &after.startup_timeout);
    differing.note("tool_timeout_sec", tool_timeout, &after.tool_timeout);
    differing.note("in_flight", in_flight, &after.in_flight);
    differing.note("queue", queue, &after.queue);
    differing.note("queue_timeout_sec", queue_timeout, &after.queue_timeout);
    differing.note("balance", balance, &after.balance);
    differing.note("affinity", affinity, &after.affinity);
    differing.note("retry", repeatable, &after.repeatable);
    differing.keys
}

/// Of what each replica is; a replica more or less says no more than that.
fn replica_keys(before: &[ReplicaConfig], after: &[ReplicaConfig], differing: &mut Differing) {
    for (before, after) in before.iter().zip(after) {
        let ReplicaConfig { target, weight } = before;
        target_keys(target, &after.target, differing);
        differing.note("weight", weight, &after.weight);
    }
    differing.note("replicas", &before.len(), &after.len());
}

fn target_keys(before: &Target, after: &Target, differing: &mut Differing) {
    match (before, after) {
        (Target::Stdio(before), Target::Stdio(after)) => {
            let StdioTarget { program, args, env, cwd } = before;
            differing.note("command", program, &after.program);
            differing.note("args", args, &after.args);
            differing.note("env", env, &after.env);
            differing.note("cwd", cwd, &after.cwd);
        }
        (Target::Http(before), Target::Http(after)) => {
            let HttpTarget { url, headers } = before;
            differing.note("url", url, &after.url);
            // The three ways to write a header have become one list.
            differing.note("http_headers", headers, &after.headers);
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
    fn the_whitelist_alone_replaces_no_process() {
        let a = "[servers.a]\ncommand = \"git-mcp\"\n";
        check(a, &format!("{a}disabled_tools = [\"x\"]\n"), "=a:disabled_tools");
        let more = format!("{a}enabled_tools = []\nargs = [\"x\"]\n");
        check(a, &more, "~a:args,enabled_tools");
    }
}
