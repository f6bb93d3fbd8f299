//! One complete JSON text on its way out, as one or more shared pieces.
//!
//! A forwarded message is mostly somebody else's bytes with a few of ours between them. Small
//! pieces are copied together, large ones are shared, so that a megabyte of arguments is never
//! copied to change an id. Whoever sends a frame writes its parts in order (`writev`), or joins
//! them.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

/// A span at least this long is shared; a shorter one is cheaper to copy.
const SHARED_BYTES_MIN: usize = 1024;

/// One JSON text, without a line end.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    parts: SmallVec<[Bytes; 3]>,
}

impl Frame {
    /// The length of the whole text in bytes.
    pub fn len(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(Bytes::is_empty)
    }

    pub fn parts(&self) -> &[Bytes] {
        &self.parts
    }

    pub fn into_parts(self) -> impl Iterator<Item = Bytes> {
        self.parts.into_iter()
    }

    /// The whole text in one piece; free of copies when it already is one.
    pub fn into_bytes(self) -> Bytes {
        match self.parts.as_slice() {
            [] => Bytes::new(),
            [only] => only.clone(),
            parts => parts.concat().into(),
        }
    }
}

impl From<Bytes> for Frame {
    fn from(text: Bytes) -> Self {
        Self { parts: SmallVec::from_iter([text]) }
    }
}

impl From<Frame> for Bytes {
    fn from(frame: Frame) -> Self {
        frame.into_bytes()
    }
}

/// Collects the pieces of a frame.
#[derive(Debug, Default)]
pub(in crate::wire) struct Writer {
    small: BytesMut,
    parts: SmallVec<[Bytes; 3]>,
}

impl Writer {
    pub(in crate::wire) fn with_capacity(bytes: usize) -> Self {
        Self { small: BytesMut::with_capacity(bytes), parts: SmallVec::new() }
    }

    pub(in crate::wire) fn copy(&mut self, bytes: &[u8]) -> &mut Self {
        self.small.extend_from_slice(bytes);
        self
    }

    /// Appends `from..to` of `whole`, sharing it when that pays.
    pub(in crate::wire) fn share(&mut self, whole: &Bytes, from: usize, to: usize) -> &mut Self {
        let Some(span) = whole.get(from..to) else { return self };
        if span.len() < SHARED_BYTES_MIN {
            return self.copy(span);
        }
        self.flush();
        self.parts.push(whole.slice(from..to));
        self
    }

    pub(in crate::wire) fn share_all(&mut self, whole: &Bytes) -> &mut Self {
        self.share(whole, 0, whole.len())
    }

    pub(in crate::wire) fn finish(mut self) -> Frame {
        self.flush();
        Frame { parts: self.parts }
    }

    fn flush(&mut self) {
        if !self.small.is_empty() {
            self.parts.push(self.small.split().freeze());
        }
    }
}
