//! `audit verify`: whether a log is what was signed, and as young as it should be.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{LogArg, MICROS, moment, span, unreadable};
use crate::{
    audit::{self, Counted, Verified, VerifyError, Wanted},
    cli::{Ending, Failure, say},
};

#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(in crate::cli) struct Args {
    #[command(flatten)]
    log: LogArg,
    /// The public key that `audit init` printed, kept elsewhere; without it the one that lies
    /// beside the log is believed.
    #[arg(long, value_name = "KEY")]
    pubkey: Option<String>,
    /// A copy of a checkpoint that was kept elsewhere, or the key of a witness that has to have
    /// cosigned the log; may be given more than once.
    #[arg(long, value_name = "FILE|KEY")]
    witness: Vec<PathBuf>,
    /// Until when the log should go: `now`, or seconds since 1970.
    #[arg(long, value_name = "TIME", requires = "max_gap", value_parser = moment)]
    until: Option<u64>,
    /// How much older the last signed record may be: `120s`, `5m`, `1h`.
    #[arg(long, value_name = "TIME", requires = "until", value_parser = span)]
    max_gap: Option<u64>,
    /// Also hold the arguments and results that were kept against the records.
    #[arg(long)]
    payloads: bool,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn verify(args: &Args) -> Result<Ending, Failure> {
    let dir = args.log.find()?;
    let not_before = match (args.until, args.max_gap) {
        (Some(until), Some(gap)) => Some(until.saturating_sub(gap.saturating_mul(MICROS))),
        (Some(_), None) | (None, _) => None,
    };
    let (witnesses, keys): (Vec<_>, Vec<_>) =
        args.witness.iter().cloned().partition(|path| !is_key(path));
    let cosigners = keys.iter().map(|key| key.to_string_lossy().into_owned()).collect();
    let wanted = Wanted { pubkey: args.pubkey.clone(), witnesses, cosigners, not_before };
    match audit::verify(&dir, &wanted) {
        Ok(verified) => {
            let payloads = if args.payloads { Some(count(&dir)?) } else { None };
            if args.json {
                say(&told(&verified, payloads).to_string());
            } else {
                say(&format!("{}: {}", dir.display(), sentence(&verified)));
                payloads.iter().for_each(|payloads| say(&counted(payloads)));
            }
            let is_wrong = payloads.is_some_and(|payloads| payloads.wrong > 0);
            Ok(if is_wrong { Ending::SaidNo } else { Ending::Fine })
        }
        Err(error) => {
            let failure = Failure::of(ending(&error), &error);
            if args.json {
                let seq = if let VerifyError::Bad { seq, .. } = error { Some(seq) } else { None };
                say(&json!({ "ok": false, "error": failure.told, "record": seq }).to_string());
                return Ok(failure.ending);
            }
            Err(failure)
        }
    }
}

/// A key has two signs that no path of ours has, and is no file.
fn is_key(path: &Path) -> bool {
    path.to_string_lossy().matches('+').count() >= 2 && !path.exists()
}

fn count(dir: &Path) -> Result<Counted, Failure> {
    audit::count_payloads(dir).map_err(unreadable)
}

fn counted(of: &Counted) -> String {
    let Counted { commitments, kept, opened, wrong } = of;
    let only = "the others in another form, or only their salt";
    format!(
        "{commitments} commitments to arguments and results, {kept} of them kept: {opened} whole and right, {wrong} whole and WRONG, {only}"
    )
}

fn ending(error: &VerifyError) -> Ending {
    match error {
        VerifyError::Key { .. } | VerifyError::WitnessKey { .. } => Ending::Usage,
        VerifyError::Bad { .. }
        | VerifyError::Log { .. }
        | VerifyError::None { .. }
        | VerifyError::Read { .. } => Ending::SaidNo,
    }
}

fn told(verified: &Verified, payloads: Option<Counted>) -> serde_json::Value {
    let payloads = payloads.map(|of| {
        json!({ "commitments": of.commitments, "kept": of.kept, "opened": of.opened,
                "wrong": of.wrong })
    });
    json!({
        "ok": true, "origin": verified.origin, "first": verified.first,
        "records": verified.last, "head": verified.head, "signed": verified.signed,
        "signed_ts": verified.signed_ts, "epochs": verified.epochs,
        "anchored": verified.anchored, "cosigned": verified.cosigned, "payloads": payloads,
    })
}

fn sentence(verified: &Verified) -> String {
    let Verified { first, last, head, signed, epochs, .. } = verified;
    let expired = match first {
        1 => String::new(),
        first => format!(", the first {} of them expired", first - 1),
    };
    let anchored = if verified.anchored { "" } else { "; the key is the log's own: give --pubkey" };
    let cosigned = match verified.cosigned {
        Some(size) => format!(", {size} cosigned"),
        None => String::new(),
    };
    let keys = if *epochs == 1 { "key" } else { "keys" };
    format!(
        "{last} records{expired}, chain intact, {signed} signed by {epochs} {keys}{cosigned}, head {head}{anchored}"
    )
}
