//! `[audit]`: when a record counts as written, how long it is kept, and what is kept beside it.

use std::{path::PathBuf, time::Duration};

use http::{HeaderName, Uri};

use crate::config::Secret;

/// `[audit]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditConfig {
    pub durability: Durability,
    /// How long records are kept at least.
    pub retention: Duration,
    /// A copy of the log's checkpoint where whoever writes the log cannot change it.
    pub witness_file: Option<PathBuf>,
    /// Who cosigns our checkpoints.
    pub witness: Option<WitnessConfig>,
    /// What is kept of arguments and results, beside the log.
    pub payloads: Payloads,
    /// Where a copy of the log's checkpoint lies, outside the log's directory.
    pub mark: PathBuf,
}

/// `[telemetry]`: who collects what we show of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TelemetryConfig {
    /// Where spans are posted.
    pub otlp: Option<Uri>,
    /// What goes with them, such as a key of the collector's.
    pub otlp_headers: Vec<(HeaderName, Secret)>,
}

/// A witness, and how it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessConfig {
    /// Where checkpoints are posted to.
    pub url: Uri,
    /// Its public key, as a vkey.
    pub key: String,
}

/// In which form arguments and results are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Payloads {
    /// Not at all; whoever has one can still show that it is the one on record.
    None,
    /// Keys, types and lengths.
    #[default]
    Shape,
    /// As they were, but for what looks like a secret.
    Redacted,
    /// As they were.
    Full,
}

impl Payloads {
    pub const ALL: [Self; 4] = [Self::None, Self::Shape, Self::Redacted, Self::Full];

    /// The word in servers.toml and in the vault.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Shape => "shape",
            Self::Redacted => "redacted",
            Self::Full => "full",
        }
    }
}

/// When a record counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On disk, one flush for each record.
    Sync,
    /// On disk, one flush for all records that wait.
    Group,
    /// Handed to the operating system: lost if the machine fails, not if we do.
    Cached,
}
