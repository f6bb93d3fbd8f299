//! Stage 1: the keeper, one tiny process per server, `portcullis __exec`.
//!
//! It starts the server and outlives it only to clear up. It is a subreaper: whatever the server
//! leaves behind, daemons included, becomes its child and dies here. It holds a pidfd of the
//! gateway and so notices its death, however that came, and then takes the server along. It
//! listens to nobody but the gateway, and its end is the end of everything that it kept.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
    process::ExitCode,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::Dir,
    io::{Errno, fcntl_dupfd_cloexec},
    net::{RecvFlags, recv},
    process::{
        DumpableBehavior, Pid, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus, getpid,
        kill_process_group, set_child_subreaper, set_dumpable_behavior, setsid, wait, waitid,
    },
    thread::set_name,
};

use super::{
    Exit, layers,
    parcel::{self, Report, TERMINATE},
    processes,
};
use crate::domain::limits::{KEEPER_SWEEP_MAX, SWEEP_PAUSE};

/// The server's process, while its number is certainly its own.
struct Main {
    pid: Pid,
    /// Set under the lock in which it is reaped: afterwards the number may be anybody's.
    exit: Mutex<Option<Exit>>,
}

/// Entered from `main` when the first argument is `__exec`. Exit code 0: nothing is left.
pub fn helper_main() -> ExitCode {
    match keep() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever started us by hand sees the code; the gateway has had a report.
        Err(_) => ExitCode::FAILURE,
    }
}

fn keep() -> io::Result<()> {
    close_inherited()?;
    // A hostile server of the same user shall not look into us, nor take our socket.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // For `ps`: without it the name would be that of a descriptor.
    set_name(c"portcullis-keep")?;
    let control = take_control()?;
    setsid()?;
    set_child_subreaper(Some(getpid()))?;
    let gateway = parcel::receive_gateway(&control)?;
    wait_for_word(&control, &gateway);
    if is_gone(&gateway) {
        return Ok(());
    }
    let (plan, pipes) = parcel::receive_parcel(&control)?;
    let child = layers::start(plan, pipes, &control)?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
    // If the gateway is gone already, the watch will see it.
    Report::Started { pid: child.id().cast_signed() }.send(&control).ok();
    let main = Arc::new(Main { pid, exit: Mutex::new(None) });
    let (watched, ear, eye) = (
        Arc::clone(&main),
        control.as_fd().try_clone_to_owned()?,
        gateway.as_fd().try_clone_to_owned()?,
    );
    thread::Builder::new().name("watch".into()).spawn(move || watch(&watched, &ear, &eye))?;
    let exit = main.reap_until_exit()?;
    Report::Exited(exit).send(&control).ok();
    sweep(&gateway)
}

impl Main {
    fn lock(&self) -> MutexGuard<'_, Option<Exit>> {
        self.exit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reaps whatever dies here, strangers included, until the server itself has died.
    fn reap_until_exit(&self) -> io::Result<Exit> {
        loop {
            match waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let mut exit = self.lock();
            while let Some((pid, status)) = wait(WaitOptions::NOHANG)? {
                if pid == self.pid {
                    let how = how(status);
                    *exit = Some(how);
                    return Ok(how);
                }
            }
        }
    }

    fn terminate(&self) {
        if self.lock().is_none() {
            // The group may already be empty but for the zombie.
            kill_process_group(self.pid, Signal::TERM).ok();
        }
    }
}

fn how(status: WaitStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, signal) => Exit::Signal(signal.unwrap_or_default()),
    }
}

/// Runs until the process ends: obeys the gateway, and notices when it is gone.
fn watch(main: &Main, control: &OwnedFd, gateway: &OwnedFd) {
    loop {
        wait_for_word(control, gateway);
        let mut byte = [0_u8];
        match recv(control, &mut byte, RecvFlags::DONTWAIT) {
            Ok((0, _)) => break,
            Ok(_) if byte == [TERMINATE] => main.terminate(),
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => break,
        }
        if is_gone(gateway) {
            break;
        }
    }
    // The reaping thread ends the process as soon as nothing is left.
    loop {
        kill_everything();
        thread::sleep(SWEEP_PAUSE);
    }
}

/// Kills and reaps what the server left behind, until nothing is left. While the gateway lives
/// there is an end to our patience: it inherits what even SIGKILL cannot move yet.
fn sweep(gateway: &OwnedFd) -> io::Result<()> {
    let mut waited = Duration::ZERO;
    loop {
        loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => break,
                Err(Errno::CHILD) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        if waited >= KEEPER_SWEEP_MAX && !is_gone(gateway) {
            return Err(Errno::TIMEDOUT.into());
        }
        kill_everything();
        thread::sleep(SWEEP_PAUSE);
        waited = waited.saturating_add(SWEEP_PAUSE);
    }
}

fn kill_everything() {
    let all = processes::scan();
    for process in processes::below(&all, [getpid()]) {
        process.kill();
    }
}

/// Returns when the gateway has said something or has gone.
fn wait_for_word(control: &OwnedFd, gateway: &OwnedFd) {
    let mut fds = [PollFd::new(control, PollFlags::IN), PollFd::new(gateway, PollFlags::IN)];
    while poll(&mut fds, None) == Err(Errno::INTR) {}
}

fn is_gone(gateway: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(gateway, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// Moves the control socket away from descriptor 0.
fn take_control() -> io::Result<OwnedFd> {
    let control = fcntl_dupfd_cloexec(io::stdin(), 3)?;
    rustix::stdio::dup2_stdin(fs::File::open("/dev/null")?)?;
    Ok(control)
}

/// Closes everything above standard error. Called first, when nothing up there is ours.
fn close_inherited() -> io::Result<()> {
    let listing = fs::File::open("/proc/self/fd")?;
    let own = listing.as_raw_fd();
    let numbers: Vec<RawFd> = Dir::new(listing)?
        .filter_map(|entry| entry.ok()?.file_name().to_str().ok()?.parse().ok())
        .filter(|fd| *fd > 2 && *fd != own)
        .collect();
    for fd in numbers {
        // SAFETY: the listing is the only descriptor that this process has opened so far, and it
        // is left out, so no value of ours owns this one.
        #[expect(unsafe_code, reason = "inherited descriptors have no owner to drop")]
        drop(unsafe { OwnedFd::from_raw_fd(fd) });
    }
    Ok(())
}
