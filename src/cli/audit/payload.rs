//! `audit payload`: what was kept of one call's arguments and result, held against the record.

use serde_json::{Value, json};

use super::LogArg;
use crate::{
    audit::{Kept, Payloads, Records, commitments},
    cli::{Ending, Failure, say},
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The call: `call` in the audit.
    #[arg(value_name = "CALL_ID")]
    call: String,
    #[command(flatten)]
    log: LogArg,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn payload(args: &Args) -> Result<Ending, Failure> {
    let mut records = Records::all(&args.log.find()?).map_err(super::unreadable)?;
    let mut found = Vec::new();
    while let Some(line) = records.read().map_err(super::unreadable)? {
        let Some(record) = super::record_of(line, &args.call) else { continue };
        for (key, commit) in commitments(line) {
            let kept = records.kept(&commit).map_err(super::unreadable)?;
            found.push((record.clone(), key, kept));
        }
    }
    if found.is_empty() {
        let told = format!("no record of call `{}` commits to anything", args.call);
        return Err(Failure::new(Ending::SaidNo, told));
    }
    let is_wrong = found.iter().any(|(_, _, kept)| word(kept.as_ref()) == WRONG);
    if args.json {
        let all: Vec<_> = found.iter().map(|(record, key, kept)| told(record, key, kept)).collect();
        say(&json!({ "call": args.call, "payloads": all }).to_string());
    } else {
        for (record, key, kept) in &found {
            let (seq, word) = (&record["seq"], word(kept.as_ref()));
            let what = key.trim_end_matches("_commit");
            say(&format!("{what} in record {seq}: {word}"));
            kept.iter().filter_map(|kept| kept.text.as_deref()).for_each(say);
        }
    }
    Ok(if is_wrong { Ending::SaidNo } else { Ending::Fine })
}

const WRONG: &str = "NOT what the record commits to";

/// What can be said of it.
fn word(kept: Option<&Kept>) -> &'static str {
    let Some(kept) = kept else { return "nothing is kept" };
    match kept.form {
        _ if kept.opened().is_some() => "what the record commits to",
        Payloads::Full => WRONG,
        Payloads::None => "only the salt is kept",
        Payloads::Shape => "only its shape is kept",
        Payloads::Redacted => "without its secrets, as the gateway kept it",
    }
}

fn told(record: &Value, key: &str, kept: &Option<Kept>) -> Value {
    let kept = kept.as_ref();
    json!({
        "seq": record["seq"], "kind": record["kind"], "what": key.trim_end_matches("_commit"),
        "as": kept.map(|kept| kept.form.as_str()),
        "text": kept.and_then(|kept| kept.text.as_deref()),
        "opened": kept.is_some_and(|kept| kept.opened().is_some()),
    })
}
