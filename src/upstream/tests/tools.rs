//! Which tools, prompts and resources a server is said to have.

use std::sync::Arc;

use super::{FakeChild, WAIT, Whose, latch, session, soon};
use crate::{
    config::{HttpTarget, ServerConfig, Target},
    domain::{
        CallError, Era, Sent, ServerName,
        limits::{LIST_BYTES_MAX, LIST_PAGES_MAX},
    },
    gate::Latch,
    upstream::{
        Line, Session, handshake,
        http::{self, tests::server::Server},
    },
    wire::{List, Version},
};

/// A modern session over HTTP.
pub(super) async fn http_session(latch: &Latch) -> (Session, Server) {
    let mut server = Server::start().await;
    let url = format!("http://{}/mcp", server.address).parse().unwrap();
    let target = HttpTarget { url, headers: Vec::new() };
    let config = ServerConfig {
        startup_timeout: WAIT,
        ..ServerConfig::new(ServerName::parse("fake").unwrap(), Target::Http(target.clone()))
    };
    let face = Arc::new(handshake::face());
    let open = http::open(&config, &target, Some(Era::Modern), latch.clone(), Arc::clone(&face));
    let greet = async {
        server.next().await.answer(r#"{"supportedVersions":["2026-07-28"]}"#);
    };
    let (opened, ()) = soon(async { tokio::join!(open, greet) }).await;
    let (http, greeting) = opened.unwrap();
    (
        Session::new(
            config.name,
            Line::Http(http),
            greeting,
            (Whose::Everybodys, face),
            latch.clone(),
        ),
        server,
    )
}

/// Answers `tools/list` with `pages` in a row, then with the last one for ever.
async fn serve(mut child: FakeChild, pages: &[&str]) -> usize {
    let mut n_asked = 0;
    while let Some(said) = child.hear().await {
        assert_eq!(said["method"], "tools/list");
        let page = pages.get(n_asked).or(pages.last()).unwrap();
        child.answer(&said["id"], page).await;
        n_asked += 1;
    }
    n_asked
}

async fn names(version: Version, pages: &[&str]) -> (Result<Vec<String>, CallError>, usize) {
    let (latch, _dir) = latch();
    let (session, child) = session(&latch, version);
    let list = async move {
        let tools = session.list(List::Tools).await;
        tools.map(|tools| tools.into_iter().map(|tool| tool.name).collect())
    };
    soon(async { tokio::join!(list, serve(child, pages)) }).await
}

#[tokio::test]
async fn all_pages_make_one_list_in_both_eras() {
    let pages = [
        r#""result":{"tools":[{"name":"a"},{"name":"b"}],"nextCursor":"2"}"#,
        r#""result":{"tools":[7,{"name":"c"}]}"#,
    ];
    for version in [Version::V2025_03_26, Version::MODERN] {
        let (tools, n_asked) = names(version, &pages).await;
        assert_eq!(tools.unwrap(), ["a", "b", "c"]);
        assert_eq!(n_asked, 2);
    }
}

#[tokio::test]
async fn a_server_without_tools_has_an_empty_list() {
    let refused = r#""error":{"code":-32601,"message":"no such method"}"#;
    let (tools, _) = names(Version::LATEST_LEGACY, &[refused]).await;
    assert_eq!(tools.unwrap(), Vec::<String>::new());
    let broken = r#""error":{"code":-32603,"message":"broken"}"#;
    let (tools, _) = names(Version::LATEST_LEGACY, &[broken]).await;
    assert!(tools.is_err());
}

/// Asks a server of these capabilities for each list; the methods that it heard.
async fn methods_heard(capabilities: Option<&str>) -> Vec<String> {
    let (latch, _dir) = latch();
    let (mut session, mut child) = session(&latch, Version::LATEST_LEGACY);
    let greeting = (*session.greeting).clone();
    let capabilities = capabilities.map(super::object);
    session.greeting = Arc::new(handshake::Greeting { capabilities, ..greeting });
    let ask = async move {
        for list in List::ALL {
            session.list(list).await.unwrap();
        }
    };
    let serve = async {
        let mut heard = Vec::new();
        while let Some(said) = child.hear().await {
            let entries =
                r#""result":{"tools":[],"prompts":[],"resources":[],"resourceTemplates":[]}"#;
            child.answer(&said["id"], entries).await;
            heard.push(said["method"].as_str().unwrap().to_owned());
        }
        heard
    };
    soon(async { tokio::join!(ask, serve) }).await.1
}

#[tokio::test]
async fn a_server_is_not_asked_for_what_it_did_not_declare() {
    let all = ["tools/list", "prompts/list", "resources/list", "resources/templates/list"];
    assert_eq!(methods_heard(None).await, all);
    assert_eq!(methods_heard(Some(r#"{"prompts":{},"resources":{}}"#)).await, all);
    assert_eq!(methods_heard(Some("{}")).await, all[..1]);
    assert_eq!(methods_heard(Some(r#"{"resources":{}}"#)).await, [all[0], all[2], all[3]]);
}

#[tokio::test]
async fn a_list_that_turns_in_a_circle_ends() {
    let page = r#""result":{"tools":[{"name":"a"}],"nextCursor":"again"}"#;
    let (tools, n_asked) = names(Version::LATEST_LEGACY, &[page]).await;
    assert_eq!(tools.unwrap().len(), 2);
    assert!(n_asked < LIST_PAGES_MAX);
}

#[tokio::test]
async fn a_list_without_an_end_is_cut_by_its_bytes() {
    let page = |n: usize| {
        let padding = "x".repeat(LIST_BYTES_MAX / 4);
        format!("\"result\":{{\"tools\":[],\"pad\":\"{padding}\",\"nextCursor\":\"{n}\"}}")
    };
    let pages: Vec<String> = (0..8).map(page).collect();
    let pages: Vec<&str> = pages.iter().map(String::as_str).collect();
    let (tools, n_asked) = names(Version::LATEST_LEGACY, &pages).await;
    assert_eq!((tools.unwrap().len(), n_asked), (0, 4));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_dribbles_in_is_given_up() {
    let (latch, _dir) = latch();
    let (session, _child) = session(&latch, Version::MODERN);
    let late = session.list(List::Tools).await.unwrap_err();
    assert_eq!(late, CallError::Deadline { sent: Sent::Yes });
}

#[tokio::test]
async fn a_tool_whose_headers_cannot_be_sent_is_dropped_over_http_only() {
    const PAGE: &str = r#"{"tools":[{"name":"good"},
        {"name":"bad","inputSchema":{"properties":{"o":{"type":"object","x-mcp-header":"O"}}}}]}"#;
    let (latch, _dir) = latch();
    let (session, mut server) = http_session(&latch).await;
    let list = async { session.list(List::Tools).await.unwrap() };
    let serve = async {
        let seen = server.next().await;
        assert_eq!(seen.header("mcp-method"), "tools/list");
        seen.answer(PAGE);
    };
    let (tools, ()) = soon(async { tokio::join!(list, serve) }).await;
    assert_eq!(tools.into_iter().map(|tool| tool.name).collect::<Vec<_>>(), ["good"]);
    let page = format!("\"result\":{}", PAGE.replace('\n', ""));
    let (tools, _) = names(Version::MODERN, &[&page]).await;
    assert_eq!(tools.unwrap(), ["good", "bad"]);
}
