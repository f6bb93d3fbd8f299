//! The bulkhead: places, turns, giving way, leaving; by hand and against random comings and goings.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use proptest::prelude::*;
use tokio::time::{Instant, advance, sleep};

use super::{Bulkhead, NoPlace, Place};
use crate::domain::Principal;

type Entering<'a> = Pin<Box<dyn Future<Output = Result<Place, NoPlace>> + 'a>>;

fn who(name: &str) -> Principal {
    Principal::new(name)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

fn poll(entering: &mut Entering<'_>) -> Poll<Result<Place, NoPlace>> {
    entering.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Begins to wait.
fn wait<'a>(bulkhead: &'a Bulkhead, principal: &'a Principal) -> Entering<'a> {
    let mut entering: Entering<'a> = Box::pin(bulkhead.enter(principal, soon()));
    assert!(poll(&mut entering).is_pending());
    entering
}

#[track_caller]
fn check(bulkhead: &Bulkhead, in_flight: usize, waiting: usize) {
    assert_eq!((bulkhead.in_flight(), bulkhead.waiting()), (in_flight, waiting));
    let queue = bulkhead.inner.queue();
    assert_eq!(queue.lines.values().map(|line| line.len()).sum::<usize>(), waiting);
    assert!(queue.lines.values().all(|line| !line.is_empty()));
    assert!(queue.turns.iter().all(|principal| queue.lines.contains_key(principal)));
    assert_eq!(queue.turns.len(), queue.lines.len());
}

#[tokio::test(start_paused = true)]
async fn places_are_given_at_once_and_then_in_turn() {
    let (bulkhead, ann) = (Bulkhead::new(2, 2), who("ann"));
    let first = bulkhead.enter(&ann, soon()).await.unwrap();
    let second = bulkhead.enter(&ann, soon()).await.unwrap();
    let mut third = wait(&bulkhead, &ann);
    let mut fourth = wait(&bulkhead, &ann);
    check(&bulkhead, 2, 2);
    assert_eq!(bulkhead.enter(&ann, soon()).await.unwrap_err(), NoPlace::Full);
    drop(first);
    assert!(poll(&mut fourth).is_pending(), "it came later");
    let Poll::Ready(Ok(third)) = poll(&mut third) else { panic!("it was next") };
    drop((second, third));
    assert!(matches!(poll(&mut fourth), Poll::Ready(Ok(_))));
    check(&bulkhead, 0, 0);
}

#[tokio::test(start_paused = true)]
async fn one_who_floods_the_server_waits_behind_nobody_but_himself() {
    let (bulkhead, flood, ann) = (Bulkhead::new(1, 64), who("flood"), who("ann"));
    let place = bulkhead.enter(&flood, soon()).await.unwrap();
    let mut floods: Vec<_> = (0..64).map(|_| wait(&bulkhead, &flood)).collect();
    // The queue is full, and still it has room for others: the last one of many gives way.
    let mut first = wait(&bulkhead, &ann);
    let mut second = wait(&bulkhead, &ann);
    check(&bulkhead, 1, 64);
    assert!(matches!(poll(&mut floods[63]), Poll::Ready(Err(NoPlace::Full))));
    assert!(matches!(poll(&mut floods[62]), Poll::Ready(Err(NoPlace::Full))));
    assert_eq!(bulkhead.enter(&flood, soon()).await.unwrap_err(), NoPlace::Full);

    // One turn of the flood, then one of hers, and so on.
    drop(place);
    let Poll::Ready(Ok(place)) = poll(&mut floods[0]) else { panic!("its turn") };
    drop(place);
    let Poll::Ready(Ok(place)) = poll(&mut first) else { panic!("her turn") };
    drop(place);
    let Poll::Ready(Ok(place)) = poll(&mut floods[1]) else { panic!("its turn again") };
    assert!(poll(&mut second).is_pending());
    drop(place);
    assert!(matches!(poll(&mut second), Poll::Ready(Ok(_))));
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_is_shared_evenly_and_then_refuses() {
    let (bulkhead, names) = (Bulkhead::new(1, 5), ["ann", "bob"].map(who));
    let _place = bulkhead.enter(&names[0], soon()).await.unwrap();
    let _anns: Vec<_> = (0..5).map(|_| wait(&bulkhead, &names[0])).collect();
    let _bobs: Vec<_> = (0..2).map(|_| wait(&bulkhead, &names[1])).collect();
    for name in &names {
        assert_eq!(bulkhead.enter(name, soon()).await.unwrap_err(), NoPlace::Full);
    }
    check(&bulkhead, 1, 5);
    let none = Bulkhead::new(0, 0);
    assert_eq!(none.enter(&names[0], soon()).await.unwrap_err(), NoPlace::Full);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_longer_than_until_the_deadline() {
    let (bulkhead, ann, bob) = (Bulkhead::new(1, 4), who("ann"), who("bob"));
    let place = bulkhead.enter(&ann, soon()).await.unwrap();
    let begun = Instant::now();
    assert_eq!(bulkhead.enter(&bob, soon()).await.unwrap_err(), NoPlace::Late);
    assert_eq!(begun.elapsed().as_secs(), 10);
    check(&bulkhead, 1, 0);
    let entering = bulkhead.enter(&bob, soon());
    let leaving = async {
        sleep(Duration::from_secs(9)).await;
        drop(place);
    };
    let (entered, ()) = tokio::join!(entering, leaving);
    assert!(entered.is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_leaves_the_line_leaves_nothing_behind() {
    let (bulkhead, ann, bob) = (Bulkhead::new(1, 4), who("ann"), who("bob"));
    let place = bulkhead.enter(&ann, soon()).await.unwrap();
    let leaver = wait(&bulkhead, &ann);
    let mut stayer = wait(&bulkhead, &bob);
    drop(leaver);
    check(&bulkhead, 1, 1);
    drop(place);
    let Poll::Ready(Ok(place)) = poll(&mut stayer) else { panic!("the only one") };

    // Dropped after the place was granted and before anybody looked.
    let granted = wait(&bulkhead, &ann);
    let mut next = wait(&bulkhead, &bob);
    drop(place);
    drop(granted);
    let Poll::Ready(Ok(place)) = poll(&mut next) else { panic!("it was passed on") };
    let granted = wait(&bulkhead, &ann);
    drop(place);
    check(&bulkhead, 1, 0);
    drop(granted);
    check(&bulkhead, 0, 0);
}

/// Who gives up at the moment when its place is on the way to it has not got it, and nobody is
/// counted twice.
#[test]
fn a_race_for_a_place_loses_none() {
    let (bulkhead, ann) = (&Bulkhead::new(2, 64), &who("ann"));
    let come_and_go = |seed: usize| {
        let mut inside = None;
        for n in 0..20_000 {
            let mut entering: Entering<'_> = Box::pin(bulkhead.enter(ann, soon()));
            let first = poll(&mut entering);
            if (n + seed).is_multiple_of(3) {
                inside.take();
            }
            match if first.is_pending() { poll(&mut entering) } else { first } {
                Poll::Ready(Ok(place)) => inside = Some(place),
                Poll::Ready(Err(_)) | Poll::Pending => {}
            }
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let handle = runtime.handle();
            scope.spawn(move || {
                let _timers = handle.enter();
                come_and_go(seed);
            });
        }
    });
    check(bulkhead, 0, 0);
}

#[derive(Clone, Debug)]
enum Step {
    Enter(usize),
    /// Somebody who waits gives up.
    Leave(prop::sample::Index),
    /// Somebody who is in is done.
    Done(prop::sample::Index),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..4_usize).prop_map(Step::Enter),
        1 => any::<prop::sample::Index>().prop_map(Step::Leave),
        3 => any::<prop::sample::Index>().prop_map(Step::Done),
        1 => (0..5_u64).prop_map(Step::Pass),
    ]
}

proptest! {
    #[test]
    fn no_place_is_lost_or_given_twice_and_none_is_free_while_somebody_waits(
        places in 1..4_usize, waiting_max in 0..6_usize,
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time().start_paused(true).build().unwrap();
        let names = ["a", "b", "c", "d"].map(who);
        let bulkhead = Bulkhead::new(places, waiting_max);
        let (mut lines, mut inside) = (Vec::<Entering<'_>>::new(), Vec::new());
        runtime.block_on(async {
            for step in steps {
                match step {
                    Step::Enter(n) => lines.push(Box::pin(bulkhead.enter(&names[n], soon()))),
                    Step::Leave(which) if !lines.is_empty() => {
                        drop(lines.swap_remove(which.index(lines.len())));
                    }
                    Step::Done(which) if !inside.is_empty() => {
                        drop(inside.swap_remove(which.index(inside.len())));
                    }
                    Step::Pass(seconds) => advance(Duration::from_secs(seconds)).await,
                    Step::Leave(_) | Step::Done(_) => {}
                }
                // Twice: one who comes may make one who was asked before give way.
                    for _ in 0..2 {
                        lines.retain_mut(|entering| match poll(entering) {
                            Poll::Pending => true,
                            Poll::Ready(result) => {
                                inside.extend(result.ok());
                                false
                            }
                        });
                    }
                    check(&bulkhead, inside.len(), lines.len());
                assert!(inside.len() <= places && lines.len() <= waiting_max);
                assert!(lines.is_empty() || inside.len() == places);
            }
        });
        drop((lines, inside));
        check(&bulkhead, 0, 0);
    }
}
