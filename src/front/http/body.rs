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

use super::post::Accepts;
use crate::{
    domain::limits::{NOTICE_QUEUE_MAX, SSE_KEEPALIVE},
    front::reject::Reply,
    upstream::NoticeSender,
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
    progress: Option<Progress>,
    queue: VecDeque<Bytes>,
    keepalive: Option<Pin<Box<Sleep>>>,
    answered: bool,
}

/// What a server says of a call before its answer, for a client that asked to hear it.
pub(super) struct Progress {
    notices: mpsc::Receiver<Notice>,
    /// The client's own token.
    token: ProgressToken,
}

impl Progress {
    /// A channel only where it is of use: with a token, and for a client that takes a stream.
    pub(super) fn wanted(
        token: Option<ProgressToken>,
        accepts: Accepts,
    ) -> (Option<NoticeSender>, Option<Self>) {
        match (token, accepts) {
            (Some(token), Accepts::JsonAndSse) => {
                let (sender, notices) = mpsc::channel(NOTICE_QUEUE_MAX);
                (Some(sender), Some(Self { notices, token }))
            }
            (Some(_), Accepts::JsonOnly) | (None, _) => (None, None),
        }
    }
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
    pub(super) fn new(answering: Answering, progress: Option<Progress>) -> Self {
        let queue = VecDeque::new();
        Self { answering, progress, queue, keepalive: None, answered: false }
    }

    /// Waits until it is clear whether there is anything to stream.
    pub(super) async fn first(&mut self) -> First {
        loop {
            let Some(progress) = &mut self.progress else {
                return First::Answer((&mut self.answering).await);
            };
            let notice = tokio::select! {
                biased;
                reply = &mut self.answering => return self.settle(reply),
                Some(notice) = progress.notices.recv() => notice,
            };
            if self.enqueue(&notice) {
                return First::Streams;
            }
        }
    }

    /// The answer is there; what was said before it still goes first.
    fn settle(&mut self, reply: Option<Reply>) -> First {
        while let Some(Ok(notice)) = self.progress.as_mut().map(|p| p.notices.try_recv()) {
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
        let Some(progress) = self.progress.as_ref().filter(|_| notice.is_progress()) else {
            return false;
        };
        self.queue.extend(sse_event(&notice.encode(Some(&progress.token))));
        true
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
            let heard = self.progress.as_mut().map(|progress| progress.notices.poll_recv(cx));
            if let Some(Poll::Ready(Some(notice))) = heard {
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
