//! The bounds of the emergency stop.

use std::time::Duration;

/// What servers get to wind up what was called back, when they are not killed at once.
pub const ESTOP_GRACE: Duration = Duration::from_secs(2);
/// Between two attempts to bring a stop to disk.
pub const ESTOP_SAVE_AGAIN: Duration = Duration::from_millis(500);
