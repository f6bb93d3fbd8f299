//! The bounds of proving who one is.

use std::time::Duration;

/// API keys at once.
pub const KEYS_MAX: usize = 10_000;
pub const KEYS_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// The name of a key's owner.
pub const KEY_NAME_BYTES_MAX: usize = 64;
/// Records of keys that wait to be written at once.
pub const KEYS_TOLD_AT_ONCE: usize = 1024;
/// Between two looks whether keys have come or gone, if nobody says so.
pub const KEYS_POLL: Duration = Duration::from_secs(1);
/// A name that somebody else gives to who comes: of a certificate, a subject, a group, a scope.
pub const PROVEN_NAME_BYTES_MAX: usize = 256;
/// From the first byte of a TLS connection to the end of the handshake.
pub const TLS_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

pub const JWT_BYTES_MAX: usize = 8 * 1024;
/// How far the clock of an issuer may be off.
pub const JWT_LEEWAY: Duration = Duration::from_secs(30);
/// Between two questions for an issuer's keys, at least.
pub const JWKS_PAUSE: Duration = Duration::from_secs(60);
/// The same after one that had no answer.
pub const JWKS_RETRY: Duration = Duration::from_secs(5);
/// Between two questions that nobody has given a reason for.
pub const JWKS_REFRESH: Duration = Duration::from_secs(600);
/// How long keys stay good of an issuer that gives no answer.
pub const JWKS_KEPT_MAX: Duration = Duration::from_secs(3600);
pub const JWKS_FETCH_TIMEOUT: Duration = Duration::from_secs(5);
pub const JWKS_BYTES_MAX: usize = 1024 * 1024;
pub const JWKS_KEYS_MAX: usize = 64;

/// A connection by which nobody has proved anything yet, however much it asks.
pub const HTTP_STRANGER_MAX: Duration = Duration::from_secs(60);
