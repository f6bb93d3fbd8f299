//! `policy …`: what the policies on disk say. Needs no running gateway and changes nothing.

mod explain;
mod replay;
mod types;

use clap::Subcommand;
use serde_json::json;

use super::{ConfigArg, Ending, Failure, complain, read, say};
use crate::config::{self, Colour, Finding, Place};
use types::typed;

#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Print every policy in Cedar, rules of TOML files included, and where each stands.
    Show(Args),
    /// Run the cases of policies/tests: calls with the answer that the policies must give.
    ///
    /// Types and annotations are those of the definitions in pins.lock. Policies that do not fit
    /// these are named.
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
/// read; and once more with the types of what is approved. A policy that does not fit those is no
/// error: what is to fit it may still wait to be approved.
fn test(args: &Args) -> Result<Ending, Failure> {
    let (mut n_cases, mut mistakes, mut problem) = (0, Vec::new(), None);
    let failed = match read(&args.config) {
        Ok((config, rules)) => {
            let typed = typed(&args.config, (&config, &rules));
            (n_cases, mistakes, problem) =
                (config.policies.cases.len(), typed.mistakes, typed.problem);
            typed.rules.policies().run(&config.policies.cases)
        }
        Err(errors) => errors.errors,
    };
    let ending = match failed.iter().all(|finding| finding.code == config::Code::FailedCase) {
        true if failed.is_empty() => Ending::Fine,
        true => Ending::SaidNo,
        false => Ending::Usage,
    };
    if args.json {
        let all = |of: &[Finding]| of.iter().map(Finding::to_json).collect::<Vec<_>>();
        let told = json!({
            "ok": failed.is_empty(), "cases": n_cases, "failed": all(&failed),
            "mistakes": all(&mistakes), "lock": problem,
        });
        say(&told.to_string());
        return Ok(ending);
    }
    let colour = Colour::detect(&std::io::stderr());
    untyped(problem.as_deref());
    if !mistakes.is_empty() {
        complain("in view of what is approved (pins.lock), these policies would not be taken:");
    }
    mistakes.iter().chain(&failed).for_each(|finding| complain(finding.render(colour).trim_end()));
    if failed.is_empty() {
        say(&format!("{n_cases} cases, as expected"));
    }
    Ok(ending)
}

/// Says why no types are known.
fn untyped(problem: Option<&str>) {
    if let Some(problem) = problem {
        complain(&format!("types are not known: {problem}"));
    }
}
