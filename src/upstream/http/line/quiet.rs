//! A waker for a connection that is driven by the call which holds it.
//!
//! The two halves of such a connection wake each other all the time while the call polls both.
//! Passed on, each of these wakes would schedule the call's task once more and rouse another
//! thread to steal it. Here a wake that comes during the poll only means that both are polled
//! again; one that comes later goes on to the task. None is lost.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// Polls in one go before the task is asked to come back, so that nothing can spin here.
const POLLS_MAX: usize = 8;

/// The waker of one connection, kept over all its calls.
#[derive(Debug)]
pub(super) struct Quiet {
    shared: Arc<Shared>,
    waker: Waker,
}

#[derive(Debug, Default)]
struct Shared {
    /// The task that drives the connection now; none while it is idle.
    task: Mutex<Option<Waker>>,
    polling: AtomicBool,
    again: AtomicBool,
}

impl Default for Quiet {
    fn default() -> Self {
        let shared = Arc::new(Shared::default());
        let waker = Waker::from(shared.clone());
        Self { shared, waker }
    }
}

impl Quiet {
    /// Polls until nothing inside has woken anything inside.
    pub(super) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.shared.belong_to(cx.waker());
        let mut inside = Context::from_waker(&self.waker);
        for _ in 0..POLLS_MAX {
            self.shared.again.store(false, Ordering::SeqCst);
            self.shared.polling.store(true, Ordering::SeqCst);
            let polled = poll(&mut inside);
            // INVARIANT: a wake sets `again` and then looks at `polling`; we change `polling` and
            // then look at `again`. So either we see the wake or it sees that we have ended.
            self.shared.polling.store(false, Ordering::SeqCst);
            if polled.is_ready() {
                self.shared.rest();
                return polled;
            }
            if !self.shared.again.load(Ordering::SeqCst) {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Shared {
    fn belong_to(&self, waker: &Waker) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if !task.as_ref().is_some_and(|task| task.will_wake(waker)) {
            *task = Some(waker.clone());
        }
    }

    /// Nobody waits for an idle connection; it is polled before it is used again.
    fn rest(&self) {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.again.store(true, Ordering::SeqCst);
        if self.polling.load(Ordering::SeqCst) {
            return;
        }
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::{Context, Poll, Wake, Waker},
    };

    use super::{POLLS_MAX, Quiet};

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_wake_from_inside_is_polled_again_and_not_passed_on() {
        let (counted, quiet) = (Arc::new(Counted::default()), Quiet::default());
        let waker = Waker::from(counted.clone());
        let mut n_polls = 0;
        let polled = quiet.poll(&mut Context::from_waker(&waker), |cx| {
            n_polls += 1;
            if n_polls < 3 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(())
        });
        assert!(polled.is_ready());
        assert_eq!((n_polls, counted.0.load(Ordering::SeqCst)), (3, 0));
    }

    #[test]
    fn a_wake_from_outside_reaches_the_task_and_an_idle_connection_wakes_nobody() {
        let (counted, quiet) = (Arc::new(Counted::default()), Quiet::default());
        let waker = Waker::from(counted.clone());
        let mut cx = Context::from_waker(&waker);
        let mut inner = None;
        let polled: Poll<()> = quiet.poll(&mut cx, |cx| {
            inner = Some(cx.waker().clone());
            Poll::Pending
        });
        assert!(polled.is_pending());
        let inner = inner.unwrap();
        inner.wake_by_ref();
        assert_eq!(counted.0.load(Ordering::SeqCst), 1);
        assert!(quiet.poll(&mut cx, |_| Poll::Ready(())).is_ready());
        inner.wake_by_ref();
        assert_eq!(counted.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn what_wakes_itself_for_ever_gives_the_thread_back() {
        let (counted, quiet) = (Arc::new(Counted::default()), Quiet::default());
        let waker = Waker::from(counted.clone());
        let mut n_polls = 0;
        let polled: Poll<()> = quiet.poll(&mut Context::from_waker(&waker), |cx| {
            n_polls += 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        assert!(polled.is_pending());
        assert_eq!((n_polls, counted.0.load(Ordering::SeqCst)), (POLLS_MAX, 1));
    }
}
