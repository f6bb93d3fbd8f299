//! Approvals: what a call that is held waits for, and how somebody gives it.
//!
//! Owns the book of approvals and its file, `approvals.json` in the state directory. Promises that
//! whatever changes the book is on disk before anybody acts on it, so that an approval survives a
//! restart and is never used twice; and that the stop ends what it concerns. A file that cannot
//! be read holds no approvals. Who may approve is for the door to know; here only that it is not
//! who asked.

mod book;
mod bound;
mod request;
mod seek;
#[cfg(test)]
mod tests;

use std::{
    fs, io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, task::spawn_blocking, time::timeout};
use tracing::{error, info, warn};

use super::{Epoch, Latch, Pin, Rules};
use crate::{
    audit::{ApprovalRecord, Audit, Record},
    domain::{
        ApprovalId, Call, Grounds,
        limits::{APPROVALS_FILE_BYTES_MAX, APPROVALS_PAUSE, APPROVALS_SWEEP},
    },
    sys,
    telemetry::meters,
};

use self::book::Book;
pub(super) use self::book::Found;
pub use self::bound::digest_over;
pub use self::request::{About, Remembered, Request, State};

/// What somebody says of a call that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow,
    /// And what goes to the same places, for as long as the operator lets it.
    Remember,
    Refuse,
}

