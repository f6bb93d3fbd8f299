//! The choice between replicas: fair turns, the better of two, keys that stay, a slow start.

use std::{
    cell::Cell,
    collections::HashMap,
    convert::Infallible,
    future::{Ready, ready},
    num::NonZeroU16,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use proptest::prelude::*;
use tower::{Service, balance::p2c, discover::ServiceList, load::Load};

use super::{Balancer, Candidate, mix, ramp_percent, two_of};
use crate::{
    config::Balance,
    domain::limits::{SLOW_START, SLOW_START_PERCENT_MIN},
};

fn candidate(id: u16, weight: u16) -> Candidate {
    let weight = NonZeroU16::new(weight).unwrap();
    Candidate { id, weight, in_flight: 0, latency_us: 0, ready_for: SLOW_START }
}

fn candidates(weights: &[u16]) -> Vec<Candidate> {
    (0..).zip(weights).map(|(id, weight)| candidate(id, *weight)).collect()
}

fn loaded(loads: &[usize]) -> Vec<Candidate> {
    (0..).zip(loads).map(|(id, load)| Candidate { in_flight: *load, ..candidate(id, 1) }).collect()
}

fn no_chance() -> u64 {
    panic!("nothing is left to chance here")
}

/// The ids that take `turns` calls.
fn turns(balancer: &Balancer, candidates: &[Candidate], turns: usize) -> Vec<u16> {
    let pick = |_| candidates[balancer.pick(candidates, None, no_chance).unwrap()].id;
    (0..turns).map(pick).collect()
}

fn count(ids: &[u16], id: u16) -> usize {
    ids.iter().filter(|other| **other == id).count()
}

/// Numbers that look random and are the same in each run.
#[derive(Clone)]
struct Dice(Cell<u64>);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(Cell::new(mix(seed)))
    }

    fn roll(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(1));
        mix(self.0.get())
    }

    fn below(&self, n: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(n).unwrap()).unwrap()
    }
}

#[test]
fn nobody_is_picked_of_none_and_the_only_one_of_one() {
    for policy in [Balance::RoundRobin, Balance::Weighted, Balance::LeastConnections] {
        let balancer = Balancer::new(policy);
        assert_eq!(balancer.pick(&[], None, no_chance), None);
        assert_eq!(balancer.pick(&[], Some(7), no_chance), None);
        assert_eq!(balancer.pick(&[candidate(9, 3)], None, no_chance), Some(0));
    }
}

#[test]
fn turns_follow_the_weights_and_are_spread_out() {
    let weighted = Balancer::new(Balance::Weighted);
    assert_eq!(turns(&weighted, &candidates(&[5, 1, 1]), 8), [0, 0, 1, 0, 2, 0, 0, 0]);
    let plain = Balancer::new(Balance::RoundRobin);
    assert_eq!(turns(&plain, &candidates(&[5, 1, 1]), 6), [0, 1, 2, 0, 1, 2]);
}

#[test]
fn whoever_comes_and_goes_gets_its_share_of_the_turns_it_was_there_for() {
    let (balancer, dice) = (Balancer::new(Balance::Weighted), Dice::new(3));
    let all = candidates(&[1, 2, 5]);
    let weight = |candidate: &Candidate| i64::from(candidate.weight.get());
    let mut owed = [0; 3];
    for _ in 0..3000 {
        let there: Vec<_> = all.iter().copied().filter(|_| dice.below(3) > 0).collect();
        let Some(picked) = balancer.pick(&there, None, no_chance) else { continue };
        there.iter().for_each(|candidate| owed[usize::from(candidate.id)] += weight(candidate));
        owed[usize::from(there[picked].id)] -= there.iter().map(weight).sum::<i64>();
        assert!(owed.iter().all(|owed| owed.abs() <= 16), "{owed:?}");
    }
}

