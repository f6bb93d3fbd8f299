//! Pins: a definition that was not approved is neither listed nor callable.
//!
//! `Pins` is the one owner of `pins.lock` and of what is held back; the fleet's keeper holds it and
//! asks it about every edition before that is published. Fails closed: a lock that cannot be read,
//! or a first use that cannot be kept, holds back what depends on it. What decides is pure: the
//! comparison (`judge`), the digest (`canonical`) and the scan. Knows no sessions.

mod canonical;
mod diff;
mod judge;
mod lock;
mod report;
mod scan;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use tracing::{error, info, warn};

use canonical::Content;
pub use canonical::{Origin, Pin, Stamp};
pub use diff::shown;
pub use judge::{Offered, Why};
use judge::{Rule, hold_first, sift};
pub use lock::locate;
use lock::{Lock, Others, Sections};
pub use report::{Approved, Report};
pub use scan::{Class, Finding, Findings};

use crate::{
    audit::{Audit, PinRecord, Record},
    config::{PinMode, ServerConfig},
    domain::ServerName,
    wire::List,
};

/// Why pins cannot be read, kept or approved.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    #[error("{path} cannot be read: {source}")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{path}:{line}: {why}")]
    Line { path: PathBuf, line: usize, why: String },
    #[error("{path} is larger than it may be; remove servers that are no longer used")]
    TooLarge { path: PathBuf },
    #[error("{path} cannot be written: {source}")]
    Unwritable { path: PathBuf, source: io::Error },
    #[error("{path} is gone; put it back, or restart the gateway to begin anew")]
    Gone { path: PathBuf },
    #[error("nothing of that name is held back")]
    Nothing,
    #[error("what is held back is not what was shown; look at `portcullis pins diff` again")]
    NotSeen,
    #[error("the approval could not be put on record")]
    Audit,
    #[error("the gateway is ending")]
    Ending,
    #[error("a defect of the gateway")]
    Defect,
}

/// By what the servers of one generation are judged.
#[derive(Clone, Debug, Default)]
pub struct PinRules(HashMap<ServerName, Rule>);

/// What one server offers.
#[derive(Clone, Debug)]
pub struct Listed<'a> {
    pub server: &'a ServerName,
    /// The lists that it gave.
    pub lists: Vec<List>,
    pub definitions: Vec<Offered<'a>>,
}

/// One definition that is held back.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    pub list: List,
    pub name: String,
    pub why: Why,
    pub pin: Pin,
    pub findings: Vec<Finding>,
    /// As it is offered.
    pub definition: String,
}

/// What of the quarantine an operator means, as it was seen.
#[derive(Clone, Debug)]
pub struct Selection {
    /// All servers without one.
    pub server: Option<String>,
    /// All definitions without one; else those that the server calls so.
    pub name: Option<String>,
    /// The digest of their pins.
    pub seen: [u8; 32],
}

/// What is held back, as of one edition.
#[derive(Debug, Default)]
pub struct Quarantine {
    /// In the order of list and name.
    held: BTreeMap<ServerName, Vec<Held>>,
    /// Servers of which nothing may be used that is not approved.
    locked: HashSet<ServerName>,
    path: PathBuf,
    /// Why nothing is known to be approved.
    problem: Option<String>,
}

/// What the lock held when it was read last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    Nothing,
    Something,
}

/// The tools whose definition is odd, by the names that their servers gave them: of those servers
/// where that counts as risk.
pub type OddTools = BTreeMap<ServerName, BTreeSet<String>>;

/// The owner of `pins.lock`.
#[derive(Debug)]
pub struct Pins {
    path: Arc<Path>,
    audit: Audit,
    index: Result<Sections<Content>, PinError>,
    /// Of what was judged last.
    rules: Arc<PinRules>,
    quarantine: Arc<Quarantine>,
    odd: OddTools,
}

impl PinRules {
    pub fn compile(servers: &[ServerConfig]) -> Self {
        let rule = |server: &ServerConfig| {
            let (origin, pinning) = (Origin::of(server), server.pinning);
            (server.name.clone(), Rule { origin, pinning })
        };
        Self(servers.iter().map(rule).collect())
    }

    fn locked(&self) -> impl Iterator<Item = &ServerName> {
        let is_locked = |rule: &Rule| rule.pinning.mode == PinMode::Locked;
        self.0.iter().filter(move |(_, rule)| is_locked(rule)).map(|(server, _)| server)
    }
}

