//! Bodies of our HTTP responses: finished bytes, or a stream that somebody else fills.
//!
//! A body never drives what fills it: it only takes parts from a channel, and its being dropped is
//! seen there. Knows nothing of calls.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Frame as BodyFrame, SizeHint};
use tokio::sync::mpsc;

use crate::wire::Frame;

/// What goes back to the client.
pub(in crate::front) enum Body {
    Parts(VecDeque<Bytes>),
    Stream(mpsc::Receiver<Bytes>),
    /// Cut off when that happens, whoever fills it.
    Bounded(mpsc::Receiver<Bytes>, Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Parts(_) => "Body::Parts",
            Self::Stream(_) | Self::Bounded(..) => "Body::Stream",
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

    /// The same, but a stream ends when `over` does: its filler sees that nobody reads.
    pub(super) fn until(self, over: impl Future<Output = ()> + Send + 'static) -> Self {
        match self {
            Self::Stream(parts) => Self::Bounded(parts, Box::pin(over)),
            Self::Parts(_) | Self::Bounded(..) => self,
        }
    }

    pub(super) fn frame(frame: &Frame) -> Self {
        Self::Parts(frame.parts().iter().cloned().collect())
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
            Self::Stream(parts) => ready!(parts.poll_recv(cx)),
            Self::Bounded(parts, over) => match over.as_mut().poll(cx) {
                Poll::Ready(()) => {
                    parts.close();
                    None
                }
                Poll::Pending => ready!(parts.poll_recv(cx)),
            },
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
            Self::Stream(_) | Self::Bounded(..) => SizeHint::default(),
        }
    }
}
