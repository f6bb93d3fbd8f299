//! One session over HTTP: one connection, kept alive, one call at a time.
//!
//! Speaks to hyper's connection directly, without pool or redirects, so that the client costs as
//! little as a checking client can. Accepts JSON and event-stream answers.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri,
    header::{ACCEPT, CONTENT_TYPE, HOST},
};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

use crate::{
    Result,
    message::{INITIALIZED, Wire, last_event, request, result_of},
    target::Target,
};

const VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const METHOD: HeaderName = HeaderName::from_static("mcp-method");
const NAME: HeaderName = HeaderName::from_static("mcp-name");
const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

#[derive(Debug)]
pub(crate) struct HttpSession {
    sender: SendRequest<Full<Bytes>>,
    path: Uri,
    wire: Wire,
    headers: HeaderMap,
    /// Drives the connection; ends with the session.
    _connection: JoinSet<()>,
}

impl HttpSession {
    /// Connects; in the older era with the handshake.
    pub(crate) async fn open(target: &Target, uri: &Uri, wire: Wire) -> Result<Self> {
        let mut session = Self::connect(target, uri, wire).await?;
        if wire == Wire::Legacy {
            let body = request(wire, 0, "initialize");
            let (headers, reply) = session.exchange(Method::POST, body, &HeaderMap::new()).await?;
            result_of(&reply)?;
            if let Some(id) = headers.get(SESSION) {
                session.headers.insert(SESSION, id.clone());
            }
            session.headers.insert(VERSION, HeaderValue::from_static(wire.version()));
            let note = Bytes::from_static(INITIALIZED.as_bytes());
            session.exchange(Method::POST, note, &HeaderMap::new()).await?;
        }
        Ok(session)
    }

    async fn connect(target: &Target, uri: &Uri, wire: Wire) -> Result<Self> {
        let authority = uri.authority().ok_or("address without a host")?;
        let stream =
            TcpStream::connect((authority.host(), authority.port_u16().unwrap_or(80))).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut tasks = JoinSet::new();
        // How it ended is seen by the request that is under way.
        tasks.spawn(async move { drop(connection.await) });
        let mut headers = target.headers.clone();
        headers.insert(HOST, HeaderValue::from_str(authority.as_str())?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        if wire == Wire::Modern {
            headers.insert(VERSION, HeaderValue::from_static(wire.version()));
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
        Ok(Self { sender, path, wire, headers, _connection: tasks })
    }

    /// One message, one reply. `tool` is named in the headers where the wire wants it.
    pub(crate) async fn send(
        &mut self,
        body: Bytes,
        method: &str,
        tool: Option<&str>,
    ) -> Result<Bytes> {
        let mut more = HeaderMap::new();
        if self.wire == Wire::Modern {
            more.insert(METHOD, HeaderValue::from_str(method)?);
            if let Some(tool) = tool {
                more.insert(NAME, HeaderValue::from_str(tool)?);
            }
        }
        let (_, reply) = self.exchange(Method::POST, body, &more).await?;
        Ok(reply)
    }

    /// A second connection to the same session, for calls side by side.
    pub(crate) async fn beside(&self, target: &Target, uri: &Uri) -> Result<Self> {
        let mut session = Self::connect(target, uri, self.wire).await?;
        session.headers = self.headers.clone();
        Ok(session)
    }

    /// Ends the session where there is one.
    pub(crate) async fn close(mut self) -> Result<()> {
        if self.headers.contains_key(SESSION) {
            self.exchange(Method::DELETE, Bytes::new(), &HeaderMap::new()).await?;
        }
        Ok(())
    }

    async fn exchange(
        &mut self,
        method: Method,
        body: Bytes,
        more: &HeaderMap,
    ) -> Result<(HeaderMap, Bytes)> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.path.clone();
        request.headers_mut().clone_from(&self.headers);
        for (name, value) in more {
            request.headers_mut().insert(name, value.clone());
        }
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        if !head.status.is_success() {
            return Err(refused(head.status, &body).into());
        }
        let events = head.headers.get(CONTENT_TYPE);
        let events = events.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        let body = if events { body.slice_ref(last_event(&body)?) } else { body };
        Ok((head.headers, body))
    }
}

fn refused(status: StatusCode, body: &Bytes) -> String {
    format!(
        "HTTP {status}: {}",
        String::from_utf8_lossy(body).chars().take(300).collect::<String>()
    )
}
