//! `why`: the decision on one call, stage by stage, from the audit alone.
//!
//! Nothing but the record is asked, so that the answer is the same tomorrow, under other policies,
//! and on a machine that only has the log.

use std::{io, path::Path};

use serde_json::{Value, json};

use super::{LogArg, unreadable};
use crate::{
    audit::{Records, records_of},
    cli::{Ending, Failure, say},
    domain::CallId,
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The call: `callId` of an error, `portcullis/callId` of a result, `call` in the audit.
    #[arg(value_name = "CALL_ID")]
    call: String,
    #[command(flatten)]
    log: LogArg,
    /// Print the records and the stages as one JSON object.
    #[arg(long)]
    json: bool,
}

/// One gate, and what it said.
#[derive(Debug, PartialEq, Eq)]
struct Stage {
    name: &'static str,
    says: &'static str,
    because: String,
}

/// The gates in their order, and the reasons of the audit that are theirs.
const STAGES: [(&str, &[&str]); 9] = [
    ("stop", &["stopped"]),
    ("request", &["headers", "state", "overloaded", "internal"]),
    ("whitelist and pins", &["not_listed", "unknown", "pin"]),
    ("schema", &["schema"]),
    ("policy", &["policy", "out_of_scope"]),
    ("risk", &["risk"]),
    ("approval", &["held", "approval"]),
    ("rate", &["rate_limited"]),
    ("audit", &["audit_unavailable"]),
];

pub(in crate::cli) fn why(args: &Args) -> Result<Ending, Failure> {
    let dir = args.log.find()?;
    let lines = records_of(&dir, &args.call).map_err(|error| Failure::of(Ending::Usage, &error))?;
    let found: Vec<Value> =
        lines.iter().filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let Some(first) = found.first() else {
        return without_record(args, &dir);
    };
    let stages = stages(first);
    if args.json {
        let stages: Vec<_> = stages
            .iter()
            .map(|stage| json!({ "stage": stage.name, "says": stage.says, "because": stage.because }))
            .collect();
        say(&json!({ "call": args.call, "stages": stages, "records": found }).to_string());
        return Ok(Ending::Fine);
    }
    say(&headline(first));
    for Stage { name, says, because } in &stages {
        say(format!("  {name:<19} {says:<8} {because}").trim_end());
    }
    for record in found.iter().skip(1) {
        say(&format!("  then: {}", rest(record)));
    }
    Ok(Ending::Fine)
}

/// A call that was refused for the number of calls may have no record of its own.
fn without_record(args: &Args, dir: &Path) -> Result<Ending, Failure> {
    let counted = match CallId::parse(&args.call) {
        Some(id) => counted_at(dir, id.unix_ms()).map_err(unreadable)?,
        None => Vec::new(),
    };
    let call = &args.call;
    if args.json {
        say(&json!({ "call": call, "stages": [], "records": [], "counted": counted }).to_string());
        return Ok(Ending::SaidNo);
    }
    if counted.is_empty() {
        let told = format!(
            "no record of call `{call}` in {}; of calls over a rate, or too many at once, only the \
             first has one, and the others are counted with the next heartbeat",
            dir.display()
        );
        return Err(Failure::new(Ending::SaidNo, told));
    }
    say(&format!("call {call} has no record of its own; when it came, these were only counted:"));
    for record in &counted {
        let (n, like) = (record.get("count").unwrap_or(&Value::Null), text(record, "call"));
        say(&format!("  {}: {}, {n} more like {like}", headline(record), text(record, "reason")));
    }
    Ok(Ending::SaidNo)
}

/// From a call's id to its refusal.
const REFUSED_WITHIN_MS: u64 = 1000;

/// The counts of what was refused then.
fn counted_at(dir: &Path, at_ms: u64) -> io::Result<Vec<Value>> {
    let (mut records, mut found) = (Records::all(dir)?, Vec::new());
    while let Some(line) = records.read()? {
        if memchr::memmem::find(line, b"\"kind\":\"repeated\"").is_none() {
            continue;
        }
        let record: Value = serde_json::from_slice(line).unwrap_or_default();
        let ms = |key: &str| record.get(key).and_then(Value::as_u64).unwrap_or_default() / 1000;
        if ms("since") <= at_ms.saturating_add(REFUSED_WITHIN_MS) && at_ms <= ms("ts") {
            found.push(record);
        }
    }
    Ok(found)
}

