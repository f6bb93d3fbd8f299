//! Listening sockets and the life of one connection.
//!
//! Bounds the number of connections, the time a request's head may take, and the size of heads.
//! On drain it stops accepting and lets every connection finish the request it is in. A unix
//! socket is the owner's alone, and its visitor is named by uid.

use std::{
    io,
    os::unix::fs::FileTypeExt,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, UnixListener, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Body, Visitor};
use crate::{
    config::Listen,
    domain::{
        Principal,
        limits::{
            HTTP_BUFFER_BYTES_MAX, HTTP_HEADER_BYTES_MAX, HTTP_HEADER_TIMEOUT, HTTP_HEADERS_MAX,
            HTTP_IDLE_MAX, HTTP_WRITE_STALL_MAX,
        },
    },
    front::FrontError,
};

/// A bound socket.
#[derive(Debug)]
pub(in crate::front) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// What a listener needs to serve: an answer to every request, and when to stop.
#[derive(Clone, Debug)]
pub(in crate::front) struct Serve<A> {
    pub(in crate::front) answer: A,
    pub(in crate::front) connections: Arc<Semaphore>,
    pub(in crate::front) drain: CancellationToken,
    pub(in crate::front) tasks: TaskTracker,
}

impl Listener {
    pub(in crate::front) async fn bind(at: &Listen) -> Result<Self, FrontError> {
        match at {
            Listen::Tcp(address) => match TcpListener::bind(address).await {
                Ok(listener) => Ok(Self::Tcp(listener)),
                Err(source) => Err(FrontError::Bind { at: address.to_string(), source }),
            },
            Listen::Unix(path) => bind_unix(path).await.map(Self::Unix),
        }
    }

    /// Where it really listens: port 0 has become a number.
    pub(in crate::front) fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| String::new(), |a| a.to_string())
            }
            Self::Unix(listener) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|a| a.as_pathname());
                path.map_or_else(String::new, |path| format!("unix:{}", path.display()))
            }
        }
    }
}

