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
