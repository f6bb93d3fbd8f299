//! The breaker and the retry budget: tables, flapping, and bounds that hold whatever happens.

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::{
    breaker::{Breaker, Entry, Pass, Sign, Standing, last_resort},
    retry::{Repeat, RetryBudget, may_retry},
};
use crate::domain::{
    CallError, DenyReason, Sent,
    limits::{
        BREAKER_IN_A_ROW, EJECTION, EJECTION_FORGOTTEN_AFTER, EJECTION_MAX, PROBE_MAX, RETRIES_MAX,
        RETRIES_PER_SECOND_MIN, RETRY_BURST_MAX, RETRY_PERCENT,
    },
};

const SECOND: Duration = Duration::from_secs(1);
const SENT: [Sent; 3] = [Sent::No, Sent::Unknown, Sent::Yes];

/// A breaker and the clock that it is shown.
struct Watched {
    breaker: Breaker,
    generation: u64,
    now: Instant,
}

impl Watched {
    fn new() -> Self {
        let now = Instant::now();
        Self { breaker: Breaker::new(1, now), generation: 1, now }
    }

    fn standing(&self) -> Standing {
        self.breaker.standing(self.generation, self.now)
    }

    fn enter(&mut self, entry: Entry) -> Option<Pass> {
        self.breaker.enter(self.generation, entry, self.now)
    }

    fn leave(&mut self, pass: Pass, sign: Sign) {
        self.breaker.leave(pass, sign, self.now);
    }

    /// One call after the other, each of which must be let in.
    #[track_caller]
    fn calls(&mut self, signs: impl IntoIterator<Item = Sign>) {
        for sign in signs {
            let pass = self.enter(Entry::Chosen).expect("calls are let in");
            self.leave(pass, sign);
        }
    }

    /// As many failures as it takes, and how long the replica is ejected for them.
    #[track_caller]
    fn fail(&mut self) -> Duration {
        self.calls([Sign::Bad; BREAKER_IN_A_ROW as usize]);
        let Standing::Open { until } = self.standing() else { panic!("it stays in") };
        assert!(self.enter(Entry::Chosen).is_none());
        until - self.now
    }

    /// Is ejected, and waits until that is over.
    fn sit_out(&mut self) {
        let ejected = self.fail();
        self.now += ejected;
    }
}

#[test]
fn failures_in_a_row_eject_and_one_good_answer_breaks_the_row() {
    let mut watched = Watched::new();
    for _ in 0..3 {
        watched.calls([Sign::Bad; 4]);
        watched.calls([Sign::Good, Sign::Good]);
        watched.now += 11 * SECOND;
    }
    watched.calls([Sign::Bad, Sign::Bad, Sign::Nothing, Sign::Bad, Sign::Nothing, Sign::Bad]);
    assert_eq!(watched.standing(), Standing::Closed);
    watched.calls([Sign::Bad]);
    assert_eq!(watched.standing(), Standing::Open { until: watched.now + EJECTION });
}

#[test]
fn half_of_enough_calls_eject_if_they_failed_within_the_window() {
    let half = [Sign::Bad, Sign::Good];
    let mut watched = Watched::new();
    watched.calls(half.into_iter().cycle().take(18));
    watched.calls([Sign::Good]);
    assert_eq!(watched.standing(), Standing::Closed, "9 of 19 say nothing");
    watched.calls([Sign::Bad]);
    assert_ne!(watched.standing(), Standing::Closed, "10 of 20 do");

    let mut watched = Watched::new();
    watched.calls([Sign::Good, Sign::Good, Sign::Bad].into_iter().cycle().take(300));
    assert_eq!(watched.standing(), Standing::Closed, "a third failed");

    let mut watched = Watched::new();
    for _ in 0..100 {
        watched.calls(half);
        watched.now += Duration::from_millis(1200);
    }
    assert_eq!(watched.standing(), Standing::Closed, "never 20 in ten seconds");

    let mut watched = Watched::new();
    watched.calls([Sign::Good; 30]);
    watched.now += Duration::from_secs(9);
    watched.calls(half.into_iter().cycle().take(29));
    assert_eq!(watched.standing(), Standing::Closed, "15 of 59");
    watched.now += SECOND;
    watched.calls([Sign::Bad]);
    assert_ne!(watched.standing(), Standing::Closed, "16 of 30, for the good ones are long ago");
}

