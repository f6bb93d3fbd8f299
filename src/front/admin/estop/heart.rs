//! The dead man's switch: somebody who watches says now and then that he still does.
//!
//! A beat is a `POST /admin/estop/heartbeat`, or another time of change on the file that the
//! operator names. Times are measured here, by our own clock: a file from the future proves
//! nothing. Knows nothing of what follows when none comes.

use std::{
    fs,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

#[derive(Debug)]
pub struct Heart {
    within: Duration,
    file: Option<PathBuf>,
    last: Mutex<Last>,
}

#[derive(Debug)]
struct Last {
    beat: Instant,
    /// When the file had changed last.
    changed: Option<SystemTime>,
    /// Since the last beat it was said that there is none.
    is_missed: bool,
}

impl Heart {
    /// The first is due as if one had come now.
    pub fn new(within: Duration, file: Option<PathBuf>) -> Self {
        let last = Last { beat: Instant::now(), changed: None, is_missed: false };
        let heart = Self { within, file, last: Mutex::new(last) };
        heart.last().changed = heart.changed();
        heart
    }

    pub(super) fn beat(&self) {
        self.last().beat();
    }

    /// Why everything is to be stopped: said once for each time that it falls silent.
    pub fn stops(&self) -> Option<String> {
        let why = self.misses()?;
        (!std::mem::replace(&mut self.last().is_missed, true)).then_some(why)
    }

    /// What is wrong while it is silent.
    pub fn misses(&self) -> Option<String> {
        let changed = self.changed();
        let mut last = self.last();
        if changed.is_some() && changed != last.changed {
            last.changed = changed;
            last.beat();
        }
        let silent = last.beat.elapsed() >= self.within;
        silent.then(|| format!("no heartbeat within {} s", self.within.as_secs_f64()))
    }

    fn changed(&self) -> Option<SystemTime> {
        fs::metadata(self.file.as_ref()?).ok()?.modified().ok()
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Last {
    fn beat(&mut self) {
        (self.beat, self.is_missed) = (Instant::now(), false);
    }
}
