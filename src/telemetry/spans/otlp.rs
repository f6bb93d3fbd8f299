//! Spans in the form of OTLP over HTTP, in JSON, with the names of the conventions for MCP.
//!
//! Pure. The names are those of OpenTelemetry's semantic conventions for generative AI, which may
//! still change: they stand here and nowhere else. Ids are hexadecimal, as OTLP has them, and
//! numbers of 64 bits are texts.

use serde_json::{Value, json};

use super::{Asked, End, Side, Span};
use crate::{
    domain::{Kind, Transport},
    telemetry::meters::method,
};

const METHOD: &str = "mcp.method.name";
const OPERATION: &str = "gen_ai.operation.name";
const TOOL: &str = "gen_ai.tool.name";
const PROMPT: &str = "gen_ai.prompt.name";
const TRANSPORT: &str = "network.transport";
const ERROR: &str = "error.type";
/// Ours: by which `portcullis why` finds the call, and to which server it went.
const CALL: &str = "portcullis.call.id";
const SERVER: &str = "portcullis.server";

const OF_SERVER: u8 = 2;
const OF_CLIENT: u8 = 3;
const UNSET: u8 = 0;
const FAILED: u8 = 2;

/// The body of one export.
pub fn encode(spans: &[Span]) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    let spans: Vec<Value> = spans.iter().map(span).collect();
    let told = json!({ "resourceSpans": [{
        "resource": { "attributes": [
            text("service.name", "portcullis"),
            text("service.version", version),
        ] },
        "scopeSpans": [{
            "scope": { "name": "portcullis", "version": version },
            "spans": spans,
        }],
    }] });
    told.to_string().into_bytes()
}

fn span(span: &Span) -> Value {
    let Span { at, parent, asked, side, began_us, took, end } = span;
    let began = u128::from(*began_us) * 1000;
    let method = method(asked.kind);
    let mut told = json!({
        "traceId": at.trace_id().to_string(),
        "spanId": at.span_id().to_string(),
        "flags": u32::from(at.flags()),
        "name": asked.name.as_ref().map_or(method.to_owned(), |name| format!("{method} {name}")),
        "kind": match side { Side::Ours => OF_SERVER, Side::Server(_) => OF_CLIENT },
        "startTimeUnixNano": began.to_string(),
        "endTimeUnixNano": (began + took.as_nanos()).to_string(),
        "attributes": attributes(asked, side, end),
        "status": { "code": if *end == End::Well { UNSET } else { FAILED } },
    });
    if let (Some(parent), Some(told)) = (parent, told.as_object_mut()) {
        told.insert("parentSpanId".to_owned(), parent.to_string().into());
    }
    told
}

fn attributes(asked: &Asked, side: &Side, end: &End) -> Vec<Value> {
    let mut told = vec![text(METHOD, method(asked.kind)), text(CALL, &asked.call.to_string())];
    let name = asked.name.as_deref();
    match asked.kind {
        Kind::Tool => {
            told.push(text(OPERATION, "execute_tool"));
            told.extend(name.map(|name| text(TOOL, name)));
        }
        Kind::Prompt | Kind::PromptArgument => told.extend(name.map(|name| text(PROMPT, name))),
        Kind::Resource | Kind::TemplateArgument | Kind::Task(_) => {}
    }
    match side {
        Side::Ours => told.push(text(
            TRANSPORT,
            match asked.transport {
                Transport::Http => "tcp",
                Transport::Unix => "unix",
                Transport::Stdio => "pipe",
            },
        )),
        Side::Server(server) => told.push(text(SERVER, server.as_str())),
    }
    match end {
        End::Well => {}
        End::ToolError => told.push(text(ERROR, "tool_error")),
        End::Error(what) => told.push(text(ERROR, what)),
    }
    told
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}
