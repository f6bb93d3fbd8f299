//! The four kinds of client, written by hand against the specification: HTTP and stdio, modern
//! and legacy. They share nothing with the gateway's own code.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{sync::mpsc, task::JoinHandle};

use crate::harness::{PORTCULLIS, within};

mod answers;
mod ears;
mod events;
mod kind;

pub(crate) use ears::Ear;
use events::read;
pub(crate) use events::{Event, Events, is_stream};
pub(crate) use kind::{Kind, LEGACY, MODERN};

const SUBSCRIPTION: &str = "/params/_meta/io.modelcontextprotocol~1subscriptionId";
/// A connected client.
pub(crate) struct Client {
    kind: Kind,
    capabilities: Value,
    line: Line,
    next: AtomicU64,
}

enum Line {
    Http { port: u16, session: Option<String> },
    Stdio(Pipes),
}

struct Pipes {
    stdin: Mutex<ChildStdin>,
    waiting: Waiting,
    /// Requests of the server.
    questions: tokio::sync::Mutex<mpsc::UnboundedReceiver<Value>>,
    /// What came without having been asked for.
    unasked: Arc<Mutex<Vec<Value>>>,
    child: Child,
}

type Waiting = Arc<Mutex<HashMap<String, mpsc::UnboundedSender<Value>>>>;

/// A request without its answer yet.
pub(crate) struct InFlight {
    pub(crate) id: u64,
    messages: mpsc::UnboundedReceiver<Value>,
    reader: Option<JoinHandle<()>>,
}

/// An answer, and what was said before it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) notices: Vec<Value>,
    pub(crate) response: Value,
}

impl Client {
    /// Over HTTP to a running gateway.
    pub(crate) async fn http(kind: Kind, port: u16) -> Self {
        Self::able_http(kind, port, json!({})).await
    }

    /// The same, with capabilities.
    pub(crate) async fn able_http(kind: Kind, port: u16, capabilities: Value) -> Self {
        let line = Line::Http { port, session: None };
        let mut client = Self { kind, capabilities, line, next: AtomicU64::new(1) };
        if !kind.is_modern() {
            client.initialize().await;
        }
        client
    }

    /// As the host of a gateway of its own, `serve --stdio`.
    pub(crate) async fn stdio(kind: Kind, config: &Path) -> Self {
        Self::able_stdio(kind, config, json!({})).await
    }

