//! A row for each key: where it stands, how it is written, and what comes of it.

use super::super::{env_of, header_of};
use crate::config::{Config, Target};

/// Which table of the file a row writes its key into, and what is there besides.
#[derive(Clone, Copy)]
pub(super) enum Into {
    Table(&'static str),
    Stdio,
    Http,
}

/// Where it stands, key, value as written, what is looked at, by default, with the key.
pub(super) type Row =
    (Into, &'static str, &'static str, fn(&Config) -> String, &'static str, &'static str);

const GATEWAY: Into = Into::Table("gateway");
const LIMITS: Into = Into::Table("limits");
const STOP: Into = Into::Table("stop");

pub(super) const ROWS: [Row; 70] = [
    (
        GATEWAY,
        "tls",
        r#"{ cert = "c.pem", key = "/k.pem" }"#,
        |c| format!("{:?}", c.gateway.tls.as_ref().map(|tls| (&tls.cert, &tls.key))),
        "None",
        "Some((\"/etc/portcullis/c.pem\", \"/k.pem\"))",
    ),
    (
        Into::Table("auth"),
        "jwt",
        r#"{ issuer = "https://a.example", resource = "https://g.example/mcp", jwks = "k.json" }"#,
        |c| format!("{:?} {:?}", c.auth.modes, c.auth.jwt.as_ref().map(|jwt| &jwt.jwks)),
        "{None, Peer} None",
        "{Peer, Jwt} Some(File(\"/etc/portcullis/k.json\"))",
    ),
    (
        Into::Table("auth"),
        "modes",
        r#"["peer", "keys"]"#,
        |c| format!("{:?}", c.auth.modes),
        "{None, Peer}",
        "{Peer, Keys}",
    ),
    (
        GATEWAY,
        "policies",
        r#""rules""#,
        |c| c.gateway.policies.display().to_string(),
        "/etc/portcullis/policies",
        "/etc/portcullis/rules",
    ),
    (
        GATEWAY,
        "policy_mode",
        r#""shadow""#,
        |c| format!("{:?}", c.gateway.policy_mode),
        "Enforce",
        "Shadow",
    ),
    (GATEWAY, "legacy_sse", "true", |c| c.gateway.legacy_sse.to_string(), "false", "true"),
    (GATEWAY, "listen", r#""[::1]:9""#, listen, "Tcp(127.0.0.1:7411)", "Tcp([::1]:9)"),
    (GATEWAY, "listen", r#""unix:/l.sock""#, listen, "Tcp(127.0.0.1:7411)", "Unix(\"/l.sock\")"),
    (
        GATEWAY,
        "admin",
        r#""unix:a""#,
        |c| format!("{:?}", c.gateway.admin),
        "Unix(\"/home/op/.local/state/portcullis/admin.sock\")",
        "Unix(\"/home/op/.local/state/portcullis/a\")",
    ),
    (
        GATEWAY,
        "admin",
        r#""127.0.0.1:9""#,
        |c| format!("{:?}", c.gateway.admin),
        "Unix(\"/home/op/.local/state/portcullis/admin.sock\")",
        "Tcp(127.0.0.1:9)",
    ),
    (GATEWAY, "names", r#""plain""#, |c| format!("{:?}", c.gateway.names), "Prefixed", "Plain"),
    (
        GATEWAY,
        "state_dir",
        r#""state""#,
        |c| c.gateway.state_dir.display().to_string(),
        "/home/op/.local/state/portcullis",
        "/etc/portcullis/state",
    ),
    (
        GATEWAY,
        "hosts",
        r#"["Gate.example:80", "b", "B"]"#,
        |c| c.gateway.hosts.join(" "),
        "",
        "gate.example:80 b",
    ),
    (
        GATEWAY,
        "origins",
        r#"["https://Chat.example"]"#,
        |c| c.gateway.origins.join(" "),
        "",
        "https://chat.example",
    ),
    (GATEWAY, "pins", r#""locked""#, pinning, "TrustOnFirstUse Quarantine", "Locked Quarantine"),
    (GATEWAY, "scan", r#""warn""#, pinning, "TrustOnFirstUse Quarantine", "TrustOnFirstUse Warn"),
    (Into::Stdio, "pins", r#""off""#, pinning, "TrustOnFirstUse Quarantine", "Off Quarantine"),
    (Into::Http, "scan", r#""off""#, pinning, "TrustOnFirstUse Quarantine", "TrustOnFirstUse Off"),
    (Into::Table("audit"), "durability", r#""sync""#, durability, "Group", "Sync"),
    (Into::Table("audit"), "durability", r#""cached""#, durability, "Group", "Cached"),
    (Into::Table("audit"), "payloads", r#""full""#, payloads, "Shape", "Full"),
    (Into::Table("audit"), "payloads", r#""none""#, payloads, "Shape", "None"),
    (
        Into::Table("audit"),
        "retention_days",
        "2",
        |c| format!("{:?}", c.audit.retention),
        "7776000s",
        "172800s",
    ),
    (
        Into::Table("audit"),
        "witness_file",
        r#""far/mark""#,
        |c| format!("{:?}", c.audit.witness_file),
        "None",
        "Some(\"/etc/portcullis/far/mark\")",
    ),
    (
        Into::Table("audit"),
        "witness",
        concat!(
            r#"{ url = "https://w.example/a/", key = "w+01234567+"#,
            r#"BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" }"#,
        ),
        |c| format!("{:?}", c.audit.witness.as_ref().map(|w| w.url.to_string())),
        "None",
        "Some(\"https://w.example/a/add-checkpoint\")",
    ),
    (
        Into::Table("telemetry"),
        "otlp",
        r#""http://localhost:4318/""#,
        |c| format!("{:?}", c.telemetry.otlp.as_ref().map(ToString::to_string)),
        "None",
        "Some(\"http://localhost:4318/v1/traces\")",
    ),
    (
        Into::Table("telemetry"),
        "otlp_headers",
        r#"{ X-Key = "${env:TOKEN}" }"#,
        |c| {
            let shown = |(name, value): &(http::HeaderName, crate::config::Secret)| {
                format!("{name}: {}", value.expose())
            };
            c.telemetry.otlp_headers.iter().map(shown).collect()
        },
        "",
        "x-key: t0ken",
    ),
    (STOP, "auto_resume", "true", |c| c.stop.auto_resume.to_string(), "false", "true"),
    (STOP, "heartbeat_sec", "2.5", |c| format!("{:?}", c.stop.heartbeat), "None", "Some(2.5s)"),
    (
        STOP,
        "heartbeat_file",
        r#""beat""#,
        |c| format!("{:?}", c.stop.heartbeat_file),
        "None",
        "Some(\"/etc/portcullis/beat\")",
    ),
    (
        STOP,
        "denials_per_minute",
        "9",
        |c| format!("{:?}", c.stop.denials_per_minute),
        "None",
        "Some(9)",
    ),
    (LIMITS, "body_bytes", "1024", |c| c.limits.body_bytes.to_string(), "4194304", "1024"),
    (LIMITS, "in_flight", "0x10", |c| c.limits.in_flight.to_string(), "1024", "16"),
    (LIMITS, "sessions", "1", |c| c.limits.sessions.to_string(), "10000", "1"),
    (
        LIMITS,
        "principal_rate",
        r#""600/m""#,
        |c| format!("{:?}", c.limits.principal_rate.map(|rate| rate.to_string())),
        "None",
        r#"Some("600/m")"#,
    ),
    (
        Into::Stdio,
        "rate",
        r#"{ all = "9/s", principal = "8/m", tools = { t = "7/d" } }"#,
        |c| format!("{:?}", c.servers[0].rates),
        "ServerRates { all: None, principal: None, tools: {} }",
        "ServerRates { all: Some(Rate { calls: 9, per: Second }), principal: Some(Rate { calls: 8, \
         per: Minute }), tools: {\"t\": Rate { calls: 7, per: Day }} }",
    ),
    (LIMITS, "connections", "65_536", |c| c.limits.connections.to_string(), "1024", "65536"),
    (Into::Stdio, "args", r#"["a b", "c"]"#, |c| args(c).join("|"), "", "a b|c"),
    (
        Into::Stdio,
        "env",
        r#"{ X = "1", HOME = "/h" }"#,
        |c| format!("{:?} {:?}", env_of(c, "X"), env_of(c, "HOME")),
        r#"None Some("/home/op")"#,
        r#"Some("1") Some("/h")"#,
    ),
    (Into::Stdio, "cwd", r#""sub""#, cwd, "/etc/portcullis", "/etc/portcullis/sub"),
    (
        Into::Http,
        "http_headers",
        r#"{ X-A = "1" }"#,
        |c| format!("{:?}", header_of(c, "x-a")),
        "None",
        r#"Some("1")"#,
    ),
    (
        Into::Http,
        "env_http_headers",
        r#"{ X-A = "TOKEN" }"#,
        |c| format!("{:?}", header_of(c, "x-a")),
        "None",
        r#"Some("t0ken")"#,
    ),
    (
        Into::Http,
        "bearer_token_env_var",
        r#""TOKEN""#,
        |c| format!("{:?}", header_of(c, "authorization")),
        "None",
        r#"Some("Bearer t0ken")"#,
    ),
    (
        Into::Stdio,
        "enabled",
        "false",
        |c| format!("{} {:?}", c.servers.len(), c.disabled),
        "1 []",
        r#"0 ["a"]"#,
    ),
    (
        Into::Stdio,
        "enabled_tools",
        r#"["t"]"#,
        |c| format!("{:?}", c.servers[0].filter.enabled),
        "None",
        r#"Some({"t"})"#,
    ),
    (
        Into::Stdio,
        "disabled_tools",
        r#"["t"]"#,
        |c| format!("{:?}", c.servers[0].filter.disabled),
        "{}",
        r#"{"t"}"#,
    ),
    (
        Into::Http,
        "baggage",
        r#"["tenant-id", "zone"]"#,
        |c| c.servers[0].baggage.join(" "),
        "",
        "tenant-id zone",
    ),
    (
        Into::Stdio,
        "startup_timeout_sec",
        "0.5",
        |c| format!("{:?}", c.servers[0].startup_timeout),
        "30s",
        "500ms",
    ),
    (
        Into::Http,
        "tool_timeout_sec",
        "7",
        |c| format!("{:?}", c.servers[0].tool_timeout),
        "60s",
        "7s",
    ),
    (Into::Stdio, "protocol", r#""modern""#, protocol, "Auto", "Modern"),
    (Into::Http, "protocol", r#""legacy""#, protocol, "Auto", "Legacy"),
    (Into::Stdio, "isolation", r#""per-session""#, isolation, "Shared", "PerSession"),
    (Into::Http, "isolation", r#""per-principal""#, isolation, "Shared", "PerPrincipal"),
    (Into::Stdio, "replicas", "3", replicas, "1", "1 1 1"),
    (Into::Http, "weight", "1_000", replicas, "1", "1000"),
    (
        Into::Http,
        "replica",
        r#"[{ url = "https://b.example/mcp", weight = 2 }, { command = "git-mcp" }]"#,
        replicas,
        "1",
        "1 2 1",
    ),
    (Into::Stdio, "queue", "0", |c| c.servers[0].queue.to_string(), "256", "0"),
    (
        Into::Http,
        "queue_timeout_sec",
        "0.25",
        |c| format!("{:?}", c.servers[0].queue_timeout),
        "5s",
        "250ms",
    ),
    (
        Into::Stdio,
        "retry",
        r#"{ tools = ["t"] }"#,
        |c| format!("{:?}", c.servers[0].repeatable),
        "{}",
        r#"{"t"}"#,
    ),
    (Into::Stdio, "health", "{ interval_sec = 1 }", health, "10s 5s 60s", "1s 5s 60s"),
    (Into::Http, "health", "{ timeout_sec = 0.5 }", health, "10s 5s 60s", "10s 500ms 60s"),
    (Into::Stdio, "health", "{ grace_sec = 0 }", health, "10s 5s 60s", "10s 5s 0ns"),
    (Into::Stdio, "risk", "{ trust_annotations = true }", risk, UNLABELLED, "true None {}"),
    (Into::Http, "risk", "{ default = [] }", risk, UNLABELLED, "false Some({}) {}"),
    (
        Into::Stdio,
        "risk",
        r#"{ labels = { send = ["sink", "write"] } }"#,
        risk,
        UNLABELLED,
        r#"false None {"send": {"write", "sink"}}"#,
    ),
    (Into::Stdio, "balance", r#""least-connections""#, balance, "Weighted", "LeastConnections"),
    (Into::Http, "balance", r#""round-robin""#, balance, "Weighted", "RoundRobin"),
    (Into::Stdio, "affinity", r#""session""#, affinity, "None", "Session"),
    (Into::Http, "affinity", r#""arg:path""#, affinity, "None", "Argument(\"path\")"),
    (Into::Stdio, "in_flight", "3", |c| c.servers[0].in_flight.to_string(), "256", "3"),
];

fn listen(config: &Config) -> String {
    format!("{:?}", config.gateway.listen)
}

fn durability(config: &Config) -> String {
    format!("{:?}", config.audit.durability)
}

fn payloads(config: &Config) -> String {
    format!("{:?}", config.audit.payloads)
}

/// The weights.
fn replicas(config: &Config) -> String {
    let replicas = config.servers[0].replicas.iter();
    replicas.map(|replica| replica.weight.to_string()).collect::<Vec<_>>().join(" ")
}

fn balance(config: &Config) -> String {
    format!("{:?}", config.servers[0].balance)
}

fn affinity(config: &Config) -> String {
    format!("{:?}", config.servers[0].affinity)
}

fn health(config: &Config) -> String {
    let health = config.servers[0].health;
    format!("{:?} {:?} {:?}", health.interval, health.timeout, health.grace)
}

const UNLABELLED: &str = "false None {}";

fn risk(config: &Config) -> String {
    let risk = &config.servers[0].risk;
    format!("{} {:?} {:?}", risk.trust_annotations, risk.default, risk.labels)
}

fn isolation(config: &Config) -> String {
    format!("{:?}", config.servers[0].isolation)
}

fn protocol(config: &Config) -> String {
    format!("{:?}", config.servers[0].protocol)
}

fn args(config: &Config) -> Vec<String> {
    match &config.servers[0].replicas[0].target {
        Target::Stdio(stdio) => stdio.args.clone(),
        Target::Http(_) => Vec::new(),
    }
}

fn cwd(config: &Config) -> String {
    match &config.servers[0].replicas[0].target {
        Target::Stdio(stdio) => stdio.cwd.clone().unwrap_or_default().display().to_string(),
        Target::Http(_) => String::new(),
    }
}

/// Of the server: what is said of all servers counts there.
fn pinning(c: &Config) -> String {
    format!("{:?} {:?}", c.servers[0].pinning.mode, c.servers[0].pinning.scan)
}
