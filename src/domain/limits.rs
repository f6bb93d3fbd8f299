//! Every bound and default of the house, named with its unit.
//!
//! Whoever queues, buffers, waits or counts takes the figure from here; `docs/LIMITS.md` lists
//! them all and a tidy test compares the two.

use std::time::Duration;

// Names.
pub const SERVER_NAME_BYTES_MAX: usize = 32;
pub const TOOL_NAME_BYTES_MAX: usize = 128;
pub const EXPOSED_NAME_BYTES_MAX: usize = 64;

// The wire.
/// One JSON-RPC message from a client (also the default of `limits.body_bytes`).
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// One line or SSE event from a server.
pub const UPSTREAM_MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
pub const JSON_DEPTH_MAX: usize = 64;
/// Messages in one 2025-03-26 batch.
pub const BATCH_MESSAGES_MAX: usize = 64;
/// A request id as it is written, quotes included.
pub const ID_BYTES_MAX: usize = 256;

// Downstream.
pub const HTTP_HEADER_BYTES_MAX: usize = 16 * 1024;
pub const HTTP_HEADERS_MAX: usize = 100;
pub const HTTP_HEADER_TIMEOUT: Duration = Duration::from_secs(5);
pub const HTTP_BODY_TIMEOUT: Duration = Duration::from_secs(30);
pub const HTTP_CONNECTIONS_MAX: usize = 1024;
pub const SESSIONS_MAX: usize = 10_000;
pub const SESSION_IDLE_MAX: Duration = Duration::from_secs(3600);
pub const IN_FLIGHT_MAX: usize = 1024;
/// Notifications waiting for one slow client before further ones are dropped.
pub const NOTICE_QUEUE_MAX: usize = 64;
pub const SSE_KEEPALIVE: Duration = Duration::from_secs(15);
pub const DRAIN_GRACE: Duration = Duration::from_secs(10);
pub const TOOLS_PAGE_MAX: usize = 500;

// Upstream.
pub const SESSION_INBOX_MAX: usize = 1024;
pub const STARTUP_TIMEOUT: Duration = Duration::from_secs(30);
pub const TOOL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a server may take to answer the modern `server/discover` before it counts as legacy.
pub const DISCOVER_TIMEOUT: Duration = Duration::from_secs(3);
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
pub const UPSTREAM_IDLE_CONNECTIONS_MAX: usize = 128;
pub const TOOLS_PER_SERVER_MAX: usize = 10_000;
pub const TOOL_PAGES_MAX: usize = 200;
pub const STDERR_LINE_BYTES_MAX: usize = 4096;
pub const STDERR_LINES_PER_SECOND_MAX: u32 = 50;
pub const RESTART_BACKOFF_MIN: Duration = Duration::from_millis(200);
pub const RESTART_BACKOFF_MAX: Duration = Duration::from_secs(30);
pub const RESTART_HEALTHY_AFTER: Duration = Duration::from_secs(60);

// Jail.
pub const KILL_STDIN_GRACE: Duration = Duration::from_secs(2);
pub const KILL_TERM_GRACE: Duration = Duration::from_secs(2);
pub const CHILD_OPEN_FILES_MAX: u64 = 4096;

// Gate and audit.
pub const SCHEMA_BYTES_MAX: usize = 256 * 1024;
pub const AUDIT_QUEUE_MAX: usize = 8192;
pub const AUDIT_WRITE_TIMEOUT: Duration = Duration::from_secs(5);

// The built-in file server.
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
