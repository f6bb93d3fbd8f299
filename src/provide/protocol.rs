//! Both eras of MCP towards one client on stdio: decides what a message asks and how it is
//! answered.
//!
//! Pure. The first message that is accepted fixes the era for the life of the process: `initialize`
//! the legacy one, a request with a good modern `_meta` the other; a refused message fixes nothing,
//! so that a client may try one era and fall back. Declares tools and resources and nothing else,
//! because nothing here ever changes by itself or asks back.

use bytes::Bytes;
use serde_json::{Value, json};

use super::files::{Fault, Files, Task};
use crate::{
    domain::Era,
    wire::{
        Caching, CallMethod, CallParams, ErrorObject, Frame, Message, Meta, Notification, Object,
        Request, RequestId, Version, WireError, encode_error, encode_result,
    },
};

/// What has been agreed with the client.
#[derive(Debug, Default)]
pub(super) struct Session {
    version: Option<Version>,
}

/// What is to be done about a message.
#[derive(Debug)]
pub(super) enum Step {
    Reply(Frame),
    Work(Work),
    Cancel(RequestId),
    Nothing,
}

/// A request that touches the file system; answered by `Work::answer`.
#[derive(Debug)]
pub(super) struct Work {
    pub id: RequestId,
    pub task: Task,
    version: Version,
}

/// The methods of both eras that are served.
enum Method {
    ToolsList,
    ToolsCall,
    ResourcesList,
    ResourcesTemplatesList,
    ResourcesRead,
}

enum Answer {
    Now(Value),
    Later(Task),
}

const INVALID_REQUEST: i64 = -32600;
const UNKNOWN_METHOD: i64 = -32601;
const INVALID_PARAMS: i64 = -32602;
const INTERNAL: i64 = -32603;
const UNSUPPORTED_VERSION: i64 = -32022;
/// How revisions before 2026-07-28 say that a resource is not there.
const LEGACY_NO_RESOURCE: i64 = -32002;
const BUSY: i64 = -31003;
const BUSY_RETRY_MS: u64 = 100;
/// Definitions never change while the process lives; a client may keep them for an hour.
const DEFINITIONS_TTL_MS: u64 = 3_600_000;

const INSTRUCTIONS: &str = "Read-only access to the files beneath one directory. Paths are \
    relative to it; links that lead out of it are refused.";

impl Session {
    pub(super) fn accept(&mut self, message: Message) -> Step {
        match message {
            Message::Request(request) => self.request(&request),
            Message::Notification(notification) => cancelled(&notification),
            // We never ask anything.
            Message::Response(_) => Step::Nothing,
        }
    }

    /// Only revision 2025-03-26 knows arrays of messages.
    pub(super) fn takes_batches(&self) -> bool {
        self.version == Some(Version::V2025_03_26)
    }

    fn request(&mut self, request: &Request) -> Step {
        let answer = match self.version {
            None => self.first(request),
            Some(version) if version.era() == Era::Legacy => legacy(version, request),
            Some(_) => modern(request),
        };
        let version = self.version.unwrap_or(Version::LATEST_LEGACY);
        match answer {
            Ok(Answer::Now(value)) => Step::Reply(result(version, &request.id, value)),
            Ok(Answer::Later(task)) => Step::Work(Work { id: request.id.clone(), task, version }),
            Err(error) => Step::Reply(encode_error(Some(&request.id), &error)),
        }
    }

    fn first(&mut self, request: &Request) -> Result<Answer, ErrorObject> {
        match request.method.as_str() {
            "initialize" => {
                let version = negotiated(request)?;
                self.version = Some(version);
                Ok(Answer::Now(greeting(version)))
            }
            // Legal before the handshake, and the same in every legacy revision.
            "ping" => Ok(Answer::Now(json!({}))),
            _ => {
                let answer = modern(request)?;
                self.version = Some(Version::MODERN);
                Ok(answer)
            }
        }
    }
}

