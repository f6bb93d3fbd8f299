//! Signals as a closed list of what they mean here.

use std::io;

use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

/// What the operator asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signal {
    /// Drain, then exit.
    End(&'static str),
    /// Engage the emergency stop. Sets, never toggles.
    Stop,
}

#[derive(Debug)]
pub(super) struct Signals {
    term: Stream,
    interrupt: Stream,
    stop: Stream,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            stop: signal(SignalKind::user_defined1())?,
        })
    }

    pub(super) async fn next(&mut self) -> Signal {
        tokio::select! {
            // The stop first, always.
            biased;
            _ = self.stop.recv() => Signal::Stop,
            _ = self.term.recv() => Signal::End("SIGTERM"),
            _ = self.interrupt.recv() => Signal::End("SIGINT"),
        }
    }
}
