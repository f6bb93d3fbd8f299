//! The jail: where children are born, held and ended. Nothing else in the house starts a process.
//!
//! A server is started by the spawner thread through a *keeper* (`portcullis __exec`, the same
//! binary), a tiny process per server that applies the layers, waits, and clears up whatever the
//! server leaves behind. Promises: a child sees exactly the environment and the three pipes it
//! was given; nothing of a server outlives it, or us, even if we die by SIGKILL; a signal never
//! hits a number that was given to somebody else. Knows nothing of MCP, restarts or the latch.

use std::{
    ffi::{OsStr, OsString},
    fmt, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{
    net::unix::pipe::{Receiver, Sender},
    sync::watch,
    time::timeout,
};

use crate::domain::{
    ServerName,
    limits::{KILL_STDIN_GRACE, KILL_TERM_GRACE, KILL_WAIT},
};

mod cgroup;
mod keeper;
mod layers;
mod parcel;
mod processes;
mod reaper;
mod spawner;

pub use keeper::helper_main;
use reaper::{Keepers, Kept, State};
use spawner::Spawner;

/// Below which directory servers get cgroups of their own, or why they get none.
pub fn cgroup() -> Result<PathBuf, &'static str> {
    cgroup::Grove::look().map(|grove| grove.directory().to_owned())
}

/// What to start. The environment is complete: a variable that is not in `env` is not there,
/// `PATH` and `HOME` included.
#[derive(Clone)]
pub struct ChildSpec {
    pub server: ServerName,
    /// A path; it is not looked up in `PATH`.
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    pub cwd: Option<PathBuf>,
}

/// A running server: our ends of its pipes, and its life.
#[derive(Debug)]
pub struct Child {
    pub stdin: Sender,
    pub stdout: Receiver,
    pub stderr: Receiver,
    pub life: Life,
}

/// How a server's main process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

/// The steps of a start: the layers in their order, and what surrounds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Starting the keeper itself.
    Helper,
    Session,
    Cgroup,
    DeathSignal,
    Limits,
    Directory,
    NoNewPrivileges,
    Execute,
}

#[derive(Debug, thiserror::Error)]
pub enum JailError {
    #[error("cannot set up the process jail: {what} failed")]
    Setup {
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("cannot start server `{server}`: {what} in its {place}; correct its entry")]
    Spec { server: ServerName, place: &'static str, what: &'static str },
    #[error("cannot start server `{server}`: {step} for `{program}` failed")]
    Spawn {
        server: ServerName,
        program: PathBuf,
        step: Step,
        #[source]
        source: io::Error,
    },
    #[error("server `{server}` was not started because it is stopped")]
    Stopped { server: ServerName },
}

/// The handle; clones share one jail. Children keep living when it is dropped: each belongs to
/// its own `Life`.
#[derive(Clone, Debug)]
pub struct Jail {
    spawner: Spawner,
    keepers: Arc<Keepers>,
}

impl Jail {
    /// Starts the spawner and the reaper; this very program is the helper.
    pub fn start() -> Result<Self, JailError> {
        Self::start_with(Path::new("/proc/self/exe"))
    }

    /// The same with another program as the helper: whatever calls `helper_main`.
    pub fn start_with(helper: &Path) -> Result<Self, JailError> {
        let keepers = reaper::start()?;
        let spawner = spawner::start(helper, Arc::clone(&keepers))?;
        Ok(Self { spawner, keepers })
    }

    /// Starts a server. Returns when the program runs, or with the step that failed. There is no
    /// time limit of its own: dropping the future ends the attempt and whatever it has started.
    pub async fn spawn(&self, spec: ChildSpec) -> Result<Child, JailError> {
        check(&spec)?;
        let (server, program) = (spec.server.clone(), spec.program.clone());
        let failed = |step, source| JailError::Spawn {
            server: server.clone(),
            program: program.clone(),
            step,
            source,
        };
        let born = self.spawner.ask(spec).await?;
        let life = Life(Arc::new(born.hold));
        let mut state = life.0.kept.state();
        let now = *state
            .wait_for(|state| !matches!(state, State::Starting))
            .await
            .map_err(|_| failed(Step::Helper, io::ErrorKind::BrokenPipe.into()))?;
        match now {
            State::Running { .. } | State::Ending { .. } => {}
            State::Failed { step, errno } => {
                return Err(failed(step, io::Error::from_raw_os_error(errno)));
            }
            // It ran, but so briefly that only its end was seen.
            State::Gone { pid: Some(_), .. } => {}
            State::Starting | State::Gone { pid: None, .. } => {
                return Err(failed(Step::Helper, io::ErrorKind::UnexpectedEof.into()));
            }
        }
        let pipe = |source| failed(Step::Helper, source);
        Ok(Child {
            stdin: Sender::from_owned_fd(born.stdin).map_err(pipe)?,
            stdout: Receiver::from_owned_fd(born.stdout).map_err(pipe)?,
            stderr: Receiver::from_owned_fd(born.stderr).map_err(pipe)?,
            life,
        })
    }

