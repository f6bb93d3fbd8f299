//! `check` and `audit verify`: commands that read files and need no running gateway.

use clap::Subcommand;
use serde_json::json;

use super::{ConfigArg, Ending, Failure, find_gateway, load, read, say};
use crate::{audit, config::Colour};

#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Print the findings as one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Check every record's hash and order; names the first bad one.
    Verify {
        #[command(flatten)]
        config: ConfigArg,
        /// The directory of the log, instead of the configured one.
        #[arg(value_name = "DIR")]
        dir: Option<std::path::PathBuf>,
        /// Print the result as one JSON object.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn check(args: &CheckArgs) -> Result<Ending, Failure> {
    match read(&args.config) {
        Ok((config, _)) if args.json => {
            let warnings: Vec<_> = config.warnings.iter().map(|w| w.to_json()).collect();
            say(&json!({ "ok": true, "errors": [], "warnings": warnings }).to_string());
            Ok(Ending::Fine)
        }
        Ok((config, _)) => {
            let colour = Colour::detect(&std::io::stdout());
            config.warnings.iter().for_each(|warning| say(warning.render(colour).trim_end()));
            let (n, source) = (config.servers.len(), config.source.display());
            let servers = if n == 1 { "server" } else { "servers" };
            say(&format!("{source}: fine ({n} {servers}, {} disabled)", config.disabled.len()));
            Ok(Ending::Fine)
        }
        Err(errors) if args.json => {
            let mut told = errors.to_json();
            if let Some(told) = told.as_object_mut() {
                told.insert("ok".to_owned(), false.into());
            }
            say(&told.to_string());
            Ok(Ending::Usage)
        }
        Err(_) => load(&args.config).map(|_| Ending::Fine),
    }
}

pub(super) fn audit(action: Audit) -> Result<Ending, Failure> {
    let Audit::Verify { config, dir, json } = action;
    let dir = match dir {
        Some(dir) => dir,
        None => find_gateway(&config)?.state_dir.join("audit"),
    };
    match audit::verify(&dir) {
        Ok(verified) => {
            let (last, head) = (verified.last, verified.head);
            if json {
                say(&json!({ "ok": true, "records": last, "head": head }).to_string());
            } else {
                say(&format!("{}: {last} records, chain intact, head {head}", dir.display()));
            }
            Ok(Ending::Fine)
        }
        Err(error) => {
            let failure = Failure::of(Ending::SaidNo, &error);
            if json {
                say(&json!({ "ok": false, "error": failure.told }).to_string());
                return Ok(Ending::SaidNo);
            }
            Err(failure)
        }
    }
}