async fn bind_unix(path: &Path) -> Result<UnixListener, FrontError> {
    let failed = |source| FrontError::Bind { at: format!("unix:{}", path.display()), source };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    if UnixStream::connect(path).await.is_ok() {
        return Err(failed(io::ErrorKind::AddrInUse.into()));
    }
    // Only what a gateway left behind: never somebody's file.
    match std::fs::symlink_metadata(path) {
        Ok(old) if old.file_type().is_socket() => std::fs::remove_file(path).map_err(failed)?,
        Ok(_) => return Err(failed(io::ErrorKind::AlreadyExists.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, owner_only).map_err(failed)?;
    Ok(listener)
}

/// Accepts until the drain begins.
pub(in crate::front) async fn serve<A, F>(listener: Listener, serve: Serve<A>)
where
    A: Fn(Visitor, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    loop {
        let place = tokio::select! {
            biased;
            () = serve.drain.cancelled() => return,
            place = serve.connections.clone().acquire_owned() => place,
        };
        let Ok(place) = place else { return };
        tokio::select! {
            biased;
            () = serve.drain.cancelled() => return,
            accepted = accept(&listener) => match accepted {
                Ok(arrived) => start(&serve, arrived, place),
                Err(error) => {
                    tracing::warn!(%error, "A connection could not be accepted");
                    // Out of descriptors: waiting is all that helps.
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
            },
        }
    }
}

enum Arrived {
    Tcp(tokio::net::TcpStream),
    Unix(UnixStream, Principal),
}

async fn accept(listener: &Listener) -> io::Result<Arrived> {
    match listener {
        Listener::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok(Arrived::Tcp(stream))
        }
        Listener::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            let uid = stream.peer_cred()?.uid();
            Ok(Arrived::Unix(stream, Principal::new(&format!("uid:{uid}"))))
        }
    }
}

fn start<A, F>(serve: &Serve<A>, arrived: Arrived, place: OwnedSemaphorePermit)
where
    A: Fn(Visitor, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let (answer, drain) = (serve.answer.clone(), serve.drain.clone());
    match arrived {
        Arrived::Tcp(stream) => {
            let visitor = Visitor { principal: Principal::new("local") };
            serve.tasks.spawn(converse(stream, visitor, answer, drain, place));
        }
        Arrived::Unix(stream, principal) => {
            serve.tasks.spawn(converse(stream, Visitor { principal }, answer, drain, place));
        }
    }
}

async fn converse<S, A, F>(
    stream: S,
    visitor: Visitor,
    answer: A,
    drain: CancellationToken,
    _place: OwnedSemaphorePermit,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    A: Fn(Visitor, Request<Incoming>) -> F,
    F: Future<Output = Response<Body>>,
{
    let whole = Arc::new(AtomicBool::new(false));
    let io = Patient { stream, head_is_whole: whole.clone(), patience: None, stall: None };
    let service = service_fn(|request| {
        whole.store(true, Ordering::Relaxed);
        // In a box, which goes with the answer: the connection may last, idle or in a long stream.
        let answered = Box::pin(answer(visitor.clone(), request));
        let whole = whole.clone();
        async move {
            let response = answered.await;
            whole.store(false, Ordering::Relaxed);
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HTTP_IDLE_MAX)
        .max_headers(HTTP_HEADERS_MAX)
        .max_header_size(HTTP_HEADER_BYTES_MAX)
        .max_buf_size(HTTP_BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = drain.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "A connection ended early");
    }
}

/// A stream that loses patience with a request head that dribbles in: the clock starts with the
/// first bytes of a head and stops when the whole head is there. Idle connections wait longer.
struct Patient<S> {
    stream: S,
    head_is_whole: Arc<AtomicBool>,
    patience: Option<Pin<Box<Sleep>>>,
    /// Runs while the other end takes nothing of what is written.
    stall: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    /// A write that is pending for too long fails.
    fn unless_stalled<T>(
        &mut self,
        cx: &mut Context<'_>,
        wrote: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.stall = None;
            return wrote;
        }
        let fresh = || Box::pin(tokio::time::sleep(HTTP_WRITE_STALL_MAX));
        let stall = self.stall.get_or_insert_with(fresh);
        std::task::ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.head_is_whole.load(Ordering::Relaxed) {
            self.patience = None;
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() && buf.filled().len() > before && self.patience.is_none() {
            // Armed only if this head needs more than one read.
            let deadline = Instant::now() + HTTP_HEADER_TIMEOUT;
            self.patience = Some(Box::pin(tokio::time::sleep_until(deadline)));
        }
        match &mut self.patience {
            Some(patience) if read.is_pending() => {
                std::task::ready!(patience.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Some(_) | None => read,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.unless_stalled(cx, wrote)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.unless_stalled(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use http::Response;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        join,
        sync::Semaphore,
        time::{Instant, sleep},
    };
    use tokio_util::sync::CancellationToken;

    use super::{Body, HTTP_WRITE_STALL_MAX, Principal, Visitor, converse};

    /// How long a connection with a long answer on it lasts, for a client that does `read` and
    /// then takes nothing more.
    async fn lasts(read: impl AsyncFn(&mut DuplexStream)) -> Duration {
        let (ours, mut client) = duplex(64);
        let visitor = Visitor { principal: Principal::new("local") };
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let answer = async |_, _| Response::new(Body::text("x".repeat(1 << 20)));
        let began = Instant::now();
        let connection = async {
            converse(ours, visitor, answer, CancellationToken::new(), place).await;
            began.elapsed()
        };
        let client = async {
            client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
            read(&mut client).await;
            client
        };
        join!(connection, client).0
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_cut_off_and_a_slow_one_is_not() {
        let second = Duration::from_secs(1);
        let deaf = lasts(async |_| ()).await;
        assert!(deaf >= HTTP_WRITE_STALL_MAX && deaf < HTTP_WRITE_STALL_MAX + second, "{deaf:?}");
        let slow = lasts(async |client| {
            for _ in 0..5 {
                sleep(HTTP_WRITE_STALL_MAX - second).await;
                client.read_u8().await.unwrap();
            }
        });
        let slow = slow.await;
        let want = 5 * (HTTP_WRITE_STALL_MAX - second) + HTTP_WRITE_STALL_MAX;
        assert!(slow >= want && slow < want + second, "{slow:?}");
    }
}
