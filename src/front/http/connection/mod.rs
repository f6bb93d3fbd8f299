//! The life of one connection, from its being accepted.
//!
//! Bounds the number of connections and the size of heads. Beyond the bound a few more are taken,
//! one request each: what must be answered under a flood is, and the others are told to come back.
//! On drain it stops accepting, and who has been let in has the request answered that he is in or
//! about to make. What is known of the other end goes along with each request; who that is, is
//! decided elsewhere.

mod socket;

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{AcquireError, Notify, OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Body, patient::Patient, plain};
use crate::{
    domain::limits::{
        DRAIN_FIRST_REQUEST, HTTP_BUFFER_BYTES_MAX, HTTP_HEADER_BYTES_MAX, HTTP_HEADER_TIMEOUT,
        HTTP_HEADERS_MAX, HTTP_IDLE_MAX, HTTP_SPARE_CONNECTIONS, HTTP_STRANGER_MAX,
    },
    front::{
        identity::{Link, Tls},
        reject::{Porter, because},
    },
};
pub(in crate::front) use socket::Listener;
use socket::{Arrived, accept};

/// What a listener needs to serve: an answer to every request, and when to stop.
#[derive(Clone, Debug)]
pub(in crate::front) struct Serve<A> {
    pub(in crate::front) answer: A,
    pub(in crate::front) places: Places,
    pub(in crate::front) porter: Porter,
    /// What is spoken by TCP, if that is not plain HTTP.
    pub(in crate::front) tls: Option<Arc<Tls>>,
    pub(in crate::front) drain: CancellationToken,
    pub(in crate::front) tasks: TaskTracker,
}

/// How many connections are taken.
#[derive(Clone, Debug)]
pub(in crate::front) struct Places {
    usual: Arc<Semaphore>,
    /// Beyond those, for one request each.
    spare: Arc<Semaphore>,
    /// The paths that are served there, too.
    vital: &'static [&'static str],
}

/// Stands in an answer to whoever has not been asked who he is.
#[derive(Clone, Copy, Debug)]
struct ToStranger;

/// An answer for which nobody had to prove anything.
pub(in crate::front) fn to_stranger(mut response: Response<Body>) -> Response<Body> {
    response.extensions_mut().insert(ToStranger);
    response
}

/// The place of one connection.
#[derive(Debug)]
struct Place {
    /// A spare one serves these paths alone, and once.
    only: Option<&'static [&'static str]>,
    _held: OwnedSemaphorePermit,
}

impl Places {
    pub(in crate::front) fn new(n_usual: usize, vital: &'static [&'static str]) -> Self {
        let (usual, spare) = (Semaphore::new(n_usual), Semaphore::new(HTTP_SPARE_CONNECTIONS));
        Self { usual: Arc::new(usual), spare: Arc::new(spare), vital }
    }

    /// Waits only while there is not even a spare one.
    async fn take(&self) -> Result<Place, AcquireError> {
        let (held, only) = tokio::select! {
            biased;
            held = self.usual.clone().acquire_owned() => (held, None),
            held = self.spare.clone().acquire_owned() => (held, Some(self.vital)),
        };
        Ok(Place { only, _held: held? })
    }
}

impl Place {
    /// How long the next head may take to begin.
    fn idle_max(&self) -> Duration {
        if self.only.is_some() { HTTP_HEADER_TIMEOUT } else { HTTP_IDLE_MAX }
    }

    fn serves(&self, path: &str) -> bool {
        self.only.is_none_or(|only| only.contains(&path))
    }

