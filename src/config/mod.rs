//! What the operator wrote: `servers.toml`, read into checked values.
//!
//! Owns every key of the file, its type, default and rule, and how a mistake in it is shown.
//! Promises all mistakes of a file at once, each with line and column, and a `Config` in which
//! nothing has to be checked again. A file with one mistake yields no configuration at all.
//! Deliberately starts, opens and binds nothing; only `load.rs` touches the machine.

mod auth;
mod check;
mod diff;
mod foreign;
mod gateway;
mod load;
mod model;
mod policies;
mod remote;
mod report;
mod secret;
mod section;
mod server;
#[cfg(test)]
mod tests;

pub use check::schema;
pub use diff::{Change, Difference};
pub use foreign::{
    Block, Dialect, Fate, Foreign, ForeignError, ForeignServer, Remark, free_name, read_foreign,
};
pub use load::{Surroundings, check_text, digest, distrusted, load, load_gateway, load_next};
pub use model::{
    Affinity, AuditConfig, AuthConfig, AuthMode, Balance, Config, Digests, Durability, EstopPlaces,
    Gateway, Health, HttpTarget, Isolation, JwksPlace, JwtConfig, Limits, Listen, METADATA_PATH,
    NameKind, Names, Payloads, PinMode, Pinning, PolicyMode, Program, ProtocolPin, ReplicaConfig,
    ScanMode, ServerConfig, ServerRates, ServerRisk, StdioTarget, StopConfig, Target,
    TelemetryConfig, TlsConfig, ToolFilter, WitnessConfig,
};
pub use policies::{
    ArgRule, ArgTest, Case, Effect, Expect, Groups, Paper, Place, Policies, RiskConfig, Rule,
    Scalar, What, Who,
};
pub use report::{Code, Colour, ConfigErrors, Finding, Severity, Warning};
pub(crate) use report::{holds_secret, may_hold_secrets, sounds_secret, without_secrets};
pub use secret::{Salt, Secret};
