//! Bodies of our HTTP responses: finished bytes, a running call as SSE, or a session's stream.
//!
//! A call is answered as plain JSON unless the server has something to say before the answer;
//! then the same call goes on as an SSE stream. The stream owns the call: when a modern client
//! goes away the body is dropped and the call with it, which is what cancels it at the server.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame as BodyFrame, SizeHint};
use tokio::{
    sync::mpsc,
    time::{Instant, Sleep},
};

use crate::{
    domain::limits::SSE_KEEPALIVE,
    front::reject::Reply,
    wire::{Frame, Notice, ProgressToken, sse_event},
};

/// The future of one request; `None` when it was withdrawn and must not be answered.
pub(super) type Answering = Pin<Box<dyn Future<Output = Option<Reply>> + Send>>;

/// What goes back to the client.
pub(in crate::front) enum Body {
    Parts(VecDeque<Bytes>),
    Call(Box<Exchange>),
    Stream(mpsc::Receiver<Bytes>),
}

/// A call that is still running, and what its server says meanwhile.
pub(in crate::front) struct Exchange {
    pub(super) answering: Answering,
    pub(super) notices: mpsc::Receiver<Notice>,
    /// The client's own progress token; without one nothing is streamed.
    pub(super) token: Option<ProgressToken>,
    queue: VecDeque<Bytes>,
    keepalive: Option<Pin<Box<Sleep>>>,
    answered: bool,
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Parts(_) => "Body::Parts",
            Self::Call(_) => "Body::Call",
            Self::Stream(_) => "Body::Stream",
        })
    }
}

impl Body {
    pub(in crate::front) fn empty() -> Self {
        Self::Parts(VecDeque::new())
    }

    pub(in crate::front) fn text(text: impl Into<Bytes>) -> Self {
        Self::Parts(VecDeque::from([text.into()]))
    }

    pub(super) fn frame(frame: &Frame) -> Self {
        Self::Parts(frame.parts().iter().cloned().collect())
    }
}

/// How a running call turned out before anything was sent.
pub(super) enum First {
    Answer(Option<Reply>),
    Streams,
}

impl Exchange {
    pub(super) fn new(
        answering: Answering,
        notices: mpsc::Receiver<Notice>,
        token: Option<ProgressToken>,
    ) -> Self {
        let queue = VecDeque::new();
        Self { answering, notices, token, queue, keepalive: None, answered: false }
    }

    /// Waits until it is clear whether there is anything to stream.
    pub(super) async fn first(&mut self) -> First {
        loop {
            let notice = tokio::select! {
                biased;
                reply = &mut self.answering => return self.settle(reply),
                Some(notice) = self.notices.recv() => notice,
            };
            if self.enqueue(&notice) {
                return First::Streams;
            }
        }
    }

    /// The answer is there; what was said before it still goes first.
    fn settle(&mut self, reply: Option<Reply>) -> First {
        while let Ok(notice) = self.notices.try_recv() {
            self.enqueue(&notice);
        }
        if self.queue.is_empty() {
            return First::Answer(reply);
        }
        self.finish(reply);
        First::Streams
    }

    fn finish(&mut self, reply: Option<Reply>) {
        self.answered = true;
        if let Some(reply) = reply {
            self.queue.extend(sse_event(&reply.frame));
        }
    }

    /// Queues what the client asked to hear: progress on its own token.
    fn enqueue(&mut self, notice: &Notice) -> bool {
        let wanted = notice.is_progress() && self.token.is_some();
        if wanted {
            let frame = notice.encode(self.token.as_ref());
            self.queue.extend(sse_event(&frame));
        }
        wanted
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(part) = self.queue.pop_front() {
                self.keepalive = None;
                return Poll::Ready(Some(part));
            }
            if self.answered {
                return Poll::Ready(None);
            }
            if let Poll::Ready(Some(notice)) = self.notices.poll_recv(cx) {
                self.enqueue(&notice);
                continue;
            }
            if let Poll::Ready(reply) = self.answering.as_mut().poll(cx) {
                if let First::Answer(reply) = self.settle(reply) {
                    self.finish(reply);
                }
                continue;
            }
            ready!(self.poll_keepalive(cx));
            return Poll::Ready(Some(Bytes::from_static(b": still here\n\n")));
        }
    }

    /// A comment now and then, so that nothing between us and the client gives up.
    fn poll_keepalive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer =
            self.keepalive.get_or_insert_with(|| Box::pin(tokio::time::sleep(SSE_KEEPALIVE)));
        ready!(timer.as_mut().poll(cx));
        timer.as_mut().reset(Instant::now() + SSE_KEEPALIVE);
        Poll::Ready(())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Infallible>>> {
        let part = match self.get_mut() {
            Self::Parts(parts) => parts.pop_front(),
            Self::Call(exchange) => ready!(exchange.poll_part(cx)),
            Self::Stream(parts) => ready!(parts.poll_recv(cx)),
        };
        Poll::Ready(part.map(|part| Ok(BodyFrame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Parts(parts) if parts.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Parts(parts) => {
                let bytes: usize = parts.iter().map(Bytes::len).sum();
                SizeHint::with_exact(u64::try_from(bytes).unwrap_or(u64::MAX))
            }
            Self::Call(_) | Self::Stream(_) => SizeHint::default(),
        }
    }
}
