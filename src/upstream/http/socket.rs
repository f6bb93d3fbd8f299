//! A dialled socket, plain or TLS, that knows how much of a request it has let through.
//!
//! Owns connecting (with a limit), TCP_NODELAY, the TLS handshake against the machine's own
//! certificates, and the `Trace`: whether nothing, something or all of the current request has
//! left us. That makes `data.sent` a fact and tells when trying again is safe. Knows no HTTP.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use http::Uri;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    domain::{Sent, limits::CONNECT_TIMEOUT},
    upstream::connect::reached,
};

/// Where an upstream listens.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Security {
    Plain,
    Tls,
}

impl Address {
    /// Where a URL leads, if it names a host.
    pub(super) fn of(url: &Uri) -> Option<Self> {
        let authority = url.authority()?;
        let (security, default_port) = match url.scheme_str() {
            Some("https") => (Security::Tls, 443),
            Some(_) | None => (Security::Plain, 80),
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        Some(Self { host, port: authority.port_u16().unwrap_or(default_port), security })
    }
}

/// What became of the request that is on a connection now.
#[derive(Debug, Default)]
pub(super) struct Trace {
    written: AtomicBool,
    handed_over: AtomicBool,
    flushed: AtomicBool,
}

#[derive(Debug)]
pub(super) struct Socket {
    stream: Stream,
    trace: Arc<Trace>,
}

#[derive(Debug)]
enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Trace {
    /// A new request begins.
    pub(super) fn begin(&self) {
        self.written.store(false, Relaxed);
        self.handed_over.store(false, Relaxed);
        self.flushed.store(false, Relaxed);
    }

    /// The last piece of the request's body is in the hands of the connection.
    pub(super) fn hand_over(&self) {
        self.handed_over.store(true, Relaxed);
    }

    pub(super) fn sent(&self) -> Sent {
        if !self.written.load(Relaxed) {
            Sent::No
        } else if self.flushed.load(Relaxed) {
            Sent::Yes
        } else {
            Sent::Unknown
        }
    }
}

impl Socket {
    pub(super) async fn connect(address: &Address) -> io::Result<(Self, Arc<Trace>)> {
        let dialled = timeout(CONNECT_TIMEOUT, dial(address)).await;
        let stream = dialled.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let trace = Arc::new(Trace::default());
        Ok((Self { stream, trace: Arc::clone(&trace) }, trace))
    }
}

async fn dial(address: &Address) -> io::Result<Stream> {
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    stream.set_nodelay(true)?;
    reached("connected");
    if address.security == Security::Plain {
        return Ok(Stream::Plain(stream));
    }
    let name = ServerName::try_from(address.host.clone())
        .map_err(|source| io::Error::new(io::ErrorKind::InvalidInput, source))?;
    let tls = TLS.as_ref().map_err(|error| io::Error::other(error.clone()))?;
    let secured = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
    reached("TLS agreed");
    Ok(Stream::Tls(Box::new(secured)))
}

/// Read once: the machine's certificate store. A certificate that cannot be read is not trusted.
static TLS: LazyLock<Result<Arc<ClientConfig>, rustls::Error>> = LazyLock::new(|| {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "Certificate store was not read in full");
    }
    roots.add_parsable_certificates(found.certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    let builder =
        ClientConfig::builder_with_provider(provider).with_protocol_versions(&versions)?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
});

impl Socket {
    fn writer(&mut self) -> Pin<&mut (dyn AsyncWrite + Send)> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::<&mut TcpStream>::new(stream),
            Stream::Tls(stream) => Pin::<&mut TlsStream<TcpStream>>::new(stream.as_mut()),
        }
    }

    fn count(&self, written: usize) -> usize {
        if written > 0 {
            self.trace.written.store(true, Relaxed);
        }
        written
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(self.writer().poll_write(cx, buf))?;
        Poll::Ready(Ok(self.count(written)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(self.writer().poll_write_vectored(cx, bufs))?;
        Poll::Ready(Ok(self.count(written)))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper flushes only when its own buffer is empty: after the hand-over this is the end.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.writer().poll_flush(cx))?;
        if self.trace.handed_over.load(Relaxed) {
            self.trace.flushed.store(true, Relaxed);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer().poll_shutdown(cx)
    }
}
