//! `policy …`: what the policies on disk say. Needs no running gateway and changes nothing.

mod explain;
mod replay;

use clap::Subcommand;
use serde_json::json;

use super::{ConfigArg, Ending, Failure, complain, read, say};
use crate::config::{self, Colour, Place};

#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Print every policy in Cedar, rules of TOML files included, and where each stands.
    Show(Args),
    /// Run the cases of policies/tests: calls with the answer that the policies must give.
    Test(Args),
    /// Say what the policies make of one call, which of them decide it, and what would allow it.
    #[command(after_help = explain::EXAMPLES)]
    Explain(explain::Args),
    /// Say which recorded calls would come out otherwise under the policies on disk.
    #[command(after_help = replay::EXAMPLES)]
    Replay(replay::Args),
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn policy(action: Policy) -> Result<Ending, Failure> {
    match action {
        Policy::Show(args) => show(&args),
        Policy::Test(args) => test(&args),
        Policy::Explain(args) => explain::explain(&args),
        Policy::Replay(args) => replay::replay(&args),
    }
}

fn show(args: &Args) -> Result<Ending, Failure> {
    let (_, rules) = super::load(&args.config)?;
    if args.json {
        let one =
            |(place, text): (&Place, String)| json!({ "at": place.to_string(), "cedar": text });
        let all: Vec<_> = rules.policies().texts().map(one).collect();
        say(&json!({ "policies": all }).to_string());
        return Ok(Ending::Fine);
    }
    for (place, text) in rules.policies().texts() {
        say(&format!("// {place}\n{text}\n"));
    }
    if rules.policies().is_empty() {
        say("no policies: no call is allowed");
    }
    Ok(Ending::Fine)
}

/// The cases are a part of what makes policies acceptable, so they have been run when these are
/// read.
fn test(args: &Args) -> Result<Ending, Failure> {
    let read = read(&args.config);
    let failed: Vec<_> = match &read {
        Ok(_) => Vec::new(),
        Err(errors) => errors.errors.iter().collect(),
    };
    let n_cases = match &read {
        Ok((config, _)) => config.policies.cases.len(),
        Err(_) => 0,
    };
    if args.json {
        let failed: Vec<_> = failed.iter().map(|finding| finding.to_json()).collect();
        say(&json!({ "ok": failed.is_empty(), "cases": n_cases, "failed": failed }).to_string());
    } else if failed.is_empty() {
        say(&format!("{n_cases} cases, as expected"));
    } else {
        let colour = Colour::detect(&std::io::stderr());
        failed.iter().for_each(|finding| complain(finding.render(colour).trim_end()));
    }
    let is_case = |finding: &&config::Finding| finding.code == config::Code::FailedCase;
    Ok(match failed.iter().copied().all(|finding| is_case(&finding)) {
        true if failed.is_empty() => Ending::Fine,
        true => Ending::SaidNo,
        false => Ending::Usage,
    })
}
