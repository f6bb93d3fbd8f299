//! The methods that we answer ourselves, for both eras; all but what is judged and sent on ends
//! here.
//!
//! Pure over one snapshot: a request becomes a finished result, a call to be dispatched, or an
//! error. Which method exists in which era is decided in `known`, once, before anything else is
//! checked.

use std::sync::Arc;

use serde_json::json;

use crate::{
    domain::{Era, Kind, Principal},
    fleet::{Edition, View},
    wire::{
        CallMethod, CallParams, ErrorObject, List, Object, Request, Version, code, tasks_extension,
    },
};

/// What is to be done with a request.
#[derive(Debug)]
pub(super) enum Plan {
    /// The result's JSON text.
    Result(String),
    Call(Arc<CallParams>),
    Fail(ErrorObject),
}

/// The methods of this gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Initialize,
    Ping,
    /// Answered where the session is known.
    SetLevel,
    /// The same; to be watched, or not any more.
    Subscribe,
    Unsubscribe,
    /// Answered where there is a stream.
    Listen,
    Discover,
    List(List),
    Call(CallMethod),
}

/// Which of our methods a name means in an era.
pub(super) fn known(era: Era, method: &str) -> Option<Method> {
    match (era, method) {
        (Era::Legacy, "initialize") => Some(Method::Initialize),
        (Era::Legacy, "ping") => Some(Method::Ping),
        (Era::Legacy, "logging/setLevel") => Some(Method::SetLevel),
        (Era::Legacy, "resources/subscribe") => Some(Method::Subscribe),
        (Era::Legacy, "resources/unsubscribe") => Some(Method::Unsubscribe),
        (Era::Modern, "subscriptions/listen") => Some(Method::Listen),
        (Era::Modern, "server/discover") => Some(Method::Discover),
        _ => {
            let list = List::parse(method).map(Method::List);
            list.or_else(|| {
                CallMethod::parse(method).filter(|call| exists(era, *call)).map(Method::Call)
            })
        }
    }
}

/// The tasks of legacy revisions have methods of the same names, and are others.
fn exists(era: Era, method: CallMethod) -> bool {
    match method {
        CallMethod::Tasks(_) => era == Era::Modern,
        CallMethod::ToolsCall
        | CallMethod::PromptsGet
        | CallMethod::ResourcesRead
        | CallMethod::Complete => true,
    }
}

pub(super) fn unknown_method(method: &str) -> ErrorObject {
    let shown: String = method.chars().take(64).collect();
    ErrorObject::new(code::METHOD_NOT_FOUND, format!("Method not found: {shown}"))
}

/// Plans one request of a known method.
pub(super) fn plan(
    snapshot: &Edition,
    (peer, principal): (Version, &Principal),
    method: Method,
    request: &Request,
) -> Plan {
    match method {
        Method::Initialize => Plan::Result(initialize(peer)),
        Method::Ping | Method::SetLevel | Method::Subscribe | Method::Unsubscribe => {
            Plan::Result("{}".to_owned())
        }
        Method::Listen => {
            let told = "subscriptions/listen needs a stream of its own";
            Plan::Fail(ErrorObject::new(code::INVALID_REQUEST, told))
        }
        Method::Discover => Plan::Result(discover(snapshot)),
        Method::List(which) => {
            match list(&snapshot.view(principal), peer, which, request.params.as_ref()) {
                Ok(result) => Plan::Result(result),
                Err(error) => Plan::Fail(error),
            }
        }
        Method::Call(method) => {
            let parse = |params| CallParams::parse(method, params);
            match request.params.as_ref().map(parse) {
                Some(Ok(params))
                    if matches!(params.kind(), Kind::Task(_)) && !params.takes_tasks() =>
                {
                    Plan::Fail(ErrorObject::tasks_not_declared())
                }
                Some(Ok(params)) => Plan::Call(Arc::new(params)),
                Some(Err(error)) => Plan::Fail(error.into()),
                None => {
                    let told = format!("{} needs params", method.as_str());
                    Plan::Fail(ErrorObject::new(code::INVALID_PARAMS, told))
                }
            }
        }
    }
}

/// The version that a legacy handshake ends with: the client's if we know it, else our newest.
pub(super) fn negotiate(params: Option<&Object>) -> Version {
    params
        .and_then(|params| params.text("protocolVersion"))
        .and_then(|wanted| Version::parse(&wanted))
        .filter(|version| version.era() == Era::Legacy)
        .unwrap_or(Version::LATEST_LEGACY)
}

const INSTRUCTIONS: &str = "Tools, prompts and resources of several servers behind one gateway. \
    A refused call says why; a call that failed says in `data.sent` whether the server saw it.";

pub(super) fn initialize(version: Version) -> String {
    json!({
        "protocolVersion": version.as_str(),
        "capabilities": capabilities(),
        "serverInfo": server_info(),
        "instructions": INSTRUCTIONS,
    })
    .to_string()
}

fn discover(snapshot: &Edition) -> String {
    let mut capabilities = capabilities();
    if let (true, Some(all)) = (snapshot.catalog.keeps_tasks(), capabilities.as_object_mut()) {
        let (key, value) = tasks_extension();
        all.insert(key.to_owned(), serde_json::from_slice(&value).unwrap_or_default());
    }
    json!({
        "resultType": "complete",
        "supportedVersions": [Version::MODERN.as_str()],
        "capabilities": capabilities,
        "instructions": INSTRUCTIONS,
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": { "io.modelcontextprotocol/serverInfo": server_info() },
    })
    .to_string()
}

fn capabilities() -> serde_json::Value {
    json!({
        "tools": { "listChanged": true },
        "prompts": { "listChanged": true },
        "resources": { "subscribe": true, "listChanged": true },
        "completions": {},
        "logging": {},
    })
}

fn server_info() -> serde_json::Value {
    json!({ "name": "portcullis", "title": "Portcullis", "version": env!("CARGO_PKG_VERSION") })
}

fn list(
    view: &View,
    peer: Version,
    list: List,
    params: Option<&Object>,
) -> Result<String, ErrorObject> {
    let bad_cursor = || ErrorObject::new(code::INVALID_PARAMS, "Unknown cursor");
    let cursor = match params.and_then(|params| params.get("cursor")) {
        None => None,
        Some(_) => Some(params.and_then(|p| p.text("cursor")).ok_or_else(bad_cursor)?),
    };
    let page = view.page(list, peer.era(), cursor.as_deref()).map_err(|_| bad_cursor())?;
    let (member, items) = (list.member(), std::str::from_utf8(&page.items).unwrap_or_default());
    let next = match page.next {
        None => String::new(),
        Some(next) => format!(r#","nextCursor":{}"#, json!(next)),
    };
    Ok(match peer.era() {
        Era::Legacy => format!(r#"{{"{member}":[{items}]{next}}}"#),
        Era::Modern => {
            let cache = r#""resultType":"complete","ttlMs":0,"cacheScope":"private""#;
            format!(r#"{{{cache},"{member}":[{items}]{next}}}"#)
        }
    })
}
