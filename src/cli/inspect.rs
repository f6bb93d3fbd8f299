//! `check`: reads the configuration and needs no running gateway.

use serde_json::json;

use super::{ConfigArg, Ending, Failure, load, read, say};
use crate::{config::Colour, front::look_at_tls};

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
    if let Ok((config, _)) = &read
        && let Err(error) = look_at_tls(config)
    {
        return unfit(&Failure::of(Ending::Usage, &error), args);
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
fn unfit(failure: &Failure, args: &CheckArgs) -> Result<Ending, Failure> {
    if !args.json {
        return Err(Failure::new(failure.ending, &failure.told));
    }
    let told = json!({ "severity": "error", "message": failure.told });
    say(&json!({ "ok": false, "errors": [told], "warnings": [] }).to_string());
    Ok(failure.ending)
}
