//! The patience that a connection has with its other end.
//!
//! Bounds the time that a request's head may take, and the time for which nothing of an answer is
//! taken. The first head has no more time than the rest: who has said nothing is a stranger. Knows
//! nothing of HTTP but when a head is whole, which it is told.

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
    stall: Option<(Held, Pin<Box<Sleep>>)>,
}

/// What it is that nothing is taken of. Under TLS a write is taken by a buffer of our own: only a
/// flush tells whether the other end takes anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Write,
    Flush,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, head_is_whole: Arc<AtomicBool>) -> Self {
        let patience = Some(Box::pin(tokio::time::sleep(HTTP_HEADER_TIMEOUT)));
        Self { stream, head_is_whole, patience, stall: None }
    }

    /// What is pending for too long fails.
    fn unless_stalled<T>(
        &mut self,
        cx: &mut Context<'_>,
        (what, done): (Held, Poll<io::Result<T>>),
    ) -> Poll<io::Result<T>> {
        if done.is_ready() {
            // A write says nothing of a flush that is held.
            self.stall.take_if(|(held, _)| what == Held::Flush || *held == Held::Write);
            return done;
        }
        let fresh = || (what, Box::pin(tokio::time::sleep(HTTP_WRITE_STALL_MAX)));
        let (_, stall) = self.stall.get_or_insert_with(fresh);
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
        self.unless_stalled(cx, (Held::Write, wrote))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.unless_stalled(cx, (Held::Flush, flushed))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.unless_stalled(cx, (Held::Flush, shut))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.unless_stalled(cx, (Held::Write, wrote))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;

    use super::*;

    /// As TLS does, it takes every write, and only a flush waits for the other end.
    struct Buffered;

    impl AsyncWrite for Buffered {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_only_a_buffer_has_taken_is_not_taken() {
        let mut quiet = Patient::new(Buffered, Arc::default());
        let began = Instant::now();
        // A stream on which little is said.
        let flushed = loop {
            assert!(began.elapsed() < HTTP_WRITE_STALL_MAX * 2, "it is never given up");
            quiet.write_all(b": still here\n\n").await.unwrap();
            let pause = tokio::time::sleep(HTTP_WRITE_STALL_MAX / 4);
            tokio::select! {
                flushed = quiet.flush() => break flushed,
                () = pause => {}
            }
        };
        assert_eq!(flushed.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let lasted = began.elapsed();
        assert!(lasted < HTTP_WRITE_STALL_MAX + Duration::from_secs(1), "{lasted:?}");
        assert!(lasted >= HTTP_WRITE_STALL_MAX, "{lasted:?}");
    }
}