    /// Who is not let in holds no place.
    fn ends(&self, mut response: Response<Body>) -> Response<Body> {
        if self.only.is_some() || response.status() == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// Accepts until the drain begins.
pub(in crate::front) async fn serve<A, F>(listener: Listener, serve: Serve<A>)
where
    A: Fn(Link, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    loop {
        let arrived = tokio::select! {
            biased;
            () = serve.drain.cancelled() => return,
            accepted = accept(&listener) => accepted,
        };
        let arrived = match arrived {
            Ok(arrived) => arrived,
            Err(error) => {
                tracing::warn!(%error, "A connection could not be accepted");
                // Out of descriptors: waiting is all that helps.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Whoever was let in is served, if there is room for him at all.
        let place = tokio::select! {
            biased;
            place = serve.places.take() => place,
            () = serve.drain.cancelled() => return,
        };
        let Ok(place) = place else { return };
        start(&serve, arrived, place);
    }
}

fn start<A, F>(serve: &Serve<A>, arrived: Arrived, place: Place)
where
    A: Fn(Link, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    match arrived {
        Arrived::Tcp(stream) => {
            match serve.tls.clone() {
                None => serve.tasks.spawn(converse((stream, Link::Tcp), serve.clone(), place)),
                Some(tls) => serve.tasks.spawn(secure(tls, stream, serve.clone(), place)),
            };
        }
        Arrived::Unix(stream, link) => {
            serve.tasks.spawn(converse((stream, link), serve.clone(), place));
        }
    }
}

/// The same behind a handshake, which has its own time.
async fn secure<A, F>(tls: Arc<Tls>, stream: TcpStream, serve: Serve<A>, place: Place)
where
    A: Fn(Link, Request<Incoming>) -> F,
    F: Future<Output = Response<Body>>,
{
    match tls.accept(stream).await {
        Ok(shaken) => converse(shaken, serve, place).await,
        Err(error) => {
            serve.porter.refuses(("handshake", StatusCode::BAD_REQUEST), "no TLS", None);
            tracing::debug!(%error, "A TLS handshake failed");
        }
    }
}

async fn converse<S, A, F>((stream, link): (S, Link), serve: Serve<A>, place: Place)
where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Fn(Link, Request<Incoming>) -> F,
    F: Future<Output = Response<Body>>,
{
    let whole = Arc::new(AtomicBool::new(false));
    let io = Patient::new(stream, whole.clone());
    let Serve { answer, porter, drain, .. } = serve;
    let (has_asked, is_known) = (Notify::new(), AtomicBool::new(false));
    let service = service_fn(|request: Request<Incoming>| {
        whole.store(true, Ordering::Relaxed);
        has_asked.notify_one();
        // In a box, which goes with the answer: the connection may last, idle or in a long stream.
        let uri = request.uri().clone();
        let is_served = place.serves(uri.path());
        let answered = is_served.then(|| Box::pin(answer(link.clone(), request)));
        let (whole, place, porter, link) = (whole.clone(), &place, &porter, &link);
        let is_known = &is_known;
        async move {
            let response = match answered {
                Some(answered) => answered.await,
                None => too_many(),
            };
            whole.store(false, Ordering::Relaxed);
            porter.sees(uri.path(), &response, link);
            if response.extensions().get::<ToStranger>().is_none() {
                is_known.store(true, Ordering::Relaxed);
            }
            Ok::<_, std::convert::Infallible>(place.ends(response))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(place.idle_max())
        .max_headers(HTTP_HEADERS_MAX)
        .max_header_size(HTTP_HEADER_BYTES_MAX)
        .max_buf_size(HTTP_BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = is_stranger_for_too_long(&is_known) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = drain.cancelled() => {
            // Hyper would close at once on whoever has connected, and whose request is on its way.
            let first = tokio::time::timeout(DRAIN_FIRST_REQUEST, has_asked.notified());
            tokio::select! {
                ended = connection.as_mut() => ended,
                _ = first => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        }
    };
    if let Err(error) = ended {
        if error.is_parse() {
            porter.refuses(("head", refused_with(&error)), "no request", Some(&link.shows()));
        }
        tracing::debug!(%error, "A connection ended early");
    }
}

/// Whoever asks for nothing but what everybody is told has his place for no longer.
async fn is_stranger_for_too_long(is_known: &AtomicBool) {
    tokio::time::sleep(HTTP_STRANGER_MAX).await;
    if is_known.load(Ordering::Relaxed) {
        pending::<()>().await;
    }
}

/// What hyper says to bytes that are no request.
fn refused_with(error: &hyper::Error) -> StatusCode {
    match error.is_parse_too_large() {
        true => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        false => StatusCode::BAD_REQUEST,
    }
}

fn too_many() -> Response<Body> {
    let told = "too many connections; close some, or try again in a second";
    let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, told);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    because(response, "connections")
}

#[cfg(test)]
mod tests;
