//! A small HTTP client for asking a running gateway, over TCP, TLS or a unix socket.

mod far;

use std::fs;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinSet,
};

use super::{ConfigArg, Ending, Failure, find_gateway};
use crate::{
    config::{Gateway, Listen},
    domain::limits::{CONNECT_TIMEOUT, UPSTREAM_MESSAGE_BYTES_MAX},
    wire::{Version, headers},
};

pub(super) use far::FarArgs;
use far::Place;

/// One connection to the gateway.
#[derive(Debug)]
pub(super) struct Client {
    sender: http1::SendRequest<Full<Bytes>>,
    /// By which the gateway knows who this is.
    token: Option<String>,
    /// How it is called, and where it speaks MCP.
    authority: String,
    path: String,
    /// Drives the connection; ends with the client.
    _driver: JoinSet<()>,
}

impl Client {
    /// To the MCP endpoint: of the gateway that a URL names, or else of that in the file.
    pub(super) async fn endpoint(far: &FarArgs, config: &ConfigArg) -> Result<Self, Failure> {
        if let Some(url) = &far.url {
            let place = Place::of(url)?;
            let dialled = Box::pin(async { shake(far.dial(&place).await?).await });
            let client = reached(&url.to_string(), dialled).await?.with_key();
            return Ok(Self { authority: place.authority, path: place.path, ..client });
        }
        let gateway = find_gateway(config)?;
        if gateway.tls.is_some() {
            let told = "the endpoint speaks TLS: say --url https://HOST:PORT/mcp, with a HOST that \
                        its certificate names, and --ca FILE if its authority is your own";
            return Err(Failure::new(Ending::Usage, told));
        }
        Ok(Self::connect(&endpoint_of(&gateway).await?).await?.with_key())
    }

    pub(super) async fn connect(at: &Listen) -> Result<Self, Failure> {
        let shown = match at {
            Listen::Tcp(address) => address.to_string(),
            Listen::Unix(path) => format!("unix:{}", path.display()),
        };
        reached(&shown, dial(at)).await
    }

    /// To the admin listener: over TCP with the operator's own key, or else with the word of the
    /// stop, as far as we may read it. Over a unix socket we are who we are.
    pub(super) async fn operator(gateway: &Gateway) -> Result<Self, Failure> {
        let client = Self::connect(&gateway.admin).await?;
        if matches!(gateway.admin, Listen::Unix(_)) {
            return Ok(client);
        }
        let client = client.with_key();
        let token = client.token.or_else(|| fs::read_to_string(gateway.estop().token).ok());
        Ok(Self { token, ..client })
    }

    fn with_key(self) -> Self {
        Self { token: std::env::var("PORTCULLIS_KEY").ok(), ..self }
    }

    /// One request with a JSON answer.
    pub(super) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Value), Failure> {
        let text = body.map(ToString::to_string).unwrap_or_default();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.authority)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.trim()));
        }
        for (name, value) in body.map(mcp_headers).unwrap_or_default() {
            request = request.header(name, value);
        }
        let lost = |error: &dyn std::error::Error| {
            Failure::new(Ending::Unreachable, format!("the gateway hung up: {error}"))
        };
        let request = request.body(Full::new(Bytes::from(text))).map_err(|e| lost(&e))?;
        let response = self.sender.send_request(request).await.map_err(|e| lost(&e))?;
        let status = response.status();
        let limited = Limited::new(response.into_body(), UPSTREAM_MESSAGE_BYTES_MAX);
        let raw = match limited.collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(error) => return Err(lost(error.as_ref())),
        };
        match serde_json::from_slice(&raw) {
            Ok(value) => Ok((status, value)),
            Err(_) => {
                let text = String::from_utf8_lossy(&raw);
                Err(Failure::new(Ending::SaidNo, in_words(status, text.trim())))
            }
        }
    }

    /// One modern MCP request; gives its result.
    pub(super) async fn mcp(&mut self, method: &str, mut params: Value) -> Result<Value, Failure> {
        if let Some(params) = params.as_object_mut() {
            params.insert("_meta".to_owned(), meta());
        }
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let (_, mut answer) = self.ask(Method::POST, &self.path.clone(), Some(&body)).await?;
        match (answer.get_mut("result").map(Value::take), answer.get("error")) {
            (Some(result), _) => Ok(result),
            (None, Some(error)) => Err(refused(error)),
            (None, None) => Err(Failure::new(Ending::SaidNo, format!("odd answer: {answer}"))),
        }
    }
}

