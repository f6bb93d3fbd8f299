//! The messages of the load generator: how a call is written and how its answer is checked.
//!
//! Promises that a reply passes only when its id and its text are exactly those of the call: each
//! text opens with the id, so that an answer given to the wrong caller is found. Knows both wires;
//! knows no transport.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Result;

/// The family of revisions that is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Wire {
    Legacy,
    Modern,
}

impl Wire {
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Legacy => "2025-11-25",
            Self::Modern => "2026-07-28",
        }
    }

    /// What stands in `params` beside the rest: the modern triple, or nothing.
    fn meta(self) -> &'static str {
        match self {
            Self::Legacy => "",
            Self::Modern => concat!(
                r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
                r#""io.modelcontextprotocol/clientInfo":{"name":"loadgen","version":"1"},"#,
                r#""io.modelcontextprotocol/clientCapabilities":{}}"#
            ),
        }
    }
}

/// One call to write: `ms` is for the tool that sleeps.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) wire: Wire,
    pub(crate) id: u64,
    pub(crate) tool: &'a str,
    pub(crate) filler: &'a str,
    pub(crate) ms: Option<u64>,
}

impl Call<'_> {
    pub(crate) fn encode(&self) -> Bytes {
        let mut body = String::with_capacity(self.filler.len() + 512);
        let id = self.id.to_string();
        body.push_str(r#"{"jsonrpc":"2.0","id":"#);
        body.push_str(&id);
        body.push_str(r#","method":"tools/call","params":{"name":""#);
        body.push_str(self.tool);
        body.push_str(r#"","arguments":{"text":""#);
        body.push_str(&self.text());
        body.push('"');
        if let Some(ms) = self.ms {
            body.push_str(&format!(r#","ms":{ms}"#));
        }
        body.push('}');
        if self.wire == Wire::Modern {
            body.push(',');
            body.push_str(self.wire.meta());
        }
        body.push_str("}}");
        Bytes::from(body)
    }

    /// The id, then filler: of the filler's length wherever the id leaves room.
    fn text(&self) -> String {
        let head = format!("{}:", self.id);
        let rest = self.filler.get(head.len()..).unwrap_or_default();
        head + rest
    }

    pub(crate) fn check(&self, reply: &[u8]) -> Result<()> {
        let reply: Reply<'_> = serde_json::from_slice(reply).map_err(|error| {
            format!("reply is not what it should be: {error}: {}", shown(reply))
        })?;
        if let Some(error) = reply.error {
            return Err(format!("call {}: error {}", self.id, shown(error.get().as_bytes())).into());
        }
        if reply.id != Some(self.id) {
            return Err(format!("call {}: reply has id {:?}", self.id, reply.id).into());
        }
        let result = reply.result.ok_or("reply has neither result nor error")?;
        let text = result.content.first().map(|block| &*block.text).unwrap_or_default();
        if result.is_error || text != self.text() {
            let got = shown(text.as_bytes());
            return Err(
                format!("call {}: is_error {}, text `{got}`", self.id, result.is_error).into()
            );
        }
        Ok(())
    }
}

/// Any other request.
pub(crate) fn request(wire: Wire, id: u64, method: &str) -> Bytes {
    let params = match (method, wire) {
        ("initialize", _) => format!(
            r#"{{"protocolVersion":"{}","capabilities":{{}},"clientInfo":{{"name":"loadgen","version":"1"}}}}"#,
            wire.version()
        ),
        _ => format!("{{{}}}", wire.meta()),
    };
    whole(id, method, &params)
}

pub(crate) fn list_request(wire: Wire, id: u64, cursor: Option<&str>) -> Bytes {
    let cursor = cursor.map(|cursor| format!(r#""cursor":"{cursor}""#)).unwrap_or_default();
    let members = [wire.meta(), &cursor].into_iter().filter(|member| !member.is_empty());
    let params = members.collect::<Vec<_>>().join(",");
    whole(id, "tools/list", &format!("{{{params}}}"))
}

/// A page of a list of tools.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) names: Vec<String>,
    pub(crate) next: Option<String>,
}

impl Page {
    pub(crate) fn of(reply: &[u8]) -> Result<Self> {
        let list = result_of(reply)?;
        let tools = list.get("tools").and_then(|tools| tools.as_array()).ok_or("no tools")?;
        let name = |tool: &serde_json::Value| Some(tool.get("name")?.as_str()?.to_owned());
        let next = list.get("nextCursor").and_then(|next| next.as_str()).map(str::to_owned);
        Ok(Self { names: tools.iter().filter_map(name).collect(), next })
    }
}

/// A modern request that says more: one member, or several.
pub(crate) fn modern(id: u64, method: &str, more: &str) -> Bytes {
    whole(id, method, &format!("{{{},{more}}}", Wire::Modern.meta()))
}

fn whole(id: u64, method: &str, params: &str) -> Bytes {
    Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#))
}

pub(crate) const INITIALIZED: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

/// The id of a reply, for whoever must find its call first.
pub(crate) fn id_of(reply: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Id {
        id: Option<u64>,
    }
    serde_json::from_slice::<Id>(reply).ok()?.id
}

/// Fails unless `reply` is a result; gives it back for more questions.
pub(crate) fn result_of(reply: &[u8]) -> Result<serde_json::Value> {
    let mut reply: serde_json::Value = serde_json::from_slice(reply)
        .map_err(|error| format!("reply is not JSON: {error}: {}", shown(reply)))?;
    match reply.get_mut("result") {
        Some(result) => Ok(result.take()),
        None => Err(format!("no result: {}", shown(reply.to_string().as_bytes())).into()),
    }
}

/// The last `data:` of an event stream is the response; notifications come before it.
pub(crate) fn last_event(body: &[u8]) -> Result<&[u8]> {
    let lines = body.rsplit(|byte| *byte == b'\n');
    let mut data = lines.filter_map(|line| line.strip_prefix(b"data:"));
    data.find(|line| line.len() > 2).ok_or_else(|| "event stream without data".into())
}

#[derive(Deserialize)]
struct Reply<'a> {
    id: Option<u64>,
    #[serde(borrow)]
    result: Option<ToolResult<'a>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ToolResult<'a> {
    #[serde(borrow)]
    content: Vec<Block<'a>>,
    #[serde(default, rename = "isError")]
    is_error: bool,
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
}

fn shown(bytes: &[u8]) -> String {
    let start = bytes.get(..200).unwrap_or(bytes);
    String::from_utf8_lossy(start).into_owned()
}
