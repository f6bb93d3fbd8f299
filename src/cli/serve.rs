//! `serve` and `provide`: the commands that run until they are told to end.

use std::path::PathBuf;

use clap::Subcommand;

use super::{ConfigArg, Ending, Failure, complain, load};
use crate::{
    app::{self, Mode},
    config::Colour,
    provide::{self, FilesOptions},
    sys::{Inherited, use_small_pages},
    telemetry,
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArg,
    /// Serve one client on standard input and output, as a desktop host starts its servers.
    #[arg(long)]
    stdio: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Provide {
    /// Files below one directory, read-only: list, read and search.
    Files {
        /// The directory; nothing outside it can be reached.
        #[arg(long, value_name = "DIR")]
        root: PathBuf,
    },
}

pub(super) fn serve(args: &Args) -> Result<Ending, Failure> {
    telemetry::init().map_err(|error| Failure::of(Ending::Usage, &error))?;
    use_small_pages();
    // While there is one thread alone.
    let inherited = Inherited::take();
    let (config, rules) = load(&args.config)?;
    let colour = Colour::detect(&std::io::stderr());
    config.warnings.iter().for_each(|warning| complain(warning.render(colour).trim_end()));
    let mode = if args.stdio { Mode::Stdio } else { Mode::Listen };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::of(Ending::Usage, &error))?;
    let ended = runtime.block_on(app::run(config, rules, mode, inherited));
    // Standard input may be blocked in a read for ever; it must not hold up the end.
    runtime.shutdown_background();
    match ended {
        Ok(()) => Ok(Ending::Fine),
        Err(error) => Err(Failure::of(Ending::Usage, &error)),
    }
}

pub(super) fn provide(server: Provide) -> Result<Ending, Failure> {
    let Provide::Files { root } = server;
    match provide::run_files(&FilesOptions { root }) {
        Ok(()) => Ok(Ending::Fine),
        Err(error) => Err(Failure::of(Ending::Usage, &error)),
    }
}
