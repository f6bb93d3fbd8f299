//! Stage 2: between fork and exec, one layer after the other, then the server.
//!
//! `LAYERS` is the order, outermost first; a layer that cannot be applied stops the start, and
//! the gateway learns which one and why. Namespaces and mounts belong before `NoNewPrivileges`,
//! Landlock and seccomp after it as the last. The keeper that forks here has one thread, so a
//! layer may allocate and open files: nobody can hold a lock that it needs.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::PathBuf,
    process::{self, Command},
};

use rustix::{
    io::Errno,
    process::{
        Pid, Resource, Rlimit, Signal, getpid, getppid, set_parent_process_death_signal, setrlimit,
        setsid,
    },
    thread::{disable_transparent_huge_pages, set_no_new_privs},
};

use super::{
    Step,
    parcel::{Pipes, Plan, Report},
};
use crate::domain::limits::CHILD_OPEN_FILES_MAX;

const LAYERS: [Step; 6] = [
    Step::Session,
    Step::Cgroup,
    Step::DeathSignal,
    Step::Limits,
    Step::Directory,
    Step::NoNewPrivileges,
];

/// What the layers work with, all of it prepared before the fork.
struct Ground {
    keeper: Pid,
    cgroup: Option<File>,
    cwd: Option<PathBuf>,
}

/// Starts the server; on failure the gateway has been told which step failed.
pub(super) fn start(
    plan: Plan,
    pipes: Pipes<OwnedFd>,
    control: &OwnedFd,
) -> io::Result<process::Child> {
    let refuse = |step: Step, error: &io::Error| {
        Report::Failed { step, errno: error.raw_os_error().unwrap_or_default() }.send(control)
    };
    let ground = match prepare(&plan) {
        Ok(ground) => ground,
        Err(error) => {
            refuse(Step::Cgroup, &error)?;
            return Err(error);
        }
    };
    let teller = control.as_fd().try_clone_to_owned()?;
    #[expect(clippy::disallowed_methods, reason = "the jail is where children are born")]
    let mut command = Command::new(&plan.program);
    command
        .args(&plan.args)
        .env_clear()
        .envs(plan.env)
        .stdin(pipes.stdin)
        .stdout(pipes.stdout)
        .stderr(pipes.stderr);
    let stage_two = move || apply(&ground, teller.as_fd());
    // SAFETY: the closure runs in a fork of a process with a single thread, so every lock and
    // the allocator are free; it touches nothing but its own captures.
    #[expect(unsafe_code, reason = "the layers must run after fork and before exec")]
    unsafe {
        command.pre_exec(stage_two);
    }
    command.spawn().inspect_err(|error| {
        // A layer that failed has already reported; the first report counts.
        refuse(Step::Execute, error).ok();
    })
}

fn prepare(plan: &Plan) -> io::Result<Ground> {
    let procs = plan.cgroup.as_ref().map(|leaf| leaf.join("cgroup.procs"));
    let cgroup = procs.map(|path| OpenOptions::new().write(true).open(path)).transpose()?;
    Ok(Ground { keeper: getpid(), cgroup, cwd: plan.cwd.clone() })
}

fn apply(ground: &Ground, control: BorrowedFd<'_>) -> io::Result<()> {
    for step in LAYERS {
        if let Err(error) = layer(step, ground) {
            let errno = error.raw_os_error().unwrap_or_default();
            Report::Failed { step, errno }.send(control).ok();
            return Err(error);
        }
    }
    Ok(())
}

fn layer(step: Step, ground: &Ground) -> io::Result<()> {
    match step {
        Step::Session => {
            setsid()?;
        }
        Step::Cgroup => {
            if let Some(mut procs) = ground.cgroup.as_ref() {
                procs.write_all(b"0")?;
            }
        }
        Step::DeathSignal => {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // A keeper that died before the line above can no longer send the signal.
            if getppid() != Some(ground.keeper) {
                return Err(Errno::SRCH.into());
            }
        }
        Step::Limits => {
            limit(Resource::Nofile, CHILD_OPEN_FILES_MAX)?;
            limit(Resource::Core, 0)?;
            // Ours are small; a server has what the system gives. It runs without, too.
            disable_transparent_huge_pages(false).unwrap_or_default();
        }
        Step::Directory => {
            if let Some(cwd) = &ground.cwd {
                std::env::set_current_dir(cwd)?;
            }
        }
        Step::NoNewPrivileges => set_no_new_privs(true)?,
        // Not layers: what comes before and after them.
        Step::Helper | Step::Execute => {}
    }
    Ok(())
}

/// Lowers a limit for good, never raises it.
fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let now = rustix::process::getrlimit(resource);
    let maximum = now.maximum.map_or(most, |hard| hard.min(most));
    Ok(setrlimit(resource, Rlimit { current: Some(maximum), maximum: Some(maximum) })?)
}