    /// From now on no server is started of which `guard` says no; it is asked right before each
    /// birth, and `stop` waits for one that is under way.
    pub fn start_only(&self, guard: impl Fn(&ServerName) -> bool + Send + Sync + 'static) {
        self.keepers.set_guard(Box::new(guard));
    }

    /// Freezes and kills every child of `which` and all it has started. Needs no runtime, and does
    /// not wait until they are gone. Nobody is left out of whom the guard says no.
    pub fn stop(&self, which: impl Fn(&ServerName) -> bool) {
        self.keepers.stop(which);
    }

    /// Whether something of `which` is left.
    pub fn has(&self, which: impl Fn(&ServerName) -> bool) -> bool {
        self.keepers.has(which)
    }
}

/// A server's process and all it starts. When the last clone is dropped, they are killed.
#[derive(Clone)]
pub struct Life(Arc<Hold>);

/// Whoever drops it kills what it holds.
struct Hold {
    kept: Arc<Kept>,
    keepers: Arc<Keepers>,
}

impl Life {
    /// The number of the server's main process.
    pub fn pid(&self) -> u32 {
        match *self.0.kept.state().borrow() {
            State::Running { pid }
            | State::Ending { pid, .. }
            | State::Gone { pid: Some(pid), .. } => pid.unsigned_abs(),
            State::Starting | State::Failed { .. } | State::Gone { pid: None, .. } => 0,
        }
    }

    /// Waits until the server has ended and nothing of it is left.
    pub async fn exited(&self) -> Exit {
        wait_gone(self.0.kept.state()).await
    }

    /// The ladder, after the caller has dropped stdin: patience, SIGTERM to the server's group,
    /// patience, SIGKILL for everything.
    pub async fn shut_down(&self) {
        if timeout(KILL_STDIN_GRACE, self.exited()).await.is_ok() {
            return;
        }
        self.0.kept.terminate();
        if timeout(KILL_TERM_GRACE, self.exited()).await.is_ok() {
            return;
        }
        self.kill();
        if timeout(KILL_WAIT, self.exited()).await.is_err() {
            tracing::warn!(pid = self.pid(), "Killed server is still not gone");
        }
    }

    /// SIGKILL for everything of it, at once.
    pub fn kill(&self) {
        self.0.keepers.kill(&self.0.kept);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.keepers.kill(&self.kept);
    }
}

impl Step {
    const ALL: [Self; 8] = [
        Self::Helper,
        Self::Session,
        Self::Cgroup,
        Self::DeathSignal,
        Self::Limits,
        Self::Directory,
        Self::NoNewPrivileges,
        Self::Execute,
    ];

    fn to_byte(self) -> u8 {
        let place = Self::ALL.iter().position(|step| *step == self);
        place.and_then(|place| u8::try_from(place).ok()).unwrap_or_default()
    }

    fn from_byte(byte: u8) -> Self {
        Self::ALL.get(usize::from(byte)).copied().unwrap_or(Self::Helper)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Helper => "starting the helper",
            Self::Session => "opening a session",
            Self::Cgroup => "joining the cgroup",
            Self::DeathSignal => "setting the death signal",
            Self::Limits => "setting the resource limits",
            Self::Directory => "entering the working directory",
            Self::NoNewPrivileges => "giving up new privileges",
            Self::Execute => "running the program",
        })
    }
}

impl fmt::Debug for ChildSpec {
    /// Values of variables may be secrets, and so may arguments.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("server", &self.server)
            .field("program", &self.program)
            .field("cwd", &self.cwd)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Life").field("pid", &self.pid()).finish_non_exhaustive()
    }
}

async fn wait_gone(mut state: watch::Receiver<State>) -> Exit {
    match state.wait_for(|state| matches!(state, State::Gone { .. })).await.as_deref() {
        Ok(State::Gone { exit, .. }) => *exit,
        // The reaper outlives every child; were it gone, so would be the child.
        Ok(
            State::Starting | State::Running { .. } | State::Ending { .. } | State::Failed { .. },
        )
        | Err(_) => Exit::Signal(rustix::process::Signal::KILL.as_raw()),
    }
}

fn check(spec: &ChildSpec) -> Result<(), JailError> {
    let refuse = |place, what| JailError::Spec { server: spec.server.clone(), place, what };
    let nul = |text: &OsStr| text.as_bytes().contains(&0);
    if !spec.program.as_os_str().as_bytes().contains(&b'/') {
        return Err(refuse("command", "there is no `/` (a path is needed)"));
    }
    if nul(spec.program.as_os_str()) || spec.args.iter().any(|arg| nul(arg)) {
        return Err(refuse("command", "there is a NUL byte"));
    }
    let odd = |name: &OsStr| name.is_empty() || nul(name) || name.as_bytes().contains(&b'=');
    if spec.env.iter().any(|(name, value)| odd(name) || nul(value)) {
        return Err(refuse("env", "there is an impossible name or a NUL byte"));
    }
    Ok(())
}
