//! The checked configuration: what every other room reads.
//!
//! These types differ on purpose from what is written in the file: defaults are filled in, paths
//! are resolved, secrets are in place, "exactly one of `command` and `url`" has become `Target`.
//! Building one by hand is allowed (tests do); only `load` promises that it fits the machine.

mod audit;
mod auth;
mod pinning;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

pub use audit::{AuditConfig, Durability, Payloads, TelemetryConfig, WitnessConfig};
pub use auth::{AuthConfig, AuthMode, JwksPlace, JwtConfig, METADATA_PATH, NameKind, TlsConfig};
use http::HeaderName;
pub use pinning::{PinMode, Pinning, ScanMode};

use super::{Policies, Secret, Warning};
use crate::domain::{Labels, Rate, ServerName, limits};

/// One accepted `servers.toml`.
#[derive(Clone, Debug)]
pub struct Config {
    pub gateway: Gateway,
    pub auth: AuthConfig,
    pub audit: AuditConfig,
    pub limits: Limits,
    pub stop: StopConfig,
    pub telemetry: TelemetryConfig,
    /// The enabled servers, sorted by name.
    pub servers: Vec<ServerConfig>,
    /// Servers with `enabled = false`: written correctly, but never started.
    pub disabled: Vec<ServerName>,
    pub policies: Policies,
    pub digest: Digests,
    /// The file, as an absolute path.
    pub source: PathBuf,
    pub warnings: Vec<Warning>,
}

/// What the configuration was read from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// SHA-256 of the bytes of `servers.toml`.
    pub file: [u8; 32],
    /// SHA-256 over the names and bytes of all that stands in the directory of policies.
    pub policies: [u8; 32],
}

/// `[gateway]`: where we listen and where we keep things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    pub listen: Listen,
    pub admin: Listen,
    /// What `listen` speaks, if that is not plain HTTP.
    pub tls: Option<TlsConfig>,
    pub names: Names,
    /// The directory with everything that says who may do what.
    pub policies: PathBuf,
    pub policy_mode: PolicyMode,
    pub state_dir: PathBuf,
    /// `Host` values allowed besides those of the listener itself, in lower case.
    pub hosts: Vec<String>,
    /// `Origin` values allowed besides none at all, in lower case.
    pub origins: Vec<String>,
    /// Whether clients may use the HTTP+SSE transport of 2024-11-05.
    pub legacy_sse: bool,
    /// What holds for servers that do not say it themselves.
    pub pinning: Pinning,
}

impl Gateway {
    /// Where what belongs to the emergency stop is.
    pub fn estop(&self) -> EstopPlaces {
        let directory = self.state_dir.join("estop");
        EstopPlaces { token: directory.join("token"), socket: directory.join("door.sock") }
    }

    /// Where the API keys are, as far as we know them.
    pub fn keys(&self) -> PathBuf {
        self.state_dir.join("keys.json")
    }

    /// With what fingerprints of credentials are made.
    pub fn salt(&self) -> PathBuf {
        self.state_dir.join("fingerprint.salt")
    }

    /// Those of which the audit tells.
    pub fn recorded_keys(&self) -> PathBuf {
        self.state_dir.join("keys.recorded.json")
    }
}

/// Files of the emergency stop that the gateway and its command line share.
#[derive(Clone, Debug)]
pub struct EstopPlaces {
    /// The word without which nothing is stopped or lifted over TCP.
    pub token: PathBuf,
    /// The stop's own door.
    pub socket: PathBuf,
}

/// `[stop]`: when the emergency stop engages by itself, and how it is lifted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StopConfig {
    /// A reset resumes as well.
    pub auto_resume: bool,
    /// Everything stops when no sign that somebody watches comes for so long.
    pub heartbeat: Option<Duration>,
    /// Touching it is such a sign.
    pub heartbeat_file: Option<PathBuf>,
    /// Who is refused more often is stopped.
    pub denials_per_minute: Option<usize>,
    /// Where a stop may leave a mark that needs no disk, best first.
    pub memory: Vec<PathBuf>,
}

/// Where a listener is bound. A TCP address is a loopback one, unless there is TLS and nobody comes
/// in without proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How a server's tools are called by applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// `server__tool`.
    Prefixed,
    /// `tool`: there is exactly one enabled server.
    Plain,
}

/// Whether policies refuse calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PolicyMode {
    #[default]
    Enforce,
    /// What they would refuse goes through, and is only said.
    Shadow,
}

/// `[limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub body_bytes: usize,
    pub in_flight: usize,
    pub sessions: usize,
    pub connections: usize,
    /// Of each principal, at all servers.
    pub principal_rate: Option<Rate>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: limits::BODY_BYTES_MAX,
            in_flight: limits::IN_FLIGHT_MAX,
            sessions: limits::SESSIONS_MAX,
            connections: limits::HTTP_CONNECTIONS_MAX,
            principal_rate: None,
        }
    }
}

