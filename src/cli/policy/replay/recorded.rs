//! A recorded call, as a question to the policies. Pure.

use serde_json::Value;

use crate::{
    config::{Case, Expect, Place},
    domain::{Era, Kind, ServerName, Subject, Transport},
};

/// What can be asked about a record.
pub(super) enum Recorded {
    /// A case that expects what the policies said then.
    Judged(Box<Case>),
    /// Another gate refused before them, or it was about a task, which was judged when it began.
    Unasked,
    /// The record does not say enough: approvals are not replayed, and a name can be too long to be
    /// on record whole.
    Untold,
}

/// Whether the record is of a call that was judged.
pub(super) fn is_call(record: &Value) -> bool {
    matches!(text(record, "kind"), "intent" | "denied") && record["args_bytes"].is_u64()
}

/// How many calls the record is of that were over a rate, and have none of their own.
pub(super) fn n_counted(record: &Value) -> u64 {
    let is_rate = text(record, "kind") == "repeated" && text(record, "reason") == "rate_limited";
    record["count"].as_u64().filter(|_| is_rate).unwrap_or_default()
}

pub(super) fn recorded(record: &Value, arguments: Option<&str>) -> Recorded {
    let waited = matches!(text(record, "reason"), "held" | "approval");
    if waited || record.get("approval").is_some() {
        return Recorded::Untold;
    }
    let Some(expect) = said(record) else { return Recorded::Unasked };
    let kinds =
        [Kind::Tool, Kind::Prompt, Kind::Resource, Kind::PromptArgument, Kind::TemplateArgument];
    let named = kinds.into_iter().find_map(|kind| Some((kind, record[kind.as_str()].as_str()?)));
    let Some((kind, name)) = named else { return Recorded::Unasked };
    let (server, subject) = (text(record, "server"), Subject::parse(kind, name));
    let (Ok(server), Ok(subject), false) =
        (ServerName::parse(server), subject, name.ends_with('…'))
    else {
        return Recorded::Untold;
    };
    Recorded::Judged(Box::new(Case {
        name: format!("{server}/{name}"),
        place: Place::nowhere(),
        principal: text(record, "principal").to_owned(),
        client: text(record, "client").to_owned(),
        era: match text(record, "era") {
            "legacy" => Era::Legacy,
            _ => Era::Modern,
        },
        transport: match text(record, "transport") {
            "unix" => Transport::Unix,
            "stdio" => Transport::Stdio,
            _ => Transport::Http,
        },
        server,
        subject,
        // Nothing is no JSON: policies that look at it cannot be judged.
        arguments: arguments.unwrap_or_default().to_owned(),
        risk: record["risk"].as_u64().and_then(|risk| u8::try_from(risk).ok()).unwrap_or_default(),
        tainted: text(record, "tainted") == "yes",
        expect,
    }))
}

/// What the policies said then; none if they were not asked.
fn said(record: &Value) -> Option<Expect> {
    match (text(record, "kind"), text(record, "reason"), text(record, "shadow")) {
        ("intent", _, "") | ("denied", "risk" | "rate_limited", "") => Some(Expect::Allow),
        ("intent", _, _) | ("denied", "policy" | "risk" | "rate_limited", _) => Some(Expect::Deny),
        ("denied", "out_of_scope", _) => Some(Expect::Hidden),
        _ => None,
    }
}

fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record.get(key).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Recorded, recorded, said};
    use crate::{config::Expect, domain::DenyReason};

    #[test]
    fn what_an_approval_decided_is_not_replayed() {
        let of = |record| matches!(recorded(&record, None), Recorded::Untold);
        let intent = json!({ "kind": "intent", "server": "up", "tool": "echo" });
        assert!(!of(intent.clone()));
        let mut approved = intent;
        approved["approval"] = "a-1".into();
        assert!(of(approved));
        for reason in [DenyReason::Held, DenyReason::Approval] {
            assert!(of(json!({ "kind": "denied", "reason": reason.as_str() })), "{reason}");
        }
    }

    #[test]
    fn what_the_policies_said_is_told_from_what_other_gates_did() {
        let intent = json!({ "kind": "intent" });
        assert_eq!(said(&intent), Some(Expect::Allow));
        assert_eq!(said(&json!({ "kind": "intent", "shadow": "deny" })), Some(Expect::Deny));
        let of = |reason: DenyReason| said(&json!({ "kind": "denied", "reason": reason.as_str() }));
        assert_eq!(of(DenyReason::Policy), Some(Expect::Deny));
        assert_eq!(of(DenyReason::OutOfScope), Some(Expect::Hidden));
        assert_eq!(of(DenyReason::Risk), Some(Expect::Allow));
        assert_eq!(of(DenyReason::Rate), Some(Expect::Allow));
        for other in [DenyReason::Stopped, DenyReason::Schema, DenyReason::Pin] {
            assert_eq!(of(other), None);
        }
    }
}
