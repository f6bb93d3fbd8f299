//! Every bound and default of the house, named with its unit.
//!
//! Whoever queues, buffers, waits or counts takes the figure from here; `docs/LIMITS.md` lists
//! them all and a tidy test compares the two.

mod approvals;
mod audit;
mod estop;
mod files;
mod identity;
mod observe;
mod policy;
mod risk;
mod service;

use std::{ops::RangeInclusive, time::Duration};

pub use approvals::{
    APPROVAL_ARGUMENTS_BYTES_MAX, APPROVAL_PATIENCE, APPROVAL_PLACES_BYTES_MAX,
    APPROVAL_REMEMBER_RANGE_S, APPROVAL_TTL, APPROVALS_FILE_BYTES_MAX, APPROVALS_MAX,
    APPROVALS_OF_PRINCIPAL_MAX, APPROVALS_PAUSE, APPROVALS_SWEEP, REMEMBERED_APPROVALS_MAX,
};
pub use audit::{
    AUDIT_AWAKE, AUDIT_CONTENT_BYTES_MAX, AUDIT_CONTENT_BYTES_MIN, AUDIT_EPOCH_AGE,
    AUDIT_EPOCH_RECORDS, AUDIT_GROUP_WINDOW, AUDIT_HASH_BYTES_MAX, AUDIT_HEARTBEAT,
    AUDIT_IN_FLIGHT_IDS, AUDIT_LENT, AUDIT_LENT_CALLS, AUDIT_LENT_RECORDS, AUDIT_LINE_BYTES_MAX,
    AUDIT_NAP, AUDIT_PAYLOAD_BYTES_MAX, AUDIT_QUEUE_MAX, AUDIT_QUICK, AUDIT_REFUSAL_KINDS_MAX,
    AUDIT_REPEAT_KINDS_MAX, AUDIT_RETENTION_DAYS, AUDIT_RETENTION_DAYS_RANGE, AUDIT_SEGMENT_AGE,
    AUDIT_SEGMENT_BYTES, AUDIT_TEXT_BYTES_MAX, AUDIT_VAULT_BATCHES_MAX, AUDIT_VAULT_NAP,
    AUDIT_WITNESS_ANSWER_BYTES_MAX, AUDIT_WITNESS_LAST_WAIT, AUDIT_WITNESS_PAUSE,
    AUDIT_WITNESS_PAUSE_MAX, AUDIT_WITNESS_TIMEOUT, AUDIT_WRITE_TIMEOUT,
};
pub use estop::{
    DENIALS_PER_MINUTE_RANGE, ESTOP_ALARM_WAIT, ESTOP_DOOR_PATIENCE, ESTOP_DOOR_THREADS,
    ESTOP_DRILL_MAX, ESTOP_GRACE, ESTOP_POLL, ESTOP_SAVE_AGAIN, ESTOP_SAVED_WAIT, HEARTBEAT,
    HEARTBEAT_RANGE_S, RUNAWAY_PRINCIPALS_MAX,
};
pub use files::{
    FILES_DIRECTORY_ENTRIES_MAX, FILES_LIST_ENTRIES_MAX, FILES_PATH_BYTES_MAX,
    FILES_PATTERN_BYTES_MAX, FILES_QUEUE_MAX, FILES_READ_BYTES_DEFAULT, FILES_READ_BYTES_MAX,
    FILES_RESOURCES_PAGE_MAX, FILES_SEARCH_FILE_BYTES_MAX, FILES_SEARCH_LINE_BYTES_MAX,
    FILES_SEARCH_OUTPUT_BYTES_MAX, FILES_SEARCH_RESULTS_DEFAULT, FILES_SEARCH_RESULTS_MAX,
    FILES_SEARCH_TIME_MAX, FILES_WALK_DEPTH_MAX, FILES_WALK_ENTRIES_MAX, FILES_WORKERS,
};
pub use identity::{
    HTTP_STRANGER_MAX, JWKS_BYTES_MAX, JWKS_FETCH_TIMEOUT, JWKS_KEPT_MAX, JWKS_KEYS_MAX,
    JWKS_PAUSE, JWKS_REFRESH, JWKS_RETRY, JWT_BYTES_MAX, JWT_LEEWAY, KEY_NAME_BYTES_MAX,
    KEYS_FILE_BYTES_MAX, KEYS_MAX, KEYS_POLL, KEYS_TOLD_AT_ONCE, PROVEN_NAME_BYTES_MAX,
    TLS_HANDSHAKE_TIMEOUT,
};
pub use observe::{
    ADMIN_THREADS, BAGGAGE_BYTES_MAX, FEED_EVENTS_MAX, FEED_KEEPALIVE, FEED_VIEWERS_MAX,
    METRIC_LABEL_CHARS_MAX, METRIC_SERVERS_MAX, METRIC_TOOLS_PER_SERVER_MAX,
    SPANS_ANSWER_BYTES_MAX, SPANS_ATTEMPTS, SPANS_BATCH_MAX, SPANS_BATCH_WAIT, SPANS_PAUSE,
    SPANS_QUEUE_MAX, SPANS_TIMEOUT, TRACESTATE_BYTES_MAX, TRACESTATE_MEMBERS_MAX,
};
pub use policy::{
    FINDINGS_MAX, IMPORT_BYTES_MAX, IMPORT_DEPTH_MAX, LAST_CALL_GRACE, PINS_FILE_BYTES_MAX,
    POLICY_BYTES_MAX, POLICY_FILES_MAX, POLICY_TYPE_DEPTH_MAX, POLICY_WORLDS_MAX,
    RELOAD_MISTAKES_MAX, RELOAD_POLL, RELOAD_QUIET, RELOAD_QUIET_MAX, RELOAD_START_MAX,
    RELOADS_WAITING_MAX, SCAN_TEXT_BYTES_MAX,
};
pub use risk::{
    RISK_ARGUMENT_BYTES_MAX, RISK_CONTEXTS_MAX, RISK_COUNT_RANGE, RISK_OUTPUT_BYTES_MAX,
    RISK_POINTS_RANGE, RISK_PRINCIPALS_MAX, RISK_PRIVATE_BYTES, RISK_SCORE_MAX, RISK_TIME_RANGE_S,
    RISK_TRUSTED_WORDS, RISK_UNTRUSTED_BYTES, RISK_WORD_BYTES_MAX,
};
pub use service::{SERVICE_STATUS_EVERY, WATCHDOG_BEATS, WATCHDOG_MISSES_MAX};

