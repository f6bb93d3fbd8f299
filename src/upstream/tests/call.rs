//! What goes out for one admitted call.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{latch, object, session, soon};
use crate::{
    audit::{Audit, Durability},
    domain::{
        Call, CallError, CallIds, Caller, Era, Generation, Kind, Nonce, Principal, Sent,
        ServerName, Subject, Transport,
    },
    gate::{Definition, Gate, Latch, Permit, Rules, Whitelist},
    upstream::{Manner, Outgoing},
    wire::{CallMethod, CallParams, Version},
};

/// What a real gate lets through.
async fn admitted(latch: &Latch, dir: &std::path::Path, arguments: Bytes) -> Permit {
    let (audit, _thread) = Audit::open(&dir.join("audit"), Durability::Cached).unwrap();
    let target = crate::config::Target::Stdio(crate::config::StdioTarget {
        program: crate::config::Program::SelfExe,
        args: Vec::new(),
        env: std::collections::BTreeMap::new(),
        cwd: None,
    });
    let server = crate::config::ServerConfig::new(ServerName::parse("fake").unwrap(), target);
    let call = Call {
        id: CallIds::new(Nonce(1)).next(1),
        caller: Arc::new(Caller {
            principal: Principal::new("test"),
            client: "test".into(),
            conversation: None,
            era: Era::Modern,
            transport: Transport::Http,
        }),
        server: server.name.clone(),
        subject: Subject::parse(Kind::Tool, "real/name").unwrap(),
        arguments,
        answers: None,
        generation: Generation(1),
        trace: None,
        at: None,
        under: None,
    };
    let gate = Gate::new(latch.clone(), audit);
    let rules = Rules::of_whitelist(Whitelist::compile(&[server]));
    let (permit, ticket) = gate.admit(&rules, call, Definition::Forwarded).await.unwrap();
    drop(ticket);
    permit
}

fn outgoing(params: &str) -> Outgoing {
    Outgoing {
        params: CallParams::parse(CallMethod::ToolsCall, &object(params)).unwrap().into(),
        deadline: Duration::from_secs(20),
        manner: Manner::default(),
        baggage: Arc::default(),
    }
}

const PARAMS: &str = r#"{ "unheard":[1.0],"name":"fake__real","arguments":{"n":1e2, "n2":12345678901234567890123},
"_meta":{"progressToken":"mine","x.example/y":"kept","traceparent":"00-1-2-01","io.modelcontextprotocol/clientInfo":{"name":"c"}}}"#;

#[tokio::test]
async fn the_arguments_go_out_byte_by_byte_under_the_tools_own_name_and_our_token() {
    for version in [Version::V2025_06_18, Version::MODERN] {
        let (latch, dir) = latch();
        let call = outgoing(PARAMS);
        let permit = admitted(&latch, dir.path(), call.params.arguments()).await;
        let (session, mut child) = session(&latch, version);
        let (notices, mut heard) = mpsc::channel(4);
        let answered =
            super::spawn(async move { session.call(&permit, &call, Some(&notices)).await });
        let said = soon(child.hear()).await.unwrap();
        assert_eq!(said["method"], "tools/call");
        let params = &said["params"];
        assert_eq!(params["name"], "real/name");
        assert_eq!(params["unheard"], serde_json::json!([1.0]));
        let meta = &params["_meta"];
        assert_eq!((&meta["x.example/y"], meta.get("traceparent")), (&"kept".into(), None));
        assert_eq!(meta["progressToken"], said["id"]);
        let modern = version == Version::MODERN;
        let about = &meta["io.modelcontextprotocol/clientInfo"];
        assert_eq!(about.get("name"), modern.then(|| "portcullis".into()).as_ref());
        let line = format!(
            "{{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\
             \"params\":{{\"progressToken\":{},\"progress\":1}}}}\n",
            said["id"]
        );
        tokio::io::AsyncWriteExt::write_all(&mut child.stdout, line.as_bytes()).await.unwrap();
        child.answer(&said["id"], "\"result\":{\"content\":[]}").await;
        soon(answered).await.unwrap().unwrap();
        assert!(soon(heard.recv()).await.is_some());
    }
}

