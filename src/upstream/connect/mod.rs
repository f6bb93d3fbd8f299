//! From a server's configuration to an open session: start or dial, find out the era, shake hands.
//!
//! The era belongs to a replica: a dual-era process is locked by the first message it gets, so a
//! child that kept silent or refused is replaced by a fresh one before the other era is tried.
//! What was found is remembered for the next start of the same command or address, and forgotten
//! when it fails. Every step is bounded by the server's start-up timeout.

mod steps;

use std::{
    collections::HashMap,
    ffi::OsString,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::timeout;

pub use steps::Steps;
pub(super) use steps::reached;

use super::{
    ConnectError, Line, Session, Whose,
    handshake::{
        Discovery, Greeting, Refused, declared, discovered, face, initialize_params, initialized,
        modern_params,
    },
    http,
    stdio::{Ask, Stdio, Tail},
};
use crate::{
    config::{Isolation, Program, ProtocolPin, Secret, ServerConfig, StdioTarget, Target},
    domain::{CallError, Era, ServerName, limits::DISCOVER_TIMEOUT},
    gate::Latch,
    jail::{ChildSpec, Jail},
    wire::{ClientFace, RELAYABLE, RequestId, Response, encode_notification, encode_request},
};

/// Opens sessions.
#[derive(Clone, Debug)]
pub struct Connector {
    jail: Jail,
    latch: Latch,
    face: Arc<ClientFace>,
    /// Of somebody who can be asked everything.
    able: Arc<ClientFace>,
    eras: Arc<Eras>,
}

/// Which era each command or address of a server turned out to speak.
#[derive(Debug, Default)]
struct Eras(Mutex<HashMap<ServerName, Vec<(Target, Era)>>>);

impl Connector {
    pub fn latch(&self) -> &Latch {
        &self.latch
    }

    pub fn new(jail: Jail, latch: Latch) -> Self {
        let able = ClientFace { capabilities: RELAYABLE.into(), ..face() };
        Self { jail, latch, face: Arc::new(face()), able: Arc::new(able), eras: Arc::default() }
    }

    /// Opens a session within the server's start-up timeout. Dropping the future undoes it.
    /// What a child writes to its stderr, before and after, ends up in the tail.
    /// Nobody is asked on it. Where callers have sessions of their own it is there for the lists,
    /// and some servers list what asks only to those who can be asked.
    pub async fn connect(
        &self,
        server: &ServerConfig,
        target: &Target,
        tail: &Tail,
    ) -> Result<Session, ConnectError> {
        let face = match server.isolation {
            Isolation::Shared => &self.face,
            Isolation::PerPrincipal | Isolation::PerSession => &self.able,
        };
        self.connect_as((server, target), (Whose::Everybodys, Arc::clone(face)), tail).await
    }

    /// The same for one caller's own session: a legacy server is told what that caller can be
    /// asked.
    pub async fn connect_for(
        &self,
        server: &ServerConfig,
        target: &Target,
        capabilities: Bytes,
        tail: &Tail,
    ) -> Result<Session, ConnectError> {
        let face = ClientFace { capabilities, info: self.face.info.clone() };
        self.connect_as((server, target), (Whose::OneCallers, Arc::new(face)), tail).await
    }

    async fn connect_as(
        &self,
        (server, target): (&ServerConfig, &Target),
        (whose, face): (Whose, Arc<ClientFace>),
        tail: &Tail,
    ) -> Result<Session, ConnectError> {
        let known = match server.protocol {
            ProtocolPin::Auto => self.eras.get(server, target),
            ProtocolPin::Modern => Some(Era::Modern),
            ProtocolPin::Legacy => Some(Era::Legacy),
        };
        let open = self.open((server, target), known, &face, tail);
        let opened = timeout(server.startup_timeout, open).await;
        let opened = opened.unwrap_or_else(|_| {
            let after = server.startup_timeout;
            Err(ConnectError::Silent { server: server.name.clone(), after })
        });
        match opened {
            Ok((line, greeting)) => {
                self.eras.learn((server, target), greeting.version.era());
                let name = server.name.clone();
                Ok(Session::new(name, line, greeting, (whose, face), self.latch.clone()))
            }
            Err(error) => {
                self.eras.forget(server, target);
                Err(error)
            }
        }
    }

    async fn open(
        &self,
        (server, target): (&ServerConfig, &Target),
        era: Option<Era>,
        face: &Arc<ClientFace>,
        tail: &Tail,
    ) -> Result<(Line, Greeting), ConnectError> {
        match target {
            Target::Stdio(target) => {
                let launch = || self.launch(server, target, face, tail);
                let (child, greeting) = shake_hands(server, face, era, launch).await?;
                Ok((Line::Stdio(child), greeting))
            }
            Target::Http(target) => {
                let (latch, face) = (self.latch.clone(), Arc::clone(face));
                let (http, greeting) = http::open(server, target, era, latch, face).await?;
                Ok((Line::Http(http), greeting))
            }
        }
    }

    async fn launch(
        &self,
        server: &ServerConfig,
        target: &StdioTarget,
        face: &ClientFace,
        tail: &Tail,
    ) -> Result<Stdio, ConnectError> {
        let program = match &target.program {
            // Also right when the file was replaced meanwhile.
            Program::SelfExe => PathBuf::from("/proc/self/exe"),
            Program::Path(path) => path.clone(),
        };
        let variable = |(name, value): (&String, &Secret)| (name.into(), value.expose().into());
        let spec = ChildSpec {
            server: server.name.clone(),
            program,
            args: target.args.iter().map(OsString::from).collect(),
            env: target.env.iter().map(variable).collect(),
            cwd: target.cwd.clone(),
        };
        let child = self
            .jail
            .spawn(spec)
            .await
            .map_err(|source| ConnectError::Spawn { server: server.name.clone(), source })?;
        reached("started");
        Ok(Stdio::adopt(&server.name, child, tail, (self.latch.clone(), declared(face))))
    }
}

impl Eras {
    fn get(&self, server: &ServerConfig, target: &Target) -> Option<Era> {
        let table = self.table();
        let known = table.get(&server.name)?;
        known.iter().find(|(of, _)| of == target).map(|(_, era)| *era)
    }

    fn learn(&self, (server, target): (&ServerConfig, &Target), era: Era) {
        let mut table = self.table();
        let known = table.entry(server.name.clone()).or_default();
        // Of a configuration that was.
        let stands = |of: &Target| server.replicas.iter().any(|replica| replica.target == *of);
        known.retain(|(of, _)| of != target && stands(of));
        known.push((target.clone(), era));
    }

    fn forget(&self, server: &ServerConfig, target: &Target) {
        if let Some(known) = self.table().get_mut(&server.name) {
            known.retain(|(of, _)| of != target);
        }
    }

    fn table(&self) -> MutexGuard<'_, HashMap<ServerName, Vec<(Target, Era)>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const DISCOVERED: &str = "discovered";

/// What a child made of its first message.
enum Probe {
    Answered(Discovery),
    Silent,
    Ended,
}

/// Starts a child, or two, until one has agreed on an era with us.
pub(super) async fn shake_hands<F, R>(
    server: &ServerConfig,
    face: &ClientFace,
    era: Option<Era>,
    launch: F,
) -> Result<(Stdio, Greeting), ConnectError>
where
    F: Fn() -> R,
    R: Future<Output = Result<Stdio, ConnectError>>,
{
    let child = launch().await?;
    match era {
        Some(Era::Legacy) => return initialize(server, face, child).await,
        Some(Era::Modern) => return discover(server, face, child).await,
        None => {}
    }
    let silent = match probe(&child, face, DISCOVER_TIMEOUT).await {
        Probe::Answered(Discovery::Modern(greeting)) => {
            reached(DISCOVERED);
            return Ok((child, greeting));
        }
        Probe::Answered(Discovery::Stranger { offers }) => {
            return Err(ConnectError::NoCommonVersion { server: server.name.clone(), offers });
        }
        Probe::Answered(Discovery::Legacy) => {
            reached("told apart as legacy");
            if let Ok(opened) = initialize(server, face, child).await {
                return Ok(opened);
            }
            false
        }
        Probe::Silent => {
            reached("silent at first");
            drop(child);
            true
        }
        Probe::Ended => false,
    };
    match initialize(server, face, launch().await?).await {
        // It may have been slow, not legacy.
        Err(ConnectError::Refused { .. }) if silent => {
            discover(server, face, launch().await?).await
        }
        opened => opened,
    }
}

async fn probe(child: &Stdio, face: &ClientFace, wait: Duration) -> Probe {
    let params = modern_params(face, b"");
    match ask(child, "server/discover", &params, wait).await {
        Ok(response) => Probe::Answered(discovered(&response)),
        Err(CallError::Deadline { .. }) => Probe::Silent,
        // It lives and has answered, but not as a modern server does.
        Err(CallError::Protocol { .. }) => Probe::Answered(Discovery::Legacy),
        Err(_) => Probe::Ended,
    }
}

async fn discover(
    server: &ServerConfig,
    face: &ClientFace,
    child: Stdio,
) -> Result<(Stdio, Greeting), ConnectError> {
    let name = server.name.clone();
    match probe(&child, face, server.startup_timeout).await {
        Probe::Answered(Discovery::Modern(greeting)) => {
            reached(DISCOVERED);
            Ok((child, greeting))
        }
        Probe::Answered(Discovery::Stranger { offers }) => {
            Err(ConnectError::NoCommonVersion { server: name, offers })
        }
        Probe::Answered(Discovery::Legacy) => Err(ConnectError::Protocol {
            server: name,
            what: "it does not answer server/discover as a modern server does",
        }),
        Probe::Silent => Err(ConnectError::Silent { server: name, after: server.startup_timeout }),
        Probe::Ended => Err(ended(server, child).await),
    }
}

async fn initialize(
    server: &ServerConfig,
    face: &ClientFace,
    child: Stdio,
) -> Result<(Stdio, Greeting), ConnectError> {
    let name = server.name.clone();
    let wait = server.startup_timeout;
    let response = match ask(&child, "initialize", &initialize_params(face), wait).await {
        Ok(response) => response,
        Err(CallError::Deadline { .. }) => {
            return Err(ConnectError::Silent { server: name, after: wait });
        }
        Err(CallError::Protocol { what }) => {
            return Err(ConnectError::Protocol { server: name, what });
        }
        Err(_) => return Err(ended(server, child).await),
    };
    let greeting = initialized(&response).map_err(|refused| match refused {
        Refused::Error { code } => ConnectError::Refused { server: name.clone(), code },
        Refused::Version { offers } => ConnectError::NoCommonVersion { server: name, offers },
    })?;
    reached("initialized");
    child.say(encode_notification("notifications/initialized", None)).await;
    Ok((child, greeting))
}

async fn ask(
    child: &Stdio,
    method: &str,
    params: &[u8],
    wait: Duration,
) -> Result<Response, CallError> {
    let id = child.draw_id();
    let frame = encode_request(&RequestId::from_u64(id), method, Some(params));
    child.ask(Ask { id, frame, epoch: None, wait, ear: None, talk: None }).await
}

/// Sees the child off, so that its last words are complete.
async fn ended(server: &ServerConfig, child: Stdio) -> ConnectError {
    let why = child.closed().await;
    child.close().await;
    ConnectError::Ended { server: server.name.clone(), why, stderr: child.last_words() }
}
