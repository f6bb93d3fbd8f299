//! The reaper: the table of keepers, and the only place where their ends are noted.
//!
//! One thread waits on every keeper's pidfd and reads every keeper's reports. INVARIANT: a keeper
//! is reaped and leaves the table under one lock, and is signalled only under that lock while it
//! is in the table, so no number is used after its process is forgotten. Strays, which come to us
//! when somebody has killed a keeper, are told from other children of this process by their
//! session: servers never share ours.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustix::{
    event::{Timespec, epoll},
    io::Errno,
    net::{SendFlags, send},
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, kill_process,
        pidfd_open, pidfd_send_signal, set_child_subreaper, waitid, waitpid,
    },
};
use tokio::sync::watch;

use super::{
    Exit, JailError, Step,
    cgroup::{Grove, Leaf},
    parcel::{Report, TERMINATE},
    processes,
};
use crate::{
    domain::{
        ServerName,
        limits::{KEEPER_SWEEP_MAX, SWEEP_PAUSE, SWEEP_PAUSE_MAX},
    },
    sys::spawn_vital,
};

/// Where one server stands, as its keeper reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Starting,
    Running {
        pid: i32,
    },
    Failed {
        step: Step,
        errno: i32,
    },
    /// The server's process has ended; its keeper is clearing up.
    Ending {
        pid: i32,
        exit: Exit,
    },
    /// The keeper has gone, and with it everything that it kept.
    Gone {
        pid: Option<i32>,
        exit: Exit,
    },
}

/// One keeper.
#[derive(Debug)]
pub(super) struct Kept {
    number: u64,
    server: ServerName,
    pid: Pid,
    pidfd: OwnedFd,
    control: OwnedFd,
    leaf: Option<Leaf>,
    state: watch::Sender<State>,
}

/// All keepers of one jail.
#[derive(Debug)]
pub(super) struct Keepers {
    table: Mutex<BTreeMap<u64, Arc<Kept>>>,
    epoll: OwnedFd,
    grove: Option<Grove>,
    /// Who may be born now; everybody, if nobody has said otherwise.
    guard: OnceLock<Guard>,
    /// Keepers that have left the table while their strays are still being hunted.
    leaving: AtomicUsize,
}

/// Asked under the table's lock, right before a birth.
struct Guard(Box<dyn Fn(&ServerName) -> bool + Send + Sync>);

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

/// How many keepers this process has started, in any jail.
static BORN: AtomicU64 = AtomicU64::new(0);

/// The keepers of every jail of this process: they are not strays.
static NUMBERS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

pub(super) fn start() -> Result<Arc<Keepers>, JailError> {
    let setup = |what| move |source: Errno| JailError::Setup { what, source: source.into() };
    set_child_subreaper(Some(getpid())).map_err(setup("becoming a subreaper"))?;
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(setup("creating an epoll"))?;
    let keepers = Arc::new(Keepers {
        table: Mutex::default(),
        epoll,
        grove: Grove::find(),
        guard: OnceLock::new(),
        leaving: AtomicUsize::new(0),
    });
    let reaper = Arc::clone(&keepers);
    spawn_vital("jail-reaper", move || reaper.reap_for_ever())
        .map_err(|source| JailError::Setup { what: "starting the reaper thread", source })?;
    Ok(keepers)
}

