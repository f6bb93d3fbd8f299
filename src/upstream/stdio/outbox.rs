//! What is on its way to a child: calls that wait, and the batch that is being written.
//!
//! A message enters the batch immediately before the write, and only if the question that is put
//! then (is it still wanted, does the latch still hold) is answered with yes. A batch is made of
//! whole messages, so that small calls share a write. Knows of every call whether no byte, some
//! or all of it was written. Does no IO.

use std::collections::VecDeque;

use crate::{
    domain::{
        Sent,
        limits::{STDIO_BATCH_BYTES_MAX, STDIO_CONTROL_QUEUE_MAX},
    },
    gate::Epoch,
    wire::Frame,
};

/// A request on its way. Without an epoch it is our own (handshake, list) and no call.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) id: u64,
    pub(super) epoch: Option<Epoch>,
    pub(super) frame: Frame,
}

#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Cancellations and refusals: short, and ahead of the calls.
    control: VecDeque<Frame>,
    waiting: VecDeque<Letter>,
    /// The number of the last notification of a caller's.
    relayed: u64,
    batch: Vec<u8>,
    n_written: usize,
    in_batch: Vec<Slot>,
}

/// Where a message lies in the batch.
#[derive(Clone, Copy, Debug)]
struct Slot {
    letter: Option<(u64, Option<Epoch>)>,
    start: usize,
    end: usize,
}

/// The queue for short messages is full: the child does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Outbox {
    pub(super) fn push(&mut self, letter: Letter) {
        self.waiting.push_back(letter);
    }

    /// For a caller's notification. Said twice it says nothing more, so one waits at most.
    pub(super) fn push_relayed(&mut self, letter: Letter) {
        if self.sent(self.relayed) != Sent::No {
            self.relayed = letter.id;
            self.push(letter);
        }
    }

    /// For what is owed to a call that was written: no more of it than there are such calls, so
    /// there is always room.
    pub(super) fn push_owed(&mut self, frame: Frame) {
        self.control.push_back(frame);
    }

    pub(super) fn push_control(&mut self, frame: Frame) -> Result<(), Full> {
        if self.control.len() >= STDIO_CONTROL_QUEUE_MAX {
            return Err(Full);
        }
        self.control.push_back(frame);
        Ok(())
    }

    /// Takes a request out unless some of it is written already, and says how much is.
    pub(super) fn withdraw(&mut self, id: u64) -> Sent {
        let sent = self.sent(id);
        if sent == Sent::No {
            self.waiting.retain(|letter| letter.id != id);
            self.cut(|slot| slot.letter.is_some_and(|(own, _)| own == id));
        }
        sent
    }

    /// Makes the next batch once the last one is written. `may_go` is asked of each call last.
    pub(super) fn fill(&mut self, mut may_go: impl FnMut(&Letter) -> bool) {
        if !self.batch.is_empty() {
            return;
        }
        while let Some(frame) = take_if(&mut self.control, |frame| fits(&self.batch, frame)) {
            self.append(&frame, None);
        }
        while let Some(letter) = take_if(&mut self.waiting, |next| fits(&self.batch, &next.frame)) {
            if may_go(&letter) {
                self.append(&letter.frame, Some((letter.id, letter.epoch)));
            }
        }
    }

    pub(super) fn unwritten(&self) -> &[u8] {
        self.batch.get(self.n_written..).unwrap_or_default()
    }

    pub(super) fn wrote(&mut self, n_bytes: usize) {
        self.n_written += n_bytes;
        if self.unwritten().is_empty() {
            self.start_over();
        }
    }

    pub(super) fn sent(&self, id: u64) -> Sent {
        if self.waiting.iter().any(|letter| letter.id == id) {
            return Sent::No;
        }
        let slot = self.in_batch.iter().find(|slot| slot.letter.is_some_and(|(own, _)| own == id));
        match slot {
            Some(slot) if slot.start >= self.n_written => Sent::No,
            Some(slot) if slot.end > self.n_written => Sent::Unknown,
            Some(_) | None => Sent::Yes,
        }
    }

    /// Takes out every call that may no longer go. The line of one that is partly written is
    /// spoilt, so that what the child gets can never become a valid call.
    pub(super) fn revoke(&mut self, holds: impl Fn(Epoch) -> bool) {
        let may_go = |epoch: Option<Epoch>| epoch.is_none_or(&holds);
        self.waiting.retain(|letter| may_go(letter.epoch));
        self.cut(|slot| !may_go(slot.letter.and_then(|(_, epoch)| epoch)));
    }

    /// Takes messages out of the batch; the line of one that is partly written is spoilt.
    fn cut(&mut self, goes: impl Fn(&Slot) -> bool) {
        let old = std::mem::take(&mut self.batch);
        let slots = std::mem::take(&mut self.in_batch);
        let n_written = std::mem::take(&mut self.n_written);
        for slot in slots.into_iter().filter(|slot| slot.end > n_written) {
            let n_begun = n_written.saturating_sub(slot.start);
            let stays = !goes(&slot);
            if !stays && n_begun == 0 {
                continue;
            }
            let start = self.batch.len();
            let end = if stays { slot.end } else { n_written };
            self.batch.extend_from_slice(old.get(slot.start..end).unwrap_or_default());
            if !stays {
                self.batch.extend_from_slice(SPOILT);
            }
            self.n_written += n_begun;
            self.in_batch.push(Slot { letter: slot.letter, start, end: self.batch.len() });
        }
    }

    fn append(&mut self, frame: &Frame, letter: Option<(u64, Option<Epoch>)>) {
        let start = self.batch.len();
        for part in frame.parts() {
            self.batch.extend_from_slice(part);
        }
        self.batch.push(b'\n');
        self.in_batch.push(Slot { letter, start, end: self.batch.len() });
    }

    fn start_over(&mut self) {
        self.batch.clear();
        self.batch.shrink_to(2 * STDIO_BATCH_BYTES_MAX);
        self.in_batch.clear();
        self.n_written = 0;
    }
}

