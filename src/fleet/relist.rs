//! When a server's lists are asked for again.
//!
//! At once, then after every change that it tells of, but never twice within the pause: a server
//! that keeps saying so costs one listing a pause. Only the first listing must succeed; a later one
//! that fails is tried again by itself, ever more rarely, and costs nothing else. Knows neither
//! sessions nor lists.

use std::{pin::Pin, time::Duration};

use tokio::{sync::watch, time::sleep};

use super::backoff::Backoff;
use crate::domain::limits::RELIST_PAUSE;

/// One listing: done, or why not.
pub(super) type Listing<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// Runs until the first listing fails, and says why it did.
pub(super) async fn keep_listed<'a>(
    mut changes: watch::Receiver<u64>,
    mut list: impl FnMut() -> Listing<'a>,
    mut failed: impl FnMut(&str),
) -> String {
    let mut backoff = Backoff::default();
    let mut is_first = true;
    loop {
        changes.borrow_and_update();
        let retry = match list().await {
            Ok(()) => {
                backoff = Backoff::default();
                None
            }
            Err(why) if is_first => return why,
            Err(why) => {
                failed(&why);
                let chance = getrandom::u32().unwrap_or(u32::MAX);
                Some(backoff.after(Duration::ZERO, chance))
            }
        };
        is_first = false;
        tokio::select! {
            changed = changes.changed() => if changed.is_err() {
                // The session is over, which is noticed elsewhere.
                std::future::pending::<()>().await;
            },
            () = sleep(retry.unwrap_or_default()), if retry.is_some() => {}
        }
        sleep(RELIST_PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use tokio::{
        sync::watch,
        time::{sleep, timeout},
    };

    use super::keep_listed;
    use crate::domain::limits::{RELIST_PAUSE, RESTART_BACKOFF_MAX};

    /// Runs for `time` and counts the listings; the `nth` fails if `fails` says so.
    async fn listings(
        changes: watch::Receiver<u64>,
        fails: fn(usize) -> bool,
        time: Duration,
    ) -> (usize, Option<String>) {
        let count = Arc::new(AtomicUsize::new(0));
        let list = || {
            let nth = count.fetch_add(1, Ordering::SeqCst);
            let result = if fails(nth) { Err("as the test wants it".to_owned()) } else { Ok(()) };
            Box::pin(async move { result }) as super::Listing<'_>
        };
        let told = Cell::new(0);
        let kept = timeout(time, keep_listed(changes, list, |_| told.set(told.get() + 1)));
        let ended = kept.await.ok();
        (count.load(Ordering::SeqCst), ended)
    }

    #[tokio::test(start_paused = true)]
    async fn a_storm_of_changes_costs_one_listing_a_pause() {
        let (tell, changes) = watch::channel(0);
        let storm = async {
            loop {
                tell.send_modify(|n| *n += 1);
                sleep(Duration::from_millis(1)).await;
            }
        };
        let (n, ended) = tokio::select! {
            counted = listings(changes, |_| false, RELIST_PAUSE * 10) => counted,
            () = storm => unreachable!(),
        };
        assert!((9..=11).contains(&n) && ended.is_none(), "{n}");
    }

    #[tokio::test(start_paused = true)]
    async fn changes_in_the_pause_are_one_listing_after_it() {
        let (tell, changes) = watch::channel(0);
        let later = async {
            sleep(RELIST_PAUSE / 2).await;
            tell.send_modify(|n| *n += 1);
            sleep(RELIST_PAUSE / 2).await;
            tell.send_modify(|n| *n += 1);
            std::future::pending::<()>().await;
        };
        let (n, _) = tokio::select! {
            counted = listings(changes, |_| false, RELIST_PAUSE * 10) => counted,
            () = later => unreachable!(),
        };
        assert_eq!(n, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_first_listing_must_succeed_and_a_failed_one_is_tried_again() {
        let (_tell, changes) = watch::channel(0);
        let (n, ended) = listings(changes, |nth| nth == 0, Duration::from_secs(600)).await;
        assert_eq!((n, ended.as_deref()), (1, Some("as the test wants it")));

        let (tell, changes) = watch::channel(0);
        let once = async {
            sleep(Duration::from_secs(5)).await;
            tell.send_modify(|n| *n += 1);
            std::future::pending::<()>().await;
        };
        let (n, ended) = tokio::select! {
            counted = listings(changes, |nth| (1..4).contains(&nth), RESTART_BACKOFF_MAX * 10) => counted,
            () = once => unreachable!(),
        };
        assert_eq!((n, ended), (5, None), "three failures, then what was changed");
    }
}
