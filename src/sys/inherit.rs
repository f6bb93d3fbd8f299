//! What the service manager hands over at the start: sockets that it listens on for us, and what an
//! earlier process of ours has left with it.
//!
//! Sockets are known by the address that they are bound to, so that a unit file and `servers.toml`
//! cannot be mixed up; everything else by its name. Taken once, before the process has threads.
//! Knows nothing of what is served there.

use std::{
    env,
    fs::File,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::Path,
};

use listenfd::ListenFd;

/// The first descriptor that is handed over, by convention.
const FIRST_FD: usize = 3;

/// What was handed over and is not taken yet.
#[derive(Debug, Default)]
pub struct Inherited {
    tcp: Vec<(String, TcpListener)>,
    unix: Vec<(String, UnixListener)>,
    files: Vec<(String, File)>,
}

impl Inherited {
    /// Takes everything out of the environment.
    pub fn take() -> Self {
        // `ListenFd` empties the environment, but for the names.
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').map(str::to_owned);
        let (mut fds, mut inherited) = (ListenFd::from_env(), Self::default());
        for n in 0..fds.len() {
            let name = names.next().unwrap_or_default();
            if let Ok(Some(listener)) = fds.take_tcp_listener(n) {
                inherited.tcp.push((name, listener));
            } else if let Ok(Some(listener)) = fds.take_unix_listener(n) {
                inherited.unix.push((name, listener));
            } else if let Ok(file) = File::open(format!("/proc/self/fd/{}", FIRST_FD + n)) {
                // Opened anew: the number itself belongs to nobody, and no child inherits it.
                inherited.files.push((name, file));
            }
        }
        inherited
    }

    /// The socket that listens there.
    pub fn tcp(&mut self, at: SocketAddr) -> Option<TcpListener> {
        let is_it = |(_, one): &(_, TcpListener)| one.local_addr().is_ok_and(|here| here == at);
        let n = self.tcp.iter().position(is_it)?;
        Some(self.tcp.swap_remove(n).1)
    }

    /// The socket that listens there.
    pub fn unix(&mut self, at: &Path) -> Option<UnixListener> {
        let is_it = |(_, one): &(_, UnixListener)| {
            one.local_addr().is_ok_and(|here| here.as_pathname() == Some(at))
        };
        let n = self.unix.iter().position(is_it)?;
        Some(self.unix.swap_remove(n).1)
    }

    /// What was left under that name.
    pub fn file(&mut self, name: &str) -> Option<File> {
        let n = self.files.iter().position(|(own, _)| own == name)?;
        Some(self.files.swap_remove(n).1)
    }

    /// What nobody has taken: name and address.
    pub fn left(self) -> Vec<(String, String)> {
        let tcp = self.tcp.into_iter().map(|(name, one)| {
            (name, one.local_addr().map_or_else(|_| String::new(), |at| at.to_string()))
        });
        let unix = self.unix.into_iter().map(|(name, one)| {
            let at = one.local_addr().ok();
            let path = at.as_ref().and_then(|at| at.as_pathname());
            (name, path.map_or_else(String::new, |path| format!("unix:{}", path.display())))
        });
        let files = self.files.into_iter().map(|(name, _)| (name, "a file".to_owned()));
        tcp.chain(unix).chain(files).collect()
    }
}
