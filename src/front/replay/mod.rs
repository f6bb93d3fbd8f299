//! What a legacy client may ask for again when it has lost a connection.
//!
//! A call that streams writes into the record of its session, and whoever is connected reads from
//! it: first the response to the POST, after a cut the GET that names the last event it has got. So
//! a cut touches the reader alone. What is kept is bounded for a session, over all sessions, and in
//! time. Event ids mean nothing outside their session. A call that is answered at once, as JSON,
//! never comes here. Knows no HTTP and no server.

mod ring;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use tokio::{sync::Notify, time::Instant};

pub(super) use ring::Lost;
use ring::{Ring, Taken};

use crate::{
    domain::limits::{
        NOTICE_QUEUE_MAX, REPLAY_BYTES_MAX, REPLAY_KEEP, REPLAY_SESSION_BYTES_MAX, RESUME_RETRY,
    },
    wire::{Frame, sse_event_with_id, sse_primer},
};

/// Bytes kept for all sessions together.
pub(super) type Kept = Arc<AtomicUsize>;

/// The record of one session.
#[derive(Debug)]
pub(super) struct Replay {
    /// Part of every event id, so that one of another session is told from ours.
    tag: String,
    ring: Mutex<Ring>,
    all: Kept,
}

/// The writing end of one stream, which is over when this is dropped.
#[derive(Debug)]
pub(super) struct Recorder {
    replay: Arc<Replay>,
    stream: u64,
    bell: Arc<Notify>,
}

/// The reading end of one stream; a newer one of the same stream takes its place.
#[derive(Debug)]
pub(super) struct Reader {
    replay: Arc<Replay>,
    stream: u64,
    turn: u64,
    bell: Arc<Notify>,
}

/// Where a client wants to go on.
#[derive(Debug)]
pub(super) enum Resumed {
    Call(Reader),
    /// On the stream of what nobody asked for, behind this event.
    Unasked(u64),
}

/// `TAG-STREAM-NUMBER`; stream 0 is the one of what nobody asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EventId<'a> {
    tag: &'a str,
    stream: u64,
    nth: u64,
}

const UNASKED: u64 = 0;

impl Replay {
    /// `tag` must have no `-` in it.
    pub(super) fn new(tag: &str, all: Kept) -> Self {
        Self { tag: tag.to_owned(), ring: Mutex::default(), all }
    }

    /// A stream, and its first reader.
    pub(super) fn begin(self: &Arc<Self>) -> Option<(Recorder, Reader)> {
        let (stream, place) = self.change(|ring| {
            let stream = ring.begin();
            (stream, ring.attach(stream, 0))
        });
        let ring::Place { turn, bell } = place.ok()?;
        let recorder = Recorder { replay: self.clone(), stream, bell: bell.clone() };
        Some((recorder, Reader { replay: self.clone(), stream, turn, bell }))
    }

    /// Goes on where a client was cut off.
    pub(super) fn resume(self: &Arc<Self>, last_event: &str) -> Result<Resumed, Lost> {
        let id = EventId::parse(last_event).filter(|id| id.tag == self.tag);
        let EventId { stream, nth, .. } = id.ok_or(Lost::Unknown)?;
        if stream == UNASKED {
            return Ok(Resumed::Unasked(nth));
        }
        let ring::Place { turn, bell } = self.change(|ring| ring.attach(stream, nth))?;
        // Whoever read until now sees that its turn is over.
        bell.notify_waiters();
        Ok(Resumed::Call(Reader { replay: self.clone(), stream, turn, bell }))
    }

    /// An event of the stream of what nobody asked for.
    pub(super) fn unasked(&self, nth: u64, frame: &Frame) -> Bytes {
        sse_event_with_id(&self.id(UNASKED, nth), frame)
    }

    /// The event without content that lets a client resume that stream behind `nth`.
    pub(super) fn unasked_primer(&self, nth: u64) -> Bytes {
        sse_primer(&self.id(UNASKED, nth), RESUME_RETRY)
    }

