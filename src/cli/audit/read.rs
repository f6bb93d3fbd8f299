//! `audit tail`, `audit export` and `audit prove`: records for people and other programs.

use std::{fs, path::PathBuf, thread, time::Duration};

use clap::ValueEnum;
use serde_json::{Value, json};

use super::{LogArg, unreadable};
use crate::{
    audit::{self, Form, Records},
    cli::{Ending, Failure, say},
};

/// Which records are wanted: all of these must fit.
#[derive(Debug, clap::Args)]
struct Filter {
    /// Only records of this kind (`intent`, `outcome`, `denied` …).
    #[arg(long)]
    kind: Option<String>,
    /// Only records of this call.
    #[arg(long, value_name = "ID")]
    call: Option<String>,
    #[arg(long)]
    server: Option<String>,
    #[arg(long)]
    tool: Option<String>,
    #[arg(long)]
    principal: Option<String>,
}

impl Filter {
    fn fits(&self, line: &[u8]) -> bool {
        let wanted = [
            ("kind", &self.kind),
            ("call", &self.call),
            ("server", &self.server),
            ("tool", &self.tool),
            ("principal", &self.principal),
        ];
        if wanted.iter().all(|(_, value)| value.is_none()) {
            return true;
        }
        let record: Value = serde_json::from_slice(line).unwrap_or_default();
        wanted.into_iter().all(|(key, value)| {
            value.as_deref().is_none_or(|value| record.get(key).is_some_and(|found| found == value))
        })
    }
}

#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(in crate::cli) struct TailArgs {
    #[command(flatten)]
    log: LogArg,
    #[command(flatten)]
    filter: Filter,
    /// Go on with what comes.
    #[arg(long, short)]
    follow: bool,
    /// How many of the last records are shown first.
    #[arg(long, short = 'n', default_value_t = 10)]
    lines: usize,
    /// For whoever says so everywhere: a record is shown as the JSON that it is.
    #[arg(long)]
    json: bool,
}

const POLL: Duration = Duration::from_millis(200);

pub(super) fn tail(args: &TailArgs) -> Result<Ending, Failure> {
    let mut records = Records::recent(&args.log.find()?).map_err(unreadable)?;
    let mut last = std::collections::VecDeque::new();
    while let Some(line) = records.read().map_err(unreadable)? {
        if args.filter.fits(line) {
            last.push_back(String::from_utf8_lossy(line).into_owned());
            if last.len() > args.lines {
                last.pop_front();
            }
        }
    }
    last.iter().for_each(|line| say(line));
    if !args.follow {
        return Ok(Ending::Fine);
    }
    loop {
        match records.read().map_err(unreadable)? {
            Some(line) if args.filter.fits(line) => say(&String::from_utf8_lossy(line)),
            Some(_) => {}
            None => thread::sleep(POLL),
        }
    }
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ExportArgs {
    #[command(flatten)]
    log: LogArg,
    #[command(flatten)]
    filter: Filter,
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,
    /// The same as `--format jsonl`.
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Only records from this number on.
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    from: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// The records as they are.
    Jsonl,
    /// Common Event Format.
    Cef,
    /// Open Cybersecurity Schema Framework, one JSON object a line.
    Ocsf,
}

pub(super) fn export(args: &ExportArgs) -> Result<Ending, Failure> {
    #[derive(serde::Deserialize)]
    struct Numbered {
        seq: u64,
    }
    let form = match args.format {
        Format::Jsonl => Form::Lines,
        Format::Cef => Form::Cef,
        Format::Ocsf => Form::Ocsf,
    };
    let mut records = Records::from(&args.log.find()?, args.from).map_err(unreadable)?;
    while let Some(line) = records.read().map_err(unreadable)? {
        let seq = serde_json::from_slice(line).map_or(0, |Numbered { seq }| seq);
        if seq >= args.from && args.filter.fits(line) {
            form.of(line).iter().for_each(|line| say(line));
        }
    }
    Ok(Ending::Fine)
}

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct ProveArgs {
    #[command(flatten)]
    log: LogArg,
    /// Print the proof that this record is in the log.
    #[arg(long, value_name = "N", required_unless_present = "check")]
    seq: Option<u64>,
    /// Check a proof instead, without any log, and print the record that it is of.
    #[arg(long, value_name = "FILE", requires = "pubkey", conflicts_with = "seq")]
    check: Option<PathBuf>,
    /// The key of the epoch that signed the proof's checkpoint.
    #[arg(long, value_name = "KEY")]
    pubkey: Option<String>,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn prove(args: &ProveArgs) -> Result<Ending, Failure> {
    let refused = |error: audit::ProofError| Failure::of(Ending::SaidNo, &error);
    if let (Some(path), Some(pubkey)) = (&args.check, &args.pubkey) {
        let proof = fs::read_to_string(path).map_err(|e| Failure::of(Ending::Usage, &e))?;
        let line = audit::check_proof(&proof, pubkey).map_err(refused)?;
        if args.json {
            let record: Value = serde_json::from_str(&line).unwrap_or_default();
            say(&json!({ "ok": true, "record": record }).to_string());
        } else {
            say(&line);
        }
        return Ok(Ending::Fine);
    }
    let seq = args.seq.unwrap_or_default();
    let proof = audit::prove(&args.log.find()?, seq).map_err(refused)?;
    if args.json {
        say(&json!({ "seq": seq, "proof": proof }).to_string());
    } else {
        say(proof.trim_end());
    }
    Ok(Ending::Fine)
}