proptest! {
    #[test]
    fn after_whole_rounds_everybody_has_had_its_exact_share(
        weights in prop::collection::vec(1..20_u16, 1..8),
        rounds in 1..4_usize,
    ) {
        let all = candidates(&weights);
        let total: usize = weights.iter().copied().map(usize::from).sum();
        let had = turns(&Balancer::new(Balance::Weighted), &all, rounds * total);
        for (id, weight) in (0..).zip(&weights) {
            prop_assert_eq!(count(&had, id), rounds * usize::from(*weight));
        }
    }

    #[test]
    fn equal_replicas_differ_by_one_at_most_in_any_window(
        n in 1..9_u16, start in 0..40_usize, length in 0..40_usize,
    ) {
        let all = candidates(&vec![3; usize::from(n)]);
        for policy in [Balance::RoundRobin, Balance::Weighted] {
            let had = turns(&Balancer::new(policy), &all, start + length);
            let counts: Vec<_> = (0..n).map(|id| count(&had[start..], id)).collect();
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{:?}", counts);
        }
    }

    #[test]
    fn nobody_is_ever_a_turn_ahead_of_its_share_or_two_behind(
        weights in prop::collection::vec(1..50_u16, 2..8),
    ) {
        let all = candidates(&weights);
        let total: usize = weights.iter().copied().map(usize::from).sum();
        let had = turns(&Balancer::new(Balance::Weighted), &all, total);
        for (id, weight) in (0..).zip(&weights) {
            for length in 1..=total {
                let had = count(&had[..length], id) * total;
                let due = usize::from(*weight) * length;
                prop_assert!(had < due + total, "{had} / {total} of {length}, due {due}");
                prop_assert!(due < had + 2 * total, "{had} / {total} of {length}, due {due}");
            }
        }
    }

    #[test]
    fn of_two_the_one_that_carries_more_is_never_picked(
        loads in prop::collection::vec((0..6_usize, 1..4_u16, 0..5_u64), 2..10),
        chance: u64,
    ) {
        let mut all = candidates(&loads.iter().map(|load| load.1).collect::<Vec<_>>());
        for (candidate, (in_flight, _, latency_us)) in all.iter_mut().zip(&loads) {
            (candidate.in_flight, candidate.latency_us) = (*in_flight, *latency_us);
        }
        let balancer = Balancer::new(Balance::LeastConnections);
        let picked = balancer.pick(&all, None, || chance).unwrap();
        let (one, other) = two_of(all.len(), chance);
        prop_assert!(one != other && (picked == one || picked == other));
        let left = &all[if picked == one { other } else { one }];
        let picked = &all[picked];
        let carried = |a: &Candidate, b: &Candidate| (a.in_flight + 1) * usize::from(b.weight.get());
        prop_assert!(carried(picked, left) <= carried(left, picked));
        if carried(picked, left) == carried(left, picked) {
            prop_assert!(picked.latency_us <= left.latency_us);
        }
    }

    #[test]
    fn only_the_keys_of_one_that_goes_find_another(
        weights in prop::collection::vec(1..10_u16, 2..8), gone: prop::sample::Index, key: u64,
    ) {
        let balancer = Balancer::new(Balance::LeastConnections);
        let all = candidates(&weights);
        let owner = |all: &[Candidate]| all[balancer.pick(all, Some(key), no_chance).unwrap()].id;
        let before = owner(&all);
        let mut rest = all.clone();
        let gone = rest.remove(gone.index(all.len())).id;
        if before != gone {
            prop_assert_eq!(owner(&rest), before);
        }
        rest.push(all[usize::from(gone)]);
        prop_assert_eq!(owner(&rest), before, "back again, and in another order");
    }

    #[test]
    fn the_longer_ready_the_more_of_its_weight_a_replica_has(a in 0..20_000_u64, b in 0..20_000_u64) {
        let (short, long) = (Duration::from_millis(a.min(b)), Duration::from_millis(a.max(b)));
        prop_assert!(ramp_percent(short) <= ramp_percent(long));
        prop_assert!((SLOW_START_PERCENT_MIN..=100).contains(&ramp_percent(short)));
    }
}

#[test]
fn every_ordered_pair_of_two_is_as_likely() {
    let dice = Dice::new(1);
    let mut seen = HashMap::<_, usize>::new();
    for _ in 0..12_000 {
        *seen.entry(two_of(4, dice.roll())).or_default() += 1;
    }
    assert_eq!(seen.len(), 12);
    assert!(seen.values().all(|n| (850..1150).contains(n)), "{seen:?}");
    assert_eq!([two_of(2, 0), two_of(2, u64::MAX)], [(0, 1), (1, 0)]);
    assert_eq!(two_of(5, u64::MAX), (4, 3));
}

#[test]
fn keys_are_spread_by_weight_and_stay_during_a_slow_start() {
    let mut all = candidates(&[1, 2, 1]);
    let balancer = Balancer::new(Balance::Weighted);
    let owners = |all: &[Candidate]| -> Vec<_> {
        (0..8000).map(|key| balancer.pick(all, Some(key), no_chance).unwrap()).collect()
    };
    let before = owners(&all);
    for (index, want) in [2000, 4000, 2000].into_iter().enumerate() {
        let had = before.iter().filter(|owner| **owner == index).count();
        assert!(had.abs_diff(want) < 150, "{had} keys for {index}, not about {want}");
    }
    all[1].ready_for = Duration::ZERO;
    assert_eq!(owners(&all), before);
}

#[test]
fn a_replica_that_has_just_become_ready_is_spared() {
    for (ready_for, want) in [(0, 10), (2, 28), (5, 55), (10, 100), (900, 100)] {
        assert_eq!(ramp_percent(Duration::from_secs(ready_for)), want, "after {ready_for} s");
    }
    let mut all = candidates(&[1, 1]);
    all[1].ready_for = Duration::ZERO;
    let had = turns(&Balancer::new(Balance::RoundRobin), &all, 11);
    assert_eq!(count(&had, 1), 1, "{had:?}");
    // One call is too much for it as long as the other carries fewer than ten times as many, even
    // though nothing bad is known of its latency.
    let balancer = Balancer::new(Balance::LeastConnections);
    all[0].latency_us = 1000;
    for (in_flight, want) in [(0, 0), (8, 0), (9, 1)] {
        all[0].in_flight = in_flight;
        assert_eq!(balancer.pick(&all, None, || 0), Some(want), "beside {in_flight} calls");
    }
}