    /// The same, with capabilities.
    pub(crate) async fn able_stdio(kind: Kind, config: &Path, capabilities: Value) -> Self {
        let mut child = Command::new(PORTCULLIS)
            .args(["serve", "--stdio", "--config"])
            .arg(config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .env("PORTCULLIS_LOG", "error")
            .spawn()
            .unwrap();
        let waiting = Waiting::default();
        let known = waiting.clone();
        let unasked = Arc::<Mutex<Vec<Value>>>::default();
        let heard = unasked.clone();
        let (asks, questions) = mpsc::unbounded_channel();
        let questions = tokio::sync::Mutex::new(questions);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let message: Value = serde_json::from_str(&line).expect("stdout holds MCP only");
                if message.get("id").is_some() && message.get("method").is_some() {
                    asks.send(message).unwrap_or_default();
                    continue;
                }
                let key = ["/id", "/params/progressToken", SUBSCRIPTION];
                let key = key.into_iter().find_map(|at| message.pointer(at));
                let sender = key.and_then(|key| known.lock().unwrap().get(&bare(key)).cloned());
                match sender {
                    Some(sender) => sender.send(message).unwrap_or_default(),
                    None => heard.lock().unwrap().push(message),
                }
            }
            known.lock().unwrap().clear();
        });
        let stdin = Mutex::new(child.stdin.take().unwrap());
        let line = Line::Stdio(Pipes { stdin, waiting, questions, unasked, child });
        let mut client = Self { kind, capabilities, line, next: AtomicU64::new(1) };
        if kind == Kind::LegacyStdio {
            client.initialize().await;
        }
        client
    }

    fn is_modern(&self) -> bool {
        self.kind.is_modern()
    }

    async fn initialize(&mut self) {
        let params = json!({
            "protocolVersion": self.kind.version(), "capabilities": self.capabilities,
            "clientInfo": { "name": "it", "version": "1" },
        });
        let started = self.start("initialize", params).await;
        let session = started.1.get("mcp-session-id").map(|id| id.to_str().unwrap().to_owned());
        let answer = started.0.finish().await;
        assert_eq!(answer.response["result"]["protocolVersion"], self.kind.version(), "{answer:?}");
        if let Line::Http { session: kept, .. } = &mut self.line {
            *kept = Some(session.expect("a session id"));
        }
        self.notify("notifications/initialized", json!({})).await;
    }

    /// Starts a request; see `begin` for calls of tools.
    pub(crate) async fn begin_request(&self, method: &str, params: Value) -> InFlight {
        self.start(method, params).await.0
    }

    /// Sends a request and gives its answer.
    pub(crate) async fn ask(&self, method: &str, params: Value) -> Answer {
        self.start(method, params).await.0.finish().await
    }

    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Answer {
        self.begin(tool, arguments, None).await.finish().await
    }

    /// The call's result as text, or the whole answer when it is none.
    pub(crate) async fn text(&self, tool: &str, arguments: Value) -> String {
        let answer = self.call(tool, arguments).await;
        let text = answer.response.pointer("/result/content/0/text").and_then(Value::as_str);
        text.map_or_else(|| answer.response.to_string(), str::to_owned)
    }

    /// Starts a call; `token` asks for progress.
    pub(crate) async fn begin(
        &self,
        tool: &str,
        arguments: Value,
        token: Option<&str>,
    ) -> InFlight {
        let mut params = json!({ "name": tool, "arguments": arguments });
        if let Some(token) = token {
            params["_meta"] = json!({ "progressToken": token });
        }
        self.start("tools/call", params).await.0
    }

    /// Withdraws a call in the way of the client's kind.
    pub(crate) async fn cancel(&self, call: InFlight) {
        match self.kind {
            // Closing the response is cancelling.
            Kind::ModernHttp => drop(call),
            Kind::OldHttp | Kind::LegacyHttp | Kind::ModernStdio | Kind::LegacyStdio => {
                let params = json!({ "requestId": call.id, "reason": "test" });
                self.notify("notifications/cancelled", params).await;
            }
        }
    }

    async fn notify(&self, method: &str, params: Value) {
        let body = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        match &self.line {
            Line::Http { port, session } => {
                let headers = self.headers(method, None, session.as_deref());
                let response = post(*port, &body, headers).await;
                assert_eq!(response.status(), StatusCode::ACCEPTED);
            }
            Line::Stdio(pipes) => pipes.write(&body),
        }
    }

    async fn start(&self, method: &str, mut params: Value) -> (InFlight, HeaderMap) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        if self.is_modern() {
            let meta = params.as_object_mut().unwrap().entry("_meta").or_insert(json!({}));
            meta["io.modelcontextprotocol/protocolVersion"] = self.kind.version().into();
            meta["io.modelcontextprotocol/clientCapabilities"] = self.capabilities.clone();
            meta["io.modelcontextprotocol/clientInfo"] = json!({ "name": "it", "version": "1" });
        }
        let name = params.get("name").or(params.get("uri")).or(params.get("taskId"));
        let name = name.and_then(Value::as_str).map(str::to_owned);
        let token = params.pointer("/_meta/progressToken").map(bare);
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let (sender, messages) = mpsc::unbounded_channel();
        match &self.line {
            Line::Http { port, session } => {
                let headers = self.headers(method, name.as_deref(), session.as_deref());
                let (port, sent) = (*port, Arc::new(Mutex::new(HeaderMap::new())));
                if method == "initialize" {
                    let response = post(port, &body, headers).await;
                    *sent.lock().unwrap() = response.headers().clone();
                    read(response, sender).await;
                    let headers = sent.lock().unwrap().clone();
                    return (InFlight { id, messages, reader: None }, headers);
                }
                let reader = tokio::spawn(async move {
                    // A gateway that dies meanwhile ends the request without an answer.
                    let to = ("POST", "/mcp");
                    if let Some(response) = try_send(port, to, body.to_string(), headers).await {
                        read(response, sender).await;
                    }
                });
                let call = InFlight { id, messages, reader: Some(reader) };
                (call, HeaderMap::new())
            }
            Line::Stdio(pipes) => {
                {
                    let mut waiting = pipes.waiting.lock().unwrap();
                    waiting.insert(id.to_string(), sender.clone());
                    waiting.extend(token.map(|token| (token, sender)));
                }
                pipes.write(&body);
                (InFlight { id, messages, reader: None }, HeaderMap::new())
            }
        }
    }

    fn headers(&self, method: &str, name: Option<&str>, session: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut set = |key: &'static str, value: &str| {
            headers.insert(key, value.parse().unwrap());
        };
        if self.is_modern() {
            set("mcp-protocol-version", self.kind.version());
            set("mcp-method", method);
            if let Some(name) = name {
                set("mcp-name", name);
            }
        } else if let Some(session) = session {
            set("mcp-protocol-version", self.kind.version());
            set("mcp-session-id", session);
        }
        headers
    }
}

