//! Signals as a closed list of what they mean here. SIGUSR1 is not among them: the stop has a
//! thread of its own.

use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What the operator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// Drain, then exit.
    End(&'static str),
    /// Take what servers.toml says now.
    Reload,
}

#[derive(Debug)]
pub(super) struct Signals {
    term: Stream,
    interrupt: Stream,
    reload: Stream,
    /// Only held, so that a file size limit makes the audit refuse instead of ending the process.
    _file_size: Stream,
}

const SIGXFSZ: i32 = 25;

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
            _file_size: signal(SignalKind::from_raw(SIGXFSZ))?,
        })
    }

    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.term.recv() => Signal::End("SIGTERM"),
            _ = self.interrupt.recv() => Signal::End("SIGINT"),
            _ = self.reload.recv() => Signal::Reload,
        }
    }
}
