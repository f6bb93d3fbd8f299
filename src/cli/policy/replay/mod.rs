//! `policy replay`: what the policies on disk would have said to calls that were made.
//!
//! From the audit alone, and from the vault as far as it holds the arguments. A call whose
//! arguments would make the difference and were not kept is counted as one that nobody can tell
//! of, never guessed. Every call counts, so every record is read: the index has no use here.
//! Records are not verified; `audit verify` does that.

mod recorded;

use std::{collections::BTreeMap, path::PathBuf};

use serde_json::{Value, json};

use crate::{
    audit::{Records, commitments},
    cli::{ConfigArg, Ending, Failure, audit, load, say},
    config::{Case, Config, Expect},
    gate::{Decided, Rules},
};
use recorded::{Recorded, recorded};

use super::{
    types::{Typed, typed},
    untyped,
};

pub(super) const EXAMPLES: &str = "\
Examples:
  portcullis policy replay --since 24h            the calls of the last day
  portcullis policy replay --since 1767225600     those since then, in seconds since 1970

Arguments are those that `audit.payloads` = \"full\" or \"redacted\" kept. Types and annotations are
those of the definitions in pins.lock; of what is not there, types are taken as they are written.";

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// From when on: so long ago (`90m`, `24h`, `7d`), or seconds since 1970.
    #[arg(long, value_name = "WHEN", value_parser = audit::moment)]
    since: u64,
    /// The directory of the log, instead of the configured one.
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

/// Calls that would come out otherwise, all in the same way.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Change {
    principal: String,
    what: String,
    was: &'static str,
    would_be: &'static str,
    /// What decides it now.
    by: String,
}

#[derive(Debug, Default)]
struct Replayed {
    same: u64,
    /// Of which nobody can tell.
    untold: u64,
    /// Which no policy was asked about.
    unasked: u64,
    /// How many of each, and the last of them.
    changes: BTreeMap<Change, (u64, String)>,
}

pub(super) fn replay(args: &Args) -> Result<Ending, Failure> {
    let (config, rules) = load(&args.config)?;
    let Typed { rules, problem, .. } = typed(&args.config, (&config, &rules));
    untyped(problem.as_deref());
    let replayed = go_through(args, &config, &rules).map_err(audit::unreadable)?;
    if args.json {
        say(&replayed.to_json().to_string());
    } else {
        replayed.print();
    }
    Ok(if replayed.changes.is_empty() { Ending::Fine } else { Ending::SaidNo })
}

fn go_through(args: &Args, config: &Config, rules: &Rules) -> std::io::Result<Replayed> {
    let dir = args.dir.clone().unwrap_or_else(|| config.gateway.state_dir.join("audit"));
    let (mut records, mut replayed) = (Records::all(&dir)?, Replayed::default());
    while let Some(line) = records.read()? {
        let record: Value = serde_json::from_slice(line).unwrap_or_default();
        let ts = record.get("ts").and_then(Value::as_u64);
        let is_late = ts.is_some_and(|ts| ts >= args.since);
        if is_late {
            replayed.untold += recorded::n_counted(&record);
        }
        if !is_late || !recorded::is_call(&record) {
            continue;
        }
        let commit = commitments(line).into_iter().find(|(key, _)| key == "args_commit");
        let arguments = match commit {
            Some((_, commit)) => records.kept(&commit)?,
            None => None,
        };
        let arguments = arguments.as_ref().and_then(|kept| kept.opened());
        match recorded(&record, arguments) {
            Recorded::Judged(case) => replayed.judge(rules, &record, (case.as_ref(), arguments)),
            Recorded::Unasked => replayed.unasked += 1,
            Recorded::Untold => replayed.untold += 1,
        }
    }
    Ok(replayed)
}

impl Replayed {
    fn judge(&mut self, rules: &Rules, record: &Value, (case, arguments): (&Case, Option<&str>)) {
        let (says, decided) = match rules.listed(&case.server, &case.subject) {
            true => rules.policies().answer(case),
            false => (Expect::Hidden, Decided::default()),
        };
        if arguments.is_none() && decided.lacks_arguments() {
            self.untold += 1;
        } else if says == case.expect {
            self.same += 1;
        } else {
            let by = match (&decided.doubt, decided.by.as_slice()) {
                (Some(doubt), _) => doubt.to_string(),
                (None, []) => "no policy permits it".to_owned(),
                (None, by) => by.join(", "),
            };
            let change = Change {
                principal: case.principal.clone(),
                what: case.name.clone(),
                was: case.expect.as_str(),
                would_be: says.as_str(),
                by,
            };
            let (n, last) = self.changes.entry(change).or_default();
            *n += 1;
            record["call"].as_str().unwrap_or_default().clone_into(last);
        }
    }

    fn print(&self) {
        for (change, (n, last)) in &self.changes {
            let Change { principal, what, was, would_be, by } = change;
            say(&format!("{n} × {principal} {what}: {was} -> {would_be}  ({by}; last {last})"));
        }
        let n_changed: u64 = self.changes.values().map(|(n, _)| n).sum();
        let Self { same, untold, unasked, .. } = self;
        say(&format!(
            "{n_changed} calls would come out otherwise, {same} as they did; of {untold} nobody can tell, because their arguments were not kept, somebody approved, or they were only counted; {unasked} were refused before any policy was asked"
        ));
    }

    fn to_json(&self) -> Value {
        let change = |(change, (n, last)): (&Change, &(u64, String))| {
            json!({
                "principal": change.principal, "what": change.what, "was": change.was,
                "would_be": change.would_be, "by": change.by, "calls": n, "last": last,
            })
        };
        json!({
            "same": self.same, "untold": self.untold, "unasked": self.unasked,
            "changes": self.changes.iter().map(change).collect::<Vec<_>>(),
        })
    }
}
