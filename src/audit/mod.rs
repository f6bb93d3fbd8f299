//! The audit: what was asked, decided and came of it, as one hash-chained and signed log.
//!
//! Promises: a `Receipt` exists only after its record is in the file at the durability asked
//! for; a full queue or a failed log refuses at once; opening keeps what is valid, sets aside
//! what is not and says so on record; what is signed cannot be changed unnoticed
//! (docs/AUDIT-FORMAT.md). Never goes through the tracing pipeline, so no log filter can switch it
//! off. Knows nothing of gates or servers. Fails closed.

mod expiry;
mod log;
mod notary;
mod pen;
mod queue;
mod read;
mod record;
mod refusals;
mod shared;
#[cfg(test)]
mod tests;
mod tlog;
mod vault;
mod witness;
mod writer;

use std::{
    fmt,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::oneshot::{self, error::TryRecvError};

pub use read::{
    Counted, Form, Kept, ProofError, Records, Verified, VerifyError, Wanted, check_proof,
    commitments, count_payloads, prove, records_of, verify,
};
pub use record::{ApprovalRecord, KeyRecord, LatchStep, Own, PinRecord, Record};
pub use refusals::{Refusals, Repeat, TurnedAway};
pub use witness::{Heard, Witness, WitnessProblem, Witnessed};

pub use crate::config::{Durability, Payloads};

use crate::{
    config::{AuditConfig, Config},
    domain::limits,
};
use log::{Disk, Marks};
use notary::{Duties, Notary};
use pen::{Pen, Segment};
use queue::By;
use shared::Shared;
pub use shared::{Heads, Signed};
use tlog::Cosigner;
use writer::Writer;

/// How a log is written.
#[derive(Clone, Debug)]
pub struct Settings {
    pub durability: Durability,
    /// Copies of the checkpoint outside the log's directory.
    pub marks: Vec<PathBuf>,
    /// And one that outlives us without a name.
    held: Option<Arc<File>>,
    /// How long records are kept at least.
    pub retention: Duration,
    /// What the vault keeps.
    pub payloads: Payloads,
    /// The key of who cosigns our checkpoints.
    pub witness: Option<String>,
    pace: Pace,
    disk: Disk,
}

impl Settings {
    /// What `servers.toml` says, with a mark outside the log's directory.
    pub fn of(config: &Config) -> Self {
        let AuditConfig { durability, retention, payloads, witness_file, witness, mark } =
            &config.audit;
        let marks = [mark.clone()].into_iter().chain(witness_file.clone()).collect();
        let (retention, payloads) = (*retention, *payloads);
        let witness = witness.as_ref().map(|witness| witness.key.clone());
        Self { marks, retention, payloads, witness, ..(*durability).into() }
    }
}

impl Settings {
    /// A further copy of the checkpoint is in this file, which somebody keeps for the next of us.
    #[must_use]
    pub fn hold(self, mark: Option<File>) -> Self {
        Self { held: mark.map(Arc::new), ..self }
    }
}

/// How often what is done.
#[derive(Clone, Copy, Debug)]
struct Pace {
    heartbeat: Duration,
    epoch_age: Duration,
    epoch_records: u64,
    segment_bytes: u64,
    segment_age: Duration,
}

impl From<Durability> for Settings {
    fn from(durability: Durability) -> Self {
        Self {
            durability,
            marks: Vec::new(),
            held: None,
            retention: Duration::MAX,
            payloads: Payloads::default(),
            witness: None,
            pace: Pace::default(),
            disk: Disk::default(),
        }
    }
}

/// Proof that a record is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    pub seq: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    #[error("cannot open the audit log `{}`", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("the audit log `{}` is in use by another process; stop it first", path.display())]
    Locked { path: PathBuf },
    #[error("audit.witness.key is not the key of a witness: `{key}`")]
    WitnessKey { key: String },
    #[error("the audit queue is full ({} records)", limits::AUDIT_QUEUE_MAX)]
    Full,
    #[error("the audit log has failed; see the service log, then restart")]
    Failed,
    #[error("the audit log did not take the record within {} s", limits::AUDIT_WRITE_TIMEOUT.as_secs())]
    Stalled,
    #[error("the audit log is closed")]
    Closed,
}

/// The public key of the log's first epoch, as it is given to `verify`; begins the log if there
/// is none.
pub fn init(dir: &Path, settings: Settings) -> Result<String, AuditError> {
    let failed = |source| AuditError::Open { path: dir.to_owned(), source };
    if log::find(dir).map_err(failed)?.is_none() {
        Audit::open(dir, settings)?.1.finish();
    }
    let place = log::find(dir).map_err(failed)?;
    let text = place.map_or(Ok(None), |place| log::read_small(&place.pubkey())).map_err(failed)?;
    Ok(text.unwrap_or_default().trim_end().to_owned())
}

