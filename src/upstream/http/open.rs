//! Opening an HTTP session: dial, find out the era, shake hands.
//!
//! The modern `server/discover` is tried first unless the operator has pinned the era. What speaks
//! of the server's state (credentials, overload) is reported as such and never taken for an era;
//! any other refusal means that the server is legacy. One that takes no `initialize` at its URL is
//! tried with the transport of 2024-11-05.

use std::sync::{Arc, Mutex, OnceLock, atomic::AtomicU64};

use http::{
    HeaderMap, HeaderValue, StatusCode, Uri,
    header::{HOST, USER_AGENT},
};
use tokio::{
    sync::{broadcast, watch},
    time::timeout,
};

use super::{
    About, Asked, Http, answer,
    conversation::{Conversation, NotOpened},
    core::Core,
    host::Host,
    line::{Pool, Slot},
    socket::Address,
    tasks::{Over, Tasks},
};
use crate::{
    config::{HttpTarget, ServerConfig},
    domain::{CallError, Era, limits::WATCH_NEWS_MAX},
    gate::Latch,
    upstream::{
        ConnectError,
        connect::reached,
        handshake::{Discovery, Greeting, Refused, declared, discovered, modern_params},
        pace::{Allowance, Counts},
    },
    wire::{ClientFace, RequestId, Version, encode_request},
};

/// Opens a session in the era given, or in the one that the server turns out to speak.
pub(in crate::upstream) async fn open(
    server: &ServerConfig,
    target: &HttpTarget,
    era: Option<Era>,
    latch: Latch,
    face: Arc<ClientFace>,
) -> Result<(Http, Greeting), ConnectError> {
    let core = Arc::new(core(server, target, latch, face)?);
    let http = Http::new(Arc::clone(&core));
    let line = core.pool.dial().await.map_err(|source| ConnectError::Unreachable {
        server: server.name.clone(),
        address: target.url.to_string(),
        source,
    })?;
    core.pool.check_in(line).await;
    if era != Some(Era::Legacy) {
        match discover(&core, server).await? {
            Discovery::Modern(greeting) => {
                reached("discovered");
                return Ok((http, greeting));
            }
            Discovery::Stranger { offers } => {
                return Err(ConnectError::NoCommonVersion { server: server.name.clone(), offers });
            }
            Discovery::Legacy if era == Some(Era::Modern) => {
                let what = "it is pinned as modern but does not answer server/discover";
                return Err(ConnectError::Protocol { server: server.name.clone(), what });
            }
            Discovery::Legacy => reached("told apart as legacy"),
        }
    }
    let greeting = greet(&core, server).await?;
    reached("initialized");
    match core.old.get() {
        None => core.tasks.run(Arc::clone(&core).listen(greeting.version)),
        // It has its stream already.
        Some(_) => core.conversation.is_never_listened(),
    }
    // Whoever has declared nothing is asked nothing.
    if !core.declared.is_empty() {
        let (host, unhoused) = Host::new();
        if core.host.set(host).is_ok() {
            core.tasks.run(unhoused.run(Arc::clone(&core), greeting.version));
        }
        // Questions come on the GET stream, too.
        core.conversation.listened().await;
    }
    Ok((http, greeting))
}

/// Shakes hands with a legacy server, by the transport that it has.
async fn greet(core: &Arc<Core>, server: &ServerConfig) -> Result<Greeting, ConnectError> {
    let greeting = match core.initialize().await {
        Err(NotOpened::Status(status)) if refuses_posts(status) => {
            let opened = core.open_old().await;
            if !opened.map_err(|failed| explain(server, NotOpened::Call(failed)))? {
                return Err(explain(server, NotOpened::Status(status)));
            }
            core.initialize().await
        }
        agreed => agreed,
    };
    greeting.map_err(|failed| explain(server, failed))
}

/// How a server answers `initialize` that may speak the transport of 2024-11-05.
fn refuses_posts(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED
    )
}

