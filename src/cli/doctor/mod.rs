//! `doctor`: what may keep the gateway from doing its work here, and what to do about it.
//!
//! Looks at the configuration, the places it names, the machine and each server, one line each.
//! Changes nothing. Of a gateway that runs it takes the word and starts nothing beside it; without
//! one it opens a session with each server by the very code that the gateway uses, and ends it.

mod machine;
mod places;
mod servers;

use http::Method;
use serde_json::{Value, json};

use super::{
    Common, Ending, Failure, client::Client, complain, find_gateway, mistaken, read, say, wait_for,
};
use crate::config::{Config, Gateway};

pub(in crate::cli) const EXAMPLES: &str = "\
Examples:
  portcullis doctor                  one line for each thing looked at; 1 if something is broken
  portcullis doctor --no-servers     start and dial no server
  portcullis doctor --json           for programs

`ok` is as it should be, `warn` works but somebody should look at it, `fail` does not work.";

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    common: Common,
    /// Neither start nor dial servers.
    #[arg(long)]
    no_servers: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

impl Verdict {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug)]
struct Check {
    what: String,
    verdict: Verdict,
    told: String,
    /// What to do.
    help: Option<String>,
    /// What else there is to see, such as the last lines of a server.
    more: Vec<String>,
}

impl Check {
    fn new(what: impl Into<String>, verdict: Verdict, told: impl Into<String>) -> Self {
        Self { what: what.into(), verdict, told: told.into(), help: None, more: Vec::new() }
    }

    fn ok(what: impl Into<String>, told: impl Into<String>) -> Self {
        Self::new(what, Verdict::Ok, told)
    }

    fn warn(what: impl Into<String>, told: impl Into<String>, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..Self::new(what, Verdict::Warn, told) }
    }

    fn fail(what: impl Into<String>, told: impl Into<String>, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..Self::new(what, Verdict::Fail, told) }
    }

    fn to_json(&self) -> Value {
        let Self { what, verdict, told, help, more } = self;
        json!({
            "check": what, "verdict": verdict.as_str(), "told": told, "help": help, "more": more,
        })
    }
}

pub(in crate::cli) fn doctor(args: &Args) -> Result<Ending, Failure> {
    let config_arg = &args.common.config;
    // Without it there is nothing to look for.
    let gateway = find_gateway(config_arg)?;
    let config = read(config_arg).map(|(config, _)| config);
    let status = running(&gateway);
    let mut checks = vec![configuration(&config)];
    checks.push(match &status {
        Some(status) => {
            let generation = status.get("generation").and_then(Value::as_u64).unwrap_or_default();
            Check::ok("gateway", format!("it runs, with generation {generation}"))
        }
        None => Check::ok("gateway", "it does not run"),
    });
    checks.extend(places::look(config_arg, &gateway, status.as_ref()));
    checks.extend(machine::look());
    if let Ok(config) = &config {
        checks.extend(places::trust(config));
        checks.extend(places::tls(config));
        checks.extend(servers::programs(config));
        if !args.no_servers {
            checks.extend(servers::sessions(config, status.as_ref())?);
        }
    }
    let worst = checks.iter().map(|check| check.verdict).max().unwrap_or(Verdict::Ok);
    if args.common.json {
        let all: Vec<_> = checks.iter().map(Check::to_json).collect();
        say(&json!({ "verdict": worst.as_str(), "checks": all }).to_string());
    } else {
        checks.iter().for_each(show);
    }
    if let Err(errors) = &config {
        if !args.common.json {
            complain(&mistaken(errors).told);
        }
        return Ok(Ending::Usage);
    }
    Ok(if worst == Verdict::Fail { Ending::SaidNo } else { Ending::Fine })
}

fn show(check: &Check) {
    let Check { what, verdict, told, help, more } = check;
    say(&format!("{:4} {what}: {told}", verdict.as_str()));
    more.iter().for_each(|line| say(&format!("       | {line}")));
    if let Some(help) = help {
        say(&format!("       do: {help}"));
    }
}

fn configuration(config: &Result<Config, crate::config::ConfigErrors>) -> Check {
    match config {
        Ok(config) if config.warnings.is_empty() => {
            let n_rules = config.policies.cases.len();
            let told = format!("{} servers, {n_rules} cases of policies", config.servers.len());
            Check::ok("configuration", told)
        }
        Ok(config) => {
            let told = format!("{} warnings", config.warnings.len());
            Check::warn("configuration", told, "portcullis check")
        }
        Err(errors) => {
            let told = format!("{} mistakes", errors.errors.len());
            Check::fail("configuration", told, "portcullis check says where")
        }
    }
}

/// What the gateway says of itself, if it runs.
fn running(gateway: &Gateway) -> Option<Value> {
    let asked = wait_for(async {
        let mut client = Client::connect(&gateway.admin).await?;
        client.ask(Method::GET, "/admin/status", None).await
    });
    asked.ok().map(|(_, status)| status)
}
