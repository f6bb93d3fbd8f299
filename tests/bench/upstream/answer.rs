//! What the bench upstream answers: one message in, one answer out, the text spliced through.
//!
//! Knows the few methods that a gateway needs to call a tool. Knows no transport; a `sleep` is
//! handed back as a delay, for the transport to wait out its own way.

use std::{borrow::Cow, time::Duration};

use serde::Deserialize;
use serde_json::value::RawValue;

/// Which clients are answered as they wish.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Eras {
    Both,
    Legacy,
}

/// What to send back, and when.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A notification: nothing to say.
    None,
    Now(Vec<u8>),
    Later(Duration, Vec<u8>),
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize, Default)]
struct Params<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    arguments: Option<Arguments<'a>>,
    #[serde(borrow, rename = "protocolVersion")]
    version: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "_meta")]
    meta: Option<Meta<'a>>,
}

#[derive(Deserialize)]
struct Arguments<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    ms: Option<u64>,
}

#[derive(Deserialize)]
struct Meta<'a> {
    #[serde(borrow, rename = "io.modelcontextprotocol/protocolVersion")]
    version: Option<Cow<'a, str>>,
}

const COMPLETE: &str = r#""resultType":"complete","#;
const CACHE: &str = r#""ttlMs":0,"cacheScope":"private","#;
const DISCOVERED: &str = r#""supportedVersions":["2026-07-28"],"capabilities":{"tools":{}},"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"bench-upstream","version":"1"}}"#;
const TOOLS: &str = r#"{"name":"echo","description":"Gives the text back","inputSchema":{"type":"object","properties":{"text":{"type":"string"}},"required":["text"]}},{"name":"sleep","description":"Gives the text back, later","inputSchema":{"type":"object","properties":{"text":{"type":"string"},"ms":{"type":"integer","minimum":0}},"required":["text","ms"]}}"#;

/// What this server is like.
#[derive(Debug)]
pub(crate) struct Face {
    eras: Eras,
    /// The member of the result that lists the tools.
    tools: String,
}

impl Face {
    /// Lists so many tools, the two that work among them.
    pub(crate) fn new(eras: Eras, n_tools: usize) -> Self {
        let more: String = (2..n_tools).map(idle_tool).collect();
        Self { eras, tools: format!(r#""tools":[{TOOLS}{more}]"#) }
    }
}

/// One that nobody calls, of a size and form that is usual.
fn idle_tool(n: usize) -> String {
    format!(
        r#",{{"name":"idle_{n:05}","description":"Takes a few arguments, as tools do, and is here to be listed","inputSchema":{{"type":"object","properties":{{"path":{{"type":"string","description":"Where to look"}},"limit":{{"type":"integer","minimum":0,"maximum":1000}},"kind":{{"enum":["file","directory","any"]}}}},"required":["path"]}}}}"#
    )
}

pub(crate) fn answer(raw: &[u8], face: &Face) -> Answer {
    let Ok(message) = serde_json::from_slice::<Message<'_>>(raw) else {
        return Answer::Now(error("null", -32700, "this is not a request"));
    };
    let Some(id) = message.id.map(RawValue::get) else { return Answer::None };
    let params = message.params.unwrap_or_default();
    let modern = params.meta.as_ref().is_some_and(|meta| meta.version.is_some());
    let head = if modern { COMPLETE } else { "" };
    match (&*message.method, face.eras) {
        ("tools/call", _) => call(id, head, &params),
        ("initialize", _) => {
            let known = |v: &&str| matches!(*v, "2024-11-05" | "2025-03-26" | "2025-06-18");
            let version = params.version.as_deref().filter(known).unwrap_or("2025-11-25");
            Answer::Now(result(
                id,
                &[
                    r#""protocolVersion":""#,
                    version,
                    r#"","capabilities":{"tools":{}},"serverInfo":{"name":"bench-upstream","version":"1"}"#,
                ],
            ))
        }
        ("server/discover", Eras::Both) => Answer::Now(result(id, &[COMPLETE, CACHE, DISCOVERED])),
        ("tools/list", _) if modern => Answer::Now(result(id, &[COMPLETE, CACHE, &face.tools])),
        ("tools/list", _) => Answer::Now(result(id, &[&face.tools])),
        ("ping", _) => Answer::Now(result(id, &[])),
        _ => Answer::Now(error(id, -32601, "no such method")),
    }
}

fn call(id: &str, head: &str, params: &Params<'_>) -> Answer {
    let Some(arguments) = &params.arguments else {
        return Answer::Now(error(id, -32602, "no arguments"));
    };
    let text = arguments.text.map_or(r#""""#, RawValue::get);
    let reply =
        result(id, &[head, r#""content":[{"type":"text","text":"#, text, r#"}],"isError":false"#]);
    match (params.name.as_deref(), arguments.ms) {
        (Some("echo"), _) => Answer::Now(reply),
        (Some("sleep"), Some(ms)) => Answer::Later(Duration::from_millis(ms), reply),
        _ => Answer::Now(error(id, -32602, "unknown tool")),
    }
}

fn result(id: &str, parts: &[&str]) -> Vec<u8> {
    let mut reply =
        Vec::with_capacity(64 + id.len() + parts.iter().map(|p| p.len()).sum::<usize>());
    reply.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    reply.extend_from_slice(id.as_bytes());
    reply.extend_from_slice(br#","result":{"#);
    for part in parts {
        reply.extend_from_slice(part.as_bytes());
    }
    reply.extend_from_slice(b"}}");
    reply
}

fn error(id: &str, code: i32, message: &str) -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#)
        .into_bytes()
}