impl Work {
    /// `None` when the client has cancelled: it must not be answered then.
    pub(super) fn answer(&self, outcome: Result<Value, Fault>) -> Option<Frame> {
        let invalid = |message: &str| Some(error(INVALID_PARAMS, message, None));
        let fault = match outcome {
            Ok(value) => {
                let value = match self.task {
                    Task::Call { .. } => value,
                    Task::ListResources { .. } | Task::ReadResource { .. } => fresh(value),
                };
                return Some(result(self.version, &self.id, value));
            }
            Err(Fault::Cancelled) => None,
            Err(Fault::UnknownTool) => invalid("unknown tool"),
            Err(Fault::Cursor) => invalid("unknown cursor"),
            Err(Fault::Failed { told }) => Some(error(INTERNAL, told, None)),
            Err(Fault::Resource { uri, told }) => {
                let code = match self.version.era() {
                    Era::Legacy => LEGACY_NO_RESOURCE,
                    Era::Modern => INVALID_PARAMS,
                };
                Some(error(code, told, Some(&json!({ "uri": uri }))))
            }
        };
        fault.map(|fault| encode_error(Some(&self.id), &fault))
    }

    pub(super) fn busy(&self) -> Frame {
        let data = json!({ "reason": "busy", "retryAfterMs": BUSY_RETRY_MS, "sent": "no" });
        let fault = error(BUSY, "too many requests are waiting", Some(&data));
        encode_error(Some(&self.id), &fault)
    }

    pub(super) fn id_in_use(&self) -> Frame {
        let fault = error(INVALID_REQUEST, "a request with this id is still running", None);
        encode_error(Some(&self.id), &fault)
    }
}

/// What is said of a line that is no message.
pub(super) fn refusal(error_of_wire: &WireError) -> Frame {
    let fault = error(error_of_wire.code(), error_of_wire.to_string(), None);
    encode_error(error_of_wire.id(), &fault)
}

fn cancelled(notification: &Notification) -> Step {
    if notification.method.as_str() != "notifications/cancelled" {
        return Step::Nothing;
    }
    let id = notification.params.as_ref().and_then(|params| params.get("requestId"));
    id.and_then(|id| RequestId::parse(&id)).map_or(Step::Nothing, Step::Cancel)
}

fn modern(request: &Request) -> Result<Answer, ErrorObject> {
    let method = request.method.as_str();
    let known = Method::named(method);
    if method == "initialize" {
        let asked = request.params.as_ref().and_then(|params| params.text("protocolVersion"));
        return Err(unsupported(asked.as_deref().unwrap_or_default()));
    }
    if known.is_none() && method != "server/discover" {
        return Err(unknown_method(method));
    }
    let meta = Meta::parse(request.params.as_ref()).map_err(|wire| refused(&wire))?;
    let missing = |key: &str| {
        let rule =
            format!("`_meta` lacks `io.modelcontextprotocol/{key}`, and no `initialize` came");
        error(INVALID_PARAMS, rule, None)
    };
    let version = meta.version().ok_or_else(|| missing("protocolVersion"))?;
    meta.capabilities().ok_or_else(|| missing("clientCapabilities"))?;
    if version != Version::MODERN.as_str() {
        return Err(unsupported(version));
    }
    known.map_or_else(|| Ok(Answer::Now(discovery())), |method| served(&method, request))
}

fn legacy(version: Version, request: &Request) -> Result<Answer, ErrorObject> {
    match request.method.as_str() {
        "ping" => Ok(Answer::Now(json!({}))),
        "initialize" => {
            let rule = format!("already initialized with version {version}");
            Err(error(INVALID_REQUEST, rule, None))
        }
        method => {
            let known = Method::named(method).ok_or_else(|| unknown_method(method))?;
            served(&known, request)
        }
    }
}

fn served(method: &Method, request: &Request) -> Result<Answer, ErrorObject> {
    let empty = Object::empty();
    let params = request.params.as_ref().unwrap_or(&empty);
    let text = |key: &str| {
        let rule = || error(INVALID_PARAMS, format!("`{key}` must be a string"), None);
        params.get(key).map(|_| params.text(key).ok_or_else(rule)).transpose()
    };
    Ok(match method {
        Method::ToolsList => Answer::Now(lasting(Files::tools())),
        Method::ResourcesTemplatesList => Answer::Now(lasting(Files::templates())),
        Method::ToolsCall => {
            let call =
                CallParams::parse(CallMethod::ToolsCall, params).map_err(|wire| refused(&wire))?;
            Answer::Later(Task::Call { name: call.name().to_owned(), arguments: call.arguments() })
        }
        Method::ResourcesList => Answer::Later(Task::ListResources { cursor: text("cursor")? }),
        Method::ResourcesRead => {
            let missing = || error(INVALID_PARAMS, "`uri` is missing", None);
            Answer::Later(Task::ReadResource { uri: text("uri")?.ok_or_else(missing)? })
        }
    })
}