impl InFlight {
    /// The next message: a notification or the answer.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        within("a message", self.messages.recv()).await
    }

    pub(crate) async fn finish(mut self) -> Answer {
        let mut notices = Vec::new();
        loop {
            let message = self.next().await.expect("the answer came before the end");
            if message.get("id").is_some() {
                assert_eq!(message["id"], self.id, "the answer to another request");
                return Answer { notices, response: message };
            }
            notices.push(message);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(reader) = &self.reader {
            reader.abort();
        }
    }
}

impl Pipes {
    fn write(&self, body: &Value) {
        let mut stdin = self.stdin.lock().unwrap();
        stdin.write_all(format!("{body}\n").as_bytes()).unwrap();
        stdin.flush().unwrap();
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().unwrap();
    }
}

fn bare(id: &Value) -> String {
    id.as_str().map_or_else(|| id.to_string(), str::to_owned)
}

/// One POST on a connection of its own.
pub(crate) async fn post(port: u16, body: &Value, headers: HeaderMap) -> http::Response<Incoming> {
    send(port, "POST", body.to_string(), headers).await
}

/// One request on a connection of its own, with the headers that every client sends.
pub(crate) async fn send(
    port: u16,
    method: &str,
    body: impl Into<Bytes>,
    headers: HeaderMap,
) -> http::Response<Incoming> {
    send_to(port, (method, "/mcp"), body, headers).await
}

/// The same to another path.
pub(crate) async fn send_to(
    port: u16,
    to: (&str, &str),
    body: impl Into<Bytes>,
    headers: HeaderMap,
) -> http::Response<Incoming> {
    try_send(port, to, body, headers).await.expect("response headers")
}

async fn try_send(
    port: u16,
    (method, path): (&str, &str),
    body: impl Into<Bytes>,
    mut headers: HeaderMap,
) -> Option<http::Response<Incoming>> {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(async move { connection.await.unwrap_or_default() });
    for (name, value) in [
        ("host", "localhost"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ] {
        if !headers.contains_key(name) {
            headers.insert(name, value.parse().unwrap());
        }
    }
    let mut request =
        Request::builder().method(method).uri(path).body(Full::new(body.into())).unwrap();
    *request.headers_mut() = headers;
    within("response headers", sender.send_request(request)).await.ok()
}
