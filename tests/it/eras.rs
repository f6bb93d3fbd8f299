//! One client of any kind and one server of any kind, with a gateway between them.

use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    client::{Client, Kind},
    harness::{Gateway, HttpFixture, audit_in, journal, stdio_server, write_config},
};

pub(crate) const SERVERS: [Server; 4] =
    [Server::ModernHttp, Server::LegacyHttp, Server::ModernStdio, Server::LegacyStdio];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    ModernHttp,
    LegacyHttp,
    ModernStdio,
    LegacyStdio,
}

impl Server {
    pub(crate) fn is_modern(self) -> bool {
        matches!(self, Self::ModernHttp | Self::ModernStdio)
    }

    pub(crate) fn is_child(self) -> bool {
        matches!(self, Self::ModernStdio | Self::LegacyStdio)
    }
}

/// One cell of the matrix, set up.
pub(crate) struct Cell {
    pub(crate) kind: Kind,
    pub(crate) server: Server,
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
        let era = if server.is_modern() { "modern" } else { "legacy" };
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
            Kind::ModernHttp | Kind::LegacyHttp | Kind::OldHttp => {
                let gateway = Gateway::start_in(dir, &tables);
                (Client::able_http(kind, gateway.port, capabilities).await, Some(gateway), None)
            }
            Kind::ModernStdio | Kind::LegacyStdio => {
                let config = write_config(dir.path(), &tables);
                (Client::able_stdio(kind, &config, capabilities).await, None, Some(dir))
            }
        };
        let (_server, _gateway, _dir) = (fixture, gateway, dir);
        Self { kind, server, client, journal, audit, _server, _gateway, _dir }
    }

    /// How many calls of this tool reached the server.
    /// Whether a call of `tool` runs at the server, where it can be cancelled.
    pub(crate) fn begun(&self, tool: &str) -> bool {
        let is_it = |e: &Value| e["event"] == "begun" && e["detail"]["tool"] == tool;
        journal(&self.journal).iter().any(is_it)
    }

    pub(crate) fn cancelled(&self) -> bool {
        journal(&self.journal).iter().any(|event| event["event"] == "cancelled")
    }

    pub(crate) fn describe(&self) -> String {
        format!("journal: {:#?}\naudit: {:#?}", journal(&self.journal), audit_in(&self.audit))
    }
}
