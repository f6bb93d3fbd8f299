//! `pins`: which definitions are approved, which wait, how they differ, and approving them.
//!
//! `list` reads the file when no gateway answers. Words what it is told; decides nothing.

use std::path::Path;

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use crate::{
    cli::{ConfigArg, Ending, Failure, find_gateway, say, service::ask, service::text},
    front::pins_told,
    gate::{Pin, Quarantine, digest, locate, shown},
};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Pins {
    /// What is approved and what is held back. Without a running gateway: what is approved.
    List(Args),
    /// How what is held back differs from what is approved. Exit code 1 if anything is.
    Diff(Args),
    /// Approve what is held back, as `pins diff` has shown it.
    Approve {
        #[command(flatten)]
        args: Args,
        /// The digest that `pins diff` shows at its end: only what was seen is approved.
        #[arg(long)]
        seen: String,
        /// Everything that is held back, of all servers.
        #[arg(long, conflicts_with = "of")]
        all: bool,
    },
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// SERVER or SERVER/NAME.
    of: Option<String>,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

/// A server, or a definition of one as the server calls it.
struct Of<'a> {
    server: Option<&'a str>,
    name: Option<&'a str>,
}

impl Args {
    fn of(&self) -> Of<'_> {
        let whole = self.of.as_deref();
        match whole.and_then(|of| of.split_once('/')) {
            Some((server, name)) => Of { server: Some(server), name: Some(name) },
            None => Of { server: whole, name: None },
        }
    }
}

impl Of<'_> {
    fn has(&self, one: &Value) -> bool {
        self.server.is_none_or(|server| server == text(one, "server"))
            && self.name.is_none_or(|name| name == text(one, "name"))
    }
}

pub(in crate::cli) fn pins(action: Pins) -> Result<Ending, Failure> {
    match action {
        Pins::List(args) => list(&args),
        Pins::Diff(args) => diff(&args),
        Pins::Approve { args: Args { of: None, .. }, all: false, .. } => {
            Err(Failure::new(Ending::Usage, "name a SERVER or SERVER/NAME, or say --all"))
        }
        Pins::Approve { args, seen, .. } => approve(&args, &seen),
    }
}

fn list(args: &Args) -> Result<Ending, Failure> {
    let told = match ask(&args.config, Method::GET, "/admin/pins", None) {
        Err(failure) if failure.ending == Ending::Unreachable => {
            let beside = args.config.config.parent().unwrap_or(Path::new("."));
            let path = locate(beside, &find_gateway(&args.config)?.state_dir);
            pins_told(&Quarantine::nothing(path).report_now())
        }
        told => told?,
    };
    let told = narrowed(&told, &args.of());
    if args.json {
        say(&told.to_string());
        return Ok(Ending::Fine);
    }
    say(text(&told, "lock"));
    problem(&told);
    for one in entries(&told, "approved") {
        say(&format!("  approved  {}", named(one)));
    }
    for one in entries(&told, "held") {
        say(&format!("  HELD BACK {}: {}", named(one), why(one)));
    }
    Ok(Ending::Fine)
}

fn diff(args: &Args) -> Result<Ending, Failure> {
    let told = ask(&args.config, Method::GET, "/admin/pins", None)?;
    let told = narrowed(&told, &args.of());
    let held = entries(&told, "held");
    let seen = seen(held);
    if args.json {
        say(&json!({ "held": held, "problem": told.get("problem"), "seen": seen }).to_string());
    } else {
        problem(&told);
        held.iter().for_each(show);
        match (held.is_empty(), &args.of) {
            (true, _) => say("nothing is held back"),
            (false, Some(of)) => {
                say(&format!("approve it: portcullis pins approve {of} --seen {seen}"))
            }
            (false, None) => {
                say(&format!("approve all: portcullis pins approve --all --seen {seen}"))
            }
        }
    }
    Ok(if held.is_empty() { Ending::Fine } else { Ending::SaidNo })
}

fn approve(args: &Args, seen: &str) -> Result<Ending, Failure> {
    let Of { server, name } = args.of();
    let body = json!({ "server": server, "name": name, "seen": seen });
    let told = ask(&args.config, Method::POST, "/admin/pins/approve", Some(&body))?;
    match (args.json, told.get("approved").and_then(Value::as_u64).unwrap_or_default()) {
        (true, _) => say(&told.to_string()),
        (false, 1) => say("1 definition is approved"),
        (false, n) => say(&format!("{n} definitions are approved")),
    }
    Ok(Ending::Fine)
}

/// Only what is meant.
fn narrowed(told: &Value, of: &Of<'_>) -> Value {
    let only = |key| entries(told, key).iter().filter(|one| of.has(one)).collect::<Vec<_>>();
    json!({
        "lock": told.get("lock"),
        "problem": told.get("problem"),
        "approved": only("approved"),
        "held": only("held"),
    })
}

/// Stands for everything that was shown.
fn seen(held: &[Value]) -> String {
    let pins: Vec<_> = held.iter().filter_map(|one| Pin::parse(text(one, "pin"))).collect();
    Pin(digest(&pins)).to_string()
}

fn show(one: &Value) {
    say(&format!("{}: {}", named(one), why(one)));
    for finding in entries(one, "findings") {
        let (class, at) = (text(finding, "class"), shown(text(finding, "at")));
        say(&format!("  ! {class} in {at}: {}", shown(text(finding, "what"))));
    }
    for line in entries(one, "difference").iter().filter_map(Value::as_str) {
        say(&format!("  {line}"));
    }
}

fn named(one: &Value) -> String {
    let (kind, name) = (text(one, "kind"), shown(text(one, "name")));
    let pin: String = text(one, "pin").chars().take(12).collect();
    format!("{}/{name} ({kind}, {pin})", text(one, "server"))
}

fn why(one: &Value) -> String {
    text(one, "why").replace('_', " ")
}

fn problem(told: &Value) {
    if let Some(problem) = told.get("problem").and_then(Value::as_str) {
        say(&format!("PROBLEM: {problem}"));
    }
}

fn entries<'a>(of: &'a Value, key: &str) -> &'a [Value] {
    of.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}
