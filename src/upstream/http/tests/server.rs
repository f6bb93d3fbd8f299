//! A hyper server that asks the test what to answer.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, header::CONTENT_TYPE};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::soon;

pub(in crate::upstream) struct Server {
    pub(in crate::upstream) address: SocketAddr,
    requests: mpsc::Receiver<Seen>,
    connections: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

/// A request that waits for the test to answer it.
pub(in crate::upstream) struct Seen {
    pub(in crate::upstream) method: String,
    pub(in crate::upstream) path: String,
    pub(in crate::upstream) headers: HeaderMap,
    pub(in crate::upstream) body: String,
    pub(in crate::upstream) reply: oneshot::Sender<Response<Streamed>>,
}

/// A body that the test writes piece by piece.
pub(in crate::upstream) struct Streamed(mpsc::Receiver<Bytes>);

impl Server {
    pub(in crate::upstream) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::channel(64);
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                counter.fetch_add(1, Ordering::Relaxed);
                let sender = sender.clone();
                let service = service_fn(move |request| ask(request, sender.clone()));
                let served = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), service);
                connections.spawn(async move {
                    // A client that hangs up is what some of the tests are about.
                    served.await.ok();
                });
            }
        });
        Self { address, requests, connections, _tasks: tasks }
    }

    pub(in crate::upstream) async fn next(&mut self) -> Seen {
        soon(self.requests.recv()).await.expect("the server is gone")
    }

    pub(in crate::upstream) fn is_quiet(&mut self) -> bool {
        self.requests.try_recv().is_err()
    }

    pub(in crate::upstream) fn n_connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Plays a legacy server's part of the handshake.
    pub(in crate::upstream) async fn greet(&mut self, session: &str) {
        self.welcome(session).await.json(202, "");
    }

    /// The same, but for the answer to the last message of the handshake.
    pub(in crate::upstream) async fn welcome(&mut self, session: &str) -> Seen {
        let hello = self.next().await;
        assert!(hello.body.contains("\"initialize\""), "{}", hello.body);
        assert!(!hello.headers.contains_key("mcp-session-id"));
        let id = hello.id();
        hello.send(
            Response::builder()
                .header(CONTENT_TYPE, "application/json")
                .header("mcp-session-id", session)
                .body(whole(&format!(
                    "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\
                     \"protocolVersion\":\"2025-11-25\",\"capabilities\":{{}},\
                     \"serverInfo\":{{\"name\":\"old\",\"version\":\"1\"}}}}}}"
                )))
                .unwrap(),
        );
        let ready = self.next().await;
        assert!(ready.body.contains("notifications/initialized"), "{}", ready.body);
        assert_eq!(ready.header("mcp-session-id"), session);
        ready
    }
}

impl Seen {
    pub(in crate::upstream) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(in crate::upstream) fn id(&self) -> u64 {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        body["id"].as_u64().unwrap()
    }

    pub(in crate::upstream) fn json(self, status: u16, body: &str) {
        let reply = Response::builder().status(status).header(CONTENT_TYPE, "application/json");
        self.send(reply.body(whole(body)).unwrap());
    }

    pub(in crate::upstream) fn answer(self, result: &str) {
        let body = super::answer(self.id(), result);
        self.json(200, &body);
    }

    /// Begins an event stream; it ends when the sender is dropped.
    pub(in crate::upstream) fn stream(self) -> Events {
        let (sender, receiver) = mpsc::channel(16);
        let reply = Response::builder().header(CONTENT_TYPE, "text/event-stream; charset=utf-8");
        self.send(reply.body(Streamed(receiver)).unwrap());
        Events(sender)
    }

    pub(in crate::upstream) fn send(self, response: Response<Streamed>) {
        // The client may be gone: some are meant to be.
        self.reply.send(response).ok();
    }
}

/// The writing end of an event stream.
pub(in crate::upstream) struct Events(mpsc::Sender<Bytes>);

impl Events {
    pub(in crate::upstream) async fn say(&self, text: &str) {
        self.0.send(Bytes::copy_from_slice(text.as_bytes())).await.unwrap();
    }

    /// Returns when the client has closed the connection.
    pub(in crate::upstream) async fn hung_up(&self) {
        soon(self.0.closed()).await;
    }
}

pub(in crate::upstream) fn whole(body: &str) -> Streamed {
    let (sender, receiver) = mpsc::channel(1);
    if !body.is_empty() {
        sender.try_send(Bytes::copy_from_slice(body.as_bytes())).unwrap();
    }
    Streamed(receiver)
}

async fn ask(
    request: Request<Incoming>,
    sender: mpsc::Sender<Seen>,
) -> Result<Response<Streamed>, hyper::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let (reply, answer) = oneshot::channel();
    let seen = Seen {
        method: parts.method.to_string(),
        path: parts.uri.to_string(),
        headers: parts.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
        reply,
    };
    sender.send(seen).await.unwrap();
    // A test that drops the request leaves it without an answer for ever.
    match answer.await {
        Ok(answer) => Ok(answer),
        Err(_) => std::future::pending().await,
    }
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

impl Server {
    /// The next request, or none if `other` ends first.
    pub(in crate::upstream) async fn try_next<T>(
        &mut self,
        other: &mut tokio::task::JoinHandle<T>,
    ) -> Option<Seen> {
        let ended = async {
            while !other.is_finished() {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            seen = self.next() => Some(seen),
            () = ended => None,
        }
    }
}