    /// Lets go of what is too old.
    pub(super) fn expire(&self, now: Instant) {
        if let Some(then) = now.checked_sub(REPLAY_KEEP) {
            self.change(|ring| ring.expire(then));
        }
    }

    fn id(&self, stream: u64, nth: u64) -> String {
        EventId { tag: &self.tag, stream, nth }.to_string()
    }

    /// One step of the ring, within the bounds of this session and of all.
    fn change<T>(&self, step: impl FnOnce(&mut Ring) -> T) -> T {
        let mut ring = self.lock();
        let before = ring.bytes();
        let done = step(&mut ring);
        let others = self.all.load(Ordering::Relaxed).saturating_sub(before);
        let allowed = REPLAY_BYTES_MAX.saturating_sub(others).min(REPLAY_SESSION_BYTES_MAX);
        ring.shed(allowed);
        let after = ring.bytes();
        if after >= before {
            self.all.fetch_add(after - before, Ordering::Relaxed);
        } else {
            self.all.fetch_sub(before - after, Ordering::Relaxed);
        }
        done
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        let kept = self.lock().bytes();
        self.all.fetch_sub(kept, Ordering::Relaxed);
    }
}

impl Recorder {
    pub(super) fn say(&self, frame: &Frame) {
        let (replay, stream) = (&self.replay, self.stream);
        let write = |nth| sse_event_with_id(&replay.id(stream, nth), frame);
        replay.change(|ring| ring.push(stream, Instant::now(), write));
        self.bell.notify_waiters();
    }

    /// How much was said that nobody has taken.
    pub(super) fn n_waiting(&self) -> usize {
        self.replay.lock().n_waiting(self.stream)
    }

    /// Waits until a reader has made room for more.
    pub(super) async fn room(&self) {
        loop {
            let mut bell = std::pin::pin!(self.bell.notified());
            // From here on no ringing is missed.
            bell.as_mut().enable();
            if self.n_waiting() < NOTICE_QUEUE_MAX {
                return;
            }
            bell.await;
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.replay.change(|ring| ring.end(self.stream));
        self.bell.notify_waiters();
    }
}

impl Reader {
    /// The event without content that lets a client resume from the beginning.
    pub(super) fn primer(&self) -> Bytes {
        sse_primer(&self.replay.id(self.stream, 0), RESUME_RETRY)
    }

    /// The next event, or nothing when the stream is over or somebody else reads it. Safe to drop.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            let mut bell = std::pin::pin!(self.bell.notified());
            // From here on no ringing is missed.
            bell.as_mut().enable();
            match self.replay.change(|ring| ring.take(self.stream, self.turn)) {
                Taken::Event(text) => {
                    self.bell.notify_waiters();
                    return Some(text);
                }
                Taken::Over => return None,
                Taken::NothingYet => {}
            }
            bell.await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.replay.change(|ring| ring.detach(self.stream, self.turn));
    }
}

impl<'a> EventId<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(3, '-');
        let (tag, stream, nth) = (parts.next()?, parts.next()?, parts.next()?);
        let id = Self { tag, stream: stream.parse().ok()?, nth: nth.parse().ok()? };
        // One spelling only.
        (id.to_string() == text).then_some(id)
    }
}