/// Who asked for what.
fn headline(record: &Value) -> String {
    let of = [
        "tool",
        "prompt",
        "resource",
        "prompt_argument",
        "template_argument",
        "asked",
        "task",
        "about",
    ];
    let what = of.iter().find_map(|key| Some((*key, record.get(*key)?.as_str()?)));
    let (kind, name) = what.unwrap_or(("call", ""));
    let (principal, client) = (text(record, "principal"), text(record, "client"));
    let server = match text(record, "server") {
        "" => String::new(),
        server => format!(" of `{server}`"),
    };
    format!("{principal} ({client}) asked for {kind} `{name}`{server}")
}

/// What each gate said. A refusal ends it: those after it were not asked.
fn stages(record: &Value) -> Vec<Stage> {
    let is_allowed = matches!(text(record, "kind"), "intent" | "questions" | "watch");
    let reason = text(record, "reason");
    let refused_at = STAGES.iter().position(|(_, reasons)| reasons.contains(&reason));
    let mut stages = Vec::new();
    for (n, (name, _)) in STAGES.into_iter().enumerate() {
        let is_refusal = !is_allowed && refused_at == Some(n);
        let told = because(record, name);
        stages.push(Stage {
            name,
            says: if is_refusal { "refused" } else { "passed" },
            because: match (is_refusal, told.is_empty()) {
                (true, true) => format!("{reason}: {}", text(record, "told")),
                (true, false) => format!("{reason}: {told}"),
                (false, _) => told,
            },
        });
        if is_refusal {
            break;
        }
    }
    stages
}

/// What the record says of that gate.
fn because(record: &Value, stage: &str) -> String {
    match stage {
        "policy" => {
            let by = text(record, "policies").replace(',', ", ");
            match (text(record, "shadow"), by.is_empty()) {
                ("", true) => String::new(),
                ("", false) => format!("decided by {by}"),
                (_, true) => "only watched: no policy permits it".to_owned(),
                (_, false) => format!("only watched: {by} would refuse it"),
            }
        }
        "risk" => match record.get("risk").and_then(Value::as_u64) {
            Some(score) => format!("{score} points: {}", text(record, "reasons"))
                .trim_end_matches(": ")
                .to_owned(),
            None => String::new(),
        },
        "approval" => text(record, "approval").to_owned(),
        "audit" => format!("record {}", record.get("seq").unwrap_or(&Value::Null)),
        _ => String::new(),
    }
}

/// A later record of the call, without what all have.
fn rest(record: &Value) -> String {
    const COMMON: [&str; 7] = ["v", "seq", "ts", "kind", "call", "prev", "hash"];
    let members = record.as_object().into_iter().flatten();
    let others = members.filter(|(key, _)| !COMMON.contains(&key.as_str()));
    let others: Vec<_> = others.map(|(key, value)| format!("{key} {value}")).collect();
    format!("{} ({})", text(record, "kind"), others.join(", "))
}

fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{STAGES, stages};
    use crate::domain::DenyReason;

    #[test]
    fn every_reason_belongs_to_a_stage() {
        for reason in DenyReason::ALL {
            let of = STAGES.iter().filter(|(_, reasons)| reasons.contains(&reason.as_str()));
            assert_eq!(of.count(), 1, "{reason}");
        }
    }

    #[test]
    fn a_refusal_is_the_last_stage_that_was_asked() {
        let told = |record| {
            let stages = stages(&record);
            let last = stages.last().unwrap();
            format!("{} {} {} {}", stages.len(), last.name, last.says, last.because)
        };
        let denied = json!({ "kind": "denied", "reason": "policy", "policies": "a p.cedar:3" });
        assert_eq!(told(denied), "5 policy refused policy: decided by a p.cedar:3");
        let denied = json!({ "kind": "denied", "reason": "schema", "told": "`x` is wrong" });
        assert_eq!(told(denied), "4 schema refused schema: `x` is wrong");
        let intent = json!({ "kind": "intent", "seq": 7, "risk": 15, "reasons": "write 10" });
        assert_eq!(told(intent), "9 audit passed record 7");
        let held = json!({ "kind": "denied", "reason": "held", "approval": "apr-1" });
        assert_eq!(told(held), "7 approval refused held: apr-1");
    }
}
