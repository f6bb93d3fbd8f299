//! What we say to a server first, and what its answer means. Pure.
//!
//! Modern: `server/discover`, which any later request could do without. Legacy: `initialize`, with
//! the latest version and no capabilities, so that the server may ask nothing of us. An answer is
//! never judged by one code alone: servers refuse what they do not know in many ways.

use bytes::Bytes;

use crate::{
    domain::Era,
    wire::{Body, ClientFace, Object, Response, Version, quote},
};

/// What a server says of itself.
#[derive(Clone, Debug)]
pub(super) struct Greeting {
    pub(super) version: Version,
    pub(super) server_info: Option<Object>,
    pub(super) capabilities: Option<Object>,
    pub(super) instructions: Option<String>,
}

/// What the answer to `server/discover` shows.
#[derive(Debug)]
pub(super) enum Discovery {
    Modern(Greeting),
    Legacy,
    /// It speaks versions of its own that we do not know.
    Stranger {
        offers: String,
    },
}

/// Why an `initialize` led to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Error { code: i64 },
    Version { offers: String },
}

/// Who we are to servers.
pub(super) fn face() -> ClientFace {
    let info = format!(r#"{{"name":"portcullis","version":"{}"}}"#, env!("CARGO_PKG_VERSION"));
    ClientFace { info: info.into(), capabilities: Bytes::from_static(b"{}") }
}

/// What a server may ask of us, by what we say that we can do.
pub(super) fn declared(face: &ClientFace) -> Object {
    Object::parse(face.capabilities.clone()).unwrap_or_else(|_| Object::empty())
}

/// The parameters of a modern request of our own, with `more` members such as `"cursor":"…"`.
pub(super) fn modern_params(face: &ClientFace, more: &[u8]) -> Vec<u8> {
    let mut params = Vec::with_capacity(256);
    for piece in [
        br#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"#.as_slice(),
        &quote(Version::MODERN.as_str()),
        br#","io.modelcontextprotocol/clientInfo":"#,
        &face.info,
        br#","io.modelcontextprotocol/clientCapabilities":"#,
        &face.capabilities,
        b"}",
        if more.is_empty() { b"" } else { b"," },
        more,
        b"}",
    ] {
        params.extend_from_slice(piece);
    }
    params
}

pub(super) fn initialize_params(face: &ClientFace) -> Vec<u8> {
    let mut params = Vec::with_capacity(160);
    for piece in [
        br#"{"protocolVersion":"#.as_slice(),
        &quote(Version::LATEST_LEGACY.as_str()),
        br#","capabilities":"#,
        &face.capabilities,
        br#","clientInfo":"#,
        &face.info,
        b"}",
    ] {
        params.extend_from_slice(piece);
    }
    params
}

/// The parameters of a `tools/list` for the page at `cursor`.
pub(super) fn list_params(
    version: Version,
    face: &ClientFace,
    cursor: Option<&str>,
) -> Option<Vec<u8>> {
    let cursor = cursor.map(|cursor| [br#""cursor":"#.as_slice(), &quote(cursor)].concat());
    match version.era() {
        Era::Modern => Some(modern_params(face, &cursor.unwrap_or_default())),
        Era::Legacy => cursor.map(|cursor| [b"{".as_slice(), &cursor, b"}"].concat()),
    }
}

pub(super) fn discovered(response: &Response) -> Discovery {
    match &response.body {
        Body::Result(result) => match versions(result, "supportedVersions") {
            Some(offers) => choose(&offers, || greeting(Version::MODERN, result)),
            // A result, but not of a discovery: it answers whatever it is asked.
            None => Discovery::Legacy,
        },
        Body::Error(error) => refused_discovery(error),
    }
}

/// The three codes that only a modern server uses.
fn refused_discovery(error: &Object) -> Discovery {
    let bare = || Greeting {
        version: Version::MODERN,
        server_info: None,
        capabilities: None,
        instructions: None,
    };
    match error.integer("code") {
        Some(UNSUPPORTED_VERSION) => {
            let data = error.object("data");
            match data.and_then(|data| versions(&data, "supported")) {
                Some(offers) => choose(&offers, bare),
                None => Discovery::Legacy,
            }
        }
        Some(HEADER_MISMATCH | MISSING_CAPABILITY) => Discovery::Modern(bare()),
        Some(_) | None => Discovery::Legacy,
    }
}

const HEADER_MISMATCH: i64 = -32020;
const MISSING_CAPABILITY: i64 = -32021;
const UNSUPPORTED_VERSION: i64 = -32022;

pub(super) fn initialized(response: &Response) -> Result<Greeting, Refused> {
    let result = match &response.body {
        Body::Result(result) => result,
        Body::Error(error) => {
            return Err(Refused::Error { code: error.integer("code").unwrap_or_default() });
        }
    };
    let offers = result.text("protocolVersion").unwrap_or_default();
    match Version::parse(&offers) {
        Some(version) if version.era() == Era::Legacy => Ok(greeting(version, result)),
        Some(_) | None => Err(Refused::Version { offers: offers.chars().take(40).collect() }),
    }
}

fn choose(offers: &[String], modern: impl FnOnce() -> Greeting) -> Discovery {
    let known = |era| {
        let mut versions = offers.iter().filter_map(|offer| Version::parse(offer));
        versions.any(|version| version.era() == era)
    };
    if known(Era::Modern) {
        Discovery::Modern(modern())
    } else if known(Era::Legacy) {
        Discovery::Legacy
    } else {
        Discovery::Stranger { offers: offers.join(", ").chars().take(200).collect() }
    }
}

fn greeting(version: Version, result: &Object) -> Greeting {
    // Modern servers name themselves in `_meta`, those of the beta and legacy ones in the body.
    let in_meta = result.object("_meta").and_then(|meta| meta.object(SERVER_INFO));
    Greeting {
        version,
        server_info: in_meta.or_else(|| result.object("serverInfo")),
        capabilities: result.object("capabilities"),
        instructions: result.text("instructions"),
    }
}

const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";

fn versions(object: &Object, key: &str) -> Option<Vec<String>> {
    serde_json::from_slice(&object.get(key)?).ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Discovery, Refused, discovered, face, initialized, list_params, modern_params};
    use crate::wire::{Message, Object, Response, Version, decode};

    fn response(body: &str) -> Response {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,{body}}}"#);
        match decode(Bytes::from(text), 1 << 20).unwrap() {
            Message::Response(response) => response,
            other @ (Message::Request(_) | Message::Notification(_)) => panic!("{other:?}"),
        }
    }

    #[track_caller]
    fn check(body: &str, want: &str) {
        let got = match discovered(&response(body)) {
            Discovery::Modern(greeting) => format!("modern {:?}", greeting.server_info.is_some()),
            Discovery::Legacy => "legacy".to_owned(),
            Discovery::Stranger { offers } => format!("stranger {offers}"),
        };
        assert_eq!(got, want, "{body}");
    }

    #[test]
    fn the_era_is_told_by_the_whole_answer_and_never_by_one_code() {
        check(
            r#""result":{"supportedVersions":["2026-07-28"],"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"x"}}}"#,
            "modern true",
        );
        check(r#""result":{"supportedVersions":["2025-11-25","2026-07-28"]}"#, "modern false");
        check(r#""result":{"supportedVersions":["2025-11-25"]}"#, "legacy");
        check(r#""result":{"supportedVersions":["2031-01-01"]}"#, "stranger 2031-01-01");
        check(r#""result":{}"#, "legacy");
        for code in [-32601, -32602, -32000, -32600, -32700, 0] {
            check(&format!(r#""error":{{"code":{code},"message":"no"}}"#), "legacy");
        }
        check(r#""error":{"code":-32020,"message":"header"}"#, "modern false");
        check(r#""error":{"code":-32021,"message":"capability"}"#, "modern false");
        check(
            r#""error":{"code":-32022,"message":"","data":{"supported":["2026-07-28"]}}"#,
            "modern false",
        );
        check(
            r#""error":{"code":-32022,"message":"","data":{"supported":["2025-06-18"]}}"#,
            "legacy",
        );
    }

    #[test]
    fn any_legacy_version_that_we_know_is_taken() {
        let version = |text: &str| {
            initialized(&response(&format!(r#""result":{{"protocolVersion":"{text}"}}"#)))
                .map(|greeting| greeting.version)
        };
        assert_eq!(version("2024-11-05"), Ok(Version::V2024_11_05));
        assert_eq!(version("2025-11-25"), Ok(Version::V2025_11_25));
        for other in ["2026-07-28", "1999-01-01", ""] {
            assert_eq!(version(other), Err(Refused::Version { offers: other.to_owned() }));
        }
        let refused = initialized(&response(r#""error":{"code":-32022,"message":"locked"}"#));
        assert_eq!(refused.unwrap_err(), Refused::Error { code: -32022 });
    }

    #[test]
    fn our_own_parameters_are_objects_that_the_scan_accepts() {
        for more in [b"".as_slice(), br#""cursor":"a""#] {
            Object::parse(modern_params(&face(), more).into()).unwrap();
        }
        let legacy = |cursor| list_params(Version::LATEST_LEGACY, &face(), cursor);
        assert_eq!(legacy(None), None);
        assert_eq!(legacy(Some("a\"b")).unwrap(), br#"{"cursor":"a\"b"}"#);
    }
}
