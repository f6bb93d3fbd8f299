//! `schema`, `completions` and `man`: what other programs read about this one.
//!
//! All of it is made from what runs: the schema from the parser of servers.toml, the rest from the
//! commands themselves.

mod examples;

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

pub(super) use examples::taught;

use super::{Ending, Failure, say};
use crate::config;

#[derive(Debug, Args)]
pub(in crate::cli) struct SchemaArgs {
    /// Print it on one line.
    #[arg(long)]
    json: bool,
}

pub(in crate::cli) fn schema(args: &SchemaArgs) -> Result<Ending, Failure> {
    let schema = config::schema();
    say(&if args.json { schema.to_string() } else { format!("{schema:#}") });
    Ok(Ending::Fine)
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CompletionsArgs {
    shell: Shell,
}

pub(in crate::cli) fn completions(args: &CompletionsArgs, mut command: Command) -> Ending {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "portcullis", &mut script);
    put(&script);
    Ending::Fine
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ManArgs {
    /// Write a page for each command into this directory.
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub(in crate::cli) fn man(args: &ManArgs, command: Command) -> Result<Ending, Failure> {
    let failed = |error: io::Error| Failure::of(Ending::Usage, &error);
    match &args.dir {
        Some(dir) => {
            fs::create_dir_all(dir).map_err(failed)?;
            clap_mangen::generate_to(command, dir).map_err(failed)?;
        }
        None => {
            let mut page = Vec::new();
            Man::new(command).render(&mut page).map_err(failed)?;
            put(&page);
        }
    }
    Ok(Ending::Fine)
}

/// A reader that went away is no failure of ours.
fn put(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    drop(out.write_all(bytes));
}
