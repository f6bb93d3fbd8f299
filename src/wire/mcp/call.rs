//! The requests that are judged and forwarded: their parameters as they came in, and as they go
//! out.
//!
//! Which member names the target is the one thing that differs between the methods, and it stands
//! here once. The bytes of the arguments are the same in both: they are judged once and never
//! written anew. Name, progress token and the sender's part of `_meta` are ours to replace; every
//! other member passes as it stands, also those that no revision knows.

use bytes::Bytes;

use super::{
    Version,
    meta::{CAPABILITIES, CLIENT_INFO, Meta, PREFIX, PROGRESS_TOKEN, VERSION},
};
use crate::{
    domain::{Era, Kind},
    wire::{
        WireError,
        json::{Edit, Frame, Object, Text, quote},
        rpc::{ProgressToken, RequestId, open},
    },
};

/// The methods whose requests go to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallMethod {
    ToolsCall,
    PromptsGet,
    ResourcesRead,
    Complete,
}

/// The parameters of one such request.
#[derive(Clone, Debug)]
pub struct CallParams {
    raw: Object,
    kind: Kind,
    name: Text,
    arguments: Bytes,
    meta: Meta,
}

/// What we say upstream in place of what the client said to us.
#[derive(Clone, Debug)]
pub struct CallForm<'a> {
    pub version: Version,
    pub id: &'a RequestId,
    /// The server's own name for the target.
    pub name: &'a str,
    pub progress_token: Option<&'a ProgressToken>,
    pub client: &'a ClientFace,
}

/// Who we say we are: JSON texts of two objects.
#[derive(Clone, Debug)]
pub struct ClientFace {
    pub info: Bytes,
    pub capabilities: Bytes,
}

impl CallMethod {
    pub const ALL: [Self; 4] =
        [Self::ToolsCall, Self::PromptsGet, Self::ResourcesRead, Self::Complete];

    pub fn parse(method: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == method)
    }

    /// The method that reaches a subject of that kind.
    pub fn of(kind: Kind) -> Self {
        match kind {
            Kind::Tool => Self::ToolsCall,
            Kind::Prompt => Self::PromptsGet,
            Kind::Resource => Self::ResourcesRead,
            Kind::PromptArgument | Kind::TemplateArgument => Self::Complete,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::ToolsCall => "tools/call",
            Self::PromptsGet => "prompts/get",
            Self::ResourcesRead => "resources/read",
            Self::Complete => "completion/complete",
        }
    }

    /// The member of the parameters that `Mcp-Name` repeats, in both directions.
    pub fn named_by(self) -> Option<&'static str> {
        match self {
            Self::ToolsCall | Self::PromptsGet => Some("name"),
            Self::ResourcesRead => Some("uri"),
            Self::Complete => None,
        }
    }
}

impl CallParams {
    pub fn parse(method: CallMethod, params: &Object) -> Result<Self, WireError> {
        let refuse = |rule| WireError::Params { rule };
        let name = || params.str("name").ok_or(refuse("`name` must be a string"));
        let (kind, name, arguments) = match method {
            CallMethod::ToolsCall => (Kind::Tool, name()?, arguments(params)?),
            CallMethod::PromptsGet => (Kind::Prompt, name()?, arguments(params)?),
            CallMethod::ResourcesRead => {
                let uri = params.str("uri").ok_or(refuse("`uri` must be a string"))?;
                (Kind::Resource, uri, params.get("uri").unwrap_or_default())
            }
            CallMethod::Complete => {
                let (kind, name) = reference(params)?;
                let argument = params.get("argument").filter(is_object);
                (kind, name, argument.ok_or(refuse("`argument` must be an object"))?)
            }
        };
        let meta = Meta::parse(Some(params))?;
        Ok(Self { raw: params.clone(), kind, name, arguments, meta })
    }

    /// What the request is aimed at.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The target's name or URI, as the caller knows it.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// What the caller chose freely; `{}` for a tool or prompt that is given nothing.
    pub fn arguments(&self) -> Bytes {
        self.arguments.clone()
    }

    pub fn progress_token(&self) -> Option<&ProgressToken> {
        self.meta.progress_token()
    }

    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    pub fn raw(&self) -> &Object {
        &self.raw
    }
}