// Names.
pub const SERVER_NAME_BYTES_MAX: usize = 32;
pub const TOOL_NAME_BYTES_MAX: usize = 128;
pub const PROMPT_NAME_BYTES_MAX: usize = 128;
/// A resource's URI, or a template of them.
pub const RESOURCE_URI_BYTES_MAX: usize = 2048;
/// A server's own id of a task.
pub const TASK_ID_BYTES_MAX: usize = 512;
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
pub const HTTP_BUFFER_BYTES_MAX: usize = 1024 * 1024;
pub const HTTP_IDLE_MAX: Duration = Duration::from_secs(300);
pub const ADMIN_CONNECTIONS_MAX: usize = 32;
pub const ADMIN_BODY_BYTES_MAX: usize = 64 * 1024;
pub const STDIO_READ_BYTES: usize = 64 * 1024;
pub const HTTP_BODY_TIMEOUT: Duration = Duration::from_secs(30);
pub const HTTP_CONNECTIONS_MAX: usize = 1024;
/// Connections of one listener beyond its bound, for one request each.
pub const HTTP_SPARE_CONNECTIONS: usize = 16;
pub const SESSIONS_MAX: usize = 10_000;
pub const SESSION_IDLE_MAX: Duration = Duration::from_secs(3600);
/// When sessions are full, one that was idle for this long may be ended for another.
pub const SESSION_EVICT_IDLE_MIN: Duration = Duration::from_secs(60);
/// One in so many sessions is ended at once to make room.
pub const SESSION_EVICTED_SHARE: usize = 64;
pub const IN_FLIGHT_MAX: usize = 1024;
/// Notifications waiting for one slow client before further ones are dropped.
pub const NOTICE_QUEUE_MAX: usize = 64;
pub const SSE_KEEPALIVE: Duration = Duration::from_secs(15);
/// Requests of one client of the HTTP+SSE transport that have no answer yet.
pub const OLD_REQUESTS_MAX: usize = 64;
/// A legacy call that takes longer than this is answered by a stream that can be resumed.
pub const STREAM_AFTER: Duration = Duration::from_secs(1);
/// How long a client waits before it comes back for the rest of a stream.
pub const RESUME_RETRY: Duration = Duration::from_secs(1);
/// How long what a legacy client was sent is kept for it to ask again.
pub const REPLAY_KEEP: Duration = Duration::from_secs(300);
/// Between two looks for what has been kept for too long.
pub const REPLAY_SWEEP: Duration = Duration::from_secs(15);
/// What is kept for one session: the largest answer, and a little more.
pub const REPLAY_SESSION_BYTES_MAX: usize = 20 * 1024 * 1024;
/// What is kept for all sessions together.
pub const REPLAY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What one event counts beside its text.
pub const REPLAY_EVENT_BYTES: usize = 64;
/// Subscriptions (`subscriptions/listen`) of modern clients at once.
pub const LISTENS_MAX: usize = 16_384;
/// Resources and tasks of one listen, or resources of one legacy session, that are watched.
pub const LISTEN_URIS_MAX: usize = 256;
/// Between two looks at one task that a client listens for.
pub const TASK_LOOK_PAUSE: Duration = Duration::from_millis(100);
/// How long a client waits for a server to agree that something is watched.
pub const WATCH_WAIT: Duration = Duration::from_secs(2);
/// Rounds of questions for one call before it is given up.
pub const QUESTION_ROUNDS_MAX: usize = 8;
/// Questions in one round.
pub const QUESTIONS_MAX: usize = 16;
/// How long a person may take to answer; a state handed out is good for as long.
pub const QUESTION_WAIT_MAX: Duration = Duration::from_secs(600);
/// Rounds of pages of which one legacy session waits to hear that they were visited, and visits
/// that it was not told of yet.
pub const VISITS_MAX: usize = 32;
/// The id of a page; who visited one with a longer id is not told.
pub const ELICITATION_ID_BYTES_MAX: usize = 256;
/// Sessions of one server that belong to one caller each.
pub const LEASES_MAX: usize = 64;
/// A caller's own session without a call; longer than anybody may take to answer a question.
pub const LEASE_IDLE_MAX: Duration = Duration::from_secs(660);
/// How long questions of one call are collected before they are handed out.
pub const QUESTION_GATHER: Duration = Duration::from_millis(30);
/// The pause before a server that asked for nothing but a second try gets it.
pub const QUESTION_RETRY_PAUSE: Duration = Duration::from_millis(200);
/// How long abandoned calls may take to write their outcomes and last answers.
pub const ABANDON_GRACE: Duration = Duration::from_secs(1);
/// A client that takes nothing of what is written to it for this long is cut off.
pub const HTTP_WRITE_STALL_MAX: Duration = Duration::from_secs(30);
/// The capabilities that a legacy client declares for its session; of larger ones it has none.
pub const CLIENT_CAPABILITIES_BYTES_MAX: usize = 16 << 10;
/// What of a client's own name is kept.
pub const CLIENT_NAME_BYTES_MAX: usize = 128;
pub const DRAIN_GRACE: Duration = Duration::from_secs(10);
/// How long a client that had connected when the drain began may take to begin its first request.
pub const DRAIN_FIRST_REQUEST: Duration = Duration::from_secs(2);
/// Entries on one page of a list that we give.
pub const LIST_PAGE_MAX: usize = 500;