impl fmt::Display for EventId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tag, stream, nth } = self;
        write!(f, "{tag}-{stream}-{nth}")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::Ordering};

    use bytes::Bytes;
    use tokio::time::Instant;

    use super::{
        Kept, Lost, REPLAY_BYTES_MAX, REPLAY_KEEP, REPLAY_SESSION_BYTES_MAX, Reader, Replay,
        Resumed,
    };
    use crate::wire::Frame;

    fn frame(text: &str) -> Frame {
        Frame::from(Bytes::from(text.to_owned()))
    }

    fn resumed(replay: &Arc<Replay>, id: &str) -> Reader {
        match replay.resume(id) {
            Ok(Resumed::Call(reader)) => reader,
            other => panic!("{id}: {other:?}"),
        }
    }

    async fn next(reader: &mut Reader) -> Option<String> {
        reader.next().await.map(|text| String::from_utf8(text.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn what_was_said_after_a_cut_is_read_by_whoever_resumes() {
        let replay = Arc::new(Replay::new("aa", Kept::default()));
        let (recorder, mut reader) = replay.begin().unwrap();
        assert_eq!(reader.primer(), "id: aa-1-0\nretry: 1000\ndata:\n\n");
        recorder.say(&frame("1"));
        assert_eq!(next(&mut reader).await.unwrap(), "id: aa-1-1\ndata: 1\n\n");
        drop(reader);
        recorder.say(&frame("2"));
        drop(recorder);
        for _ in 0..2 {
            let mut again = resumed(&replay, "aa-1-1");
            assert_eq!(next(&mut again).await.unwrap(), "id: aa-1-2\ndata: 2\n\n");
            assert_eq!(next(&mut again).await, None);
        }
    }

    #[tokio::test]
    async fn who_resumes_ends_the_turn_of_who_still_reads() {
        let replay = Arc::new(Replay::new("aa", Kept::default()));
        let (recorder, mut old) = replay.begin().unwrap();
        let mut new = resumed(&replay, "aa-1-0");
        recorder.say(&frame("1"));
        assert_eq!(next(&mut old).await, None);
        drop(old);
        assert!(next(&mut new).await.is_some());
    }

    #[test]
    fn an_id_of_elsewhere_or_of_another_spelling_is_no_id() {
        let (ours, theirs) =
            (Replay::new("aa", Kept::default()), Replay::new("bb", Kept::default()));
        let (ours, theirs) = (Arc::new(ours), Arc::new(theirs));
        let _both = (ours.begin().unwrap(), theirs.begin().unwrap());
        assert!(ours.resume("aa-1-0").is_ok());
        for id in ["bb-1-0", "aa-1-1", "aa-2-0", "aa-01-0", "aa-1-+0", "aa-1", "aa", "", "aa-1-0-0"]
        {
            assert_eq!(ours.resume(id).unwrap_err(), Lost::Unknown, "{id}");
        }
        assert!(matches!(ours.resume("aa-0-7"), Ok(Resumed::Unasked(7))));
    }

    #[test]
    fn one_session_keeps_so_much() {
        let all = Kept::default();
        let replay = Arc::new(Replay::new("aa", all.clone()));
        let (recorder, reader) = replay.begin().unwrap();
        drop(reader);
        for _ in 0..10 {
            recorder.say(&frame(&"x".repeat(4 << 20)));
        }
        let kept = all.load(Ordering::Relaxed);
        assert!(kept <= REPLAY_SESSION_BYTES_MAX && kept > REPLAY_SESSION_BYTES_MAX / 2, "{kept}");
    }

    #[tokio::test(start_paused = true)]
    async fn all_sessions_together_keep_so_much_and_so_long() {
        let all = Kept::default();
        let large = frame(&"x".repeat(4 << 20));
        let keep = |tag: &str| {
            let replay = Arc::new(Replay::new(tag, all.clone()));
            let (recorder, _reader) = replay.begin().unwrap();
            recorder.say(&large);
            replay
        };
        let mut full: Vec<_> = (0..40).map(|n| keep(&n.to_string())).collect();
        let kept = all.load(Ordering::Relaxed);
        assert!(kept <= REPLAY_BYTES_MAX && kept > REPLAY_BYTES_MAX / 2, "{kept}");
        // Of what did not fit nothing is left, and that is said.
        assert_eq!(full[39].resume("39-1-0").unwrap_err(), Lost::Gone);
        full.truncate(1);
        assert!(all.load(Ordering::Relaxed) < 5 << 20, "what sessions kept ends with them");
        full[0].expire(Instant::now() + REPLAY_KEEP / 2);
        drop(resumed(&full[0], "0-1-0"));
        tokio::time::advance(REPLAY_KEEP * 2).await;
        full[0].expire(Instant::now());
        assert_eq!(full[0].resume("0-1-0").unwrap_err(), Lost::Gone);
        assert_eq!(all.load(Ordering::Relaxed), 0);
    }
}