/// Writes the call for a server of `form.version`.
pub fn encode_call(params: &CallParams, form: &CallForm<'_>) -> Frame {
    let mut out = open(768);
    out.copy(b",\"id\":").copy(form.id.as_bytes());
    out.copy(b",\"method\":").copy(&quote(CallMethod::of(params.kind).as_str()));
    out.copy(b",\"params\":");
    let (edit, name) = (params.raw.edit(), quote(form.name));
    let edit = match params.kind {
        Kind::Tool | Kind::Prompt => edit.set("name", name),
        // A URI has one name everywhere, and its bytes are among what was judged.
        Kind::Resource => edit,
        Kind::PromptArgument => edit.set_edited("ref", reference_of(params).set("name", name)),
        Kind::TemplateArgument => edit.set_edited("ref", reference_of(params).set("uri", name)),
    };
    with_meta(edit, params.meta.raw(), form).write(&mut out);
    out.copy(b"}");
    out.finish()
}

fn reference_of(params: &CallParams) -> Edit {
    params.raw.object("ref").unwrap_or_else(Object::empty).edit()
}

fn arguments(params: &Object) -> Result<Bytes, WireError> {
    match params.get("arguments") {
        None => Ok(Bytes::from_static(b"{}")),
        Some(object) if is_object(&object) => Ok(object),
        Some(_) => Err(WireError::Params { rule: "`arguments` must be an object" }),
    }
}

/// What is to be completed.
fn reference(params: &Object) -> Result<(Kind, Text), WireError> {
    let refuse = |rule| WireError::Params { rule };
    let of = params.object("ref").ok_or(refuse("`ref` must be an object"))?;
    match of.text("type").as_deref() {
        Some("ref/prompt") => {
            let name = of.str("name").ok_or(refuse("`ref.name` must be a string"))?;
            Ok((Kind::PromptArgument, name))
        }
        Some("ref/resource") => {
            let uri = of.str("uri").ok_or(refuse("`ref.uri` must be a string"))?;
            Ok((Kind::TemplateArgument, uri))
        }
        Some(_) | None => Err(refuse("`ref.type` must be `ref/prompt` or `ref/resource`")),
    }
}

fn is_object(value: &Bytes) -> bool {
    value.first() == Some(&b'{')
}

fn with_meta(params: Edit, meta: Option<&Object>, form: &CallForm<'_>) -> Edit {
    let meta = match meta {
        Some(meta) => meta.edit(),
        None => Object::empty().edit(),
    };
    let meta = match form.progress_token {
        Some(token) => meta.set(PROGRESS_TOKEN, token.to_bytes()),
        None => meta.remove(PROGRESS_TOKEN),
    };
    let meta = match form.version.era() {
        Era::Modern => meta
            .set(VERSION, quote(form.version.as_str()))
            .set(CLIENT_INFO, form.client.info.clone())
            .set(CAPABILITIES, form.client.capabilities.clone()),
        Era::Legacy => meta.remove_prefixed(PREFIX),
    };
    if meta.is_empty() { params.remove("_meta") } else { params.set_edited("_meta", meta) }
}

#[cfg(test)]
mod tests {
    use super::{CallForm, CallMethod, CallParams, ClientFace, Object, encode_call};
    use crate::wire::{RequestId, Version};

    #[track_caller]
    fn check(params: &str, want: Result<&str, &str>) {
        check_of(CallMethod::ToolsCall, params, want);
    }

    #[track_caller]
    fn check_of(method: CallMethod, params: &str, want: Result<&str, &str>) {
        let object = Object::parse(params.to_owned().into()).unwrap();
        let got =
            CallParams::parse(method, &object).map(|call| call.arguments()).map_err(|error| {
                assert_eq!(error.code(), -32602);
                error.to_string()
            });
        let refused = |rule| format!("invalid params: {rule}");
        assert_eq!(got, want.map(|text| text.to_owned().into()).map_err(refused), "{params}");
    }