impl Selection {
    fn has(&self, server: &ServerName, name: &str) -> bool {
        self.server.as_ref().is_none_or(|wanted| wanted == server.as_str())
            && self.name.as_ref().is_none_or(|wanted| wanted == name)
    }
}

impl Quarantine {
    fn selected<'a>(
        &'a self,
        selection: &'a Selection,
    ) -> impl Iterator<Item = (&'a ServerName, &'a Held)> {
        let all = self.held.iter().flat_map(|(server, held)| held.iter().map(move |h| (server, h)));
        all.filter(|(server, held)| selection.has(server, &held.name))
    }

    pub fn holds(&self, server: &ServerName, list: List, name: &str) -> bool {
        let held = self.held.get(server).map(Vec::as_slice).unwrap_or_default();
        held.binary_search_by(|held| (held.list, held.name.as_str()).cmp(&(list, name))).is_ok()
    }

    pub fn holds_any(&self, server: &ServerName) -> bool {
        self.held.contains_key(server)
    }

    /// Whether nothing may be asked of the server that it does not list.
    pub fn is_locked(&self, server: &ServerName) -> bool {
        self.locked.contains(server)
    }

    /// For the operator, if something of the server is held back.
    pub fn sentence(&self, server: &ServerName) -> Option<String> {
        self.held.get(server).map(|held| sentence(server, held))
    }
}

fn sentence(server: &ServerName, held: &[Held]) -> String {
    const NAMED_MAX: usize = 3;
    let one = |held: &Held| {
        let (name, why) = (shown(&held.name), held.why.as_str().replace('_', " "));
        format!("{} `{name}` ({why})", held.list.entry())
    };
    let named: Vec<_> = held.iter().take(NAMED_MAX).map(one).collect();
    let more = match held.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let named = named.join(", ");
    format!("held back until it is approved: {named}{more}; see `portcullis pins diff {server}`")
}

impl Pins {
    /// An unreadable lock is no error here: it holds back what it would have to approve. Blocks.
    pub fn open(path: PathBuf, audit: Audit) -> Self {
        let (path, index) = (Arc::<Path>::from(path), Ok(Sections::default()));
        let (rules, quarantine) = (Arc::default(), Arc::default());
        let mut pins = Self { path, audit, index, rules, quarantine, odd: OddTools::new() };
        pins.learn(read(&pins.path, Before::Nothing).map(|lock| lock.index()));
        pins
    }

    /// Somebody may have mended the file, or changed it.
    pub async fn read_again(&mut self) {
        let (path, before) = (self.path.clone(), self.before());
        let index = aside(move || Ok(read(&path, before)?.index())).await;
        self.learn(index);
    }

    fn learn(&mut self, index: Result<Sections<Content>, PinError>) {
        if let Err(error) = &index {
            error!(%error, "Pins cannot be read; nothing that they would approve is offered");
        }
        self.index = index;
    }

    pub fn quarantine(&self) -> &Arc<Quarantine> {
        &self.quarantine
    }

    pub fn odd(&self) -> &OddTools {
        &self.odd
    }

