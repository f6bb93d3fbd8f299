//! What one era has and the other has not, where they meet.

use serde_json::json;

use crate::{
    eras::{Cell, Server},
    questions::{KINDS, able},
};

/// The servers of the older era, and how each is had for one caller alone.
const LEGACY: [Server; 2] = [Server::LegacyStdio, Server::LegacyHttp];
const OWN: &str = "isolation = \"per-session\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_asks_while_it_completes_is_refused_and_nobody_is_asked() {
    for (kind, server) in KINDS.into_iter().flat_map(|kind| LEGACY.map(|server| (kind, server))) {
        let cell = Cell::with(kind, server, able(), OWN).await;
        let reference = json!({ "type": "ref/prompt", "name": "up__test_prompt_with_arguments" });
        let argument = json!({ "name": "arg1", "value": "ask" });
        let params = json!({ "ref": reference, "argument": argument });
        let got = cell.client.ask("completion/complete", params).await;
        let told = got.response["error"]["message"].as_str().unwrap_or_default();
        assert!(told.contains("-32602"), "{kind:?} {server:?} {got:?}");
        assert!(got.notices.is_empty(), "{kind:?} {server:?} {got:?}");
    }
}
