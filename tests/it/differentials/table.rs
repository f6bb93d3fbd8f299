//! The cases: what a client sends, and whether any of it may arrive. Those of arguments stand in
//! `values`, those of what surrounds them here.
//!
//! All but those of headers call `place`, which the fixture types in every way that the gateway
//! judges by. Where a case says `Sent` it also has to be allowed: a gateway that refuses everything
//! would be easy.

use Want::{Refused, Sent};

use super::values;
use crate::client::{Kind, MODERN};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// It arrives, byte for byte.
    Sent,
    Refused,
}
pub(super) struct Case {
    pub(super) about: String,
    pub(super) tool: &'static str,
    pub(super) headers: Vec<(&'static str, String)>,
    /// Usual headers that are left out.
    pub(super) without: Vec<&'static str>,
    pub(super) want: Want,
    says: Says,
}

enum Says {
    /// A usual call with these arguments, in both eras.
    Arguments(String),
    /// The whole body.
    Body(Vec<u8>),
}

impl Case {
    fn of(says: Says, about: String, want: Want) -> Self {
        let (tool, headers, without) = ("place", Vec::new(), Vec::new());
        Self { about, tool, headers, without, want, says }
    }

    pub(super) fn body(&self, kind: Kind) -> Vec<u8> {
        match &self.says {
            Says::Arguments(text) if !kind.is_modern() => {
                let params = format!(r#"{{"name":"up__{}","arguments":{text}}}"#, self.tool);
                envelope(&params).into_bytes()
            }
            Says::Arguments(text) => envelope(&params(self.tool, text)).into_bytes(),
            Says::Body(bytes) => bytes.clone(),
        }
    }

    /// Clients that send it.
    pub(super) fn kinds(&self) -> &'static [Kind] {
        match self.says {
            Says::Arguments(_) if self.headers.is_empty() => &[Kind::ModernHttp, Kind::LegacyHttp],
            Says::Arguments(_) | Says::Body(_) => &[Kind::ModernHttp],
        }
    }

