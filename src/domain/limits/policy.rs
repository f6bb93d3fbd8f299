//! Bounds of what the operator's policies and the definitions of servers may hold.

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
