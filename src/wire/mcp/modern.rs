//! What the modern era demands of a request, and the answers that we write ourselves.
//!
//! Every modern request names version and capabilities in `_meta`, and over HTTP repeats method,
//! name and version in headers. The rules stand here, one function each; which comes first is the
//! caller's business.

use bytes::Bytes;
use http::HeaderMap;

use super::{CallMethod, CallParams, Level, Meta, Notice, Version};
use crate::wire::{
    WireError,
    headers::{
        MCP_METHOD, MCP_NAME, MCP_PARAM_PREFIX, MCP_PROTOCOL_VERSION, Mismatch, ParamHeader, check,
        check_param_headers,
    },
    json::{Frame, Object},
    mcp::meta,
    rpc::{ErrorObject, Notification, ProgressToken, Request, RequestId, answer_id, code, open},
};

impl Meta {
    /// The `_meta` of a modern request: version and capabilities are there.
    pub fn required(params: Option<&Object>) -> Result<Self, WireError> {
        let meta = Self::parse(params)?;
        match (meta.version(), meta.capabilities()) {
            (Some(_), Some(_)) => Ok(meta),
            (None, _) => Err(WireError::Params {
                rule: "`_meta` must hold `io.modelcontextprotocol/protocolVersion`",
            }),
            (Some(_), None) => Err(WireError::Params {
                rule: "`_meta` must hold `io.modelcontextprotocol/clientCapabilities`",
            }),
        }
    }

    /// Whether the sender of `params` counts itself to the modern era.
    pub fn names_a_version(params: &Object) -> bool {
        params.object("_meta").is_some_and(|raw| raw.contains(meta::VERSION))
    }

    /// The progress token of a request, if it is one.
    pub fn progress_token_of(params: Option<&Object>) -> Option<ProgressToken> {
        let raw = params?.object("_meta")?;
        RequestId::parse(&raw.get(meta::PROGRESS_TOKEN)?)
    }

    /// The level that a modern request names for its log messages, if it names one.
    pub fn log_level_of(params: Option<&Object>) -> Option<Level> {
        Level::parse(&params?.object("_meta")?.text(meta::LOG_LEVEL)?)
    }

    /// What the client program calls itself: a hint, never a credential.
    pub fn client_name(&self) -> Option<String> {
        self.client_info()?.text("name")
    }
}

impl Notification {
    /// The request that `notifications/cancelled` withdraws.
    pub fn cancelled_request(&self) -> Option<RequestId> {
        if self.method.as_str() != "notifications/cancelled" {
            return None;
        }
        RequestId::parse(&self.params.as_ref()?.get("requestId")?)
    }
}

impl Notice {
    pub fn is_progress(&self) -> bool {
        self.method.as_str() == "notifications/progress"
    }
}

impl ErrorObject {
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// -32022, with what we speak.
    pub fn unsupported_version(asked: Option<&str>) -> Self {
        let data = serde_json::json!({
            "supported": [Version::MODERN.as_str()],
            "requested": asked.unwrap_or_default(),
        });
        let message = "Unsupported protocol version".to_owned();
        Self { code: code::UNSUPPORTED_VERSION, message, data: Some(data.to_string().into()) }
    }
}

impl From<WireError> for ErrorObject {
    fn from(error: WireError) -> Self {
        Self::new(error.code(), error.to_string())
    }
}

impl From<Mismatch> for ErrorObject {
    fn from(mismatch: Mismatch) -> Self {
        Self::new(code::HEADER_MISMATCH, mismatch.to_string())
    }
}

/// Whether the standard headers of a modern POST repeat its body.
pub fn headers_agree(sent: &HeaderMap, request: &Request, meta: &Meta) -> Result<(), Mismatch> {
    check(sent, &MCP_PROTOCOL_VERSION, meta.version().unwrap_or_default())?;
    check(sent, &MCP_METHOD, &request.method)?;
    let Some(key) = CallMethod::parse(&request.method).and_then(CallMethod::named_by) else {
        return Ok(());
    };
    match request.params.as_ref().and_then(|params| params.text(key)) {
        Some(name) => check(sent, &MCP_NAME, &name),
        // The parameters are wrong; that is said later, and better.
        None => Ok(()),
    }
}

/// The `Mcp-Param-*` headers of one request, to be held against its arguments once the tool is
/// known.
#[derive(Clone, Debug, Default)]
pub struct ShownParams(HeaderMap);

impl ShownParams {
    pub fn of(sent: &HeaderMap) -> Self {
        let shown = sent.iter().filter(|(name, _)| name.as_str().starts_with(MCP_PARAM_PREFIX));
        let mut kept = HeaderMap::new();
        for (name, value) in shown {
            kept.append(name.clone(), value.clone());
        }
        Self(kept)
    }

    pub fn agree(&self, headers: &[ParamHeader], params: &CallParams) -> Result<(), Mismatch> {
        if headers.is_empty() {
            return Ok(());
        }
        let arguments = params.raw().object("arguments").unwrap_or_else(Object::empty);
        check_param_headers(headers, &arguments, &self.0)
    }
}

/// An answer whose result we wrote ourselves; `result` is the text of a JSON object.
pub fn encode_own_result(id: &RequestId, result: &str) -> Frame {
    let mut out = open(result.len() + 64);
    answer_id(&mut out, Some(id));
    out.copy(b",\"result\":").share_all(&Bytes::copy_from_slice(result.as_bytes()));
    out.copy(b"}");
    out.finish()
}

/// The answers of a batch, as one array.
pub fn join_batch(answers: &[Frame]) -> Frame {
    let bytes = answers.iter().map(|answer| answer.len() + 1).sum::<usize>();
    let mut text = Vec::with_capacity(bytes + 2);
    text.push(b'[');
    for answer in answers {
        if text.len() > 1 {
            text.push(b',');
        }
        answer.parts().iter().for_each(|part| text.extend_from_slice(part));
    }
    text.push(b']');
    Frame::from(Bytes::from(text))
}
