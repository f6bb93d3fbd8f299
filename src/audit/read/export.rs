//! Records in the words of others: CEF lines and OCSF events.
//!
//! A mapping of members, record by record; nothing is added that the record does not say, and what
//! has no place in the other format is carried along whole.

use serde_json::{Map, Value, json};

/// A form that other programs read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it stands in the log.
    Lines,
    /// ArcSight Common Event Format, version 0.
    Cef,
    /// Open Cybersecurity Schema Framework 1.3: API Activity for calls, Base Event for the rest.
    Ocsf,
}

impl Form {
    /// One record's line in this form; none if it is no record.
    pub fn of(self, line: &[u8]) -> Option<String> {
        if self == Self::Lines {
            return String::from_utf8(line.to_vec()).ok();
        }
        let record: Map<String, Value> = serde_json::from_slice(line).ok()?;
        Some(if self == Self::Cef { cef(&record) } else { ocsf(&record).to_string() })
    }
}

fn text<'a>(record: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    record.get(key).and_then(Value::as_str)
}

fn number(record: &Map<String, Value>, key: &str) -> u64 {
    record.get(key).and_then(Value::as_u64).unwrap_or_default()
}

/// What a call was aimed at, whatever kind of thing that is.
fn target(record: &Map<String, Value>) -> Option<&str> {
    const KEYS: [&str; 10] = [
        "tool",
        "prompt",
        "resource",
        "prompt_argument",
        "template_argument",
        "task_get",
        "task_update",
        "task_cancel",
        "asked",
        "at",
    ];
    KEYS.iter().find_map(|key| text(record, key))
}

/// From 0 to 10, as CEF counts: nothing to see, somebody was refused, look at once.
fn severity(kind: &str) -> u8 {
    match kind {
        "denied" | "refused" | "repeated" | "turned_away" | "reload_refused" | "orphaned" => 5,
        "latch_engaged" | "recovered" => 8,
        _ => 2,
    }
}

fn cef(record: &Map<String, Value>) -> String {
    // A bar or an equals sign ends a field unless it is escaped.
    let head = |text: &str| text.replace('\\', "\\\\").replace('|', "\\|");
    let value = |text: &str| {
        let text = text.replace('\\', "\\\\").replace('=', "\\=");
        text.replace('\n', "\\n").replace('\r', "\\r")
    };
    let kind = text(record, "kind").unwrap_or_default();
    let mut fields = vec![
        format!("rt={}", number(record, "ts") / 1000),
        format!("cn1Label=seq cn1={}", number(record, "seq")),
    ];
    let pairs = [
        ("suser", text(record, "principal")),
        ("requestClientApplication", text(record, "client")),
        ("dhost", text(record, "server")),
        ("request", target(record)),
        ("externalId", text(record, "call")),
        ("outcome", text(record, "outcome")),
        ("reason", text(record, "reason").or_else(|| text(record, "error"))),
        ("msg", text(record, "told").or_else(|| text(record, "why"))),
    ];
    let pairs = pairs.into_iter().filter_map(|(key, text)| Some((key, text?)));
    fields.extend(pairs.map(|(key, text)| format!("{key}={}", value(text))));
    let (version, severity) = (env!("CARGO_PKG_VERSION"), severity(kind));
    let kind = head(kind);
    format!("CEF:0|Portcullis|Portcullis|{version}|{kind}|{kind}|{severity}|{}", fields.join(" "))
}

fn ocsf(record: &Map<String, Value>) -> Value {
    let kind = text(record, "kind").unwrap_or_default();
    let severity = if severity(kind) >= 8 { 4 } else { severity(kind).div_ceil(2) };
    let product = json!({
        "name": "Portcullis", "vendor_name": "Portcullis", "version": env!("CARGO_PKG_VERSION"),
    });
    let event = json!({
        "metadata": {
            "version": "1.3.0", "product": product, "sequence": number(record, "seq"),
            "event_code": kind,
        },
        "time": number(record, "ts") / 1000, "severity_id": severity, "message": kind,
        "category_uid": 0, "class_uid": 0, "activity_id": 99, "activity_name": kind,
        "type_uid": 99, "unmapped": record,
    });
    let Some(principal) = text(record, "principal") else { return event };
    // 6003 is API Activity, 99 any other activity; the type is both in one number.
    let call = json!({
        "category_uid": 6, "class_uid": 6003, "type_uid": 600_399,
        "actor": { "user": { "name": principal } },
        "src_endpoint": { "name": text(record, "client") },
        "api": {
            "operation": target(record), "service": { "name": text(record, "server") },
            "request": { "uid": text(record, "call") },
        },
        "status_id": if text(record, "reason").is_some() { 2 } else { 1 },
    });
    let members = |value: Value| match value {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    };
    members(event).into_iter().chain(members(call)).collect()
}

#[cfg(test)]
mod tests {
    use super::Form;

    const DENIED: &str = r#"{"call":"C1","client":"a=b|c","kind":"denied","principal":"ann","prev":"00","reason":"schema","seq":7,"server":"files","told":"x\ny","tool":"read","ts":1700000000000000}"#;

    #[test]
    fn a_denied_call_reads_as_an_event_of_either_kind() {
        let cef = Form::Cef.of(DENIED.as_bytes()).unwrap();
        let rest = cef.strip_prefix("CEF:0|Portcullis|Portcullis|").unwrap();
        assert!(rest.contains("|denied|denied|5|rt=1700000000000 cn1Label=seq cn1=7 "), "{cef}");
        assert!(cef.contains(r"requestClientApplication=a\=b|c"), "{cef}");
        assert!(cef.contains("suser=ann") && cef.contains("dhost=files") && !cef.contains('\n'));
        let ocsf: serde_json::Value =
            serde_json::from_str(&Form::Ocsf.of(DENIED.as_bytes()).unwrap()).unwrap();
        assert_eq!(
            (&ocsf["class_uid"], &ocsf["time"]),
            (&6003.into(), &1_700_000_000_000_u64.into())
        );
        assert_eq!(ocsf["actor"]["user"]["name"], "ann");
        assert_eq!((&ocsf["api"]["operation"], &ocsf["status_id"]), (&"read".into(), &2.into()));
        assert_eq!(ocsf["unmapped"]["told"], "x\ny");
        assert_eq!(Form::Lines.of(DENIED.as_bytes()).unwrap(), DENIED);
        assert_eq!(Form::Cef.of(b"{"), None);
    }
}
