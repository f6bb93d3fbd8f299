//! From a server's configuration to an open session: start or dial, find out the era, shake hands.
//!
//! The era belongs to a replica: a dual-era process is locked by the first message it gets, so a
//! child that kept silent or refused is replaced by a fresh one before the other era is tried.
//! What was found is remembered for the next start of the same command or address, and forgotten
//! when it fails. Every step is bounded by the server's start-up timeout.

use std::{
    collections::HashMap,
    ffi::OsString,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, timeout};

use super::{
    ConnectError, Line, Session,
    handshake::{
        Discovery, Greeting, Refused, discovered, face, initialize_params, initialized,
        modern_params,
    },
    http::Http,
    stdio::{Ask, Stdio},
};
use crate::{
    config::{HttpTarget, Program, ProtocolPin, ServerConfig, StdioTarget, Target},
    domain::{CallError, Era, ServerName, limits::DISCOVER_TIMEOUT},
    gate::Latch,
    jail::{ChildSpec, Jail},
    wire::{ClientFace, RequestId, encode_notification, encode_request},
};

/// Opens sessions.
#[derive(Clone, Debug)]
pub struct Connector {
    jail: Jail,
    latch: Latch,
    face: Arc<ClientFace>,
    eras: Arc<Eras>,
}

/// Which era a command or address turned out to speak.
#[derive(Debug, Default)]
struct Eras(Mutex<HashMap<Target, Era>>);

impl Connector {
    pub fn new(jail: Jail, latch: Latch) -> Self {
        Self { jail, latch, face: Arc::new(face()), eras: Arc::default() }
    }

    /// Opens a session within the server's start-up timeout. Dropping the future undoes it.
    pub async fn connect(&self, server: &ServerConfig) -> Result<Session, ConnectError> {
        let opened = timeout(server.startup_timeout, self.open(server)).await;
        opened.unwrap_or_else(|_| {
            let after = server.startup_timeout;
            Err(ConnectError::Silent { server: server.name.clone(), after })
        })
    }
}
