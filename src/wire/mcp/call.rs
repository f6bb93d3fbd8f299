//! `tools/call`: its parameters as they came in, and as they go out.
//!
//! The bytes of the arguments are the same in both: they are judged once and never written anew.
//! Name, progress token and the sender's part of `_meta` are ours to replace; every other member
//! passes as it stands, also those that no revision knows.

use bytes::Bytes;

use super::{
    Version,
    meta::{CAPABILITIES, CLIENT_INFO, Meta, PREFIX, PROGRESS_TOKEN, VERSION},
};
use crate::{
    domain::Era,
    wire::{
        WireError,
        json::{Edit, Frame, Object, Text, quote},
        rpc::{ProgressToken, RequestId, open},
    },
};

/// The parameters of one `tools/call`.
#[derive(Clone, Debug)]
pub struct CallParams {
    raw: Object,
    name: Text,
    arguments: Bytes,
    meta: Meta,
}

/// What we say upstream in place of what the client said to us.
#[derive(Clone, Debug)]
pub struct CallForm<'a> {
    pub version: Version,
    pub id: &'a RequestId,
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

impl CallParams {
    pub fn parse(params: &Object) -> Result<Self, WireError> {
        let Some(name) = params.str("name") else {
            return Err(WireError::Params { rule: "`name` must be a string" });
        };
        let arguments = match params.get("arguments") {
            None => Bytes::from_static(b"{}"),
            Some(object) if object.first() == Some(&b'{') => object,
            Some(_) => return Err(WireError::Params { rule: "`arguments` must be an object" }),
        };
        let meta = Meta::parse(Some(params))?;
        Ok(Self { raw: params.clone(), name, arguments, meta })
    }

    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// The text of the arguments object; `{}` when there is none.
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
    out.copy(b",\"method\":\"tools/call\",\"params\":");
    let edit = params.raw.edit().set("name", quote(form.name));
    with_meta(edit, params.meta.raw(), form).write(&mut out);
    out.copy(b"}");
    out.finish()
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
    use super::{CallParams, Object};

    #[track_caller]
    fn check(params: &str, want: Result<&str, &str>) {
        let object = Object::parse(params.to_owned().into()).unwrap();
        let got = CallParams::parse(&object).map(|call| call.arguments()).map_err(|error| {
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
        let call = CallParams::parse(&Object::parse(params.into()).unwrap()).unwrap();
        let meta = call.meta();
        assert_eq!(meta.version(), Some("2026-07-28"));
        assert_eq!(meta.client_info().unwrap().text("name").as_deref(), Some("c"));
        assert_eq!(meta.capabilities().unwrap().raw(), r#"{"x":{}}"#);
        assert_eq!(meta.log_level(), Some("info"));
        assert_eq!(call.progress_token().unwrap().as_bytes(), b"\"p\"");
    }
}
