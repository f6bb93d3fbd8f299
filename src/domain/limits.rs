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
/// Arguments of one tool that are repeated in `Mcp-Param-*` headers.
pub const PARAM_HEADERS_MAX: usize = 64;

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