/// Ends a half-written line: no text that ends in it is JSON.
const SPOILT: &[u8] = b"!\n";

/// The first message of a batch always fits, however long.
fn fits(batch: &[u8], frame: &Frame) -> bool {
    batch.is_empty() || batch.len() + frame.len() < STDIO_BATCH_BYTES_MAX
}

fn take_if<T>(queue: &mut VecDeque<T>, wanted: impl FnOnce(&T) -> bool) -> Option<T> {
    if queue.front().is_some_and(wanted) { queue.pop_front() } else { None }
}

#[cfg(test)]
mod tests {
    use super::{Letter, Outbox};
    use crate::{
        domain::{Sent, limits::STDIO_BATCH_BYTES_MAX},
        wire::{RequestId, encode_notification, encode_request},
    };

    fn letter(id: u64, n_bytes: usize) -> Letter {
        let params = format!("{{\"x\":\"{}\"}}", "y".repeat(n_bytes));
        let frame = encode_request(&RequestId::from_u64(id), "m", Some(params.as_bytes()));
        Letter { id, epoch: None, frame }
    }

    /// The next batch, as if it was written at once.
    fn batch(outbox: &mut Outbox) -> Vec<u8> {
        outbox.fill(|_| true);
        let batch = outbox.unwritten().to_vec();
        outbox.wrote(batch.len());
        batch
    }

    #[test]
    fn batches_hold_whole_messages_in_order_and_keep_to_the_bound() {
        let mut outbox = Outbox::default();
        for id in 0..3000 {
            outbox.push(letter(id, 50));
        }
        let mut all = Vec::new();
        let mut n_batches = 0;
        loop {
            let batch = batch(&mut outbox);
            if batch.is_empty() {
                break;
            }
            assert!(batch.len() <= STDIO_BATCH_BYTES_MAX && batch.ends_with(b"}\n"));
            all.extend_from_slice(&batch);
            n_batches += 1;
        }
        assert!(n_batches < 10, "{n_batches} writes for 3000 small messages");
        let ids: Vec<u64> = all
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice::<serde_json::Value>(line).unwrap()["id"].clone())
            .map(|id| id.as_u64().unwrap())
            .collect();
        assert_eq!(ids, (0..3000).collect::<Vec<_>>());
    }

    #[test]
    fn a_message_over_the_bound_goes_alone_and_short_ones_of_ours_go_first() {
        let mut outbox = Outbox::default();
        outbox.push(letter(1, STDIO_BATCH_BYTES_MAX * 2));
        outbox.push(letter(2, 1));
        outbox.push_control(encode_notification("first", None)).unwrap();
        let lines = |batch: Vec<u8>| batch.iter().filter(|byte| **byte == b'\n').count();
        assert!(batch(&mut outbox).starts_with(b"{\"jsonrpc\":\"2.0\",\"method\":\"first\"}\n"));
        let long = batch(&mut outbox);
        assert!(long.len() > STDIO_BATCH_BYTES_MAX * 2);
        assert_eq!(lines(long), 1);
        assert_eq!(lines(batch(&mut outbox)), 1);
    }

    #[test]
    fn how_much_was_sent_is_known_to_the_byte() {
        let mut outbox = Outbox::default();
        outbox.push(letter(1, 10));
        outbox.push(letter(2, 10));
        outbox.fill(|_| true);
        outbox.push(letter(3, 10));
        let one = outbox.unwritten().iter().position(|byte| *byte == b'\n').unwrap() + 1;
        let sent = |outbox: &Outbox| [1, 2, 3].map(|id| outbox.sent(id));
        assert_eq!(sent(&outbox), [Sent::No, Sent::No, Sent::No]);
        outbox.wrote(one - 1);
        assert_eq!(sent(&outbox), [Sent::Unknown, Sent::No, Sent::No]);
        outbox.wrote(1);
        assert_eq!(sent(&outbox), [Sent::Yes, Sent::No, Sent::No]);
        outbox.wrote(1);
        assert_eq!(sent(&outbox), [Sent::Yes, Sent::Unknown, Sent::No]);
        outbox.wrote(outbox.unwritten().len());
        assert_eq!(sent(&outbox), [Sent::Yes, Sent::Yes, Sent::No]);
    }
}