/// How long a desktop host waits for servers that are starting before it is served.
pub const STDIO_SETTLE_MAX: Duration = Duration::from_secs(10);
/// No timer of the runtime is ever further away than this.
pub const TIMER_TICK: Duration = Duration::from_millis(500);
pub const SERVERS_GRACE: Duration = Duration::from_secs(10);

// Upstream.
pub const SESSION_INBOX_MAX: usize = 1024;
pub const STARTUP_TIMEOUT: Duration = Duration::from_secs(30);
pub const TOOL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a server may take to answer the modern `server/discover` before it counts as legacy.
pub const DISCOVER_TIMEOUT: Duration = Duration::from_secs(3);
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two dials of one call; after the second that fails the session is over.
pub const REDIAL_PAUSE: Duration = Duration::from_millis(100);
pub const UPSTREAM_IDLE_CONNECTIONS_MAX: usize = 128;
/// Between two lists of one server that keeps changing them.
pub const RELIST_PAUSE: Duration = Duration::from_secs(1);
/// Lists of tools on their way into the catalog.
/// Principals whose lists are kept, each until the catalog changes.
pub const CATALOG_VIEWS_MAX: usize = 256;
/// Principals that are told of changes of their own lists; others are told of every change.
pub const RELISTED_PRINCIPALS_MAX: usize = 4096;
pub const CATALOG_NEWS_MAX: usize = 64;
/// Entries of one list (tools, prompts, resources, templates) of one server.
pub const LIST_ITEMS_MAX: usize = 10_000;
/// Resource templates of one server; each may be held against every URI that is read.
pub const TEMPLATES_PER_SERVER_MAX: usize = 256;
/// Variables of one resource template.
pub const TEMPLATE_VARIABLES_MAX: usize = 16;
pub const LIST_PAGES_MAX: usize = 200;
/// All pages of one list of a server together.
pub const LIST_BYTES_MAX: usize = 32 * 1024 * 1024;
pub const LIST_TIMEOUT: Duration = Duration::from_secs(60);
/// Resources and tasks of one server that are watched at once.
pub const WATCHED_MAX: usize = 4096;
/// How long a server may take to agree to a subscription of ours.
pub const WATCH_ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Subscriptions that one legacy server is asked for side by side.
pub const WATCH_ASKS_MAX: usize = 16;
/// News of one server (resources updated) that wait to be handed on.
pub const WATCH_NEWS_MAX: usize = 256;
/// Between two looks at a task of a legacy server that does not say how often it wants them, and
/// what is made of its wish.
pub const LEGACY_TASK_POLL: Duration = Duration::from_secs(1);
pub const LEGACY_TASK_POLL_MIN: Duration = Duration::from_millis(100);
pub const LEGACY_TASK_POLL_MAX: Duration = Duration::from_secs(5);
/// After this a subscription at a server is opened anew.
pub const UPSTREAM_LISTEN_MAX: Duration = Duration::from_secs(24 * 3600);
/// What nobody asked for is read of a pipe of a server, or of all event streams of a session over
/// HTTP, at once: so many bytes …
pub const UNASKED_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// … and in the long run so many a second. Beyond that the server waits until it is read.
pub const UNASKED_BYTES_PER_SECOND: u64 = 1024 * 1024;
/// What a line or an event that nobody asked for counts beside its bytes.
pub const UNASKED_LINE_BYTES: u64 = 512;
pub const STDERR_LINE_BYTES_MAX: usize = 4096;
pub const STDERR_LINES_PER_SECOND_MAX: u32 = 50;
pub const RESTART_BACKOFF_MIN: Duration = Duration::from_millis(200);
pub const RESTART_BACKOFF_MAX: Duration = Duration::from_secs(30);
/// After so long ready, a server's earlier failures no longer count.
pub const RESTART_HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// Lives of a child that end within the window make a crash loop.
pub const CRASH_LOOP_LIVES: usize = 5;
pub const CRASH_LOOP_WINDOW: Duration = Duration::from_secs(60);
/// Between two starts of a child in a crash loop.
pub const CRASH_LOOP_PAUSE: Duration = Duration::from_secs(300);
/// How long a replica that has become ready is spared, less and less.
pub const SLOW_START: Duration = Duration::from_secs(10);
/// Percent of its weight with which it begins.
pub const SLOW_START_PERCENT_MIN: u32 = 10;
/// In this time what is left of an old estimate of a replica's latency shrinks to a third.
pub const LATENCY_DECAY: Duration = Duration::from_secs(10);
/// The status tells how long calls took in so much time, and in as much before it at most.
pub const LATELY_WINDOW: Duration = Duration::from_secs(60);
/// Failures in a row that eject a replica.
pub const BREAKER_IN_A_ROW: u32 = 5;
/// So far back calls count for the share of those that failed.
pub const BREAKER_WINDOW: Duration = Duration::from_secs(10);
/// Fewer calls than this in the window say nothing.
pub const BREAKER_WINDOW_CALLS_MIN: u32 = 20;
/// Percent of the calls in the window whose failure ejects a replica.
pub const BREAKER_FAILED_PERCENT: u32 = 50;
/// How long a replica is ejected the first time, and by how much longer each next time.
pub const EJECTION: Duration = Duration::from_secs(30);
pub const EJECTION_MAX: Duration = Duration::from_secs(300);
/// After so long without another, earlier ejections no longer count.
pub const EJECTION_FORGOTTEN_AFTER: Duration = Duration::from_secs(300);
/// How long a replica is silent before it is asked for a sign of life, unless
/// `servers.NAME.health.interval_sec` says otherwise.
pub const HEALTH_INTERVAL: Duration = Duration::from_secs(10);
/// How long it may take to give one, unless `servers.NAME.health.timeout_sec` says otherwise.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);
/// One that gave none is asked again after this, or after its interval if that is shorter.
pub const HEALTH_AGAIN: Duration = Duration::from_secs(1);
/// How long what a server lists stays listed when it is gone, unless
/// `servers.NAME.health.grace_sec` says otherwise.
pub const HEALTH_GRACE: Duration = Duration::from_secs(60);
/// After this long a probe that has not come back makes room for another.
pub const PROBE_MAX: Duration = Duration::from_secs(60);
/// Times that one call may be sent again.
pub const RETRIES_MAX: u32 = 2;
/// Percent of a server's calls that may be sent again.
pub const RETRY_PERCENT: u32 = 20;
/// Calls that may be sent again in a second whatever the percentage says.
pub const RETRIES_PER_SECOND_MIN: u32 = 10;
/// Calls that may be sent again in one moment.
pub const RETRY_BURST_MAX: u32 = 100;

