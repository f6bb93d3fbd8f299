//! The patience that a connection has with its other end.
//!
//! Bounds the time that a request's head may take, and the time for which nothing of an answer is
//! taken. Knows nothing of HTTP but when a head is whole, which it is told.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use crate::domain::limits::{HTTP_HEADER_TIMEOUT, HTTP_WRITE_STALL_MAX};

/// A stream that loses patience with a request head that dribbles in: the clock starts with the
/// first bytes of a head and stops when the whole head is there. Idle connections wait longer.
pub(super) struct Patient<S> {
    stream: S,
    head_is_whole: Arc<AtomicBool>,
    patience: Option<Pin<Box<Sleep>>>,
    /// Runs while the other end takes nothing of what is written.
    stall: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, head_is_whole: Arc<AtomicBool>) -> Self {
        Self { stream, head_is_whole, patience: None, stall: None }
    }

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