#[test]
fn one_probe_decides_after_the_ejection() {
    let mut watched = Watched::new();
    watched.sit_out();
    assert_eq!(watched.standing(), Standing::HalfOpen);
    let probe = watched.enter(Entry::Chosen).unwrap();
    assert_eq!(watched.standing(), Standing::Probed);
    assert!(watched.enter(Entry::Chosen).is_none(), "one at a time");
    watched.leave(probe, Sign::Good);
    assert_eq!(watched.standing(), Standing::Closed);

    watched.sit_out();
    let probe = watched.enter(Entry::Chosen).unwrap();
    watched.leave(probe, Sign::Bad);
    assert_eq!(watched.standing(), Standing::Open { until: watched.now + 3 * EJECTION });
}

#[test]
fn a_probe_that_shows_nothing_or_never_comes_back_makes_room_for_another() {
    let mut watched = Watched::new();
    watched.sit_out();
    let probe = watched.enter(Entry::Chosen).unwrap();
    watched.leave(probe, Sign::Nothing);
    assert_eq!(watched.standing(), Standing::HalfOpen);
    let lost = watched.enter(Entry::Chosen).unwrap();
    watched.now += PROBE_MAX;
    let probe = watched.enter(Entry::Chosen).expect("the other one is lost");
    watched.leave(probe, Sign::Good);
    watched.leave(lost, Sign::Bad);
    assert_eq!(watched.standing(), Standing::Closed);
}

#[test]
fn a_replica_that_flaps_is_ejected_for_longer_each_time_until_it_holds() {
    let mut watched = Watched::new();
    for n in 1..=12 {
        let ejected = watched.fail();
        assert_eq!(ejected, (n * EJECTION).min(EJECTION_MAX));
        watched.now += ejected;
        watched.calls([Sign::Good; 3]);
    }
    watched.now += EJECTION_FORGOTTEN_AFTER - SECOND;
    watched.calls([Sign::Good]);
    let ejected = watched.fail();
    assert_eq!(ejected, EJECTION_MAX, "not quite long enough");
    watched.now += ejected;
    watched.calls([Sign::Good]);
    watched.now += EJECTION_FORGOTTEN_AFTER;
    watched.calls([Sign::Good]);
    assert_eq!(watched.fail(), EJECTION);
}

#[test]
fn a_new_connection_has_a_clean_record_and_the_old_one_has_no_say() {
    let mut watched = Watched::new();
    let early = watched.enter(Entry::Chosen).unwrap();
    watched.calls([Sign::Bad; 4]);
    watched.generation = 2;
    watched.calls([Sign::Bad; 4]);
    watched.leave(early, Sign::Bad);
    let over_the_old = watched.breaker.enter(1, Entry::Chosen, watched.now).unwrap();
    watched.leave(over_the_old, Sign::Bad);
    assert_eq!(watched.standing(), Standing::Closed, "four failures each");
    watched.calls([Sign::Bad]);
    assert_eq!(watched.standing(), Standing::Open { until: watched.now + EJECTION });
    watched.generation = 3;
    assert_eq!(watched.standing(), Standing::Closed, "open after the respawn");
    assert_eq!(watched.fail(), EJECTION, "earlier ejections are forgotten too");
}

#[test]
fn calls_from_before_the_ejection_have_no_say_after_it() {
    let mut watched = Watched::new();
    let early: Vec<_> = (0..20).map(|_| watched.enter(Entry::Chosen).unwrap()).collect();
    let ejected = watched.fail();
    let mut early = early.into_iter();
    watched.leave(early.next().unwrap(), Sign::Good);
    assert_ne!(watched.standing(), Standing::Closed, "it was sent when all was well");
    watched.now += ejected;
    watched.calls([Sign::Good]);
    early.for_each(|pass| watched.leave(pass, Sign::Bad));
    assert_eq!(watched.standing(), Standing::Closed);
}

