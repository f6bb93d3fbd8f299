//! The bounds of the risk gate: a part of `limits`, and listed with them.
//!
//! Each is named with its unit. Only constants stand here; whoever queues, buffers, waits or counts
//! takes the figure from `limits`.

use std::ops::RangeInclusive;

/// The most that a risk score can be.
pub const RISK_SCORE_MAX: u8 = 100;
// What may be written in risk.toml.
pub const RISK_POINTS_RANGE: RangeInclusive<usize> = 0..=100;
pub const RISK_COUNT_RANGE: RangeInclusive<usize> = 1..=65_535;
pub const RISK_TIME_RANGE_S: RangeInclusive<f64> = 1.0..=604_800.0;
/// Conversations whose risk is remembered; with the figures below 64 KiB each.
pub const RISK_CONTEXTS_MAX: usize = 1024;
pub const RISK_PRINCIPALS_MAX: usize = 512;
/// One half of the index of what others could write in one conversation: made for 4096 names.
pub const RISK_UNTRUSTED_BYTES: usize = 16 * 1024;
/// The same of what is private.
pub const RISK_PRIVATE_BYTES: usize = 8 * 1024;
/// Words from where nobody else writes that are remembered in one conversation.
pub const RISK_TRUSTED_WORDS: usize = 1024;
/// Of a longer word its ends and its length are compared.
pub const RISK_WORD_BYTES_MAX: usize = 256;
/// Text of one answer that is read into the index; after a longer one anything counts as read.
pub const RISK_OUTPUT_BYTES_MAX: usize = 256 * 1024;
/// Text of one call's arguments that is looked through.
pub const RISK_ARGUMENT_BYTES_MAX: usize = 64 * 1024;