/// Last lines of a server's stderr kept for the status.
pub const STDERR_TAIL_LINES: usize = 20;
/// Calls of one session that wait for an answer.
pub const SESSION_PENDING_MAX: usize = 4096;
/// Bytes of whole messages put together for one write to a child.
pub const STDIO_BATCH_BYTES_MAX: usize = 64 * 1024;
/// Our own short messages (cancellations, refusals) that wait for a child to read.
pub const STDIO_CONTROL_QUEUE_MAX: usize = 256;
/// What a child may still say after its process has ended, when somebody else holds its stdout.
pub const STDIO_EXIT_GRACE: Duration = Duration::from_millis(200);
/// The end of a child with all rungs of the ladder, and a little more.
pub const STDIO_CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Lines of stdout noise and other oddities of one session that are logged in a second.
pub const ODDITIES_LOGGED_PER_SECOND_MAX: u32 = 5;
pub const UPSTREAM_IDLE_MAX: Duration = Duration::from_secs(60);
/// hyper's read buffer for one upstream connection.
pub const UPSTREAM_BUFFER_BYTES_MAX: usize = 1024 * 1024;
/// Messages posted beside the calls (cancellations, refusals, the end of a session) at once.
pub const UPSTREAM_ERRANDS_MAX: usize = 64;
pub const UPSTREAM_ERRAND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a finished event stream may take to end so that its connection is kept.
pub const UPSTREAM_STREAM_END_GRACE: Duration = Duration::from_millis(500);
/// How long a session on which questions may come waits for its GET stream before the first call.
pub const UPSTREAM_STREAM_WAIT_MAX: Duration = Duration::from_secs(1);
/// Pause before an event stream is opened again, unless the server names one.
pub const SSE_RETRY: Duration = Duration::from_secs(1);
pub const SSE_RETRY_MIN: Duration = Duration::from_millis(100);
pub const SSE_RETRY_MAX: Duration = Duration::from_secs(30);
/// Attempts to resume the stream of one call that bring nothing, one after the other.
pub const UPSTREAM_RESUMES_MAX: usize = 10;

