//! The bounds of the audit log: a part of `limits`, and listed with them.
//!
//! Each is named with its unit. Only constants stand here; whoever queues, waits or counts takes
//! the figure from `limits`.

use std::{ops::RangeInclusive, time::Duration};

pub const AUDIT_QUEUE_MAX: usize = 8192;
pub const AUDIT_WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// One string in an audit record, before escaping; longer ones are cut.
pub const AUDIT_TEXT_BYTES_MAX: usize = 512;
/// Content that the audit writer hashes itself; longer content is hashed by whoever reports it.
pub const AUDIT_HASH_BYTES_MAX: usize = 16 * 1024;
/// Content on its way to the vault, each counted as the next figure at least; beyond it none is
/// kept.
pub const AUDIT_CONTENT_BYTES_MAX: usize = 64 << 20;
pub const AUDIT_CONTENT_BYTES_MIN: usize = 256;
/// One content in the vault; of a longer one only the salt is kept.
pub const AUDIT_PAYLOAD_BYTES_MAX: usize = 256 * 1024;
/// Batches of content that the audit writer hands on before the vault has kept the first.
pub const AUDIT_VAULT_BATCHES_MAX: usize = 1024;
/// Between two looks of the vault at what was handed on to it.
pub const AUDIT_VAULT_NAP: Duration = Duration::from_millis(5);
/// One line of the audit log; a longer one was not written by us.
pub const AUDIT_LINE_BYTES_MAX: usize = 64 * 1024;
/// How long the audit writer, once idle, leaves records that nobody waits for unwritten.
pub const AUDIT_NAP: Duration = Duration::from_millis(5);
/// How long whoever waits for a record in class `cached` stays awake for it.
pub const AUDIT_AWAKE: Duration = Duration::from_micros(20);
/// A write in class `cached` that took no longer says that the disk is quick: for the next while
/// a caller may write its record itself.
pub const AUDIT_QUICK: Duration = Duration::from_millis(1);
pub const AUDIT_LENT: Duration = Duration::from_millis(100);
/// With more calls under way, or more records waiting, the writer's thread writes for all.
pub const AUDIT_LENT_CALLS: usize = 3;
pub const AUDIT_LENT_RECORDS: usize = 16;
/// How long a group commit waits for the company that the last one had.
pub const AUDIT_GROUP_WINDOW: Duration = Duration::from_micros(500);
/// A segment of the audit log that is this long or this old is followed by the next.
pub const AUDIT_SEGMENT_BYTES: u64 = 64 << 20;
pub const AUDIT_SEGMENT_AGE: Duration = Duration::from_secs(3600);
/// How many calls under way one record at the beginning of a segment names.
pub const AUDIT_IN_FLIGHT_IDS: usize = 1000;
/// Kinds of requests turned away that are told apart between two signatures.
pub const AUDIT_REFUSAL_KINDS_MAX: usize = 64;
/// Kinds of calls refused for their number that are told apart between two signatures.
pub const AUDIT_REPEAT_KINDS_MAX: usize = 256;
/// How often the audit log is signed at least, and counts of what was refused are on record.
pub const AUDIT_HEARTBEAT: Duration = Duration::from_secs(60);
/// How long, and for how many records, one key signs the audit log.
pub const AUDIT_EPOCH_AGE: Duration = Duration::from_secs(3600);
pub const AUDIT_EPOCH_RECORDS: u64 = 100_000;
/// How long one question to the witness may take, and how large its answer may be.
pub const AUDIT_WITNESS_TIMEOUT: Duration = Duration::from_secs(10);
pub const AUDIT_WITNESS_ANSWER_BYTES_MAX: usize = 16 * 1024;
/// The pause before a witness is asked again that did not cosign; it doubles up to the second.
pub const AUDIT_WITNESS_PAUSE: Duration = Duration::from_secs(1);
pub const AUDIT_WITNESS_PAUSE_MAX: Duration = Duration::from_secs(60);
/// How long the end of the gateway waits until the witness has its last checkpoint.
pub const AUDIT_WITNESS_LAST_WAIT: Duration = Duration::from_secs(3);
/// How long the audit log keeps a record at least (also the default of `audit.retention_days`).
pub const AUDIT_RETENTION_DAYS: usize = 90;
pub const AUDIT_RETENTION_DAYS_RANGE: RangeInclusive<usize> = 1..=36_500;