/// A replica as tower sees it.
struct Bin {
    index: usize,
    loads: Arc<[AtomicUsize]>,
}

impl Service<()> for Bin {
    type Response = usize;
    type Error = Infallible;
    type Future = Ready<Result<usize, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(self.index))
    }
}

impl Load for Bin {
    type Metric = usize;

    fn load(&self) -> usize {
        self.loads[self.index].load(Relaxed)
    }
}

/// Chance for tower: its own source differs from run to run.
struct TowerDice(std::sync::Mutex<u64>);

impl tower::util::rng::Rng for TowerDice {
    fn next_u64(&mut self) -> u64 {
        let state = self.0.get_mut().unwrap();
        *state = state.wrapping_add(1);
        mix(*state)
    }
}

type Picker = Box<dyn FnMut() -> usize>;

fn tower_picks(loads: Arc<[AtomicUsize]>, seed: u64) -> Picker {
    let bins: Vec<_> = (0..loads.len()).map(|index| Bin { index, loads: loads.clone() }).collect();
    let list = ServiceList::new::<()>(bins);
    let mut balance = p2c::Balance::from_rng(list, TowerDice(mix(seed).into()));
    let mut context = Context::from_waker(Waker::noop());
    Box::new(move || {
        assert!(matches!(balance.poll_ready(&mut context), Poll::Ready(Ok(()))));
        let mut answer = std::pin::pin!(balance.call(()));
        match answer.as_mut().poll(&mut context) {
            Poll::Ready(Ok(index)) => index,
            Poll::Ready(Err(_)) | Poll::Pending => panic!("a bin always answers"),
        }
    })
}

fn our_picks(loads: Arc<[AtomicUsize]>, seed: u64) -> Picker {
    let (balancer, dice) = (Balancer::new(Balance::LeastConnections), Dice::new(seed));
    Box::new(move || {
        let now: Vec<_> = loads.iter().map(|load| load.load(Relaxed)).collect();
        balancer.pick(&loaded(&now), None, || dice.roll()).unwrap()
    })
}

/// How often each bin was picked while nothing about the loads changed.
fn frequencies(picker: fn(Arc<[AtomicUsize]>, u64) -> Picker, loads: &[usize]) -> Vec<usize> {
    let mut pick = picker(loads.iter().copied().map(AtomicUsize::new).collect(), 11);
    let mut seen = vec![0; loads.len()];
    (0..20_000).for_each(|_| seen[pick()] += 1);
    seen
}

#[test]
fn each_load_is_picked_as_often_as_tower_picks_it() {
    for loads in [&[0, 0][..], &[0, 1, 2, 3], &[5, 5, 5], &[4, 1, 4, 1, 9], &[7, 0, 0, 0, 0, 0]] {
        let (ours, tower) = (frequencies(our_picks, loads), frequencies(tower_picks, loads));
        for (a, b) in ours.iter().zip(&tower) {
            assert!(a.abs_diff(*b) < 400, "loads {loads:?}: ours {ours:?}, tower {tower:?}");
        }
    }
}

/// Calls come and go, `calls` at once: the mean over time of the fullest bin, in hundredths.
fn fullest(picker: fn(Arc<[AtomicUsize]>, u64) -> Picker, bins: usize, calls: usize) -> usize {
    let loads: Arc<[AtomicUsize]> = (0..bins).map(|_| AtomicUsize::new(0)).collect();
    let mut pick = picker(loads.clone(), 5);
    let dice = Dice::new(6);
    let mut running = Vec::new();
    let (mut sum, mut looks) = (0, 0);
    for step in 0..20_000 {
        if running.len() == calls {
            let done: usize = running.swap_remove(dice.below(calls));
            loads[done].fetch_sub(1, Relaxed);
        }
        let index = pick();
        loads[index].fetch_add(1, Relaxed);
        running.push(index);
        if step >= 2 * calls {
            sum += loads.iter().map(|load| load.load(Relaxed)).max().unwrap();
            looks += 1;
        }
    }
    sum * 100 / looks
}

#[test]
fn the_fullest_replica_is_as_full_as_with_tower() {
    for (bins, calls) in [(3, 30), (10, 10), (10, 100), (16, 256)] {
        let (ours, tower) = (fullest(our_picks, bins, calls), fullest(tower_picks, bins, calls));
        // Ours breaks ties as tower does, so what differs is chance.
        assert!(ours.abs_diff(tower) * 50 <= tower, "{bins} × {calls}: {ours} and {tower}");
    }
}
