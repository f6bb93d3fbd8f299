//! Looking after a replica that is silent.
//!
//! While calls run, and while it says anything, those show how it is. Otherwise it is asked for a
//! sign of life, and none counts as a call that failed: enough of them eject it, one does nothing.
//! A child that has failed its second chance and then gives no sign of life either is given up, so
//! that a new one is started; one that is merely slow or wrong answers, and stays. An address is
//! never given up: there is nothing to replace.

use std::sync::atomic::Ordering;

use tokio::time::{Instant, sleep};

use super::Replica;
use crate::{
    config::Target,
    domain::limits::HEALTH_AGAIN,
    fleet::health::breaker::{Entry, Pass, Sign},
    upstream::Session,
};

/// Why a replica is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Silence,
    SecondChanceFailed,
}

/// A probe as the breaker sees it.
#[derive(Debug)]
enum Entered {
    /// It counts like a call.
    AsCall(Pass),
    /// The call before it has counted.
    AfterOne,
}

const GIVEN_UP: &str = "it failed its second chance and gave no sign of life";

impl Replica {
    /// Runs beside the session. Returns why the replica is given up.
    pub(super) async fn look_after(&self, session: &Session) -> String {
        let interval = self.config.health.interval;
        let (mut pause, mut heard) = (interval, session.heard());
        loop {
            let cause = tokio::select! {
                () = self.condemned.notified(), if self.is_child() => Cause::SecondChanceFailed,
                () = sleep(pause) => Cause::Silence,
            };
            let epoch = session.resumed().await;
            let before = session.heard();
            let speaks = std::mem::replace(&mut heard, before) != before;
            pause = interval;
            if cause == Cause::Silence && (speaks || self.is_busy()) {
                continue;
            }
            let Some(entered) = self.enter_probe(cause) else { continue };
            let answer = session.probe(epoch, self.config.health.timeout).await;
            heard = session.heard();
            let sign = match Sign::of(&answer) {
                // Slow is not dead.
                Sign::Bad if heard != before => Sign::Nothing,
                Sign::Bad if cause == Cause::Silence && self.is_busy() => Sign::Nothing,
                sign @ (Sign::Good | Sign::Bad | Sign::Nothing) => sign,
            };
            match (entered, sign) {
                (Entered::AsCall(pass), sign) => self.leave(pass, sign, Instant::now()),
                (Entered::AfterOne, Sign::Bad) => return GIVEN_UP.to_owned(),
                (Entered::AfterOne, Sign::Good | Sign::Nothing) => {}
            }
            if sign == Sign::Bad {
                pause = interval.min(HEALTH_AGAIN);
            }
        }
    }

    /// Whether there is something to ask.
    fn enter_probe(&self, cause: Cause) -> Option<Entered> {
        // Before it is ready its start has a time limit of its own.
        let up = self.up.load_full()?;
        match cause {
            Cause::SecondChanceFailed => Some(Entered::AfterOne),
            // An ejected one has no calls for a while, and no questions.
            Cause::Silence => {
                let pass = self.breaker().enter(up.generation, Entry::Chosen, Instant::now());
                pass.map(Entered::AsCall)
            }
        }
    }

    fn is_child(&self) -> bool {
        matches!(self.target, Target::Stdio(_))
    }

    fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
    }
}