    #[test]
    fn parameters_must_have_their_types() {
        check(r#"{"name":"a"}"#, Ok("{}"));
        check(r#"{"name":"a","arguments":{"x": 1.0 }}"#, Ok(r#"{"x": 1.0 }"#));
        check("{}", Err("`name` must be a string"));
        check(r#"{"name":7}"#, Err("`name` must be a string"));
        check(r#"{"name":"\udfff"}"#, Err("`name` must be a string"));
        check(r#"{"name":"a","arguments":null}"#, Err("`arguments` must be an object"));
        check(r#"{"name":"a","arguments":[]}"#, Err("`arguments` must be an object"));
        check(r#"{"name":"a","_meta":[]}"#, Err("`_meta` must be an object"));
        let meta = |meta: &str| format!(r#"{{"name":"a","_meta":{{{meta}}}}}"#);
        check(&meta(r#""progressToken":"""#), Ok("{}"));
        let token = Err("`progressToken` must be a string or an integer");
        check(&meta(r#""progressToken":1.5"#), token);
        check(&meta(r#""progressToken":null"#), token);
        check(
            &meta(r#""io.modelcontextprotocol/protocolVersion":1"#),
            Err("`io.modelcontextprotocol/protocolVersion` must be a string"),
        );
        check(
            &meta(r#""io.modelcontextprotocol/clientCapabilities":"x""#),
            Err("`io.modelcontextprotocol/clientCapabilities` must be an object"),
        );
    }

    #[test]
    fn meta_says_what_the_client_said() {
        let params = r#"{"name":"a","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",
            "io.modelcontextprotocol/clientInfo":{"name":"c"},"progressToken":"p",
            "io.modelcontextprotocol\/clientCapabilities":{"x":{}},
            "io.modelcontextprotocol/logLevel":"info"}}"#;
        let call = CallParams::parse(CallMethod::ToolsCall, &Object::parse(params.into()).unwrap())
            .unwrap();
        let meta = call.meta();
        assert_eq!(meta.version(), Some("2026-07-28"));
        assert_eq!(meta.client_info().unwrap().text("name").as_deref(), Some("c"));
        assert_eq!(meta.capabilities().unwrap().raw(), r#"{"x":{}}"#);
        assert_eq!(meta.log_level(), Some("info"));
        assert_eq!(call.progress_token().unwrap().as_bytes(), b"\"p\"");
    }

    #[test]
    fn every_method_has_its_own_place_for_the_target() {
        let get = |params, want| check_of(CallMethod::PromptsGet, params, want);
        get(r#"{"name":"a","arguments":{"x":"1"}}"#, Ok(r#"{"x":"1"}"#));
        get(r#"{"uri":"a"}"#, Err("`name` must be a string"));
        let read = |params, want| check_of(CallMethod::ResourcesRead, params, want);
        read(r#"{"uri":"a:\u002fb","arguments":7}"#, Ok(r#""a:\u002fb""#));
        read(r#"{"name":"a"}"#, Err("`uri` must be a string"));
        let complete = |params: &str, want| check_of(CallMethod::Complete, params, want);
        let prompt = r#""ref":{"type":"ref/prompt","name":"p"}"#;
        complete(&format!(r#"{{{prompt},"argument":{{"name":"n"}}}}"#), Ok(r#"{"name":"n"}"#));
        complete(&format!("{{{prompt}}}"), Err("`argument` must be an object"));
        complete(r#"{"argument":{}}"#, Err("`ref` must be an object"));
        complete(
            r#"{"ref":{"type":"ref/tool","name":"p"},"argument":{}}"#,
            Err("`ref.type` must be `ref/prompt` or `ref/resource`"),
        );
        complete(
            r#"{"ref":{"type":"ref/resource","name":"p"},"argument":{}}"#,
            Err("`ref.uri` must be a string"),
        );
    }

    #[track_caller]
    fn sent(method: CallMethod, params: &str, want: &str) {
        let object = Object::parse(params.to_owned().into()).unwrap();
        let call = CallParams::parse(method, &object).unwrap();
        let form = CallForm {
            version: Version::LATEST_LEGACY,
            id: &RequestId::from_u64(3),
            name: "own",
            progress_token: None,
            client: &ClientFace { info: "{}".into(), capabilities: "{}".into() },
        };
        let method = method.as_str();
        let want = format!(r#"{{"jsonrpc":"2.0","id":3,"method":"{method}","params":{want}}}"#);
        assert_eq!(encode_call(&call, &form).into_bytes(), want);
    }

    #[test]
    fn the_target_goes_out_under_the_servers_own_name_and_the_rest_as_it_is() {
        sent(
            CallMethod::PromptsGet,
            r#"{"x":1.0,"name":"s__own","arguments":{"a":"b"}}"#,
            r#"{"x":1.0,"name":"own","arguments":{"a":"b"}}"#,
        );
        let read = r#"{"uri":"o\u0077n","x":1.0}"#;
        sent(CallMethod::ResourcesRead, read, read);
        sent(
            CallMethod::Complete,
            r#"{"ref":{"type":"ref/prompt","x":[ ],"name":"s__own"},"argument":{"name":"a"},"context":{}}"#,
            r#"{"ref":{"type":"ref/prompt","x":[ ],"name":"own"},"argument":{"name":"a"},"context":{}}"#,
        );
    }

    #[test]
    fn methods_read_back() {
        for method in CallMethod::ALL {
            assert_eq!(CallMethod::parse(method.as_str()), Some(method));
        }
        assert_eq!(CallMethod::parse("tools/list"), None);
    }
}
