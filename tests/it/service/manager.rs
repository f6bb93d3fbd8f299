//! A service manager for tests: hears what `sd_notify` says on a real datagram socket, keeps the
//! descriptors that it is sent, and starts gateways with sockets that it hands over.

use std::{
    fs,
    io::IoSliceMut,
    mem::MaybeUninit,
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tempfile::TempDir;

use crate::harness::{Gateway, PORTCULLIS, wait_until, write_config};

/// Takes standard input for the socket that is handed over, so that no other child of this
/// process can inherit it.
const HAND_OVER: &str = "exec 3<&0 0</dev/null; LISTEN_PID=$$ exec \"$@\"";

pub(crate) struct Manager {
    _dir: TempDir,
    socket: PathBuf,
    said: Arc<Mutex<Vec<String>>>,
    kept: Arc<Mutex<Vec<(String, OwnedFd)>>>,
    pub(crate) watchdog: Option<Duration>,
}

impl Manager {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        let (said, kept) = <(Arc<Mutex<Vec<String>>>, Arc<Mutex<Vec<_>>>)>::default();
        let (words, fds) = (said.clone(), kept.clone());
        thread::spawn(move || {
            loop {
                let (message, received) = hear(&socket);
                let name = message.lines().find_map(|line| line.strip_prefix("FDNAME="));
                if let Some(name) = name.map(str::to_owned) {
                    fds.lock().unwrap().extend(received.into_iter().map(|fd| (name.clone(), fd)));
                }
                words.lock().unwrap().extend(message.lines().map(str::to_owned));
            }
        });
        Self { _dir: dir, socket: path, said, kept, watchdog: None }
    }

    /// Starts a gateway, with a listening socket or whatever was kept.
    pub(crate) fn launch(
        &self,
        dir: TempDir,
        tables: &str,
        handed: Option<(&str, OwnedFd)>,
    ) -> Gateway {
        let config = write_config(dir.path(), tables);
        let mut command = Command::new(if handed.is_some() { "bash" } else { PORTCULLIS });
        match handed {
            Some((name, fd)) => {
                command.args(["-c", HAND_OVER, "bash", PORTCULLIS]);
                command.envs([("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", name)]);
                command.stdin(Stdio::from(fd));
            }
            None => drop(command.stdin(Stdio::null())),
        }
        command.args(["serve", "--config"]).arg(config).env("NOTIFY_SOCKET", &self.socket);
        if let Some(watchdog) = self.watchdog {
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        Gateway::spawn_with_input(dir, command)
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    /// Waits for a line that is, or begins so.
    pub(crate) fn wait(&self, line: &str) -> String {
        let look = || self.said().into_iter().find(|said| said.starts_with(line));
        wait_until(line, look, || format!("{:#?}", self.said()))
    }

    pub(crate) fn n_said(&self, line: &str) -> usize {
        self.said().iter().filter(|said| *said == line).count()
    }

    /// Closes what was left under that name.
    pub(crate) fn close(&self, name: &str) {
        self.kept.lock().unwrap().retain(|(own, _)| own != name);
    }

    /// What was left under that name, as often as it was.
    pub(crate) fn kept(&self, name: &str) -> Vec<OwnedFd> {
        let kept = self.kept.lock().unwrap();
        let of_name = kept.iter().filter(|(own, _)| own == name);
        of_name.map(|(_, fd)| fd.try_clone().unwrap()).collect()
    }
}

/// The inode of a socket, by which a process that has it is known.
pub(crate) fn inode(of: &OwnedFd) -> u64 {
    rustix::fs::fstat(of).unwrap().st_ino
}

/// Whether a process has it open.
pub(crate) fn has_socket(pid: u32, inode: u64) -> bool {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let want = format!("socket:[{inode}]");
    fds.filter_map(|fd| fs::read_link(fd.unwrap().path()).ok()).any(|to| to.as_os_str() == &*want)
}

/// One datagram, with what came along.
fn hear(socket: &UnixDatagram) -> (String, Vec<OwnedFd>) {
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut along = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let got = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut along, flags).unwrap();
    let mut fds = Vec::new();
    for message in along.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            fds.extend(received);
        }
    }
    (String::from_utf8(bytes[..got.bytes].to_vec()).unwrap(), fds)
}

/// A socket that listens, as `portcullis.socket` has one.
pub(crate) fn listening() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    (listener, at)
}