fn core(
    server: &ServerConfig,
    target: &HttpTarget,
    latch: Latch,
    face: Arc<ClientFace>,
) -> Result<Core, ConnectError> {
    let broken = |what| ConnectError::Protocol { server: server.name.clone(), what };
    let url = &target.url;
    let authority = url.authority().ok_or_else(|| broken("its url names no host"))?;
    let address = Address::of(url).ok_or_else(|| broken("its url names no host"))?;
    let path = url.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let mut headers = HeaderMap::new();
    headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_TEXT));
    for (name, secret) in &target.headers {
        let value = HeaderValue::from_str(secret.expose());
        let mut value = value.map_err(|_| broken("a header in http_headers cannot be sent"))?;
        value.set_sensitive(true);
        headers.insert(name.clone(), value);
    }
    let host = HeaderValue::from_str(authority.as_str());
    headers.insert(HOST, host.map_err(|_| broken("the host in its url cannot be sent"))?);
    let over = Over::new();
    Ok(Core {
        server: server.name.clone(),
        pool: Pool::new(address),
        url: url.clone(),
        old: OnceLock::new(),
        uri: path.parse::<Uri>().map_err(|_| broken("the path in its url cannot be sent"))?,
        headers,
        declared: declared(&face),
        face,
        latch,
        next_id: AtomicU64::new(1),
        counts: Counts::default(),
        unasked: Mutex::new(Allowance::new()),
        list_changed: watch::Sender::new(0),
        news: broadcast::Sender::new(WATCH_NEWS_MAX),
        tasks: Tasks::new(over.clone()),
        over,
        handshake_timeout: server.startup_timeout,
        conversation: Conversation::default(),
        routes: super::legacy::Routes::default(),
        host: OnceLock::new(),
    })
}

pub(super) const USER_AGENT_TEXT: &str = concat!("portcullis/", env!("CARGO_PKG_VERSION"));

async fn discover(core: &Arc<Core>, server: &ServerConfig) -> Result<Discovery, ConnectError> {
    const METHOD: &str = "server/discover";
    let id = core.next_id.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let params = modern_params(&core.face, b"");
    let frame = encode_request(&RequestId::from_u64(id), METHOD, Some(&params));
    let asked = Asked::own(id, frame, About::own(Some(Version::MODERN), METHOD));
    let mut slot = Slot::default();
    let exchange = async {
        let head = core.post(&mut slot, &asked, None).await?;
        let status = head.status();
        Ok((status, answer::read(core, &mut slot, head, &asked).await))
    };
    let silent =
        ConnectError::Silent { server: server.name.clone(), after: server.startup_timeout };
    let (status, answered) = timeout(server.startup_timeout, exchange)
        .await
        .map_err(|_| silent)?
        .map_err(|error: CallError| explain(server, NotOpened::Call(error)))?;
    if let Some(state) = state_of(server, status) {
        return Err(state);
    }
    Ok(answered.as_ref().map_or(Discovery::Legacy, discovered))
}

/// What a status says of the server's state, if it says that and nothing else.
fn state_of(server: &ServerConfig, status: StatusCode) -> Option<ConnectError> {
    let (server, code) = (server.name.clone(), status.as_u16());
    match code {
        401 | 403 => Some(ConnectError::Unauthorized { server, status: code }),
        408 | 425 | 429 | 500..=599 => Some(ConnectError::NotReady { server, status: code }),
        _ => None,
    }
}

fn explain(server: &ServerConfig, failed: NotOpened) -> ConnectError {
    let name = server.name.clone();
    match failed {
        NotOpened::Status(status) => state_of(server, status)
            .unwrap_or(ConnectError::NotMcp { server: name, status: status.as_u16() }),
        NotOpened::Refused(Refused::Error { code }) => ConnectError::Refused { server: name, code },
        NotOpened::Refused(Refused::Version { offers }) => {
            ConnectError::NoCommonVersion { server: name, offers }
        }
        NotOpened::Call(CallError::Protocol { what }) => {
            ConnectError::Protocol { server: name, what }
        }
        NotOpened::Call(_) => {
            let what = "the connection broke before the answer";
            ConnectError::Protocol { server: name, what }
        }
    }
}
