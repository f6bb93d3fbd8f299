//! What the service manager is told: that we are ready, how things are, and that we get on.
//!
//! The watchdog is fed by a thread of its own, and only while three others get on, without which
//! nothing can be called or mended: the road of a call, the audit's writer and the task that
//! reloads. A server that is slow or down holds up none of them. When one is stuck its name is
//! logged and the manager ends us: the stop, the record and the approvals are on disk.

use std::{
    fs::File,
    io,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tracing::{error, info, warn};

use crate::{
    audit::Audit,
    domain::limits::{SERVICE_STATUS_EVERY, WATCHDOG_BEATS, WATCHDOG_MISSES_MAX},
    front::Front,
    sys::{self, Inherited, Manager, spawn_vital},
};

/// The sign of life of one task.
#[derive(Clone, Debug)]
pub(super) struct Pulse {
    every: Duration,
    last: Arc<Mutex<Last>>,
}

#[derive(Debug)]
struct Last {
    beat: Instant,
    /// When the step that is being taken must have ended.
    due: Option<Instant>,
}

/// A step that ends within the time that the watchdog leaves, or is stuck.
#[derive(Debug)]
pub(super) struct Step<'a>(&'a Pulse);

impl Pulse {
    pub(super) fn new(manager: Manager) -> Self {
        let every = manager.watchdog().map_or(SERVICE_STATUS_EVERY, |usual| usual / WATCHDOG_BEATS);
        let last = Last { beat: Instant::now(), due: None };
        Self { every, last: Arc::new(Mutex::new(last)) }
    }

    /// Beats for as long as the task that does the work gets on, whatever the work waits for.
    pub(super) async fn carry<T>(&self, work: impl Future<Output = T>) -> T {
        let (mut work, mut ticks) = (pin!(work), tokio::time::interval(self.every));
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = ticks.tick() => self.beat(),
            }
        }
    }

    /// Unless a step has taken too long.
    fn beat(&self) {
        let (mut last, now) = (self.last(), Instant::now());
        if last.due.is_none_or(|due| now < due) {
            last.beat = now;
        }
    }

    pub(super) fn begin(&self) -> Step<'_> {
        self.last().due = Some(Instant::now() + self.patience());
        Step(self)
    }

    fn patience(&self) -> Duration {
        self.every * WATCHDOG_MISSES_MAX
    }

    fn gets_on(&self) -> bool {
        self.last().beat.elapsed() < self.patience()
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.0.last().due = None;
    }
}

/// Tells the line of the status when it has changed, and walks the road of a call on the way:
/// where every call passes, so does this.
pub(super) async fn report(front: Arc<Front>, manager: Manager, calls: Pulse) {
    let mut told = String::new();
    loop {
        let line = front.status_line();
        calls.beat();
        if line != told {
            manager.status(&line);
            told = line;
        }
        tokio::time::sleep(calls.every.min(SERVICE_STATUS_EVERY)).await;
    }
}

/// Feeds the watchdog for as long as everything gets on. Without a watchdog there is nothing to do.
pub(super) fn watch(
    manager: Manager,
    calls: Pulse,
    reloads: Pulse,
    audit: Audit,
) -> io::Result<()> {
    if let Some(within) = manager.watchdog() {
        info!(within_ms = within.as_millis(), "The watchdog is fed");
        spawn_vital("watchdog", move || feed(manager, &calls, &reloads, &audit))?;
    }
    Ok(())
}

fn feed(manager: Manager, calls: &Pulse, reloads: &Pulse, audit: &Audit) {
    let mut was_stuck = None;
    loop {
        let stuck = if !calls.gets_on() {
            Some("the road of a call")
        } else if audit.busy_for() >= calls.patience() {
            Some("the audit's writer")
        } else if !reloads.gets_on() {
            Some("the task that reloads")
        } else {
            None
        };
        match stuck {
            None => manager.alive(),
            Some(what) if was_stuck != stuck => {
                error!(what, "The gateway is stuck; the watchdog is not fed any more");
            }
            Some(_) => {}
        }
        was_stuck = stuck;
        thread::sleep(calls.every);
    }
}

/// What the newest checkpoint of the audit is called in the manager's hands.
const AUDIT_MARK: &str = "audit-mark";

/// Where the audit keeps a copy of its newest checkpoint, so that a log that was set back while we
/// were not there is found out: in memory that the manager holds, and no file can be put back over.
pub(super) fn audit_mark(inherited: &mut Inherited, manager: Manager) -> Option<File> {
    if !manager.is_there() {
        return None;
    }
    let mark = match inherited.file(AUDIT_MARK) {
        Some(left) => sys::open_again(&left),
        None => sys::memory_file(AUDIT_MARK).inspect(|file| manager.keep(AUDIT_MARK, file)),
    };
    mark.inspect_err(|error| warn!(%error, "The manager keeps no mark of the audit")).ok()
}
