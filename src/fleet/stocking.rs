//! A shelf is stocked away from the threads that serve calls.
//!
//! Compiling a stranger's schemas takes up to seconds, so it runs on a blocking thread, few servers
//! at a time in the whole process. Such work cannot be called off: its place is given back when it
//! has ended, not when nobody waits for it any more, or a server that lists and hangs up could have
//! any number compiled at once. Does not know what a shelf is made of.

use tokio::{sync::Semaphore, task::spawn_blocking};
use tracing::error;

use super::catalog::{Headers, Lists, Shelf};
use crate::{config::Names, domain::limits::SCHEMA_COMPILERS_MAX, gate::Origin};

static PLACES: Semaphore = Semaphore::const_new(SCHEMA_COMPILERS_MAX);

/// The shelf, or why there is none: then it is a listing that failed.
pub(super) async fn stock(
    names: Names,
    origin: &Origin,
    lists: Lists,
    headers: Headers,
) -> Result<Shelf, String> {
    let of = origin.clone();
    let stocked = aside(&PLACES, move || Shelf::stock(names, &of, lists, headers)).await;
    stocked.ok_or_else(|| {
        error!(server.id = %origin.server(), "Lists could not be taken in");
        "its lists could not be taken in: a defect of the gateway".to_owned()
    })
}

/// What `work` returns, unless it panics.
async fn aside<T: Send + 'static>(
    places: &'static Semaphore,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let place = places.acquire().await.ok()?;
    let held = move || {
        let done = work();
        drop(place);
        done
    };
    spawn_blocking(held).await.ok()
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::sync_channel, time::Duration};

    use tokio::{
        sync::{Semaphore, oneshot},
        time::timeout,
    };

    use super::aside;

    const WAIT: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn work_that_nobody_waits_for_any_more_keeps_its_place() {
        static PLACES: Semaphore = Semaphore::const_new(1);
        let (release, released) = sync_channel::<()>(1);
        let (tell, begun) = oneshot::channel();
        let work = aside(&PLACES, move || {
            tell.send(()).unwrap();
            released.recv_timeout(WAIT).unwrap();
        });
        tokio::select! {
            _ = work => panic!("it was not released"),
            begun = begun => begun.unwrap(),
        }
        assert_eq!(PLACES.available_permits(), 0, "the session is gone, its work is not");
        release.send(()).unwrap();
        let place = timeout(WAIT, PLACES.acquire()).await.unwrap();
        drop(place.unwrap());
    }

    #[tokio::test]
    async fn a_long_work_holds_up_nobody_else() {
        static PLACES: Semaphore = Semaphore::const_new(2);
        let (release, released) = sync_channel::<()>(1);
        let long = aside(&PLACES, move || released.recv_timeout(WAIT).is_ok());
        let others = async {
            // There is only one thread here to serve them.
            let other = aside(&PLACES, || 7).await;
            release.send(()).unwrap();
            other
        };
        assert_eq!(tokio::join!(long, others), (Some(true), Some(7)));
    }

    #[tokio::test]
    async fn work_that_panics_is_told_and_gives_its_place_back() {
        static PLACES: Semaphore = Semaphore::const_new(1);
        let none: Option<()> = aside(&PLACES, || panic!("as the test wants it")).await;
        assert!(none.is_none());
        assert_eq!(PLACES.available_permits(), 1);
    }
}