#[tokio::test]
async fn what_was_not_judged_is_not_sent() {
    let (latch, dir) = latch();
    let permit = admitted(&latch, dir.path(), Bytes::from_static(b"{\"n\":1}")).await;
    let (session, mut child) = session(&latch, Version::MODERN);
    let (notices, _heard) = mpsc::channel(4);
    for other in [
        r#"{"name":"t","arguments":{"n":2}}"#,
        r#"{"name":"t","arguments":{"n":1},"inputResponses":{"q":{}}}"#,
    ] {
        let refused = session.call(&permit, &outgoing(other), Some(&notices)).await.unwrap_err();
        assert_eq!(refused, CallError::Unavailable { sent: Sent::No });
    }
    let same = outgoing(r#"{"name":"t","arguments":{"n":1}}"#);
    let answered = super::spawn(async move { session.call(&permit, &same, Some(&notices)).await });
    let said = soon(child.hear()).await.unwrap();
    assert_eq!(said["params"]["arguments"]["n"], 1);
    child.answer(&said["id"], "\"result\":{}").await;
    soon(answered).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_permit_for_another_server_opens_nothing() {
    let (latch, dir) = latch();
    let call = outgoing(r#"{"name":"t","arguments":{}}"#);
    let permit = admitted(&latch, dir.path(), call.params.arguments()).await;
    let (mut session, _child) = session(&latch, Version::MODERN);
    session.server = ServerName::parse("other").unwrap();
    let (notices, _heard) = mpsc::channel(4);
    let refused = soon(session.call(&permit, &call, Some(&notices))).await.unwrap_err();
    assert_eq!(refused, CallError::Unavailable { sent: Sent::No });
}

#[tokio::test]
async fn a_permit_for_a_tool_opens_no_prompt_of_the_same_name() {
    let (latch, dir) = latch();
    let prompt = object(r#"{"name":"fake__real","arguments":{}}"#);
    let params = CallParams::parse(CallMethod::PromptsGet, &prompt).unwrap();
    let call = Outgoing { params: params.into(), ..outgoing(r#"{"name":"t"}"#) };
    let permit = admitted(&latch, dir.path(), call.params.arguments()).await;
    let (session, _child) = session(&latch, Version::MODERN);
    let (notices, _heard) = mpsc::channel(4);
    let refused = soon(session.call(&permit, &call, Some(&notices))).await.unwrap_err();
    assert_eq!(refused, CallError::Unavailable { sent: Sent::No });
}

#[tokio::test]
async fn a_modern_server_behind_http_gets_the_headers_it_asks_for() {
    use crate::wire::headers::parse_param_headers;
    let (latch, dir) = latch();
    let params = r#"{"name":"t","arguments":{"region":"ü","n":7,"none":null}}"#;
    let schema = object(
        r#"{"type":"object","properties":{
            "region":{"type":"string","x-mcp-header":"Region"},
            "n":{"type":"integer","x-mcp-header":"N"},
            "none":{"type":"string","x-mcp-header":"None"}}}"#,
    );
    let mut call = outgoing(params);
    call.manner.param_headers = parse_param_headers(&schema).unwrap().into();
    let permit = admitted(&latch, dir.path(), call.params.arguments()).await;
    let (session, mut server) = super::tools::http_session(&latch).await;
    let (notices, _heard) = mpsc::channel(4);
    let answered = super::spawn(async move { session.call(&permit, &call, Some(&notices)).await });
    let seen = server.next().await;
    assert_eq!(seen.header("mcp-method"), "tools/call");
    assert_eq!(seen.header("mcp-name"), "real/name");
    assert_eq!(seen.header("mcp-param-region"), "=?base64?w7w=?=");
    assert_eq!(seen.header("mcp-param-n"), "7");
    assert_eq!(seen.header("mcp-param-none"), "");
    seen.answer("{}");
    soon(answered).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_server_that_misses_a_header_is_asked_for_its_lists_again() {
    for (body, may_differ) in [
        (r#""error":{"code":-32020,"message":"Mcp-Param-Region"}"#, true),
        (r#""error":{"code":-32602,"message":"another"}"#, false),
        (r#""result":{"content":[]}"#, false),
    ] {
        let (latch, dir) = latch();
        let call = outgoing(r#"{"name":"t","arguments":{}}"#);
        let permit = admitted(&latch, dir.path(), call.params.arguments()).await;
        let (session, mut server) = super::tools::http_session(&latch).await;
        let mut changes = session.list_changed();
        changes.mark_unchanged();
        let asking =
            super::spawn(async move { (session.call(&permit, &call, None).await, session) });
        let asked = server.next().await;
        let answer = format!(r#"{{"jsonrpc":"2.0","id":{},{body}}}"#, asked.id());
        asked.json(200, &answer);
        let (answered, _session) = soon(asking).await.unwrap();
        answered.unwrap();
        assert_eq!(changes.has_changed().unwrap(), may_differ, "{body}");
    }
}
