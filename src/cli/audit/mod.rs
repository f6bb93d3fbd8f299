//! `audit …`: the log, from its files; no running gateway is needed and none is disturbed.

mod payload;
mod read;
mod verify;
pub(super) mod why;

use std::{
    io,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use serde_json::{Value, json};

use super::{Common, ConfigArg, Ending, Failure, find_gateway, load, say};
use crate::{audit, sys};

#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Begin the log if there is none, and print the public key of its first epoch. Keep that key
    /// away from this machine: it is what `verify` believes.
    Init {
        #[command(flatten)]
        common: Common,
        /// Print the key by which a witness is to know the log instead.
        #[arg(long)]
        for_witness: bool,
    },
    /// Check every record against what was signed; names the first bad one.
    Verify(verify::Args),
    /// Show the last records, and with -f those that come.
    Tail(read::TailArgs),
    /// All records, for other programs.
    Export(read::ExportArgs),
    /// What was kept of the arguments and the result of one call.
    Payload(payload::Args),
    /// The proof that one record is in the log, or a check of such a proof.
    Prove(read::ProveArgs),
}

/// Which log a command is about.
#[derive(Debug, clap::Args)]
struct LogArg {
    #[command(flatten)]
    config: ConfigArg,
    /// The directory of the log, instead of the configured one.
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl LogArg {
    fn find(&self) -> Result<PathBuf, Failure> {
        match &self.dir {
            Some(dir) => Ok(dir.clone()),
            None => Ok(find_gateway(&self.config)?.state_dir.join("audit")),
        }
    }
}

pub(super) fn audit(action: Action) -> Result<Ending, Failure> {
    match action {
        Action::Init { common, for_witness: false } => init(&common),
        Action::Init { common, for_witness: true } => init_for_witness(&common),
        Action::Verify(args) => verify::verify(&args),
        Action::Tail(args) => read::tail(&args),
        Action::Export(args) => read::export(&args),
        Action::Payload(args) => payload::payload(&args),
        Action::Prove(args) => read::prove(&args),
    }
}

/// The record on this line, if it is of this call. Most lines are of others.
fn record_of(line: &[u8], call: &str) -> Option<Value> {
    memchr::memmem::find(line, call.as_bytes())?;
    let record: Value = serde_json::from_slice(line).ok()?;
    (record.get("call")? == call).then_some(record)
}

/// Microseconds since 1970: `now`, so long ago, or seconds since then.
pub(super) fn moment(text: &str) -> Result<u64, String> {
    if text == "now" {
        return Ok(sys::unix_micros());
    }
    let seconds = |text: &str| text.parse::<u64>().map_err(|_| SHAPE.to_owned());
    match text.bytes().last() {
        Some(b'0'..=b'9') => Ok(seconds(text)?.saturating_mul(MICROS)),
        _ => Ok(sys::unix_micros().saturating_sub(span(text)?.saturating_mul(MICROS))),
    }
}

/// Seconds: `120`, `120s`, `5m`, `1h`, `7d`.
fn span(text: &str) -> Result<u64, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)];
    let found = units.into_iter().find_map(|(unit, n)| Some((text.strip_suffix(unit)?, n)));
    let (digits, unit): (&str, u64) = found.unwrap_or((text, 1));
    let number: u64 = digits.parse().map_err(|_| SHAPE.to_owned())?;
    Ok(number.saturating_mul(unit))
}

const SHAPE: &str = "write 120s, 5m, 24h or 7d, `now`, or seconds since 1970";
const MICROS: u64 = 1_000_000;

pub(super) fn unreadable(error: io::Error) -> Failure {
    let failure = Failure::of(Ending::SaidNo, &error);
    Failure::new(Ending::SaidNo, format!("cannot read the audit log\n  because: {}", failure.told))
}

fn init(common: &Common) -> Result<Ending, Failure> {
    let (dir, pubkey) = begun(&common.config)?;
    tell(common, &dir, ("pubkey", &pubkey));
    Ok(Ending::Fine)
}

fn init_for_witness(common: &Common) -> Result<Ending, Failure> {
    let (dir, _) = begun(&common.config)?;
    let key = audit::sender_key(&dir).map_err(|error| Failure::of(Ending::SaidNo, &error))?;
    tell(common, &dir, ("witness_pubkey", &key));
    Ok(Ending::Fine)
}

/// Where the log is, and its first key.
fn begun(config: &ConfigArg) -> Result<(PathBuf, String), Failure> {
    let (config, _) = load(config)?;
    let dir = config.gateway.state_dir.join("audit");
    let pubkey = audit::init(&dir, audit::Settings::of(&config));
    Ok((dir, pubkey.map_err(|error| Failure::of(Ending::SaidNo, &error))?))
}

fn tell(common: &Common, dir: &Path, (what, key): (&str, &str)) {
    match common.json {
        true => say(&json!({ "dir": dir, what: key }).to_string()),
        false => say(key),
    }
}
