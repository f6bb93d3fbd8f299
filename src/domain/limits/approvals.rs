//! Bounds of what waits for an approval.

use std::{ops::RangeInclusive, time::Duration};

/// Calls that wait for an approval or go on under one.
pub const APPROVALS_MAX: usize = 256;
/// Of these, of one principal.
pub const APPROVALS_OF_PRINCIPAL_MAX: usize = 32;
/// Errands that are not asked about for a while.
pub const REMEMBERED_APPROVALS_MAX: usize = 1024;
/// Arguments that somebody can be asked to look through; calls with more are refused.
pub const APPROVAL_ARGUMENTS_BYTES_MAX: usize = 16 * 1024;
/// Where a call goes, as far as it is remembered; a call that goes to more places is not.
pub const APPROVAL_PLACES_BYTES_MAX: usize = 4 * 1024;
/// `approvals.json`; a larger one was not written by us.
pub const APPROVALS_FILE_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// How long a call waits for its approval, and how long an approval waits for its call.
pub const APPROVAL_TTL: Duration = Duration::from_mins(10);
pub const APPROVAL_REMEMBER_RANGE_S: RangeInclusive<f64> = 0.0..=2_592_000.0;
/// How long a client that has asked again waits for somebody to decide, before it is told to wait.
pub const APPROVAL_PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks for what has expired, at least.
pub const APPROVALS_PAUSE: Duration = Duration::from_secs(1);
/// How often it is looked for what has expired, at least.
pub const APPROVALS_SWEEP: Duration = Duration::from_secs(60);
