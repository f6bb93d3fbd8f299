//! How applications prove who they are, and what the listener shows them, as checked.

use std::{collections::BTreeSet, path::PathBuf};

/// `[auth]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthConfig {
    /// Each that is open; one is enough for a caller.
    pub modes: BTreeSet<AuthMode>,
    /// There if `modes` has it.
    pub jwt: Option<JwtConfig>,
}

/// A way to prove who one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuthMode {
    /// None is needed: whoever reaches the listener may speak.
    None,
    /// The kernel says who is at the other end of a unix socket.
    Peer,
    /// A key of ours, as a bearer token.
    Keys,
    /// An access token of an authorization server.
    Jwt,
    /// A client certificate.
    Mtls,
}

/// `[auth.jwt]`: whose tokens count, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtConfig {
    /// As tokens have it, to the letter.
    pub issuer: String,
    /// The name that a token for us is made out to: the endpoint's URL as clients know it.
    pub resource: String,
    pub jwks: JwksPlace,
    /// What every token must have.
    pub scopes: Vec<String>,
    /// The claim that names groups.
    pub groups_claim: String,
}

/// Where the keys of an issuer are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JwksPlace {
    /// `https`, or `http` on this machine.
    Url(http::Uri),
    File(PathBuf),
}

/// `[gateway.tls]`: files in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsConfig {
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Whose client certificates count.
    pub client_ca: Option<PathBuf>,
    /// Which of a client certificate's names say who it is for, best first.
    pub client_names: Vec<NameKind>,
}

/// A kind of name in a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    Uri,
    Dns,
    Email,
    /// The common name, of a certificate without alternative names.
    Cn,
}

impl NameKind {
    pub const ALL: [Self; 4] = [Self::Uri, Self::Dns, Self::Email, Self::Cn];

    /// The word in the file, and in principals.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uri => "uri",
            Self::Dns => "dns",
            Self::Email => "email",
            Self::Cn => "cn",
        }
    }
}

impl TlsConfig {
    /// All that are read.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()].into_iter().flatten()
    }
}

impl AuthMode {
    pub const ALL: [Self; 5] = [Self::None, Self::Peer, Self::Keys, Self::Jwt, Self::Mtls];

    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Peer => "peer",
            Self::Keys => "keys",
            Self::Jwt => "jwt",
            Self::Mtls => "mtls",
        }
    }
}

impl AuthConfig {
    pub fn has(&self, mode: AuthMode) -> bool {
        self.modes.contains(&mode)
    }
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self { modes: BTreeSet::from([AuthMode::None, AuthMode::Peer]), jwt: None }
    }
}

/// Where a protected resource says whose tokens it takes.
pub const METADATA_PATH: &str = "/.well-known/oauth-protected-resource";

impl JwtConfig {
    /// RFC 9728: the well-known part stands between the host and the path of the resource.
    pub fn metadata_url(&self) -> String {
        let (scheme, rest) = self.resource.split_once("://").unwrap_or(("https", &self.resource));
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let slash = if path.is_empty() { "" } else { "/" };
        format!("{scheme}://{host}{METADATA_PATH}{slash}{path}")
    }
}
