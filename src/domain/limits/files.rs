//! The bounds of the built-in file server: a part of `limits`, and listed with them.
//!
//! Each is named with its unit. Only constants stand here; whoever queues, buffers, waits or counts
//! takes the figure from `limits`.

use std::time::Duration;

pub const FILES_PATH_BYTES_MAX: usize = 4096;
/// A name pattern or a text to search for.
pub const FILES_PATTERN_BYTES_MAX: usize = 1024;
/// One answer of `read_file`, and the largest file that `resources/read` gives whole.
pub const FILES_READ_BYTES_MAX: usize = 1024 * 1024;
pub const FILES_READ_BYTES_DEFAULT: usize = 256 * 1024;
/// Entries of one directory that are read and sorted; what is beyond is reported, not shown.
pub const FILES_DIRECTORY_ENTRIES_MAX: usize = 50_000;
/// Entries in one answer of `list_directory`.
pub const FILES_LIST_ENTRIES_MAX: usize = 1000;
pub const FILES_WALK_DEPTH_MAX: usize = 64;
/// Directory entries that one search or one page of resources may look at.
pub const FILES_WALK_ENTRIES_MAX: usize = 200_000;
pub const FILES_SEARCH_TIME_MAX: Duration = Duration::from_secs(10);
pub const FILES_SEARCH_RESULTS_MAX: usize = 1000;
pub const FILES_SEARCH_RESULTS_DEFAULT: usize = 100;
/// Paths and lines of one search answer together.
pub const FILES_SEARCH_OUTPUT_BYTES_MAX: usize = 512 * 1024;
/// How far into one file a search looks.
pub const FILES_SEARCH_FILE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// How much of a matching line is shown.
pub const FILES_SEARCH_LINE_BYTES_MAX: usize = 256;
pub const FILES_RESOURCES_PAGE_MAX: usize = 200;
/// Threads that touch the file system, so that a slow search delays no read.
pub const FILES_WORKERS: usize = 4;
/// Calls waiting for such a thread before further ones are refused.
pub const FILES_QUEUE_MAX: usize = 256;