/// `[servers.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    pub name: ServerName,
    /// At least one; calls are shared out among them.
    pub replicas: Vec<ReplicaConfig>,
    pub filter: ToolFilter,
    pub pinning: Pinning,
    /// The keys of a caller's baggage that the server is told of.
    pub baggage: Arc<[String]>,
    pub protocol: ProtocolPin,
    pub isolation: Isolation,
    pub startup_timeout: Duration,
    pub tool_timeout: Duration,
    /// Calls that may wait for this server at once.
    pub in_flight: usize,
    /// Calls that may wait until fewer are under way, and how long.
    pub queue: usize,
    pub queue_timeout: Duration,
    pub balance: Balance,
    pub affinity: Affinity,
    /// Tools that may be called again when nobody knows whether they were.
    pub repeatable: BTreeSet<String>,
    pub health: Health,
    pub risk: ServerRisk,
    pub rates: ServerRates,
}

/// `[servers.NAME.risk]`: what its tools do, as far as the operator knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerRisk {
    /// Whether the annotations of its tools count.
    pub trust_annotations: bool,
    /// For tools of which nothing else is known.
    pub default: Option<Labels>,
    pub labels: BTreeMap<String, Labels>,
}

/// `[servers.NAME.rate]`: how often it may be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerRates {
    /// By everybody together.
    pub all: Option<Rate>,
    /// By each principal.
    pub principal: Option<Rate>,
    /// Each tool by each principal.
    pub tools: BTreeMap<String, Rate>,
}

/// `[servers.NAME.health]`: how a silent server is looked after, and one that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// How long it is silent before it is asked for a sign of life.
    pub interval: Duration,
    /// How long it may take to give one.
    pub timeout: Duration,
    /// How long what it lists stays listed when it is gone.
    pub grace: Duration,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            interval: limits::HEALTH_INTERVAL,
            timeout: limits::HEALTH_TIMEOUT,
            grace: limits::HEALTH_GRACE,
        }
    }
}

impl ServerConfig {
    /// A server of one replica about which nothing else is said.
    pub fn new(name: ServerName, target: Target) -> Self {
        Self {
            name,
            replicas: vec![ReplicaConfig { target, weight: 1 }],
            filter: ToolFilter::default(),
            pinning: Pinning::default(),
            baggage: Arc::default(),
            protocol: ProtocolPin::Auto,
            isolation: Isolation::Shared,
            startup_timeout: limits::STARTUP_TIMEOUT,
            tool_timeout: limits::TOOL_TIMEOUT,
            in_flight: limits::SERVER_IN_FLIGHT,
            queue: limits::QUEUE,
            queue_timeout: limits::QUEUE_TIMEOUT,
            balance: Balance::Weighted,
            affinity: Affinity::None,
            repeatable: BTreeSet::new(),
            health: Health::default(),
            risk: ServerRisk::default(),
            rates: ServerRates::default(),
        }
    }
}

/// One of the processes or addresses that are the same server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaConfig {
    pub target: Target,
    /// Its share of the calls, compared with the others'.
    pub weight: u16,
}

/// How a server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Stdio(StdioTarget),
    Http(HttpTarget),
}

/// A child process that speaks over stdin and stdout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StdioTarget {
    pub program: Program,
    pub args: Vec<String>,
    /// The whole environment of the child: the minimal set of ours, then the declared values.
    pub env: BTreeMap<String, Secret>,
    /// `load` always fills it: the declared directory, else the one of the file.
    pub cwd: Option<PathBuf>,
}

/// Which file is executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// `@self`: this binary.
    SelfExe,
    /// Found through PATH, or named relative to the file.
    Path(PathBuf),
}

/// A server behind Streamable HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpTarget {
    /// `http` or `https`, without user information.
    pub url: http::Uri,
    /// Sorted by name, each name once.
    pub headers: Vec<(HeaderName, Secret)>,
}

/// Which of a server's tools exist for anybody. A disabled one is never enabled as well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolFilter {
    /// `None` means all; an empty set means none.
    pub enabled: Option<BTreeSet<String>>,
    pub disabled: BTreeSet<String>,
}

/// Which era is spoken with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolPin {
    /// Find out at start.
    Auto,
    Modern,
    Legacy,
}

/// Who shares a session with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Everybody, in one session that is told of no capability.
    Shared,
    /// The calls of one principal.
    PerPrincipal,
    /// The calls of one conversation; callers who have none count by principal.
    PerSession,
}

/// How the calls of a server are spread over its replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// In turn, whatever their weights.
    RoundRobin,
    /// In turn, as often as their weights say.
    Weighted,
    /// To the one of two that has fewer calls in flight for its weight.
    LeastConnections,
}

/// Which calls go to the same replica, as long as it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Affinity {
    None,
    /// Those of one principal.
    Principal,
    /// Those of one conversation; callers who have none count by principal.
    Session,
    /// Those with the same value of this argument; without it they go anywhere.
    Argument(String),
}
