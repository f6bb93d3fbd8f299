//! The spawner: one thread, for ever, in which every keeper is born.
//!
//! One place means that no descriptor can slip from one birth into another, and that the runtime
//! never waits for a fork. It starts the keeper, hands it the parcel and is ready for the next:
//! what the keeper makes of it is read by the reaper, so a server that is slow to start (a hung
//! working directory, say) delays nobody.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{fs::OpenOptionsExt, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use rustix::{
    fs::OFlags,
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    pipe::{PipeFlags, fcntl_setpipe_size, pipe_with},
    process::{Pid, PidfdFlags, getpid, pidfd_open},
};
use tokio::sync::{mpsc, oneshot};

use super::{
    ChildSpec, Hold, JailError, Step,
    parcel::{self, Pipes, Plan},
    reaper::Keepers,
};
use crate::{
    domain::limits::{CHILD_PIPE_BYTES, SPAWN_QUEUE_MAX},
    sys::spawn_vital,
};

/// A keeper that was started, and our ends of the server's pipes.
pub(super) struct Born {
    pub(super) hold: Hold,
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

struct Request {
    spec: ChildSpec,
    reply: oneshot::Sender<Result<Born, JailError>>,
}

#[derive(Clone, Debug)]
pub(super) struct Spawner {
    requests: mpsc::Sender<Request>,
}

/// What the thread owns.
struct Nest {
    keepers: Arc<Keepers>,
    /// The helper as it was at our start, even if the file has been replaced since.
    helper: File,
    /// Ourselves.
    gateway: OwnedFd,
}

pub(super) fn start(helper: &Path, keepers: Arc<Keepers>) -> Result<Spawner, JailError> {
    let setup = |what| move |source| JailError::Setup { what, source };
    let path_only = i32::try_from((OFlags::PATH | OFlags::CLOEXEC).bits()).unwrap_or_default();
    let helper = File::options()
        .read(true)
        .custom_flags(path_only)
        .open(helper)
        .map_err(setup("opening the helper program"))?;
    let gateway = pidfd_open(getpid(), PidfdFlags::empty())
        .map_err(|errno| setup("opening our own pidfd")(errno.into()))?;
    let (requests, mut inbox) = mpsc::channel::<Request>(SPAWN_QUEUE_MAX);
    let nest = Nest { keepers, helper, gateway };
    let run = move || {
        while let Some(Request { spec, reply }) = inbox.blocking_recv() {
            // If nobody waits any more, what was born dies with the answer's drop.
            drop(reply.send(nest.bear(spec)));
        }
    };
    spawn_vital("jail-spawner", run).map_err(setup("starting the spawner thread"))?;
    Ok(Spawner { requests })
}

impl Spawner {
    pub(super) async fn ask(&self, spec: ChildSpec) -> Result<Born, JailError> {
        let lost = || JailError::Setup {
            what: "reaching the spawner thread",
            source: io::ErrorKind::BrokenPipe.into(),
        };
        let (reply, answer) = oneshot::channel();
        let request = Request { spec, reply };
        self.requests.send(request).await.map_err(|_| lost())?;
        answer.await.map_err(|_| lost())?
    }
}

impl Nest {
    fn bear(&self, spec: ChildSpec) -> Result<Born, JailError> {
        let (server, program) = (spec.server.clone(), spec.program.clone());
        match self.try_bear(spec) {
            Ok(Some(born)) => Ok(born),
            Ok(None) => Err(JailError::Stopped { server }),
            Err(source) => Err(JailError::Spawn { server, program, step: Step::Helper, source }),
        }
    }

    /// `None`: it is stopped.
    fn try_bear(&self, spec: ChildSpec) -> io::Result<Option<Born>> {
        let (stdin_theirs, stdin) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stdout, stdout_theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, stderr_theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        for pipe in [&stdin, &stdout] {
            // A gain, not a need: a user's pipe memory has a limit of its own.
            fcntl_setpipe_size(pipe, CHILD_PIPE_BYTES).ok();
        }
        let (control, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        parcel::send_gateway(&control, &self.gateway)?;
        let birth = || self.start_keeper(theirs);
        let Some(kept) = self.keepers.admit(&spec.server, control, birth)? else {
            return Ok(None);
        };
        let hold = Hold { kept, keepers: Arc::clone(&self.keepers) };
        let ChildSpec { server: _, program, args, env, cwd } = spec;
        let cgroup = hold.kept.cgroup().map(Path::to_owned);
        let plan = Plan { program, args, env, cwd, cgroup };
        let pipes = Pipes {
            stdin: stdin_theirs.as_fd(),
            stdout: stdout_theirs.as_fd(),
            stderr: stderr_theirs.as_fd(),
        };
        parcel::send_parcel(hold.kept.control(), &plan, &pipes)?;
        Ok(Some(Born { hold, stdin, stdout, stderr }))
    }

    fn start_keeper(&self, control: OwnedFd) -> io::Result<Pid> {
        let program = PathBuf::from(format!("/proc/self/fd/{}", self.helper.as_raw_fd()));
        #[expect(clippy::disallowed_methods, reason = "the jail is where children are born")]
        let keeper = Command::new(program)
            .arg0("portcullis")
            .arg("__exec")
            .env_clear()
            .stdin(control)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(i32::try_from(keeper.id()).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?)
    }
}