// Jail.
pub const KILL_STDIN_GRACE: Duration = Duration::from_secs(2);
pub const KILL_TERM_GRACE: Duration = Duration::from_secs(2);
pub const CHILD_OPEN_FILES_MAX: u64 = 4096;
/// Starts waiting for the spawner thread; more wait in line before it.
pub const SPAWN_QUEUE_MAX: usize = 64;
/// Capacity asked for each of a child's stdin and stdout.
pub const CHILD_PIPE_BYTES: usize = 1024 * 1024;
/// How often a server's cgroup is made, if another gateway takes it away in between.
pub const LEAF_TRIES_MAX: usize = 8;
/// How long a keeper tries to clear up before it leaves the rest to the gateway.
pub const KEEPER_SWEEP_MAX: Duration = Duration::from_secs(1);
/// Between two looks at what has been killed and is not gone yet.
pub const SWEEP_PAUSE: Duration = Duration::from_millis(2);
/// The same once it has grown, because something hangs in the kernel.
pub const SWEEP_PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long the end of the ladder waits for the killed to be gone.
pub const KILL_WAIT: Duration = Duration::from_secs(2);

// Gate and audit.
pub const SCHEMA_BYTES_MAX: usize = 256 * 1024;
/// One compiled `pattern` of a tool's schema, and its cache.
pub const SCHEMA_REGEX_BYTES_MAX: usize = 1024 * 1024;
/// All of them in one schema together; each gets an equal share.
pub const SCHEMA_REGEXES_BYTES_MAX: usize = 16 * 1024 * 1024;
pub const SCHEMA_REGEXES_MAX: usize = 256;
/// What one compiled expression gets at first.
pub const SCHEMA_REGEX_BYTES_USUAL: usize = 64 * 1024;
/// All schemas of one server together.
pub const SCHEMAS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// All expressions of one server together, counted by what each may take.
pub const SCHEMAS_PATTERN_BYTES_MAX: usize = 128 * 1024 * 1024;
/// After this long the rest of a server's schemas are not compiled.
pub const SCHEMAS_TIME_MAX: Duration = Duration::from_secs(5);
/// Servers whose schemas are compiled at the same time.
pub const SCHEMA_COMPILERS_MAX: usize = 2;
/// Backtracking steps of one match, for patterns with look-around.
pub const SCHEMA_BACKTRACKS_MAX: usize = 10_000;
/// Arguments of a tool whose schema has such patterns.
pub const SCHEMA_BACKTRACK_BYTES_MAX: usize = 256 * 1024;
/// Edges of the graph that a schema's keywords and references form.
pub const SCHEMA_EDGES_MAX: usize = 100_000;
/// Schemas that may be applied to one value in a chain (`$ref`, `allOf` …).
pub const SCHEMA_HEIGHT_MAX: usize = 128;
/// That chain times the depth of the arguments: what a thread's stack must bear.
pub const SCHEMA_STACK_MAX: usize = 1000;
/// Evaluations of one value that are always allowed.
pub const SCHEMA_WORK_PER_VALUE_MAX: u64 = 256;
/// Evaluations of all values of one call, beyond that.
pub const SCHEMA_WORK_MAX: u64 = 10_000_000;