/// The public key by which a witness is to know the log, which must be there.
pub fn sender_key(dir: &Path) -> Result<String, AuditError> {
    let failed = |source| AuditError::Open { path: dir.to_owned(), source };
    let place = log::find(dir).map_err(failed)?.ok_or(io::ErrorKind::NotFound.into());
    let place = place.map_err(failed)?;
    let sender =
        place.origin().and_then(|origin| witness::sender(&place, &Disk::default(), &origin));
    Ok(sender.map_err(failed)?.vkey().to_string())
}

/// A handle on the log. Cheap to clone.
#[derive(Clone)]
pub struct Audit {
    shared: Arc<Shared>,
}

/// A record on its way to the log. Whoever drops it has only stopped waiting.
#[derive(Debug)]
#[must_use = "only a receipt says that the record is in the log"]
pub struct Pending {
    written: oneshot::Receiver<u64>,
    /// It takes as long as to write it: nothing else is in the way, and no disk is waited for.
    is_near: bool,
}

/// The log's threads. Finish them last, after everybody who reports; dropping does the same.
#[derive(Debug)]
pub struct AuditThread {
    audit: Audit,
    writer: Option<JoinHandle<()>>,
    notary: Option<JoinHandle<()>>,
    vault: Option<JoinHandle<()>>,
    /// Until somebody carries its messages.
    witness: Option<Witness>,
    /// Nobody else writes here meanwhile.
    _lock: File,
}

impl Audit {
    /// Opens or creates the log in `dir` and starts its writer. Blocks: reads the end of the log.
    pub fn open(
        dir: &Path,
        settings: impl Into<Settings>,
    ) -> Result<(Self, AuditThread), AuditError> {
        let Settings { durability, marks, held, retention, payloads, witness, pace, disk } =
            settings.into();
        let marks = Marks::new(marks, held);
        let failed = |source| AuditError::Open { path: dir.to_owned(), source };
        let cosigner =
            witness.map(|key| Cosigner::parse(&key).ok_or(AuditError::WitnessKey { key }));
        let cosigner = cosigner.transpose()?;
        let (mut opened, lock) = log::open(dir, &disk, &marks)?;
        let shared = Arc::new(Shared::new(durability, opened.chain.seq));
        let audit = Self { shared: shared.clone() };
        audit.tell_what_was_found(&opened)?;
        let (place, number, chain) = (opened.place.clone(), opened.lines.segment(), opened.chain);
        let path = place.segment(number);
        let file = disk.reopen(&path).map_err(failed)?;
        let bytes = fs::metadata(&path).map_err(failed)?.len();
        let since = Instant::now();
        let segment =
            Segment { place: place.clone(), disk: disk.clone(), pace, file, number, bytes, since };
        let in_flight = std::mem::take(&mut opened.orphans);
        let origin = opened.keys.signer().vkey().name().to_owned();
        let witness =
            cosigner.map(|key| Witness::open((&place, &disk), &origin, key, shared.clone()));
        let witness = witness.transpose().map_err(failed)?;
        let duties = Duties { marks, pace, retention };
        let notary = Notary::new(shared.clone(), disk, duties, opened).map_err(failed)?;
        let (vault, kept) = vault::start(place, payloads).map_err(failed)?;
        let pen = Pen::new(segment, (chain, in_flight), vault);
        let writer = Writer::start(shared, pen).map_err(failed)?;
        let (writer, vault) = (Some(writer), Some(kept));
        let mut thread =
            AuditThread { audit: audit.clone(), writer, notary: None, vault, witness, _lock: lock };
        thread.notary = Some(notary.start().map_err(failed)?);
        Ok((audit, thread))
    }

    /// Puts a record in the log and returns when it is there. An error means that nobody may
    /// rely on it being there; after a `Stalled` it may still appear.
    pub async fn append(&self, record: Record<'_>) -> Result<Receipt, AuditError> {
        self.begin(record)?.written().await
    }

    /// Hands a record to the writer, for whoever has something to do until it is in the log.
    pub fn begin(&self, record: Record<'_>) -> Result<Pending, AuditError> {
        self.shared.begin(&record, limits::AUDIT_QUEUE_MAX, By::Thread)
    }

    /// The same for the intent of a call, which is written here and now if nobody else writes and
    /// the disk is known to be quick. A disk that hangs may hold this thread: ADR 0050.
    pub fn begin_call(&self, record: Record<'_>) -> Result<Pending, AuditError> {
        self.shared.begin(&record, limits::AUDIT_QUEUE_MAX, By::Caller)
    }

