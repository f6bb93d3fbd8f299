//! `_meta`: what a request says about itself and its sender.
//!
//! In the modern era it carries version, client and capabilities; in both eras the progress token
//! and the trace. What is present must have the right type; what is required is the caller's rule.

mod trace;

pub use trace::Onward;

use crate::{
    domain::TraceParent,
    wire::{
        WireError,
        json::{Object, Text},
        mcp::Level,
        rpc::{ProgressToken, RequestId},
    },
};
use trace::Trace;

pub(super) const PREFIX: &str = "io.modelcontextprotocol/";
pub(super) const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
pub(super) const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
pub(super) const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
pub(super) const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
pub(super) const PROGRESS_TOKEN: &str = "progressToken";

/// The parts of `_meta` that we read, and the whole.
#[derive(Clone, Debug, Default)]
pub struct Meta {
    raw: Option<Object>,
    version: Option<Text>,
    client_info: Option<Object>,
    capabilities: Option<Object>,
    log_level: Option<Level>,
    progress_token: Option<ProgressToken>,
    trace: Option<Box<Trace>>,
}

impl Meta {
    /// Reads the `_meta` of a request's `params`.
    pub fn parse(params: Option<&Object>) -> Result<Self, WireError> {
        let refuse = |rule| WireError::Params { rule };
        let Some(raw) = optional(params, "_meta", Object::object)
            .map_err(|()| refuse("`_meta` must be an object"))?
        else {
            return Ok(Self::default());
        };
        let token = |meta: &Object, key: &str| RequestId::parse(&meta.get(key)?);
        let level = |meta: &Object, key: &str| Level::parse(&meta.str(key)?);
        let meta = Some(&raw);
        Ok(Self {
            version: optional(meta, VERSION, Object::str).map_err(|()| {
                refuse("`io.modelcontextprotocol/protocolVersion` must be a string")
            })?,
            client_info: optional(meta, CLIENT_INFO, Object::object)
                .map_err(|()| refuse("`io.modelcontextprotocol/clientInfo` must be an object"))?,
            capabilities: optional(meta, CAPABILITIES, Object::object).map_err(|()| {
                refuse("`io.modelcontextprotocol/clientCapabilities` must be an object")
            })?,
            log_level: optional(meta, LOG_LEVEL, level)
                .map_err(|()| refuse("`io.modelcontextprotocol/logLevel` must be a log level"))?,
            progress_token: optional(meta, PROGRESS_TOKEN, token)
                .map_err(|()| refuse("`progressToken` must be a string or an integer"))?,
            trace: Trace::of(&raw),
            raw: Some(raw),
        })
    }

    pub fn raw(&self) -> Option<&Object> {
        self.raw.as_ref()
    }

    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    pub fn client_info(&self) -> Option<&Object> {
        self.client_info.as_ref()
    }

    pub fn capabilities(&self) -> Option<&Object> {
        self.capabilities.as_ref()
    }

    pub fn log_level(&self) -> Option<Level> {
        self.log_level
    }

    pub fn progress_token(&self) -> Option<&ProgressToken> {
        self.progress_token.as_ref()
    }

    /// The caller's span; what cannot be read is none.
    pub fn trace_parent(&self) -> Option<TraceParent> {
        self.trace.as_ref()?.parent()
    }

    /// All that is said of a trace.
    pub(super) fn trace(&self) -> Option<&Trace> {
        self.trace.as_deref()
    }
}

/// What `read` makes of the member `key`; an error when it is present and cannot be read.
pub(super) fn optional<T>(
    object: Option<&Object>,
    key: &str,
    read: impl Fn(&Object, &str) -> Option<T>,
) -> Result<Option<T>, ()> {
    let Some(object) = object else { return Ok(None) };
    match read(object, key) {
        None if object.contains(key) => Err(()),
        value => Ok(value),
    }
}
