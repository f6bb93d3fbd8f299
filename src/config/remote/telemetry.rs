//! `[telemetry]`: who collects what we show of calls.
//!
//! Spans name people's tools and say when they were used, so they go over https or stay on this
//! machine.

use super::{Remote, address};
use crate::config::{
    Code, TelemetryConfig, check::Check, report::Note, section::Section, server::headers_of,
};

pub(in crate::config) const TELEMETRY_KEYS: [&str; 2] = ["otlp", "otlp_headers"];

const COLLECTOR: Remote = Remote {
    key: "otlp",
    what: "a collector",
    shape: "write http://127.0.0.1:4318, or https://HOST[:PORT]; `/v1/traces` is added to it",
    path: "/v1/traces",
    why: "what is told of calls could be read on the way",
};

pub(in crate::config) fn read(section: &Section<'_>, check: &mut Check<'_>) -> TelemetryConfig {
    section.refuse_unknown(&TELEMETRY_KEYS, &mut check.notes);
    let otlp_headers = headers_of(section, "otlp_headers", check);
    let Some(text) = section.text("otlp", &mut check.notes) else {
        return TelemetryConfig { otlp: None, otlp_headers };
    };
    if !cfg!(feature = "otlp") {
        let told = "this portcullis was built without the export of traces";
        let note = Note::new(Code::BadValue, text.span.clone(), told).label("has no effect");
        check.notes.push(note.help("leave `otlp` out, or build with the feature `otlp`"));
    }
    TelemetryConfig { otlp: address(&COLLECTOR, &text, check), otlp_headers }
}