    /// What has to arrive of it.
    pub(super) fn arguments(&self) -> Option<String> {
        match &self.says {
            // No line may break on its way to a server that reads lines.
            Says::Arguments(text) => Some(text.replace(['\n', '\r'], "")),
            Says::Body(_) => None,
        }
    }
}

pub(super) fn cases() -> Vec<Case> {
    [
        values::keys(),
        values::duplicates(),
        values::strings(),
        values::numbers(),
        values::paths(),
        envelopes(),
        texts(),
        headers(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn meta() -> String {
    format!(
        r#"{{"io.modelcontextprotocol/protocolVersion":"{MODERN}","io.modelcontextprotocol/clientCapabilities":{{}}}}"#
    )
}

fn params(tool: &str, arguments: &str) -> String {
    format!(r#"{{"name":"up__{tool}","arguments":{arguments},"_meta":{}}}"#, meta())
}

fn envelope(params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{params}}}"#)
}

pub(super) fn given(arguments: impl Into<String>, want: Want) -> Case {
    let arguments = arguments.into();
    Case::of(Says::Arguments(arguments.clone()), arguments, want)
}

fn whole(body: impl Into<Vec<u8>>, want: Want) -> Case {
    let body = body.into();
    let about = String::from_utf8_lossy(&body).into_owned();
    Case::of(Says::Body(body), about, want)
}

/// What surrounds the arguments.
fn envelopes() -> Vec<Case> {
    let (good, bad) = (r#"{"path":"/srv/data/a"}"#, r#"{"path":"/etc/passwd"}"#);
    let call = params("place", good);
    let within = |more: &str| envelope(&format!("{},{more}}}", call.strip_suffix('}').unwrap()));
    let usual = envelope(&call);
    let beside = |more: &str| format!("{},{more}}}", usual.strip_suffix('}').unwrap());
    let in_meta = |more: &str| usual.replace(r#""_meta":{"#, &format!(r#""_meta":{{{more},"#));
    let refused = vec![
        within(&format!(r#""arguments":{bad}"#)),
        within(&format!(r#""Arguments":{bad}"#)),
        within(&format!(r#""argument\u017f":{bad}"#)),
        within(&format!(r#""\u0061rguments":{bad}"#)),
        within(&format!(r#""arguments ":{bad}"#)),
        within(r#""name":"up__echo""#),
        within(r#""Name":"up__echo""#),
        within(r#""n\u0061me":"up__echo""#),
        within(r#""_META":{}"#),
        within(r#""_meta":{}"#),
        beside(&format!(r#""params":{}"#, params("place", bad))),
        beside(&format!(r#""Params":{}"#, params("place", bad))),
        beside(&format!(r#""param\u017f":{}"#, params("place", bad))),
        beside(r#""method":"tools/list""#),
        beside(r#""Method":"tools/list""#),
        beside(r#""METHOD":"tools/list""#),
        beside(r#""id":8"#),
        beside(r#""ID":8"#),
        beside(r#""\u0130d":8"#),
        beside(r#""jsonrpc":"1.0""#),
        beside(r#""result":{}"#),
        in_meta(r#""progresstoken":1"#),
        in_meta(r#""IO.modelcontextprotocol/protocolVersion":"2025-06-18""#),
        in_meta(r#""io.modelcontextprotocol/protocolVersion":"2025-06-18""#),
        usual.replace("tools/call", "tools/Call"),
        usual.replace("tools/call", "tools/call "),
        usual.replace("tools/call", "tools\\u002fcall\\u0000"),
        usual.replace("up__place", "up__Place"),
        usual.replace("up__place", "up__place "),
        usual.replace("up__place", "up__pl\u{430}ce"),
        usual.replace("up__place", "up__place\\u0000"),
        usual.replace(r#""id":7"#, r#""id":7.0"#),
        usual.replace(r#""id":7"#, r#""id":[7]"#),
        usual.replace(good, "[]"),
        usual.replace(good, "null"),
        usual.replace(good, r#""{\"path\":\"/etc/passwd\"}""#),
        format!("[{usual}]"),
        format!("[{usual},{usual}]"),
    ];
    let sent = vec![
        usual.clone(),
        usual.replace("up__place", "up__pl\\u0061ce"),
        usual.replace("tools/call", "tools\\/call"),
        usual.replace(r#""arguments""#, r#""argument\u0073""#),
        usual.replace(r#""name""#, r#""n\u0061me""#),
        usual.replace(&format!(r#""arguments":{good},"#), ""),
        within(r#""other":1"#),
        beside(r#""other":{"method":"x"}"#),
        in_meta(r#""other":{"name":"up__echo"}"#),
    ];
    let refused = refused.into_iter().map(|body| whole(body, Refused));
    refused.chain(sent.into_iter().map(|body| whole(body, Sent))).collect()
}

/// What is not one JSON text, or more than one line.
fn texts() -> Vec<Case> {
    let usual = envelope(&params("place", r#"{"path":"/srv/data/a"}"#));
    let bad = envelope(&params("place", r#"{"path":"/etc/passwd"}"#));
    let deep = |n: usize| format!(r#"{{"x":{}{}}}"#, "[".repeat(n), "]".repeat(n));
    let raw = |byte: &[u8]| {
        let (before, after) = usual.split_at(usual.find("/a\"").unwrap());
        [before.as_bytes(), byte, after.as_bytes()].concat()
    };
    let wide: Vec<u8> = usual.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let refused = vec![
        format!("{usual}{bad}").into_bytes(),
        format!("{usual}\n{bad}").into_bytes(),
        format!("{usual}\0").into_bytes(),
        format!("{usual},").into_bytes(),
        format!("\u{feff}{usual}").into_bytes(),
        format!("\u{a0}{usual}").into_bytes(),
        format!("{usual}//").into_bytes(),
        usual.replacen('{', "{/**/", 1).into_bytes(),
        usual.replace('"', "'").into_bytes(),
        usual.replace("\"path\"", "path").into_bytes(),
        usual.replace("/a\"}", "/a\",}").into_bytes(),
        raw(b"\xff"),
        raw(b"\xc0\xae"),
        raw(b"\xed\xa0\x80"),
        raw(b"\xf4\x90\x80\x80"),
        raw(b"\n"),
        raw(b"\x01"),
        wide,
        Vec::new(),
    ];
    let mut all: Vec<_> = refused.into_iter().map(|body| whole(body, Refused)).collect();
    let spaced = usual.replace(r#""id""#, "\r\n\t\"id\"").replace(r#":{"path""#, ":\n{\"path\"");
    all.push(whole(spaced, Sent));
    all.push(whole(format!("\r\n {usual}\n\n"), Sent));
    all.push(given(deep(90), Refused));
    all.push(given(deep(30), Sent));
    all.push(given("{\n\"path\"\n:\r\n\"/srv/data/a\"\n}", Sent));
    all
}

/// What headers say beside the body.
fn headers() -> Vec<Case> {
    let place = |without: &[&'static str], headers: &[(&'static str, &str)], want| {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let about = format!("without {without:?}, with {headers:?}");
        let says = Says::Arguments(r#"{"path":"/srv/data/a"}"#.to_owned());
        Case { headers, without: without.to_vec(), ..Case::of(says, about, want) }
    };
    let mut all = vec![
        place(&["mcp-name"], &[("mcp-name", "up__echo")], Refused),
        place(&["mcp-name"], &[("mcp-name", "UP__PLACE")], Refused),
        place(&["mcp-name"], &[("x-none", "")], Refused),
        place(&[], &[("mcp-name", "up__place")], Refused),
        place(&[], &[("mcp-name", "up__echo")], Refused),
        place(&["mcp-name"], &[("mcp-name", "=?base64?dXBfX2VjaG8=?=")], Refused),
        place(&["mcp-name"], &[("mcp-name", "=?base64?dXBfX3BsYWNl?=")], Sent),
        place(&["mcp-method"], &[("mcp-method", "tools/list")], Refused),
        place(&["mcp-method"], &[("mcp-method", "TOOLS/CALL")], Refused),
        place(&["mcp-method"], &[("x-none", "")], Refused),
        place(&[], &[("mcp-method", "tools/list")], Refused),
        place(&["mcp-protocol-version"], &[("mcp-protocol-version", "2025-06-18")], Refused),
        place(&[], &[("mcp-protocol-version", "2025-06-18")], Refused),
        place(&[], &[("mcp-session-id", "nobody")], Sent),
    ];
    let repeated = |arguments: &str, sent: &[(&'static str, &str)], want| {
        let headers: Vec<_> =
            sent.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let about = format!("{arguments} with {headers:?}");
        let case = Case::of(Says::Arguments(arguments.to_owned()), about, want);
        Case { headers, tool: "test_custom_header", ..case }
    };
    let (region, priority) = ("mcp-param-region", "mcp-param-priority");
    all.extend([
        repeated(r#"{"region":"a"}"#, &[(region, "a")], Sent),
        repeated(r#"{"region":"\u0061"}"#, &[(region, "a")], Sent),
        repeated(r#"{"region":"a"}"#, &[(region, "b")], Refused),
        repeated(r#"{"region":"a"}"#, &[(region, "A")], Refused),
        repeated(r#"{"region":"a"}"#, &[(region, "a"), (region, "b")], Refused),
        repeated(r#"{"region":"a"}"#, &[("x-none", "")], Refused),
        repeated(r#"{"Region":"b"}"#, &[("x-none", "")], Refused),
        repeated("{}", &[(region, "a")], Refused),
        repeated(r#"{"priority":42}"#, &[(priority, "42.0")], Sent),
        repeated(r#"{"priority":42}"#, &[(priority, "43")], Refused),
        repeated(r#"{"priority":9007199254740993}"#, &[(priority, "9007199254740992")], Refused),
        repeated(r#"{"verbose":true}"#, &[("mcp-param-verbose", "True")], Refused),
    ]);
    all
}