#[test]
fn the_last_replica_stays_in_and_may_prove_itself_at_any_time() {
    let mut watched = Watched::new();
    let ejected = watched.fail();
    for _ in 0..50 {
        let pass = watched.enter(Entry::LastResort).unwrap();
        watched.leave(pass, Sign::Bad);
    }
    assert_eq!(watched.standing(), Standing::Open { until: watched.now + ejected });
    let pass = watched.enter(Entry::LastResort).unwrap();
    watched.leave(pass, Sign::Good);
    assert_eq!(watched.standing(), Standing::Closed);

    watched.sit_out();
    let _probe = watched.enter(Entry::LastResort).unwrap();
    assert_eq!(watched.standing(), Standing::Probed);
    assert!(watched.enter(Entry::LastResort).is_some(), "beside the probe");
}

#[test]
fn the_last_resort_is_the_one_whose_second_chance_is_nearest() {
    #[track_caller]
    fn check(standings: &[Standing], want: Option<usize>) {
        assert_eq!(last_resort(standings.iter().copied()), want);
    }
    let now = Instant::now();
    let open = |seconds| Standing::Open { until: now + seconds * SECOND };
    check(&[], None);
    check(&[Standing::Closed], None);
    check(&[open(1), Standing::Closed, Standing::HalfOpen], None);
    check(&[open(9)], Some(0));
    check(&[open(9), open(3), open(3), open(7)], Some(1));
    check(&[open(1), Standing::Probed, Standing::HalfOpen], Some(1));
}

