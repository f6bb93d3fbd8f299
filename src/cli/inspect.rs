//! `check`: reads the configuration and needs no running gateway.

use serde_json::json;

use super::{ConfigArg, Ending, Failure, load, read, say};
use crate::{
    config::{Colour, distrusted},
    front::look_at_tls,
};

#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Print the findings as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn check(args: &CheckArgs) -> Result<Ending, Failure> {
    let read = read(&args.config);
    if let Ok((config, _)) = &read {
        let distrusted = distrusted(config);
        let failures: Vec<_> = match (distrusted.as_slice(), look_at_tls(config)) {
            ([], Err(error)) => vec![Failure::of(Ending::Usage, &error)],
            (all, _) => all.iter().map(|why| Failure::of(Ending::Usage, why)).collect(),
        };
        if !failures.is_empty() {
            return unfit(&failures, args);
        }
    }
    match read {
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

/// What the file names is there to be read, but of no use.
fn unfit(failures: &[Failure], args: &CheckArgs) -> Result<Ending, Failure> {
    if !args.json {
        let told: Vec<_> = failures.iter().map(|failure| failure.told.as_str()).collect();
        return Err(Failure::new(Ending::Usage, told.join("\n")));
    }
    let told = |failure: &Failure| json!({ "severity": "error", "message": failure.told });
    let errors: Vec<_> = failures.iter().map(told).collect();
    say(&json!({ "ok": false, "errors": errors, "warnings": [] }).to_string());
    Ok(Ending::Usage)
}
