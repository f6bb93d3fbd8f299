//! A listening socket: handed over by the service manager, or bound here and left with it.
//!
//! A unix socket of our own is the owner's alone, one that was handed over not everybody's; its
//! visitor is named by uid.

use std::{
    io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
};

use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::{
    config::Listen,
    front::{FrontError, identity::Link},
    sys::{Inherited, Manager},
};

const OTHERS: u32 = 0o007;

/// A bound socket.
#[derive(Debug)]
pub(in crate::front) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// The socket that the service manager has handed over for that address, or one of our own,
    /// which is left with the manager under `name`: who connects during a restart waits there.
    pub(in crate::front) async fn bind(
        at: &Listen,
        name: &str,
        (manager, inherited): (Manager, &mut Inherited),
    ) -> Result<Self, FrontError> {
        let failed = |source| FrontError::Bind { at: at.to_string(), source };
        if let Some(listener) = Self::take(at, inherited).map_err(failed)? {
            return Ok(listener);
        }
        match at {
            Listen::Tcp(address) => {
                let listener = TcpListener::bind(address).await.map_err(failed)?;
                manager.keep(name, &listener);
                Ok(Self::Tcp(listener))
            }
            Listen::Unix(path) => {
                let listener = bind_unix(path).await.map_err(failed)?;
                manager.keep(name, &listener);
                Ok(Self::Unix(listener))
            }
        }
    }

    fn take(at: &Listen, inherited: &mut Inherited) -> io::Result<Option<Self>> {
        match at {
            Listen::Tcp(address) => inherited.tcp(*address).map_or(Ok(None), |listener| {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener).map(|listener| Some(Self::Tcp(listener)))
            }),
            Listen::Unix(path) => inherited.unix(path).map_or(Ok(None), |listener| {
                refuse_open(path)?;
                listener.set_nonblocking(true)?;
                UnixListener::from_std(listener).map(|listener| Some(Self::Unix(listener)))
            }),
        }
    }

    /// Where it really listens: port 0 has become a number.
    pub(in crate::front) fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => {
                listener.local_addr().map_or_else(|_| String::new(), |a| a.to_string())
            }
            Self::Unix(listener) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|a| a.as_pathname());
                path.map_or_else(String::new, |path| format!("unix:{}", path.display()))
            }
        }
    }
}

/// Who may connect to a socket that was handed over, its unit says; everybody may not.
fn refuse_open(path: &Path) -> io::Result<()> {
    let mode = std::fs::symlink_metadata(path)?.permissions().mode();
    if mode & OTHERS == 0 {
        return Ok(());
    }
    let told = "everybody on this machine could connect; set SocketMode=0600 in its unit";
    Err(io::Error::new(io::ErrorKind::PermissionDenied, told))
}

async fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    if UnixStream::connect(path).await.is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    // Only what a gateway left behind: never somebody's file.
    match std::fs::symlink_metadata(path) {
        Ok(old) if old.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, owner_only)?;
    Ok(listener)
}

/// Somebody who was let in.
pub(super) enum Arrived {
    Tcp(tokio::net::TcpStream),
    Unix(UnixStream, Link),
}

pub(super) async fn accept(listener: &Listener) -> io::Result<Arrived> {
    match listener {
        Listener::Tcp(listener) => {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok(Arrived::Tcp(stream))
        }
        Listener::Unix(listener) => {
            let (stream, _) = listener.accept().await?;
            let uid = stream.peer_cred()?.uid();
            Ok(Arrived::Unix(stream, Link::Unix { uid }))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::net::UnixListener};

    use super::*;

    #[test]
    fn a_socket_that_everybody_may_use_is_not_taken_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        for (mode, is_fit) in [(0o600, true), (0o660, true), (0o666, false), (0o602, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(refuse_open(&path).is_ok(), is_fit, "{mode:o}");
        }
    }
}