/// Why an approval is over that nobody has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Expired,
    Stopped,
}

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum DecisionError {
    #[error("no call waits under that id; it may have expired: see `portcullis approvals list`")]
    Unknown,
    #[error("somebody has decided on it already")]
    Decided,
    #[error("who asked for the call cannot approve of it; somebody else has to")]
    Own,
    #[error("nothing is remembered: [approvals] remember_sec in policies/risk.toml is 0")]
    NotRemembered,
    #[error("its arguments do not say where it goes, so it cannot be remembered; allow it once")]
    Placeless,
    #[error("too much is remembered already; forget something first")]
    Full,
    #[error("the decision could not be put on record, so it does not count")]
    Audit,
    #[error("the decision could not be kept, so it does not count: {0}")]
    Disk(#[from] io::Error),
}

/// The handle on all approvals.
#[derive(Clone, Debug)]
pub struct Approvals(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    latch: Latch,
    audit: Audit,
    path: Box<Path>,
    book: Mutex<Book>,
    /// Counts the changes.
    changed: watch::Sender<u64>,
}

impl Approvals {
    /// Goes on with what is in the file, but for what is stopped. Blocks.
    pub fn open(path: &Path, latch: Latch, audit: Audit) -> Self {
        let mut book = read(path).unwrap_or_else(|error| {
            error!(%error, path = %path.display(), "Approvals cannot be read; there are none");
            Book::default()
        });
        for one in &mut book.requests {
            one.epoch = one.about.marks().and_then(|of| latch.epoch(of).ok());
        }
        let (book, changed) = (Mutex::new(book), watch::Sender::new(0));
        Self(Arc::new(Shared { latch, audit, path: path.into(), book, changed }))
    }

    /// What there is for a call that is held; if there is nothing, somebody is asked.
    pub(super) async fn present(
        &self,
        (call, pin): (&Call, Option<&Pin>),
        rules: &Rules,
        (epoch, grounds): (Epoch, &Grounds),
    ) -> io::Result<Found> {
        let config = &rules.risk.config;
        let asked = Request::new((call, pin), rules, (epoch, grounds));
        let Some(asked) = asked else { return Ok(Found::Full) };
        let (id, until, before) = (asked.id, config.approval_ttl, call.under.as_deref().copied());
        let found = self.change(move |book, now_ms, holds| {
            Ok::<_, io::Error>(book.present((asked, before), now_ms, holds))
        });
        let found = found.await?;
        if found == Found::Waits(id) {
            let seconds = until.as_secs();
            info!(call.id = %call.id, approval = %id, seconds, "A call waits for an approval");
        }
        Ok(found)
    }

    /// What `who` says of it: on record and on disk, or not at all.
    pub async fn decide(
        &self,
        id: ApprovalId,
        who: &str,
        decision: Decision,
    ) -> Result<Request, DecisionError> {
        let by = who.to_owned();
        let peeked =
            self.lock().clone().decide((id, who), decision, sys::unix_millis(), &|epoch| {
                self.0.latch.holds(epoch)
            })?;
        let remembered = decision == Decision::Remember;
        let record = match decision {
            Decision::Allow | Decision::Remember => ApprovalRecord::Allowed { id, who, remembered },
            Decision::Refuse => ApprovalRecord::Refused { id, who },
        };
        self.0.audit.append(Record::Approval(record)).await.map_err(|_| DecisionError::Audit)?;
        let decided = self
            .change(move |book, now_ms, holds| book.decide((id, &by), decision, now_ms, holds))
            .await?;
        let waited_ms = sys::unix_millis().saturating_sub(decided.asked_ms);
        meters().approval_wait.record(Duration::from_millis(waited_ms));
        info!(approval = %id, who, tool = peeked.about.tool, ?decision, "Somebody has decided");
        Ok(decided)
    }

    /// The one who asked does not want it any more.
    pub async fn withdraw(&self, id: ApprovalId) {
        let gone = self.change(move |book, _, _| Ok::<_, io::Error>(book.withdraw(id))).await;
        match gone {
            Ok(Some(_)) => self.told(id, "withdrawn").await,
            Ok(None) => {}
            Err(error) => warn!(%error, "An approval could not be taken back; it will expire"),
        }
    }

    /// What is remembered under this id is asked about again.
    pub async fn forget(&self, id: ApprovalId, who: &str) -> Result<Remembered, DecisionError> {
        let gone = self.change(move |book, _, _| book.forget(id).ok_or(DecisionError::Unknown));
        let gone = gone.await?;
        info!(approval = %id, who, "An approval is not remembered any more");
        self.told(id, "forgotten").await;
        Ok(gone)
    }

    /// Everything that waits or is in use, and what is remembered.
    pub fn list(&self) -> (Vec<Request>, Vec<Remembered>) {
        let book = self.lock();
        (book.requests.clone(), book.remembered.clone())
    }

    /// Returns when nobody is asked about it any more, or after `patience`.
    pub async fn settled(&self, id: ApprovalId, patience: Duration) {
        let mut changed = self.0.changed.subscribe();
        let waits = || {
            let waiting = |one: &Request| one.id == id && one.state == State::Waiting;
            self.lock().requests.iter().any(waiting)
        };
        let settled = async { while waits() && changed.changed().await.is_ok() {} };
        timeout(patience, settled).await.unwrap_or_default();
    }

    /// Ends for ever what has expired or was stopped.
    pub async fn tend(self) {
        let (mut stops, mut changed) = (self.0.latch.changed(), self.0.changed.subscribe());
        loop {
            let end_ms = self.lock().next_end_ms();
            tokio::select! {
                () = tokio::time::sleep(pause(sys::unix_millis(), end_ms)) => {}
                _ = stops.changed() => {}
                _ = changed.changed() => continue,
            }
            self.sweep().await;
        }
    }

    async fn sweep(&self) {
        let swept =
            self.change(|book, now_ms, holds| Ok::<_, io::Error>(book.sweep(now_ms, holds)));
        match swept.await {
            Ok(over) => {
                for (one, why) in over {
                    self.told(one.id, why.as_str()).await;
                }
            }
            Err(error) => warn!(%error, "Approvals that are over could not be taken from the file"),
        }
    }

    async fn told(&self, id: ApprovalId, why: &str) {
        if let Err(error) =
            self.0.audit.append(Record::Approval(ApprovalRecord::Ended { id, why })).await
        {
            error!(%error, approval = %id, "The end of an approval could not be put on record");
        }
    }

    /// The only way in which the book changes: on disk first.
    async fn change<T: Send + 'static, E: From<io::Error> + Send + 'static>(
        &self,
        change: impl FnOnce(&mut Book, u64, &dyn Fn(Epoch) -> bool) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let shared = self.0.clone();
        let changed = spawn_blocking(move || {
            let mut book = shared.book.lock().unwrap_or_else(PoisonError::into_inner);
            let mut next = book.clone();
            let told = change(&mut next, sys::unix_millis(), &|epoch| shared.latch.holds(epoch))?;
            if next != *book {
                write(&shared.path, &next)?;
                *book = next;
                drop(book);
                shared.changed.send_modify(|n| *n = n.wrapping_add(1));
            }
            Ok(told)
        });
        changed.await.unwrap_or_else(|_| Err(io::Error::other("a defect of the gateway").into()))
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ended {
    fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Stopped => "stopped",
        }
    }
}

fn read(path: &Path) -> io::Result<Book> {
    match fs::metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Book::default()),
        Err(e) => return Err(e),
        Ok(file) if file.len() > APPROVALS_FILE_BYTES_MAX => {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(_) => {}
    }
    serde_json::from_slice(&fs::read(path)?).map_err(io::Error::other)
}

fn write(path: &Path, book: &Book) -> io::Result<()> {
    sys::replace_file(path, serde_json::to_string_pretty(book)?.as_bytes())
}

/// Until the next look for what has expired. What cannot be taken from the file is not tried again
/// at once.
fn pause(now_ms: u64, end_ms: Option<u64>) -> Duration {
    let left = end_ms.map(|end| Duration::from_millis(end.saturating_sub(now_ms)));
    left.unwrap_or(APPROVALS_SWEEP).clamp(APPROVALS_PAUSE, APPROVALS_SWEEP)
}
