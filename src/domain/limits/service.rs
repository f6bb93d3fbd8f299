//! The bounds of what the service manager is told.

use std::time::Duration;

/// How often it is looked whether the line of `systemctl status` has changed.
pub const SERVICE_STATUS_EVERY: Duration = Duration::from_secs(1);
/// Signs of life within the time after which the watchdog ends us.
pub const WATCHDOG_BEATS: u32 = 6;
/// So many of them may be missing before the watchdog is told no more.
pub const WATCHDOG_MISSES_MAX: u32 = 3;