    /// Puts a record in the log without waiting. It may use twice the queue's bound, because it
    /// tells of what has happened already. A loss is an error event and changes nothing else.
    pub fn append_later(&self, record: Record<'_>) {
        if let Err(error) = self.shared.later(&record, limits::AUDIT_QUEUE_MAX.saturating_mul(2)) {
            tracing::error!(kind = record.kind(), %error, "Audit record was lost");
        }
    }

    /// For whoever turns requests away.
    pub fn refusals(&self) -> Refusals {
        Refusals(self.shared.clone())
    }

    /// How it stands with the witness, if there is one.
    pub fn witness(&self) -> Option<Witnessed> {
        self.shared.witness()
    }

    /// Puts on record what was only counted so far.
    pub fn settle(&self) {
        self.shared.refused.settle(&self.shared);
    }

    /// Whether the log takes records. Once false, it stays false until a restart.
    pub fn is_healthy(&self) -> bool {
        self.shared.queue.is_open()
    }

    /// How long the writer has been at what it does now. It grows while the disk does not answer.
    pub fn busy_for(&self) -> Duration {
        self.shared.queue.busy_for()
    }

    /// How far the log is.
    pub fn heads(&self) -> Heads {
        self.shared.heads()
    }

    /// Sets what is done, once, when the log fails; at once if it has failed already. Runs on
    /// the thread that found out.
    pub fn on_failure(&self, hook: impl FnOnce() + Send + 'static) {
        self.shared.set_hook(Box::new(hook));
    }

    /// Before the writer runs there is no bound to keep: a crash leaves at most what was in flight.
    fn tell_what_was_found(&self, opened: &log::Opened) -> Result<(), AuditError> {
        if let Some((log, why)) = &opened.instead_of {
            tracing::error!(log, why, "Audit log cannot be gone on with; another is begun");
        }
        for torn in &opened.torn {
            let (what, kept_in) = (torn.what, &torn.kept_in);
            tracing::warn!(what, kept_in, bytes = torn.bytes, "Audit log was cut back");
            let (bytes, sha256) = (torn.bytes, &torn.sha256);
            let recovered = Record::Own(Own::Recovered {
                dropped_bytes: bytes,
                dropped_sha256: sha256,
                kept_in,
                what,
            });
            self.shared.later(&recovered, usize::MAX)?;
        }
        opened.orphans.iter().try_for_each(|call| {
            self.shared.later(&Record::Own(Own::Orphaned { call: *call }), usize::MAX)
        })
    }
}

impl Pending {
    /// Returns when the record is in the log; errors mean what they mean for `Audit::append`.
    pub async fn written(mut self) -> Result<Receipt, AuditError> {
        if self.is_near
            && let Some(told) = self.stay_awake().await
        {
            return told;
        }
        match tokio::time::timeout(limits::AUDIT_WRITE_TIMEOUT, self.written).await {
            Ok(Ok(seq)) => Ok(Receipt { seq }),
            Ok(Err(_)) => Err(AuditError::Failed),
            Err(_) => Err(AuditError::Stalled),
        }
    }

    /// Waking a thread that sleeps takes longer than the writer: looks again for as long as that
    /// would take, and lets others run in between.
    async fn stay_awake(&mut self) -> Option<Result<Receipt, AuditError>> {
        let since = Instant::now();
        while since.elapsed() < limits::AUDIT_AWAKE {
            match self.written.try_recv() {
                Ok(seq) => return Some(Ok(Receipt { seq })),
                Err(TryRecvError::Closed) => return Some(Err(AuditError::Failed)),
                Err(TryRecvError::Empty) => tokio::task::yield_now().await,
            }
        }
        None
    }
}

impl AuditThread {
    /// For whoever carries messages to the witness, if there is one; once.
    pub fn take_witness(&mut self) -> Option<Witness> {
        self.witness.take()
    }

    /// Writes what waits, syncs, closes the log. Blocks. Later reports are refused.
    pub fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.audit.settle();
        self.audit.shared.queue.close();
        // The others end after the writer: the notary signs what it wrote, the vault keeps what it
        // committed to.
        let threads = [self.writer.take(), self.notary.take(), self.vault.take()];
        for thread in threads.into_iter().flatten() {
            if thread.join().is_err() {
                tracing::error!("Audit thread panicked");
            }
        }
    }
}

impl Drop for AuditThread {
    fn drop(&mut self) {
        self.end();
    }
}

impl fmt::Debug for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audit").field("healthy", &self.is_healthy()).finish()
    }
}
