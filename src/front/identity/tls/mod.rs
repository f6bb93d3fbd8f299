//! TLS for the listener: certificate, key, and whose client certificates count.
//!
//! Looks at its files again when they have become others: new connections get the new certificate.
//! Files that do not fit together change nothing, and are told. TLS 1.2 and 1.3, HTTP/1.1 only:
//! there are no h2 streams with which one connection could ask for more than its turn.

mod certificate;

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
pub(in crate::front) use certificate::Certified;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{Error as PemError, PemObject},
    },
    server::WebPkiClientVerifier,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use super::Link;
use crate::{
    config::{AuthConfig, AuthMode, Config, TlsConfig},
    domain::limits::TLS_HANDSHAKE_TIMEOUT,
    sys::{self, Distrust, FileStamp, Trust},
};

/// What the listener shows, and asks for.
#[derive(Debug)]
pub(in crate::front) struct Tls {
    places: TlsConfig,
    asks: Asks,
    trust: Trust,
    current: ArcSwap<Current>,
    /// The files as they were tried last, and what was wrong with them.
    tried: Mutex<(Vec<Option<FileStamp>>, Option<String>)>,
}

/// What is in force.
#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    /// Whose client certificates count.
    roots: Vec<CertificateDer<'static>>,
    /// Cancelled when one of those counts no more.
    over: CancellationToken,
}

const OTHERS_READ: u32 = 0o004;

/// Which clients need a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    Nobody,
    /// Who has none may prove himself otherwise.
    WhoeverHasOne,
    Everybody,
}

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("`{path}` holds no usable PEM; look at gateway.tls and at who may read the file")]
    File {
        path: PathBuf,
        #[source]
        source: PemError,
    },
    #[error("everybody on this machine can read the private key `{path}`; chmod 600 it")]
    Exposed { path: PathBuf },
    #[error(transparent)]
    Distrusted(#[from] Distrust),
    #[error("certificate, key and client_ca of gateway.tls do not fit together: {0}")]
    Unfit(String),
}

impl Asks {
    pub(super) fn by(auth: &AuthConfig) -> Self {
        // `peer` is no way by TCP, and only there is TLS.
        let is_other = |mode: &AuthMode| !matches!(mode, AuthMode::Mtls | AuthMode::Peer);
        match (auth.has(AuthMode::Mtls), auth.modes.iter().any(is_other)) {
            (false, _) => Self::Nobody,
            (true, false) => Self::Everybody,
            (true, true) => Self::WhoeverHasOne,
        }
    }
}

/// Whether TLS could be spoken with the files as they are; if it is to be, in how many seconds the
/// certificate is over.
pub fn look_at_tls(config: &Config) -> Result<Option<u64>, TlsError> {
    let Some(places) = &config.gateway.tls else { return Ok(None) };
    read(places, Asks::by(&config.auth), Trust::of(&config.gateway.state_dir))?;
    let chain = certificates(&places.cert)?;
    let ends_s = chain.first().and_then(|own| certificate::ends_s(own)).unwrap_or_default();
    Ok(Some(ends_s.saturating_sub(sys::unix_millis() / 1000)))
}

impl Tls {
    pub(super) fn open(places: TlsConfig, asks: Asks, trust: Trust) -> Result<Self, TlsError> {
        let stamps = stamps(&places);
        let current = ArcSwap::from_pointee(read(&places, asks, trust)?);
        Ok(Self { places, asks, trust, current, tried: Mutex::new((stamps, None)) })
    }

    /// Shakes hands, within a time; what is known of the other end then.
    pub(in crate::front) async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Link)> {
        let current = self.current.load_full();
        let acceptor = TlsAcceptor::from(current.config.clone());
        let shaken = tokio::time::timeout(TLS_HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await;
        let stream = shaken.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let (_, session) = stream.get_ref();
        let shown = session.peer_certificates().and_then(|chain| chain.first());
        let certified = shown
            .and_then(|shown| certificate::read(shown, &self.places.client_names, &current.over));
        Ok((stream, Link::Tls { certified }))
    }

    /// Looks at the files; whether others are in force now. Blocks.
    pub(super) fn refresh(&self) -> Result<bool, TlsError> {
        let stamps = stamps(&self.places);
        if self.lock().0 == stamps {
            return Ok(false);
        }
        let fresh = read(&self.places, self.asks, self.trust);
        let trouble = fresh.as_ref().err().map(ToString::to_string);
        // Files that could not be read may say that somebody is let in no more. That is told once.
        let is_unread = matches!(
            fresh,
            Err(TlsError::File { source: PemError::Io(_), .. } | TlsError::Distrusted(_))
        );
        let tried = (if is_unread { Vec::new() } else { stamps }, trouble);
        let before = std::mem::replace(&mut *self.lock(), tried);
        if is_unread && before.1 == self.trouble() {
            return Ok(false);
        }
        let (before, mut fresh) = (self.current.load_full(), fresh?);
        if before.roots.iter().all(|root| fresh.roots.contains(root)) {
            fresh.over = before.over.clone();
            self.current.store(Arc::new(fresh));
        } else {
            self.current.store(Arc::new(fresh));
            before.over.cancel();
        }
        Ok(true)
    }

    /// What is wrong with the files, while those before them are in force.
    pub(super) fn trouble(&self) -> Option<String> {
        self.lock().1.clone()
    }

    fn lock(&self) -> MutexGuard<'_, (Vec<Option<FileStamp>>, Option<String>)> {
        self.tried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(places: &TlsConfig, asks: Asks, trust: Trust) -> Result<Current, TlsError> {
    places.files().try_for_each(|path| trust.look(path))?;
    let mode = fs::metadata(&places.key).map(|found| found.permissions().mode());
    if mode.is_ok_and(|mode| mode & OTHERS_READ != 0) {
        return Err(TlsError::Exposed { path: places.key.clone() });
    }
    let key = PrivateKeyDer::from_pem_file(&places.key)
        .map_err(|source| TlsError::File { path: places.key.clone(), source })?;
    let chain = certificates(&places.cert)?;
    let unfit = |error: &dyn std::fmt::Display| TlsError::Unfit(error.to_string());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .map_err(|error| unfit(&error))?;
    let (mut roots, mut store) = (Vec::new(), RootCertStore::empty());
    let builder = match (&places.client_ca, asks) {
        (None, _) | (_, Asks::Nobody) => builder.with_no_client_auth(),
        (Some(path), Asks::WhoeverHasOne | Asks::Everybody) => {
            roots = certificates(path)?;
            for root in &roots {
                store.add(root.clone()).map_err(|error| unfit(&error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(store), provider);
            let verifier = match asks {
                Asks::Everybody => verifier.build(),
                Asks::Nobody | Asks::WhoeverHasOne => verifier.allow_unauthenticated().build(),
            };
            builder.with_client_cert_verifier(verifier.map_err(|error| unfit(&error))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| unfit(&error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Current { config: Arc::new(config), roots, over: CancellationToken::new() })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File { path: path.to_owned(), source };
    let all = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let all: Vec<_> = all.collect::<Result<_, _>>().map_err(failed)?;
    match all.is_empty() {
        true => Err(failed(PemError::NoItemsFound)),
        false => Ok(all),
    }
}

fn stamps(places: &TlsConfig) -> Vec<Option<FileStamp>> {
    places.files().map(|path| FileStamp::of(path)).collect()
}