#[test]
fn slow_answers_and_errors_that_are_answers_are_good_signs() {
    assert_eq!(Sign::of(&Ok(())), Sign::Good);
    let reason = DenyReason::Internal;
    assert_eq!(Sign::of::<()>(&Err(CallError::Withheld { reason })), Sign::Good);
    for sent in SENT {
        for (error, want) in [
            (CallError::Unavailable { sent }, Sign::Bad),
            (CallError::Deadline { sent }, Sign::Bad),
            (CallError::Stopped { sent }, Sign::Nothing),
            (CallError::Cancelled { sent }, Sign::Nothing),
            (CallError::Busy, Sign::Nothing),
            (CallError::Protocol { what: "" }, Sign::Nothing),
        ] {
            assert_eq!(Sign::of::<()>(&Err(error)), want, "{error:?}");
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Enter,
    Leave(usize, Sign),
    Wait(u64),
    Connect,
}

fn step() -> impl Strategy<Value = Step> {
    let sign = prop_oneof![1 => Just(Sign::Good), 1 => Just(Sign::Nothing), 8 => Just(Sign::Bad)];
    prop_oneof![
        40 => Just(Step::Enter),
        40 => (0..100_usize, sign).prop_map(|(which, sign)| Step::Leave(which, sign)),
        4 => (0..40_u64).prop_map(Step::Wait),
        1 => Just(Step::Connect),
    ]
}

proptest! {
    #[test]
    fn of_several_replicas_one_always_takes_calls(
        steps in prop::collection::vec((0..2_usize, step()), 1..200),
    ) {
        let mut all = [Watched::new(), Watched::new()];
        let mut passes = [const { Vec::<Pass>::new() }; 2];
        for (at, step) in steps {
            let resort = last_resort(all.iter().map(Watched::standing));
            let usable = all.iter().filter(|watched| watched.standing().is_usable()).count();
            prop_assert!(usable > 0 || resort.is_some());
            let (watched, passes) = (&mut all[at], &mut passes[at]);
            match step {
                Step::Enter => {
                    let is_last = resort == Some(at);
                    let entry = if is_last { Entry::LastResort } else { Entry::Chosen };
                    let lets_in = watched.standing().is_usable() || is_last;
                    let pass = watched.enter(entry);
                    prop_assert_eq!(pass.is_some(), lets_in, "what is shown is what is done");
                    passes.extend(pass);
                }
                Step::Leave(which, sign) if !passes.is_empty() => {
                    let pass = passes.swap_remove(which % passes.len());
                    watched.leave(pass, sign);
                }
                Step::Leave(..) => {}
                Step::Wait(seconds) => {
                    all.iter_mut().for_each(|watched| watched.now += Duration::from_secs(seconds));
                }
                Step::Connect => watched.generation += 1,
            }
            for watched in &all {
                if let Standing::Open { until } = watched.standing() {
                    prop_assert!(until - watched.now <= EJECTION_MAX);
                }
            }
        }
    }

    #[test]
    fn retries_never_exceed_what_calls_and_time_have_brought(
        steps in prop::collection::vec((0..40_u32, 0..300_u64, 0..40_u32), 1..60),
    ) {
        let born = Instant::now();
        let budget = RetryBudget::new(born);
        let (mut now, mut calls, mut retries) = (born, 0, 0);
        for (n_calls, pause_ms, wishes) in steps {
            (0..n_calls).for_each(|_| budget.deposit());
            calls += n_calls;
            now += Duration::from_millis(pause_ms);
            let granted = granted(&budget, wishes, now);
            prop_assert!(granted <= RETRY_BURST_MAX);
            retries += granted;
            let time = (now - born + SECOND).as_secs_f64() * f64::from(RETRIES_PER_SECOND_MIN);
            let brought = time + f64::from(calls * RETRY_PERCENT) / 100.0;
            prop_assert!(f64::from(retries) <= brought + 1e-6, "{} of {}", retries, brought);
            let is_spent = granted < wishes;
            prop_assert!(!is_spent || f64::from(retries) > brought.min(100.0) - 1.0 - 1e-6);
        }
    }
}

fn granted(budget: &RetryBudget, wishes: u32, now: Instant) -> u32 {
    let error = CallError::Unavailable { sent: Sent::No };
    let ask = |_: &u32| may_retry(error, Repeat::NotMarked, 0, budget, now);
    u32::try_from((0..wishes).filter(ask).count()).unwrap()
}

#[test]
fn a_fifth_of_the_calls_may_be_repeated_and_a_few_each_second_beside() {
    let born = Instant::now();
    let budget = RetryBudget::new(born);
    assert_eq!(granted(&budget, 1000, born), 10, "what the first second brings");
    (0..100).for_each(|_| budget.deposit());
    assert_eq!(granted(&budget, 1000, born), 20);
    assert_eq!(granted(&budget, 1000, born + Duration::from_millis(199)), 1);
    assert_eq!(granted(&budget, 1000, born + Duration::from_millis(200)), 1, "time is not lost");
    assert_eq!(granted(&budget, 1000, born), 0, "nor counted twice");
    assert_eq!(granted(&budget, 1000, born + Duration::from_millis(200)), 0);
    (0..100_000).for_each(|_| budget.deposit());
    assert_eq!(granted(&budget, 1000, born + 3600 * SECOND), 100, "but it cannot be hoarded");
}

#[test]
fn a_call_is_sent_again_only_if_unsent_or_marked_by_the_operator() {
    let now = Instant::now();
    let reason = DenyReason::Internal;
    for repeat in [Repeat::NotMarked, Repeat::MarkedSafe] {
        for sent in SENT {
            for retries in 0..4 {
                let want =
                    (sent == Sent::No || repeat == Repeat::MarkedSafe) && retries < RETRIES_MAX;
                let budget = RetryBudget::new(now);
                let may = |error| may_retry(error, repeat, retries, &budget, now);
                let what = format!("{sent:?} {repeat:?} {retries}");
                assert_eq!(may(CallError::Unavailable { sent }), want, "{what}");
                for never in [
                    CallError::Stopped { sent },
                    CallError::Cancelled { sent },
                    CallError::Deadline { sent },
                    CallError::Busy,
                    CallError::Protocol { what: "" },
                    CallError::Withheld { reason },
                ] {
                    assert!(!may(never), "{what} {never:?}");
                }
                let rest = granted(&budget, 100, now);
                assert_eq!(rest, 10 - u32::from(want), "a no costs nothing: {what}");
            }
        }
    }
}
