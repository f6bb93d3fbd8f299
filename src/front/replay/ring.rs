//! The events of one session's streams, oldest first, and who reads them. Pure.
//!
//! What its reader has not taken yet is on its way and stays; everything else is kept as long as
//! there is room and time, and the oldest goes first. A stream is forgotten when it is over and
//! nothing of it is left. Holds the bells of its streams but rings none.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use tokio::{sync::Notify, time::Instant};

use crate::domain::limits::REPLAY_EVENT_BYTES;

#[derive(Debug, Default)]
pub(super) struct Ring {
    streams: BTreeMap<u64, Stream>,
    /// Whose event came when: one entry for each that is kept, the oldest first.
    order: VecDeque<(u64, Instant)>,
    last_stream: u64,
    last_turn: u64,
    bytes: usize,
}

/// Events are numbered from 1; 0 stands for the beginning.
#[derive(Debug, Default)]
struct Stream {
    kept: VecDeque<Bytes>,
    last: u64,
    /// The newest that its reader has taken.
    taken: u64,
    /// Which of its readers is the present one.
    reader: Option<u64>,
    is_over: bool,
    bell: Arc<Notify>,
}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Event(Bytes),
    NothingYet,
    /// Nothing will come any more, at least not to this reader.
    Over,
}

/// A place at a stream.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) turn: u64,
    pub(super) bell: Arc<Notify>,
}

/// Why nobody can read on from an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::front) enum Lost {
    /// It was never given out here.
    Unknown,
    /// It was, and nothing of its stream is left.
    Gone,
}

impl Ring {
    /// A new stream, with its first number for a reader.
    pub(super) fn begin(&mut self) -> u64 {
        self.last_stream += 1;
        self.streams.insert(self.last_stream, Stream::default());
        self.last_stream
    }

    /// Appends what `write` makes of the event's number.
    pub(super) fn push(&mut self, stream: u64, now: Instant, write: impl FnOnce(u64) -> Bytes) {
        let Some(of) = self.streams.get_mut(&stream) else { return };
        of.last += 1;
        let text = write(of.last);
        self.bytes += size(&text);
        of.kept.push_back(text);
        self.order.push_back((stream, now));
    }

    pub(super) fn end(&mut self, stream: u64) {
        if let Some(of) = self.streams.get_mut(&stream) {
            of.is_over = true;
        }
        self.forget_if_done(stream);
    }

    /// A reader from behind event `after` on. Whoever read before has had its turn.
    pub(super) fn attach(&mut self, stream: u64, after: u64) -> Result<Place, Lost> {
        let was_given = stream >= 1 && stream <= self.last_stream;
        let lost = if was_given { Lost::Gone } else { Lost::Unknown };
        let of = self.streams.get_mut(&stream).ok_or(lost)?;
        if after > of.last {
            return Err(Lost::Unknown);
        }
        self.last_turn += 1;
        of.reader = Some(self.last_turn);
        of.taken = after;
        Ok(Place { turn: self.last_turn, bell: of.bell.clone() })
    }

    pub(super) fn detach(&mut self, stream: u64, turn: u64) {
        if let Some(of) = self.streams.get_mut(&stream)
            && of.reader == Some(turn)
        {
            of.reader = None;
        }
    }

    /// The next event for the reader of that turn.
    pub(super) fn take(&mut self, stream: u64, turn: u64) -> Taken {
        let Some(of) = self.streams.get_mut(&stream).filter(|of| of.reader == Some(turn)) else {
            return Taken::Over;
        };
        let next = of.taken.saturating_add(1).max(of.first());
        let at = usize::try_from(next - of.first()).unwrap_or(usize::MAX);
        match of.kept.get(at) {
            Some(text) => {
                of.taken = next;
                Taken::Event(text.clone())
            }
            None if of.is_over => Taken::Over,
            None => Taken::NothingYet,
        }
    }