// Configuration.
pub const CONFIG_BYTES_MAX: u64 = 1024 * 1024;
/// Bytes of a schema for each place in it whose keys are told from those that resemble them.
pub const SCHEMA_NAME_BYTES: usize = 4;
/// Principals that are counted by one rate, before those that have all of it left are forgotten.
pub const RATE_CELLS_MAX: usize = 16_384;
/// Files of any kind in a directory that is read whole.
pub const DIRECTORY_FILES_MAX: usize = 1024;
/// One secret read from a file.
pub const SECRET_BYTES_MAX: u64 = 64 * 1024;
/// A listener's socket path, as the kernel bounds it.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;
/// So many times the calls that could still be taken, all servers together, may one server have.
pub const SERVER_SHARE_OF_ROOM: usize = 2;
/// Calls to one server at once, unless `servers.NAME.in_flight` says otherwise.
pub const SERVER_IN_FLIGHT: usize = 256;
// What may be written in [limits] and [servers.NAME].
pub const BODY_BYTES_RANGE: RangeInclusive<usize> = 1024..=64 * 1024 * 1024;
pub const IN_FLIGHT_RANGE: RangeInclusive<usize> = 1..=65_536;
pub const SESSIONS_RANGE: RangeInclusive<usize> = 1..=1_000_000;
pub const CONNECTIONS_RANGE: RangeInclusive<usize> = 1..=65_536;
pub const STARTUP_TIMEOUT_RANGE_S: RangeInclusive<f64> = 0.1..=600.0;
pub const TOOL_TIMEOUT_RANGE_S: RangeInclusive<f64> = 0.1..=3600.0;
pub const HEALTH_INTERVAL_RANGE_S: RangeInclusive<f64> = 0.1..=3600.0;
pub const HEALTH_TIMEOUT_RANGE_S: RangeInclusive<f64> = 0.1..=600.0;
pub const HEALTH_GRACE_RANGE_S: RangeInclusive<f64> = 0.0..=86_400.0;

/// Processes and addresses of one server.
pub const REPLICAS_MAX: usize = 64;
/// What `weight` may be.
pub const REPLICA_WEIGHT_RANGE: RangeInclusive<usize> = 1..=1_000;
/// Calls that wait for a place at a server, unless `servers.NAME.queue` says otherwise.
pub const QUEUE: usize = 256;
pub const QUEUE_RANGE: RangeInclusive<usize> = 0..=65_536;
/// How long each waits, unless `servers.NAME.queue_timeout_sec` says otherwise.
pub const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);
pub const QUEUE_TIMEOUT_RANGE_S: RangeInclusive<f64> = 0.001..=600.0;
