//! Which replica of a server takes a call.
//!
//! Owns the rotation of one server and nothing else: loads, latencies and ages come in with the
//! candidates, chance comes in by argument, and who is a candidate at all is decided elsewhere.
//! Promises that the same key goes to the same replica for as long as that one is a candidate.

pub(super) mod latency;
pub(super) mod queue;
mod rotation;
#[cfg(test)]
mod tests;

use std::{
    cmp::Ordering,
    num::NonZeroU16,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use rotation::Rotation;

use crate::{
    config::Balance,
    domain::limits::{SLOW_START, SLOW_START_PERCENT_MIN},
};

/// A replica that can take the call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Numbers the replicas of one server, from zero.
    pub(super) id: u16,
    pub(super) weight: NonZeroU16,
    pub(super) in_flight: usize,
    pub(super) latency_us: u64,
    pub(super) ready_for: Duration,
}

/// The choice between the replicas of one server.
#[derive(Debug)]
pub(super) struct Balancer {
    policy: Balance,
    rotation: Mutex<Rotation>,
}

impl Balancer {
    pub(super) fn new(policy: Balance) -> Self {
        Self { policy, rotation: Mutex::default() }
    }

    /// The index of the candidate that takes the call; `None` only if there is none. A key
    /// (`affinity`) overrides the policy. `chance` is uniform over `u64` and asked at most once.
    pub(super) fn pick(
        &self,
        candidates: &[Candidate],
        affinity: Option<u64>,
        chance: impl FnOnce() -> u64,
    ) -> Option<usize> {
        if candidates.len() < 2 {
            return (!candidates.is_empty()).then_some(0);
        }
        if let Some(key) = affinity {
            return self.owner(candidates, key);
        }
        match self.policy {
            Balance::RoundRobin | Balance::Weighted => {
                let weights = candidates.iter().map(|candidate| self.ramped(candidate));
                let ids = candidates.iter().map(|candidate| candidate.id);
                let mut rotation = self.rotation.lock().unwrap_or_else(PoisonError::into_inner);
                rotation.next(ids.zip(weights))
            }
            Balance::LeastConnections => {
                let (one, other) = two_of(candidates.len(), chance());
                self.less_loaded(candidates, one, other)
            }
        }
    }

    fn weight(&self, candidate: &Candidate) -> u16 {
        match self.policy {
            Balance::RoundRobin => 1,
            Balance::Weighted | Balance::LeastConnections => candidate.weight.get(),
        }
    }

    /// The weight in hundredths, less for one that has just become ready.
    fn ramped(&self, candidate: &Candidate) -> u32 {
        u32::from(self.weight(candidate)).saturating_mul(ramp_percent(candidate.ready_for))
    }

    /// Who would carry less for its weight with this call; among equals the one that answers
    /// faster. Counting this call keeps an idle replica that is still slow from taking it all.
    fn less_loaded(&self, candidates: &[Candidate], one: usize, other: usize) -> Option<usize> {
        let (a, b) = (candidates.get(one)?, candidates.get(other)?);
        let carried = |x: &Candidate, y: &Candidate| {
            let calls = u64::try_from(x.in_flight).unwrap_or(u64::MAX).saturating_add(1);
            u128::from(calls) * u128::from(self.ramped(y))
        };
        let order = carried(a, b).cmp(&carried(b, a)).then(a.latency_us.cmp(&b.latency_us));
        Some(if order == Ordering::Greater { other } else { one })
    }

    /// Rendezvous hashing: each candidate draws a time for the key, and the earliest owns it. So
    /// only the keys of a candidate that goes find a new owner, in proportion to the weights.
    /// No slow start: a key sent elsewhere while its replica warms up would have to move twice.
    fn owner(&self, candidates: &[Candidate], key: u64) -> Option<usize> {
        let arrivals = candidates.iter().map(|candidate| {
            let drawn = mix(key ^ mix(u64::from(candidate.id)));
            let upper = u32::try_from(drawn >> 32).unwrap_or(u32::MAX);
            let uniform = (f64::from(upper) + 0.5) / (f64::from(u32::MAX) + 1.0);
            -uniform.ln() / f64::from(self.weight(candidate))
        });
        arrivals.enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(index, _)| index)
    }
}

/// How much of its weight a replica has that became ready so long ago.
fn ramp_percent(ready_for: Duration) -> u32 {
    let rest = 100_u32.saturating_sub(SLOW_START_PERCENT_MIN);
    let passed = ready_for.min(SLOW_START).as_millis();
    let ramped = u128::from(rest) * passed / SLOW_START.as_millis().max(1);
    SLOW_START_PERCENT_MIN.saturating_add(u32::try_from(ramped).unwrap_or(rest))
}

/// Two different indices below `n`, which is at least 2; every ordered pair is as likely.
fn two_of(n: usize, chance: u64) -> (usize, usize) {
    let below = |n: usize, bits: u64| {
        let n = u64::try_from(n).unwrap_or(u64::MAX);
        usize::try_from(bits.saturating_mul(n) >> 32).unwrap_or_default()
    };
    let one = below(n, chance >> 32);
    let other = below(n.saturating_sub(1), chance & u64::from(u32::MAX));
    (one, if other >= one { other.saturating_add(1) } else { other })
}

/// Every bit of the result depends on every bit of `x` (the finaliser of SplitMix64).
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