impl Kept {
    pub(super) fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    pub(super) fn control(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// The directory of the server's own cgroup.
    pub(super) fn cgroup(&self) -> Option<&Path> {
        self.leaf.as_ref().map(Leaf::directory)
    }

    /// Asks the keeper to send SIGTERM to the server's group: only it knows whether the number
    /// is still the server's.
    pub(super) fn terminate(&self) {
        if let Err(error) =
            send(&self.control, &[TERMINATE], SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
        {
            tracing::debug!(server.id = %self.server, %error, "Keeper could not be asked");
        }
    }

    /// Takes in what the keeper has said. `false`: it will say nothing more.
    fn listen(&self) -> bool {
        loop {
            match Report::receive(&self.control) {
                Ok(Some(report)) => self.note(report),
                Ok(None) => return false,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }

    fn note(&self, report: Report) {
        self.state.send_if_modified(|state| {
            *state = match (*state, report) {
                (State::Starting, Report::Started { pid }) => State::Running { pid },
                (State::Starting, Report::Failed { step, errno }) => State::Failed { step, errno },
                (State::Running { pid }, Report::Exited(exit)) => State::Ending { pid, exit },
                (_, Report::Started { .. } | Report::Failed { .. } | Report::Exited(_)) => {
                    return false;
                }
            };
            true
        });
    }

    /// The keeper has gone. Without a last word from it, it was killed, and the server with it.
    fn bury(&self) {
        let killed = Exit::Signal(Signal::KILL.as_raw());
        self.state.send_modify(|state| {
            *state = match *state {
                State::Starting => State::Gone { pid: None, exit: killed },
                State::Running { pid } => State::Gone { pid: Some(pid), exit: killed },
                State::Ending { pid, exit } => State::Gone { pid: Some(pid), exit },
                State::Failed { .. } | State::Gone { .. } => *state,
            };
        });
    }
}

impl Keepers {
    pub(super) fn set_guard(&self, guard: Box<dyn Fn(&ServerName) -> bool + Send + Sync>) {
        if self.guard.set(Guard(guard)).is_err() {
            tracing::error!("The jail has a guard already");
        }
    }

    /// Lets `birth` happen and enters the keeper in the table, as one step for everybody else.
    /// `None`: the guard lets nobody of it be born.
    pub(super) fn admit(
        &self,
        server: &ServerName,
        control: OwnedFd,
        birth: impl FnOnce() -> io::Result<Pid>,
    ) -> io::Result<Option<Arc<Kept>>> {
        let mut table = self.lock();
        let may_live = |guard: &Guard| (guard.0)(server);
        if !self.guard.get().is_none_or(may_live) {
            return Ok(None);
        }
        let mut numbers = numbers();
        let pid = birth()?;
        numbers.insert(pid.as_raw_nonzero().get());
        let number = BORN.fetch_add(1, Ordering::Relaxed);
        let kept = self.enrol(number, pid).map(|pidfd| {
            let state = watch::Sender::new(State::Starting);
            let (server, leaf) = (server.clone(), self.plant(server, number));
            Arc::new(Kept { number, server, pid, pidfd, control, leaf, state })
        });
        let listened = kept.and_then(|kept| {
            let word = epoll::EventData::new_u64(number << 1 | 1);
            epoll::add(&self.epoll, &kept.control, word, epoll::EventFlags::IN)?;
            Ok(kept)
        });
        match listened {
            Ok(kept) => {
                table.insert(number, Arc::clone(&kept));
                Ok(Some(kept))
            }
            Err(error) => {
                // It has not even got its plan: it leaves nothing behind.
                kill_process(pid, Signal::KILL).ok();
                waitpid(Some(pid), WaitOptions::empty()).ok();
                numbers.remove(&pid.as_raw_nonzero().get());
                Err(error)
            }
        }
    }

    /// A server without a cgroup of its own is still held by its keeper.
    fn plant(&self, server: &ServerName, number: u64) -> Option<Leaf> {
        let planted = self.grove.as_ref()?.plant(server, number);
        planted
            .inspect_err(
                |error| tracing::warn!(server.id = %server, %error, "No cgroup for a server"),
            )
            .ok()
    }

    fn enrol(&self, number: u64, pid: Pid) -> io::Result<OwnedFd> {
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        let end = epoll::EventData::new_u64(number << 1);
        epoll::add(&self.epoll, &pidfd, end, epoll::EventFlags::IN)?;
        Ok(pidfd)
    }

    /// SIGKILL for one keeper and everything below it; nothing if it has gone already.
    pub(super) fn kill(&self, kept: &Kept) {
        let table = self.lock();
        if table.contains_key(&kept.number) {
            kill_trees(std::iter::once(kept));
        }
    }

    /// SIGKILL for those of `which` and everything below them, once; what they leave behind is
    /// hunted as it comes to us. Does not wait.
    pub(super) fn stop(&self, which: impl Fn(&ServerName) -> bool) {
        let table = self.lock();
        let of = || table.values().map(Arc::as_ref).filter(|kept| which(&kept.server));
        of().filter_map(|kept| kept.leaf.as_ref()).for_each(Leaf::freeze);
        if of().next().is_some() {
            kill_trees(of());
        }
    }

    /// Whether something of `which` is still there.
    pub(super) fn has(&self, which: impl Fn(&ServerName) -> bool) -> bool {
        let table = self.lock();
        self.leaving.load(Ordering::SeqCst) > 0 || table.values().any(|kept| which(&kept.server))
    }

    fn reap_for_ever(&self) {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(64);
        let mut rest = Rest::default();
        loop {
            events.clear();
            let buffer = rustix::buffer::spare_capacity(&mut events);
            // Interrupted or not: what is there is handled, the rest comes again.
            epoll::wait(&self.epoll, buffer, rest.pause().as_ref()).ok();
            let mut gone = Vec::new();
            for event in &events {
                gone.extend(self.attend(event.data.u64()));
            }
            for kept in rest.clear(gone) {
                kept.bury();
                self.leaving.fetch_sub(1, Ordering::SeqCst);
            }
        }
    }

    /// One event: a word of a keeper, or its end.
    fn attend(&self, event: u64) -> Option<(Arc<Kept>, End)> {
        let kept = Arc::clone(self.lock().get(&(event >> 1))?);
        let talks = kept.listen();
        if event & 1 == 1 {
            if !talks {
                epoll::delete(&self.epoll, &kept.control).ok();
            }
            return None;
        }
        let mut table = self.lock();
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let status = waitid(WaitId::PidFd(kept.pidfd.as_fd()), options).ok()??;
        epoll::delete(&self.epoll, &kept.pidfd).ok();
        epoll::delete(&self.epoll, &kept.control).ok();
        table.remove(&kept.number);
        self.leaving.fetch_add(1, Ordering::SeqCst);
        numbers().remove(&kept.pid.as_raw_nonzero().get());
        drop(table);
        // What it said between the first look and its end.
        kept.listen();
        let end = if status.exit_status() == Some(0) { End::Clean } else { End::Dirty };
        Some((kept, end))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Kept>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a keeper went: with nothing left behind, or nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Clean,
    Dirty,
}

/// What dead keepers have left to us. Nearly always nothing.
#[derive(Default)]
struct Rest {
    /// Keepers whose strays are being hunted.
    mourned: Vec<Arc<Kept>>,
    strays: bool,
    leaves: Vec<Arc<Kept>>,
    /// Grows while nothing moves: not even SIGKILL ends a process that hangs in the kernel.
    pause: Duration,
    waited: Duration,
}

impl Rest {
    /// How long to wait for events; `None` when nothing is left to do.
    fn pause(&self) -> Option<Timespec> {
        let anything = self.strays || !self.leaves.is_empty();
        anything.then(|| Timespec::try_from(self.pause).unwrap_or_default())
    }

    /// One round of clearing up. Returns the keepers of which nothing is left, or which have
    /// been waited for long enough.
    fn clear(&mut self, gone: Vec<(Arc<Kept>, End)>) -> Vec<Arc<Kept>> {
        self.waited = self.waited.saturating_add(self.pause);
        self.pause = self.pause.saturating_mul(2).min(SWEEP_PAUSE_MAX);
        let mut buried = Vec::new();
        for (kept, end) in gone {
            (self.pause, self.waited) = (SWEEP_PAUSE, Duration::ZERO);
            self.leaves.push(Arc::clone(&kept));
            match end {
                End::Clean => buried.push(kept),
                End::Dirty => {
                    self.strays = true;
                    self.mourned.push(kept);
                }
            }
        }
        self.strays = self.strays && processes::sweep_strays(&numbers());
        if !self.strays || self.waited >= KEEPER_SWEEP_MAX {
            buried.append(&mut self.mourned);
        }
        self.leaves.retain(|kept| kept.leaf.as_ref().is_some_and(|leaf| !leaf.remove()));
        buried
    }
}

/// The caller holds the table, so the keepers' numbers are theirs.
fn kill_trees<'a>(kept: impl Iterator<Item = &'a Kept>) {
    let kept: Vec<&Kept> = kept.collect();
    kept.iter().filter_map(|kept| kept.leaf.as_ref()).for_each(Leaf::kill);
    let all = processes::scan();
    for process in processes::below(&all, kept.iter().map(|kept| kept.pid)) {
        process.kill();
    }
    for keeper in kept {
        // It can only fail because the keeper is dead already.
        pidfd_send_signal(&keeper.pidfd, Signal::KILL).ok();
    }
}

fn numbers() -> MutexGuard<'static, BTreeSet<i32>> {
    NUMBERS.lock().unwrap_or_else(PoisonError::into_inner)
}
