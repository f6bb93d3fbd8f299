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
