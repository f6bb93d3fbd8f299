//! The steps of opening a session, for somebody who wants to see where it breaks.
//!
//! A task that is watched notes each step when it is taken; one that is not, and that is every task
//! of the gateway, notes nothing. So what is seen is what the gateway itself does.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

tokio::task_local! {
    static STEPS: Steps;
}

/// What has been reached, and when after the beginning.
#[derive(Clone, Debug)]
pub struct Steps {
    began: Instant,
    taken: Arc<Mutex<Vec<(&'static str, Duration)>>>,
}

impl Steps {
    /// Runs `work`, which notes its steps here.
    pub async fn watch<T>(work: impl Future<Output = T>) -> (T, Vec<(&'static str, Duration)>) {
        let steps = Self { began: Instant::now(), taken: Arc::default() };
        let done = STEPS.scope(steps.clone(), work).await;
        let taken = steps.taken.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (done, taken)
    }
}

/// Notes a step of whoever is watched.
pub(in crate::upstream) fn reached(step: &'static str) {
    let note = |steps: &Steps| {
        let taken = &mut *steps.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.push((step, steps.began.elapsed()));
    };
    // An error says that nobody watches.
    STEPS.try_with(note).ok();
}
