//! Every kind of client against every kind of server: call, progress, cancel.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    client::{Client, Kind},
    harness::{Gateway, HttpFixture, audit_in, journal, stdio_server, wait_until, write_config},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    ModernHttp,
    LegacyHttp,
    ModernStdio,
    LegacyStdio,
}

/// One cell of the matrix, set up.
pub(crate) struct Cell {
    pub(crate) client: Client,
    pub(crate) journal: PathBuf,
    pub(crate) audit: PathBuf,
    _server: Option<HttpFixture>,
    _gateway: Option<Gateway>,
    _dir: Option<TempDir>,
}

impl Cell {
    pub(crate) async fn new(kind: Kind, server: Server) -> Self {
        Self::able(kind, server, json!({})).await
    }

    /// With a client of these capabilities.
    pub(crate) async fn able(kind: Kind, server: Server, capabilities: Value) -> Self {
        Self::with(kind, server, capabilities, "").await
    }

    /// The same, and with more keys for the server.
    pub(crate) async fn with(kind: Kind, server: Server, capabilities: Value, keys: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("journal.jsonl");
        let audit = dir.path().join("state/audit");
        let era = match server {
            Server::ModernHttp | Server::ModernStdio => "modern",
            Server::LegacyHttp | Server::LegacyStdio => "legacy",
        };
        let args = ["--era", era, "--journal", journal.to_str().unwrap()];
        let (tables, fixture) = match server {
            Server::ModernHttp | Server::LegacyHttp => {
                let fixture = HttpFixture::start(&args);
                (format!("[servers.up]\nurl = {:?}\n", fixture.url), Some(fixture))
            }
            Server::ModernStdio | Server::LegacyStdio => (stdio_server("up", &args), None),
        };
        let tables = tables + keys;
        let (client, gateway, dir) = match kind {
            Kind::ModernHttp | Kind::LegacyHttp => {
                let gateway = Gateway::start_in(dir, &tables);
                (Client::able_http(kind, gateway.port, capabilities).await, Some(gateway), None)
            }
            Kind::ModernStdio | Kind::LegacyStdio => {
                let config = write_config(dir.path(), &tables);
                (Client::able_stdio(kind, &config, capabilities).await, None, Some(dir))
            }
        };
        Self { client, journal, audit, _server: fixture, _gateway: gateway, _dir: dir }
    }

    /// The tool calls that reached the server, by tool.
    fn reached(&self, tool: &str) -> usize {
        let calls = journal(&self.journal);
        calls.iter().filter(|e| e["method"] == "tools/call" && e["tool"] == tool).count()
    }

    fn cancelled(&self) -> bool {
        journal(&self.journal).iter().any(|event| event["event"] == "cancelled")
    }

    pub(crate) fn describe(&self) -> String {
        format!("journal: {:#?}\naudit: {:#?}", journal(&self.journal), audit_in(&self.audit))
    }
}

async fn call_progress_and_cancel_work(kind: Kind, server: Server) {
    let cell = Cell::new(kind, server).await;

    let text = "plain ✓ \"quoted\" \\ \u{1F600}";
    assert_eq!(cell.client.text("up__echo", json!({ "text": text })).await, text);

    let arguments = json!({ "steps": 3, "ms": 5 });
    let answer = cell.client.begin("up__progress", arguments, Some("mine-1")).await.finish().await;
    assert_eq!(answer.notices.len(), 3, "{answer:?}");
    for (n, notice) in answer.notices.iter().enumerate() {
        assert_eq!(notice["method"], "notifications/progress");
        assert_eq!(notice["params"]["progressToken"], "mine-1");
        assert_eq!(notice["params"]["progress"].as_f64(), Some((n + 1) as f64));
    }
    assert!(answer.response["result"]["content"].is_array(), "{answer:?}");

    let sleeping =
        cell.client.begin("up__sleep", json!({ "ms": 600_000, "text": "z" }), None).await;
    wait_until(
        "the call to arrive",
        || (cell.reached("sleep") == 1).then_some(()),
        || cell.describe(),
    );
    cell.client.cancel(sleeping).await;
    wait_until("the cancellation", || cell.cancelled().then_some(()), || cell.describe());
    let outcome = || {
        let records = audit_in(&cell.audit);
        records
            .into_iter()
            .find(|record| record["kind"] == "outcome" && record["outcome"] == "failed")
    };
    let outcome = wait_until("the outcome", outcome, || cell.describe());
    assert_eq!(outcome["error"], "cancelled", "{outcome}");

    // The line is as good as before.
    assert_eq!(cell.client.text("up__echo", json!({ "text": "after" })).await, "after");
}

macro_rules! matrix {
    ($($name:ident: $client:ident x $server:ident;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                call_progress_and_cancel_work(Kind::$client, Server::$server).await;
            }
        )*
    };
}

matrix! {
    modern_http_to_modern_http: ModernHttp x ModernHttp;
    modern_http_to_legacy_http: ModernHttp x LegacyHttp;
    modern_http_to_modern_stdio: ModernHttp x ModernStdio;
    modern_http_to_legacy_stdio: ModernHttp x LegacyStdio;
    legacy_http_to_modern_http: LegacyHttp x ModernHttp;
    legacy_http_to_legacy_http: LegacyHttp x LegacyHttp;
    legacy_http_to_modern_stdio: LegacyHttp x ModernStdio;
    legacy_http_to_legacy_stdio: LegacyHttp x LegacyStdio;
    modern_stdio_to_modern_http: ModernStdio x ModernHttp;
    modern_stdio_to_legacy_http: ModernStdio x LegacyHttp;
    modern_stdio_to_modern_stdio: ModernStdio x ModernStdio;
    modern_stdio_to_legacy_stdio: ModernStdio x LegacyStdio;
    legacy_stdio_to_modern_http: LegacyStdio x ModernHttp;
    legacy_stdio_to_legacy_http: LegacyStdio x LegacyHttp;
    legacy_stdio_to_modern_stdio: LegacyStdio x ModernStdio;
    legacy_stdio_to_legacy_stdio: LegacyStdio x LegacyStdio;
}