/// Where the MCP endpoint is. With port 0 the gateway chose one, which its admin listener knows.
pub(super) async fn endpoint_of(gateway: &Gateway) -> Result<Listen, Failure> {
    if !matches!(gateway.listen, Listen::Tcp(address) if address.port() == 0) {
        return Ok(gateway.listen.clone());
    }
    let mut admin = Client::operator(gateway).await?;
    let (_, status) = admin.ask(Method::GET, "/admin/status", None).await?;
    let address = status.get("endpoint").and_then(Value::as_str).unwrap_or_default();
    address
        .parse()
        .map(Listen::Tcp)
        .map_err(|_| Failure::new(Ending::Unreachable, "the gateway serves stdio only"))
}

async fn reached(
    shown: &str,
    dialled: impl Future<Output = Result<Client, String>>,
) -> Result<Client, Failure> {
    let why = match tokio::time::timeout(CONNECT_TIMEOUT, dialled).await {
        Ok(Ok(client)) => return Ok(client),
        Ok(Err(why)) => why,
        Err(_) => "no answer in time".to_owned(),
    };
    let told = format!(
        "cannot reach the gateway at {shown}: {why}\n  is it running? start it with `portcullis serve`"
    );
    Err(Failure::new(Ending::Unreachable, told))
}

async fn dial(at: &Listen) -> Result<Client, String> {
    match at {
        Listen::Tcp(address) => {
            shake(TcpStream::connect(address).await.map_err(|e| e.to_string())?).await
        }
        Listen::Unix(path) => {
            shake(UnixStream::connect(path).await.map_err(|e| e.to_string())?).await
        }
    }
}

async fn shake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<Client, String> {
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|error| error.to_string())?;
    let mut driver = JoinSet::new();
    // How it ends is seen by whoever waits for an answer.
    driver.spawn(async move { drop(connection.await) });
    let (authority, path) = ("localhost".to_owned(), "/mcp".to_owned());
    Ok(Client { sender, token: None, authority, path, _driver: driver })
}

fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": Version::MODERN.as_str(),
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {
            "name": "portcullis-cli", "version": env!("CARGO_PKG_VERSION"),
        },
    })
}

/// What a modern request repeats in its headers.
fn mcp_headers(body: &Value) -> Vec<(http::HeaderName, http::HeaderValue)> {
    let Some(method) = body.get("method").and_then(Value::as_str) else { return Vec::new() };
    let mut repeated = vec![
        (headers::MCP_PROTOCOL_VERSION, headers::encode_value(Version::MODERN.as_str())),
        (headers::MCP_METHOD, headers::encode_value(method)),
    ];
    let name = body.pointer("/params/name").and_then(Value::as_str);
    repeated.extend(name.map(|name| (headers::MCP_NAME, headers::encode_value(name))));
    repeated
}

/// What the gateway says where it has no JSON to give.
fn in_words(status: StatusCode, text: &str) -> String {
    match status {
        StatusCode::UNAUTHORIZED => format!(
            "{text}; set PORTCULLIS_KEY to a key that is good here (`portcullis keys add NAME` \
             makes one)"
        ),
        status if status.is_client_error() => text.to_owned(),
        status => format!("unexpected answer ({status}): {text}"),
    }
}

fn refused(error: &Value) -> Failure {
    const STOPPED: i64 = -31001;
    let code = error.get("code").and_then(Value::as_i64).unwrap_or_default();
    let message = error.get("message").and_then(Value::as_str).unwrap_or("refused");
    let data = error.get("data").map(|data| format!("\n  {data}")).unwrap_or_default();
    let ending = if code == STOPPED { Ending::Stopped } else { Ending::SaidNo };
    Failure::new(ending, format!("{message} ({code}){data}"))
}
