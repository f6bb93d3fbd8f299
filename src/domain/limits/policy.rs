//! The bounds of what operators write: policies, pins, and reloads of all of it.

use std::time::Duration;

/// Files of policies, and what they may hold together.
pub const POLICY_FILES_MAX: usize = 256;
pub const POLICY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How deep the types of a tool's arguments, and the names in them, are followed.
pub const POLICY_TYPE_DEPTH_MAX: usize = 6;
/// Principals for which what a policy sees of an action is kept.
pub const POLICY_WORLDS_MAX: usize = 64;
/// `pins.lock`; what would make it larger is not approved.
pub const PINS_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// One text of a definition; a longer one is odd by itself.
pub const SCAN_TEXT_BYTES_MAX: usize = 256 * 1024;
/// Oddities of one definition that are told.
pub const FINDINGS_MAX: usize = 64;
/// A configuration file of another program, and how deeply it may be nested.
pub const IMPORT_BYTES_MAX: u64 = 16 * 1024 * 1024;
pub const IMPORT_DEPTH_MAX: usize = 64;

/// How long `servers.toml` has to be left alone before it is read again: editors write in steps.
pub const RELOAD_QUIET: Duration = Duration::from_millis(200);
/// After this it is read again even if something goes on in its directory.
pub const RELOAD_QUIET_MAX: Duration = Duration::from_secs(2);
/// Between two looks at `servers.toml` where the file system tells of no change.
pub const RELOAD_POLL: Duration = Duration::from_secs(5);
/// Requests for a reload that wait for the next one.
pub const RELOADS_WAITING_MAX: usize = 32;
/// How long a reload waits for servers that start; then it goes on without them.
pub const RELOAD_START_MAX: Duration = Duration::from_secs(60);
/// What a server may take, beyond the deadline of its last call, before a reload ends it.
pub const LAST_CALL_GRACE: Duration = Duration::from_secs(5);
/// Mistakes of one refused file that are logged and kept for the status.
pub const RELOAD_MISTAKES_MAX: usize = 32;