impl Method {
    fn named(method: &str) -> Option<Self> {
        match method {
            "tools/list" => Some(Self::ToolsList),
            "tools/call" => Some(Self::ToolsCall),
            "resources/list" => Some(Self::ResourcesList),
            "resources/templates/list" => Some(Self::ResourcesTemplatesList),
            "resources/read" => Some(Self::ResourcesRead),
            _ => None,
        }
    }
}

/// The client's version when we speak it, else our latest: the client then decides.
fn negotiated(request: &Request) -> Result<Version, ErrorObject> {
    let asked = request.params.as_ref().and_then(|params| params.text("protocolVersion"));
    let asked =
        asked.ok_or_else(|| error(INVALID_PARAMS, "`protocolVersion` must be a string", None))?;
    Ok(Version::parse(&asked)
        .filter(|version| version.era() == Era::Legacy)
        .unwrap_or(Version::LATEST_LEGACY))
}

fn greeting(version: Version) -> Value {
    json!({
        "protocolVersion": version.as_str(),
        "capabilities": capabilities(),
        "serverInfo": server_info(),
        "instructions": INSTRUCTIONS,
    })
}

fn discovery() -> Value {
    lasting(json!({
        "supportedVersions": [Version::MODERN.as_str()],
        "capabilities": capabilities(),
        "instructions": INSTRUCTIONS,
    }))
}

fn capabilities() -> Value {
    json!({ "tools": {}, "resources": {} })
}

fn server_info() -> Value {
    json!({
        "name": "portcullis-files",
        "title": "Portcullis files",
        "version": env!("CARGO_PKG_VERSION"),
    })
}

/// The same for everybody, for long.
fn lasting(value: Value) -> Value {
    cacheable(value, DEFINITIONS_TTL_MS, "public")
}

/// Files may change at any moment, and who may see them is for the gateway to decide.
fn fresh(value: Value) -> Value {
    cacheable(value, 0, "private")
}

fn cacheable(mut value: Value, ttl_ms: u64, scope: &str) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.insert("ttlMs".to_owned(), ttl_ms.into());
        object.insert("cacheScope".to_owned(), scope.into());
    }
    value
}

/// Writes a result for the client's era; the wire takes off what a legacy one does not know.
fn result(version: Version, id: &RequestId, mut value: Value) -> Frame {
    if let (Era::Modern, Some(object)) = (version.era(), value.as_object_mut()) {
        let meta = json!({ "io.modelcontextprotocol/serverInfo": server_info() });
        object.insert("_meta".to_owned(), meta);
    }
    match Object::parse(Bytes::from(value.to_string())) {
        Ok(object) => encode_result(version, id, &object, Caching::Never),
        Err(wire) => encode_error(Some(id), &error(INTERNAL, wire.to_string(), None)),
    }
}

fn unknown_method(method: &str) -> ErrorObject {
    let shown = method.chars().take(64).collect::<String>();
    error(UNKNOWN_METHOD, format!("unknown method `{shown}`"), None)
}

fn unsupported(asked: &str) -> ErrorObject {
    let asked = asked.chars().take(64).collect::<String>();
    let data = json!({ "supported": [Version::MODERN.as_str()], "requested": asked });
    error(UNSUPPORTED_VERSION, "unsupported protocol version", Some(&data))
}

fn refused(wire: &WireError) -> ErrorObject {
    error(wire.code(), wire.to_string(), None)
}

fn error(code: i64, message: impl Into<String>, data: Option<&Value>) -> ErrorObject {
    let data = data.map(|data| Bytes::from(data.to_string()));
    ErrorObject { code, message: message.into(), data }
}