    /// Holds back what is not approved, and takes as approved what is used for the first time, on
    /// record and on disk before anybody can use it.
    pub async fn judge(&mut self, rules: &Arc<PinRules>, offers: &[Listed<'_>]) {
        self.rules = rules.clone();
        let mut sifted = sift(self.index.as_ref().ok(), rules, offers);
        let mut problem = self.index.as_ref().err().map(ToString::to_string);
        if !sifted.first.is_empty()
            && let Err(error) = self.keep_first(&sifted.first).await
        {
            error!(%error, "Pins cannot be kept; what is used for the first time is held back");
            problem = Some(error.to_string());
            hold_first(&mut sifted, offers);
        }
        let mut held = sifted.held;
        for held in held.values_mut() {
            held.sort_by(|a, b| (a.list, &a.name).cmp(&(b.list, &b.name)));
        }
        let locked = rules.locked().cloned().collect();
        let next = Quarantine { held, locked, path: self.path.to_path_buf(), problem };
        self.tell(&next).await;
        (self.quarantine, self.odd) = (Arc::new(next), sifted.odd);
    }

    /// Approves what is held back: all that was selected, on record, or nothing. What is offered
    /// changes with the next edition.
    pub async fn approve(&mut self, who: &str, selection: &Selection) -> Result<usize, PinError> {
        let quarantine = self.quarantine.clone();
        let selected: Vec<_> = quarantine.selected(selection).collect();
        let pins: Vec<_> = selected.iter().map(|(_, held)| held.pin).collect();
        match pins.as_slice() {
            [] => return Err(PinError::Nothing),
            pins if digest(pins) != selection.seen => return Err(PinError::NotSeen),
            _ => {}
        }
        let (mut additions, mut records) = (Sections::<String>::new(), Vec::new());
        for (server, held) in selected {
            let Some(rule) = self.rules.0.get(server) else { continue };
            let section = additions.entry(server.clone()).or_insert_with(|| rule.section());
            section.take(held.list, &held.name, &held.definition);
            let (list, name) = (held.list.entry(), held.name.as_str());
            let record = PinRecord::Approved { who, server, list, name, pin: &held.pin.0 };
            records.push(self.audit.begin(Record::Pins(record)).map_err(|_| PinError::Audit)?);
        }
        for record in records {
            record.written().await.map_err(|_| PinError::Audit)?;
        }
        self.keep(additions).await?;
        info!(who, definitions = pins.len(), "Definitions are approved");
        Ok(pins.len())
    }

    /// On record first.
    async fn keep_first(&mut self, first: &Sections<String>) -> Result<(), PinError> {
        for (server, section) in first {
            let pins = section.pins(server);
            let (definitions, pins_sha256) = (pins.len(), &digest(&pins));
            let record = Record::Pins(PinRecord::Pinned { server, definitions, pins_sha256 });
            self.audit.append(record).await.map_err(|_| PinError::Audit)?;
            info!(server.id = %server, definitions, "Definitions are pinned at their first use");
        }
        self.keep(first.clone()).await
    }

    async fn keep(&mut self, additions: Sections<String>) -> Result<(), PinError> {
        let (path, before, rules) = (self.path.clone(), self.before(), self.rules.clone());
        self.index = Ok(aside(move || {
            let mut lock = read(&path, before)?;
            for (server, added) in additions {
                let is_locked = rules.locked().any(|locked| *locked == server);
                let others = if is_locked { Others::IfReachedAlike } else { Others::Kept };
                lock.add(server, added, others);
            }
            lock.write(&path)?;
            Ok(lock.index())
        })
        .await?);
        Ok(())
    }

    fn before(&self) -> Before {
        let something = self.index.as_ref().is_ok_and(|index| !index.is_empty());
        if something { Before::Something } else { Before::Nothing }
    }

    /// Once, when a server has something else held back than before.
    async fn tell(&self, next: &Quarantine) {
        let pins = |held: &[Held]| held.iter().map(|held| held.pin).collect::<Vec<_>>();
        for (server, held) in &next.held {
            let now = pins(held);
            if self.quarantine.held.get(server).is_some_and(|before| pins(before) == now) {
                continue;
            }
            let what = sentence(server, held);
            warn!(server.id = %server, definitions = held.len(), what, "Definitions are held back");
            let (definitions, pins_sha256) = (held.len(), &digest(&now));
            let record = PinRecord::Quarantined { server, definitions, pins_sha256, what: &what };
            if let Err(error) = self.audit.append(Record::Pins(record)).await {
                error!(%error, "The quarantine could not be put on record");
            }
        }
    }
}

/// The lock, unless it held something and is gone: then what it approved is not to be taken anew.
fn read(path: &Path, before: Before) -> Result<Lock, PinError> {
    let lock = Lock::read(path)?;
    match before {
        Before::Something if lock.servers.is_empty() => {
            Err(PinError::Gone { path: path.to_owned() })
        }
        Before::Something | Before::Nothing => Ok(lock),
    }
}

/// Work that blocks.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PinError> + Send + 'static,
) -> Result<T, PinError> {
    spawn_blocking(work).await.unwrap_or(Err(PinError::Defect))
}

/// One digest for several pins, in any order: what an operator has seen as a whole.
pub fn digest(pins: &[Pin]) -> [u8; 32] {
    let mut sorted: Vec<_> = pins.iter().map(|pin| pin.0).collect();
    sorted.sort();
    Sha256::digest(sorted.concat()).into()
}
