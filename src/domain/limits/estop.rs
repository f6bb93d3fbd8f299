//! The bounds of the emergency stop.

use std::{ops::RangeInclusive, time::Duration};

/// What servers get to wind up what was called back, when they are not killed at once.
pub const ESTOP_GRACE: Duration = Duration::from_secs(2);
/// Between two attempts to bring a stop to disk.
pub const ESTOP_SAVE_AGAIN: Duration = Duration::from_millis(500);
/// How long whoever stops something waits to be told that it is on disk.
pub const ESTOP_SAVED_WAIT: Duration = Duration::from_secs(1);
/// Between two looks for the file `STOP`, at the heartbeat and at what winds up.
pub const ESTOP_POLL: Duration = Duration::from_millis(50);
/// How long a thread that panics waits until everything is stopped, and on disk.
pub const ESTOP_ALARM_WAIT: Duration = Duration::from_millis(200);
/// How long a drill waits for disk and processes.
pub const ESTOP_DRILL_MAX: Duration = Duration::from_secs(5);
/// Threads that serve the stop's own socket.
pub const ESTOP_DOOR_THREADS: usize = 4;
/// How long one request there may take to come, and one answer to go.
pub const ESTOP_DOOR_PATIENCE: Duration = Duration::from_secs(1);
/// How long a heartbeat may be missing when only its file is named.
pub const HEARTBEAT: Duration = Duration::from_secs(30);
/// What may be written for `stop.heartbeat_sec`.
pub const HEARTBEAT_RANGE_S: RangeInclusive<f64> = 0.5..=86_400.0;
/// What may be written for `stop.denials_per_minute`.
pub const DENIALS_PER_MINUTE_RANGE: RangeInclusive<usize> = 1..=1_000_000;
/// Principals whose refusals are counted at once; beyond that all counts begin anew.
pub const RUNAWAY_PRINCIPALS_MAX: usize = 1024;