    /// Events of a stream that its reader, present or to come, has not taken.
    pub(super) fn n_waiting(&self, stream: u64) -> usize {
        let waiting = self.streams.get(&stream).map_or(0, |of| of.last - of.taken);
        usize::try_from(waiting).unwrap_or(usize::MAX)
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Drops the oldest until no more than `allowed` bytes are kept, if that is possible.
    pub(super) fn shed(&mut self, allowed: usize) {
        while self.bytes > allowed && self.drop_oldest(None) {}
    }

    /// Drops what came before `then`.
    pub(super) fn expire(&mut self, then: Instant) {
        while self.drop_oldest(Some(then)) {}
    }

    fn drop_oldest(&mut self, before: Option<Instant>) -> bool {
        let may_go = |(stream, _): &(u64, Instant)| {
            self.streams.get(stream).is_none_or(|of| of.reader.is_none() || of.first() <= of.taken)
        };
        let Some(at) = self.order.iter().position(may_go) else { return false };
        if self.order.get(at).is_some_and(|(_, came)| before.is_some_and(|then| *came >= then)) {
            return false;
        }
        let Some((stream, _)) = self.order.remove(at) else { return false };
        let dropped = self.streams.get_mut(&stream).and_then(|of| of.kept.pop_front());
        self.bytes = self.bytes.saturating_sub(dropped.as_ref().map_or(0, size));
        self.forget_if_done(stream);
        true
    }

    fn forget_if_done(&mut self, stream: u64) {
        if self.streams.get(&stream).is_some_and(|of| of.is_over && of.kept.is_empty()) {
            self.streams.remove(&stream);
        }
    }
}

impl Stream {
    /// The number of the oldest event that is kept, or of the next one.
    fn first(&self) -> u64 {
        let n_kept = u64::try_from(self.kept.len()).unwrap_or(u64::MAX);
        (self.last + 1).saturating_sub(n_kept)
    }
}

fn size(text: &Bytes) -> usize {
    text.len().saturating_add(REPLAY_EVENT_BYTES)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use tokio::time::Instant;

    use super::{Lost, REPLAY_EVENT_BYTES, Ring, Taken};

    fn say(ring: &mut Ring, stream: u64, now: Instant) {
        ring.push(stream, now, |nth| Bytes::from(format!("{stream}.{nth}")));
    }

    /// What a reader finds without waiting.
    fn rest(ring: &mut Ring, stream: u64, turn: u64) -> (Vec<String>, bool) {
        let mut texts = Vec::new();
        loop {
            match ring.take(stream, turn) {
                Taken::Event(text) => texts.push(String::from_utf8(text.to_vec()).unwrap()),
                Taken::NothingYet => return (texts, false),
                Taken::Over => return (texts, true),
            }
        }
    }

    #[test]
    fn a_reader_goes_on_behind_the_event_it_names_and_hears_its_stream_only() {
        let (mut ring, now) = (Ring::default(), Instant::now());
        let (one, two) = (ring.begin(), ring.begin());
        for stream in [one, two, one, one] {
            say(&mut ring, stream, now);
        }
        let place = ring.attach(one, 1).unwrap();
        assert_eq!(ring.n_waiting(one), 2);
        assert_eq!(rest(&mut ring, one, place.turn), (vec!["1.2".into(), "1.3".into()], false));
        say(&mut ring, one, now);
        ring.end(one);
        assert_eq!(rest(&mut ring, one, place.turn), (vec!["1.4".into()], true));
        // What has been taken may be asked for again.
        let again = ring.attach(one, 3).unwrap();
        assert_eq!(rest(&mut ring, one, again.turn), (vec!["1.4".into()], true));
        assert_eq!(ring.attach(one, 5).unwrap_err(), Lost::Unknown);
        assert_eq!(ring.attach(3, 0).unwrap_err(), Lost::Unknown);
        assert_eq!(ring.attach(0, 0).unwrap_err(), Lost::Unknown);
    }

    #[test]
    fn a_stream_has_one_reader_the_newest() {
        let (mut ring, now) = (Ring::default(), Instant::now());
        let stream = ring.begin();
        let old = ring.attach(stream, 0).unwrap();
        let new = ring.attach(stream, 0).unwrap();
        say(&mut ring, stream, now);
        assert_eq!(ring.take(stream, old.turn), Taken::Over);
        ring.detach(stream, old.turn);
        assert_eq!(rest(&mut ring, stream, new.turn), (vec!["1.1".into()], false));
    }

    #[test]
    fn the_oldest_goes_first_but_nothing_on_its_way_to_a_reader() {
        let (mut ring, now) = (Ring::default(), Instant::now());
        let (read, left) = (ring.begin(), ring.begin());
        let place = ring.attach(read, 0).unwrap();
        for stream in [read, left, left, read] {
            say(&mut ring, stream, now);
        }
        let one = REPLAY_EVENT_BYTES + "1.1".len();
        assert_eq!(ring.bytes(), 4 * one);
        ring.shed(3 * one);
        ring.end(left);
        let late = ring.attach(left, 0).unwrap();
        assert_eq!(rest(&mut ring, left, late.turn), (vec!["2.2".into()], true));
        ring.detach(left, late.turn);
        ring.shed(0);
        assert_eq!(ring.attach(left, 0).unwrap_err(), Lost::Gone);
        assert_eq!(ring.bytes(), 2 * one, "on their way");
        assert_eq!(rest(&mut ring, read, place.turn), (vec!["1.1".into(), "1.2".into()], false));
        ring.shed(0);
        assert_eq!(ring.bytes(), 0);
        assert!(ring.attach(read, 2).is_ok(), "it is not over");
    }

    #[test]
    fn what_is_too_old_goes() {
        let (mut ring, now) = (Ring::default(), Instant::now());
        let (second, stream) = (Duration::from_secs(1), ring.begin());
        say(&mut ring, stream, now);
        say(&mut ring, stream, now + second);
        ring.end(stream);
        ring.expire(now);
        assert_eq!(ring.n_waiting(stream), 2);
        ring.expire(now + second);
        let place = ring.attach(stream, 0).unwrap();
        assert_eq!(rest(&mut ring, stream, place.turn), (vec!["1.2".into()], true));
        ring.detach(stream, place.turn);
        ring.expire(now + 2 * second);
        assert_eq!(ring.attach(stream, 0).unwrap_err(), Lost::Gone);
        assert_eq!((ring.bytes(), ring.order.len(), ring.streams.len()), (0, 0, 0));
    }

    #[test]
    fn a_stream_on_which_nothing_was_said_leaves_nothing() {
        let mut ring = Ring::default();
        let stream = ring.begin();
        ring.end(stream);
        assert!(ring.streams.is_empty());
        assert_eq!(ring.attach(stream, 0).unwrap_err(), Lost::Gone);
    }
}
