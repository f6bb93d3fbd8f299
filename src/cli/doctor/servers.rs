//! Each server: whether its program is there, and how far a session with it gets.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;

use super::{Check, Verdict};
use crate::{
    cli::{Ending, Failure, wait_for},
    config::{Config, Program, ReplicaConfig, ServerConfig, Target},
    gate::{Latch, shown},
    jail::Jail,
    sys,
    upstream::{Connector, Steps, Tail},
    wire::List,
};

/// What fetches a server when it is started, and so needs the network then.
const FETCHERS: [&str; 6] = ["npx", "uvx", "bunx", "pipx", "pnpm", "docker"];

/// One line for each program that servers are started with.
pub(super) fn programs(config: &Config) -> Vec<Check> {
    let replicas = config.servers.iter().flat_map(|server| &server.replicas);
    let mut paths: Vec<&PathBuf> = replicas.filter_map(program).collect();
    paths.sort();
    paths.dedup();
    paths.into_iter().map(|path| judge(path)).collect()
}

fn program(replica: &ReplicaConfig) -> Option<&PathBuf> {
    match &replica.target {
        Target::Stdio(stdio) => match &stdio.program {
            Program::Path(path) => Some(path),
            Program::SelfExe => None,
        },
        Target::Http(_) => None,
    }
}

fn judge(path: &Path) -> Check {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let what = format!("program {name}");
    // Of a link the place that it leads to tells the version.
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let told = match real == path {
        true => path.display().to_string(),
        false => format!("{} ({})", path.display(), real.display()),
    };
    if FETCHERS.contains(&&*name) {
        let help = "install the server and name its own program: it then starts without network";
        return Check::warn(what, format!("{told} fetches what it starts"), help);
    }
    Check::ok(what, told)
}

/// One line for each server: from the gateway that runs, else by opening a session.
pub(super) fn sessions(config: &Config, status: Option<&Value>) -> Result<Vec<Check>, Failure> {
    if let Some(status) = status {
        let told = status.get("servers").and_then(Value::as_array);
        return Ok(told.into_iter().flatten().map(as_told).collect());
    }
    if Latch::is_engaged_at(&config.gateway.state_dir, &config.stop.memory) {
        let help = "portcullis serve, then estop status; or --no-servers";
        return Ok(vec![Check::warn(
            "servers",
            "the emergency stop is engaged: none is started",
            help,
        )]);
    }
    // A latch of our own, that nobody has engaged, in a place that is nobody's state.
    let scratch = std::env::temp_dir().join(format!("portcullis-doctor-{}", std::process::id()));
    let failed = |error: &dyn std::error::Error| Failure::of(Ending::SaidNo, error);
    sys::create_private_dir(&scratch).map_err(|error| failed(&error))?;
    let latch = Latch::open(&scratch);
    let checks = wait_for(async {
        let jail = Jail::start().map_err(|error| failed(&error))?;
        let connector = Connector::new(jail, latch);
        let mut checks = Vec::new();
        for server in &config.servers {
            checks.push(open(&connector, server).await);
        }
        Ok(checks)
    });
    drop(fs::remove_dir_all(&scratch));
    checks
}

fn as_told(server: &Value) -> Check {
    let text = |key| server.get(key).and_then(Value::as_str).unwrap_or_default();
    let what = format!("server {}", text("name"));
    let state = text("state");
    let why = shown(text("why"));
    let told = match (state, why.is_empty()) {
        ("ready", _) => format!("ready, {}", text("protocol")),
        (state, true) => state.to_owned(),
        (state, false) => format!("{state}: {why}"),
    };
    let verdict = match state {
        "ready" => Verdict::Ok,
        "starting" | "degraded" | "draining" => Verdict::Warn,
        _ => Verdict::Fail,
    };
    let help = (verdict != Verdict::Ok).then(|| format!("portcullis status {}", text("name")));
    let lines = server.get("stderr").and_then(Value::as_array);
    let lines = lines.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    let more = if verdict == Verdict::Ok { Vec::new() } else { last(lines.collect()) };
    Check { help, more, ..Check::new(what, verdict, told) }
}

/// As the gateway does it, step by step; the session is ended again.
async fn open(connector: &Connector, server: &ServerConfig) -> Check {
    let what = format!("server {}", server.name);
    let Some(replica) = server.replicas.first() else { return Check::ok(what, "no replica") };
    let tail = Tail::default();
    let (opened, steps) = Steps::watch(Box::pin(async {
        let session = connector.connect(server, &replica.target, &tail).await?;
        let tools = session.list(List::Tools).await;
        let version = session.version();
        session.close().await;
        Ok::<_, crate::upstream::ConnectError>((version, tools))
    }))
    .await;
    let way = way(&steps);
    match opened {
        Ok((version, Ok(tools))) => {
            let told = format!("{} tools, {}; {way}", tools.len(), version.as_str());
            Check::ok(what, told)
        }
        Ok((version, Err(error))) => {
            let told = format!(
                "{} is spoken, but its tools are not had: {error}; {way}",
                version.as_str()
            );
            let help = "see its last lines; its own log may say more";
            Check { more: last(tail.read()), ..Check::fail(what, told, help) }
        }
        Err(error) => {
            let told =
                Failure::of(Ending::SaidNo, &error).told.replace("\n  because:", ", because");
            let help = "the last step that was taken says where it broke";
            let told = format!("{}; {way}", shown(&told));
            Check { more: last(tail.read()), ..Check::fail(what, told, help) }
        }
    }
}

fn way(steps: &[(&'static str, Duration)]) -> String {
    let one = |(step, at): &(&str, Duration)| format!("{step} at {} ms", at.as_millis());
    let taken: Vec<_> = steps.iter().map(one).collect();
    if taken.is_empty() { "no step was taken".to_owned() } else { taken.join(", ") }
}

/// Whatever others have written is shown with its odd characters escaped.
fn last(lines: Vec<String>) -> Vec<String> {
    const LINES: usize = 5;
    let from = lines.len().saturating_sub(LINES);
    lines.into_iter().skip(from).map(|line| shown(&line).to_string()).collect()
}
