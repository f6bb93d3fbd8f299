//! The schema says what the parser says: about every key, and about whole files.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{ONE_SERVER, keys, papers::uncommented_sample, read};
use crate::config::{
    check::TOP_KEYS,
    gateway::{AUDIT_KEYS, GATEWAY_KEYS, LIMITS_KEYS, STOP_KEYS},
    remote::telemetry::TELEMETRY_KEYS,
    schema,
    server::{REPLICA_KEYS, SERVER_KEYS},
};

fn at<'v>(schema: &'v Value, pointer: &str) -> &'v Value {
    schema.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not in {schema:#}"))
}

fn keys_at(schema: &Value, pointer: &str) -> BTreeSet<String> {
    at(schema, pointer).as_object().unwrap().keys().cloned().collect()
}

fn judge(text: &str) -> bool {
    let tree: toml::Table = toml::from_str(text).unwrap();
    jsonschema::validator_for(&schema()).unwrap().is_valid(&serde_json::to_value(tree).unwrap())
}

const SERVER: &str = "/properties/servers/additionalProperties/properties";

#[test]
fn every_key_of_the_parser_is_in_the_schema_and_no_other() {
    let schema = schema();
    let server = [&SERVER_KEYS[..], &REPLICA_KEYS].concat();
    let replica = format!("{SERVER}/replica/items/properties");
    for (pointer, known) in [
        ("/properties", &TOP_KEYS[..]),
        ("/properties/gateway/properties", &GATEWAY_KEYS),
        ("/properties/audit/properties", &AUDIT_KEYS),
        ("/properties/stop/properties", &STOP_KEYS),
        ("/properties/limits/properties", &LIMITS_KEYS),
        ("/properties/telemetry/properties", &TELEMETRY_KEYS),
        (SERVER, &server),
        (&replica, &REPLICA_KEYS),
    ] {
        let known = known.iter().map(|key| (*key).to_owned()).collect();
        assert_eq!(keys_at(&schema, pointer), known, "{pointer}");
    }
    let health = format!("{SERVER}/health/properties");
    assert_eq!(
        keys_at(&schema, &health),
        ["grace_sec", "interval_sec", "timeout_sec"].map(str::to_owned).into()
    );
}

/// A key of which the parser was not understood would take anything.
#[test]
fn every_key_has_a_type_and_every_key_of_a_table_a_description() {
    fn walk(value: &Value, path: &str, deep: usize) {
        let properties = value.get("properties").and_then(Value::as_object);
        for (key, value) in properties.into_iter().flatten() {
            let path = format!("{path}.{key}");
            assert!(value.get("type").is_some(), "{path} takes anything: {value}");
            assert!(deep != 1 || value.get("description").is_some(), "{path} is not described");
            walk(value, &path, deep + 1);
        }
        if let Some(inner) = value.get("additionalProperties").filter(|inner| inner.is_object()) {
            assert!(inner.get("type").is_some(), "{path}.* takes anything");
            walk(inner, &format!("{path}.*"), deep);
        }
        if let Some(inner) = value.get("items") {
            walk(inner, &format!("{path}[]"), deep);
        }
    }
    walk(&schema(), "", 0);
}

#[test]
fn ranges_and_words_are_those_of_the_parser() {
    let schema = schema();
    let body = at(&schema, "/properties/limits/properties/body_bytes");
    assert_eq!((&body["minimum"], &body["maximum"]), (&1024.into(), &67_108_864.into()));
    let start = at(&schema, &format!("{SERVER}/startup_timeout_sec")).clone();
    assert_eq!((&start["minimum"], &start["maximum"]), (&0.1.into(), &600.into()));
    let names = at(&schema, "/properties/gateway/properties/names/enum");
    assert_eq!(names, &Value::from(vec!["prefixed", "plain"]));
}

#[test]
fn what_the_parser_takes_the_schema_takes() {
    for text in keys::written_rows() {
        assert!(judge(&text), "refused by the schema:\n{text}");
    }
    let sample = include_str!("../../../servers.toml");
    assert!(judge(sample) && judge(&uncommented_sample()), "the sample is refused");
}

#[test]
fn what_the_schema_refuses_the_parser_refuses() {
    for line in [
        "comand = \"x\"",
        "args = \"x\"",
        "env = { A = 1 }",
        "enabled = \"no\"",
        "isolation = \"none\"",
        "in_flight = 0",
        "tool_timeout_sec = 5000",
        "health = { interval = 1 }",
        "risk = { labels = { t = \"x\" } }",
        "replica = [{ urll = \"https://a.example\" }]",
    ] {
        let text = format!("{ONE_SERVER}{line}\n");
        assert!(!judge(&text), "the schema takes {line}");
        assert!(read(&text).is_err(), "the parser takes {line}");
    }
}
