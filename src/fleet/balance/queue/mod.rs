//! The bulkhead of one server: so many calls at once, a bounded queue before it, and fair turns.
//!
//! Owns the count of places and the lines of those who wait, one line a principal. Places that
//! become free go round the principals that wait, and when the queue is full the longest line
//! gives way to a shorter one: whoever floods the server waits behind nobody but himself.
//! Whoever stops waiting, by deadline or because its future is dropped, leaves nothing behind.

#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, timeout_at},
};

use crate::domain::Principal;

/// The door to one server.
#[derive(Debug)]
pub(in crate::fleet) struct Bulkhead {
    inner: Arc<Inner>,
}

/// The right to be one of the calls in flight; whoever drops it makes room for the next.
#[derive(Debug)]
#[must_use = "a place that is dropped is free again"]
pub(in crate::fleet) struct Place {
    inner: Arc<Inner>,
}

/// Why there was no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fleet) enum NoPlace {
    /// Too many wait already.
    Full,
    /// The deadline came first.
    Late,
}

/// The server has its share of all calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fleet) struct Crowded;

#[derive(Debug)]
struct Inner {
    places: usize,
    waiting_max: usize,
    queue: Mutex<Queue>,
    /// Told when the last place becomes free.
    empty: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    taken: usize,
    waiting: usize,
    tickets: u64,
    // INVARIANT: none is empty, whoever has one is in `turns` once, and only while all places
    // are taken is there any.
    lines: HashMap<Principal, VecDeque<Waiter>>,
    turns: VecDeque<Principal>,
}

#[derive(Debug)]
struct Waiter {
    /// Rises along the line.
    ticket: u64,
    grant: oneshot::Sender<Place>,
}

/// A spot in a line; dropping it leaves the line.
struct Spot<'a> {
    inner: &'a Inner,
    principal: &'a Principal,
    ticket: u64,
    granted: oneshot::Receiver<Place>,
}

impl Bulkhead {
    pub(in crate::fleet) fn new(places: usize, waiting_max: usize) -> Self {
        let inner = Inner { places, waiting_max, queue: Mutex::default(), empty: Notify::new() };
        Self { inner: Arc::new(inner) }
    }

    /// A place, if there is one at once. Nobody comes in, nor has to wait, where so many are
    /// already.
    pub(in crate::fleet) fn try_enter(&self, share: usize) -> Result<Option<Place>, Crowded> {
        let mut queue = self.inner.queue();
        if queue.taken.saturating_add(queue.waiting) >= share {
            return Err(Crowded);
        }
        let is_free = queue.taken < self.inner.places;
        queue.taken = queue.taken.saturating_add(usize::from(is_free));
        Ok(is_free.then(|| Place { inner: self.inner.clone() }))
    }

    /// A place at once if there is one, else in turn, but not later than `until`.
    pub(in crate::fleet) async fn enter(
        &self,
        principal: &Principal,
        until: Instant,
    ) -> Result<Place, NoPlace> {
        let mut spot = {
            let mut queue = self.inner.queue();
            if queue.taken < self.inner.places {
                queue.taken = queue.taken.saturating_add(1);
                return Ok(Place { inner: self.inner.clone() });
            }
            let (ticket, granted) = queue.line_up(principal, self.inner.waiting_max)?;
            Spot { inner: &self.inner, principal, ticket, granted }
        };
        match timeout_at(until, &mut spot.granted).await {
            Ok(Ok(place)) => Ok(place),
            // It had to give way.
            Ok(Err(_)) => Err(NoPlace::Full),
            Err(_) => Err(NoPlace::Late),
        }
    }

    /// Returns when nobody has a place.
    pub(in crate::fleet) async fn idle(&self) {
        loop {
            let mut empty = std::pin::pin!(self.inner.empty.notified());
            // From here on no end of a call is missed.
            empty.as_mut().enable();
            if self.in_flight() == 0 {
                return;
            }
            empty.await;
        }
    }

    pub(in crate::fleet) fn in_flight(&self) -> usize {
        self.inner.queue().taken
    }

    pub(in crate::fleet) fn waiting(&self) -> usize {
        self.inner.queue().waiting
    }
}

impl Inner {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a place that is no longer needed to whoever is next, or counts it as free.
    fn pass_on(self: &Arc<Self>) {
        let next = {
            let mut queue = self.queue();
            let next = queue.next();
            if next.is_none() {
                queue.taken = queue.taken.saturating_sub(1);
                if queue.taken == 0 {
                    self.empty.notify_waiters();
                }
            }
            next
        };
        if let Some(waiter) = next {
            // Whoever has left in this moment does not get it: dropped, it comes back here.
            waiter.grant.send(Place { inner: self.clone() }).ok();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.inner.pass_on();
    }
}

impl Drop for Spot<'_> {
    fn drop(&mut self) {
        self.inner.queue().leave(self.principal, self.ticket);
        // A place that was granted in the last moment is passed on when `granted` is dropped.
    }
}

impl Queue {
    fn line_up(
        &mut self,
        principal: &Principal,
        waiting_max: usize,
    ) -> Result<(u64, oneshot::Receiver<Place>), NoPlace> {
        if self.waiting >= waiting_max {
            self.make_room_for(principal)?;
        }
        let (grant, granted) = oneshot::channel();
        let ticket = self.tickets;
        self.tickets = ticket.wrapping_add(1);
        let line = self.lines.entry(principal.clone()).or_default();
        if line.is_empty() {
            self.turns.push_back(principal.clone());
        }
        line.push_back(Waiter { ticket, grant });
        self.waiting = self.waiting.saturating_add(1);
        Ok((ticket, granted))
    }

    /// The last of the longest line goes, if the newcomer's is shorter even with the newcomer.
    fn make_room_for(&mut self, principal: &Principal) -> Result<(), NoPlace> {
        let own = self.lines.get(principal).map_or(0, VecDeque::len);
        let longest = self.lines.values_mut().max_by_key(|line| line.len());
        let longest = longest.filter(|line| line.len() > own.saturating_add(1));
        longest.and_then(VecDeque::pop_back).ok_or(NoPlace::Full)?;
        self.waiting = self.waiting.saturating_sub(1);
        Ok(())
    }

    /// Takes the first of the line whose turn it is.
    fn next(&mut self) -> Option<Waiter> {
        let principal = self.turns.pop_front()?;
        let line = self.lines.get_mut(&principal)?;
        let waiter = line.pop_front()?;
        self.waiting = self.waiting.saturating_sub(1);
        if line.is_empty() {
            self.lines.remove(&principal);
        } else {
            self.turns.push_back(principal);
        }
        Some(waiter)
    }

    fn leave(&mut self, principal: &Principal, ticket: u64) {
        let Some(line) = self.lines.get_mut(principal) else { return };
        let Ok(at) = line.binary_search_by_key(&ticket, |waiter| waiter.ticket) else { return };
        line.remove(at);
        self.waiting = self.waiting.saturating_sub(1);
        if line.is_empty() {
            self.lines.remove(principal);
            self.turns.retain(|other| other != principal);
        }
    }
}
