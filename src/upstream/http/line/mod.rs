//! One HTTP/1.1 connection, driven by whoever uses it, and the small pool of idle ones.
//!
//! A connection has no task of its own: its future is polled by the call that holds it. So a
//! call costs no hop between tasks, `sent` cannot change behind our back, and dropping a call
//! closes its connection at once, which is how a modern server learns of a cancellation.
//! One request at a time on a connection; how many there are is the fleet's in-flight limit.

mod quiet;

use std::{
    convert::Infallible,
    future::poll_fn,
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame as BodyFrame, SizeHint};
use hyper::{
    body::Incoming,
    client::conn::http1::{Builder, Connection, SendRequest},
};
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use self::quiet::Quiet;
use super::socket::{Address, Socket, Trace};
use crate::domain::{
    Sent,
    limits::{UPSTREAM_BUFFER_BYTES_MAX, UPSTREAM_IDLE_CONNECTIONS_MAX, UPSTREAM_IDLE_MAX},
};

/// The idle connections to one address, the last used one on top.
#[derive(Debug)]
pub(super) struct Pool {
    address: Address,
    idle: Mutex<Vec<(Instant, Box<Line>)>>,
}

/// One connection. In a box wherever it goes: it is large, and handed on several times a call.
#[derive(Debug)]
pub(super) struct Line {
    sender: SendRequest<Parts>,
    connection: Connection<TokioIo<Socket>, Parts>,
    state: State,
    trace: Arc<Trace>,
    quiet: Arc<Quiet>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Over,
}

/// The connection of one request, and how far the request got.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) line: Option<Box<Line>>,
    answered: Answered,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Answered {
    #[default]
    NotYet,
    /// The head of an answer is here, so the server has the request.
    Begun,
    /// The server has seen the request and does not know it.
    TurnedDown,
}

/// A request's body: a frame's pieces, shared, not copied.
#[derive(Debug)]
pub(super) struct Parts {
    left: std::vec::IntoIter<Bytes>,
    bytes: u64,
    trace: Option<Arc<Trace>>,
}

impl Pool {
    pub(super) fn new(address: Address) -> Self {
        Self { address, idle: Mutex::default() }
    }

    /// An idle connection that is still good, if there is one.
    pub(super) async fn idle(&self) -> Option<Box<Line>> {
        while let Some(mut line) = self.pop() {
            line.settle().await;
            if line.is_ready() {
                return Some(line);
            }
        }
        None
    }

    pub(super) async fn dial(&self) -> io::Result<Box<Line>> {
        Line::connect(&self.address).await
    }

    /// Takes a connection back whose answer was read to its end.
    pub(super) async fn check_in(&self, mut line: Box<Line>) {
        line.settle().await;
        if !line.is_ready() {
            return;
        }
        let now = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = idle.partition_point(|(since, _)| now - *since > UPSTREAM_IDLE_MAX);
        idle.drain(..stale);
        if idle.len() < UPSTREAM_IDLE_CONNECTIONS_MAX {
            idle.push((now, line));
        }
    }

    /// Closes every idle connection.
    pub(super) fn clear(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    #[cfg(test)]
    pub(super) fn n_idle(&self) -> usize {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn pop(&self) -> Option<Box<Line>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.pop().map(|(_, line)| line)
    }
}

impl Line {
    async fn connect(address: &Address) -> io::Result<Box<Self>> {
        let (socket, trace) = Socket::connect(address).await?;
        let (sender, connection) = Builder::new()
            .max_buf_size(UPSTREAM_BUFFER_BYTES_MAX)
            .handshake(TokioIo::new(socket))
            .await
            .map_err(io::Error::other)?;
        let quiet = Arc::default();
        let mut line = Box::new(Self { sender, connection, state: State::Open, trace, quiet });
        line.settle().await;
        Ok(line)
    }

    pub(super) fn sent(&self) -> Sent {
        self.trace.sent()
    }

    /// Writes the request and waits for the head of the answer.
    pub(super) async fn send(
        &mut self,
        mut request: Request<Parts>,
    ) -> hyper::Result<Response<Incoming>> {
        self.trace.begin();
        request.body_mut().follow(&self.trace);
        let answer = self.sender.send_request(request);
        self.along(answer).await
    }

    /// Drives the connection while `work` needs it.
    pub(super) async fn along<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let quiet = self.quiet.clone();
        poll_fn(|cx| {
            quiet.poll(cx, |cx| {
                self.drive(cx);
                work.as_mut().poll(cx)
            })
        })
        .await
    }

    /// Lets the connection notice what has happened meanwhile, without waiting for anything.
    async fn settle(&mut self) {
        self.along(std::future::ready(())).await;
    }

    fn is_ready(&self) -> bool {
        self.state == State::Open && self.sender.is_ready()
    }

    /// How the connection ends does not matter: whoever waits for an answer is told by hyper.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if self.state == State::Open && Pin::new(&mut self.connection).poll(cx).is_ready() {
            self.state = State::Over;
        }
    }
}

impl Slot {
    pub(super) fn holding(line: Option<Box<Line>>) -> Self {
        Self { line, answered: Answered::Begun }
    }

    /// On another connection the request stays as far as it has got.
    pub(super) fn take_up(&mut self, line: Box<Line>) -> &mut Line {
        self.line.insert(line)
    }

    pub(super) fn answer_begins(&mut self) {
        self.answered = Answered::Begun;
    }

    /// The server did not take the request; it may go out on another connection.
    pub(super) fn turn_down(&mut self) {
        *self = Self { line: None, answered: Answered::TurnedDown };
    }

    pub(super) fn sent(&self) -> Sent {
        match self.answered {
            Answered::Begun | Answered::TurnedDown => Sent::Yes,
            Answered::NotYet => self.line.as_ref().map_or(Sent::No, |line| line.sent()),
        }
    }

    /// Whether the server may be at work on the request.
    pub(super) fn may_be_known(&self) -> bool {
        match self.answered {
            Answered::Begun => true,
            Answered::NotYet | Answered::TurnedDown => {
                self.line.as_ref().is_some_and(|line| line.sent() != Sent::No)
            }
        }
    }
}

impl Parts {
    pub(super) fn new(parts: Vec<Bytes>) -> Self {
        let bytes = parts.iter().map(|part| u64::try_from(part.len()).unwrap_or(u64::MAX)).sum();
        Self { left: parts.into_iter(), bytes, trace: None }
    }

    fn follow(&mut self, trace: &Arc<Trace>) {
        if self.left.len() == 0 {
            trace.hand_over();
        }
        self.trace = Some(Arc::clone(trace));
    }
}

impl Body for Parts {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let Some(part) = this.left.next() else {
            return Poll::Ready(None);
        };
        this.bytes = this.bytes.saturating_sub(u64::try_from(part.len()).unwrap_or(u64::MAX));
        if let Some(trace) = this.trace.as_ref().filter(|_| this.left.len() == 0) {
            trace.hand_over();
        }
        Poll::Ready(Some(Ok(BodyFrame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.len() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes)
    }
}
