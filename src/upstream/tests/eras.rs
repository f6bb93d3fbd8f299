//! Which era a child is taken for, and how many children that takes. On a paused clock.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use tokio::task::JoinSet;

use super::{FakeChild, WAIT, latch};
use crate::{
    config::{Program, ServerConfig, StdioTarget, Target},
    domain::{Era, ServerName},
    upstream::{ConnectError, connect::shake_hands, handshake},
};

/// What a child does with each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Answer(&'static str),
    Nothing,
    Exit,
}

/// How a kind of server answers `server/discover` and `initialize`, given whether it is the first
/// message that this process gets.
type Script = fn(method: &str, first: bool, n_started: usize) -> Does;

const DISCOVERED: Does = Does::Answer(r#""result":{"supportedVersions":["2026-07-28"]}"#);
const INITIALIZED: Does = Does::Answer(r#""result":{"protocolVersion":"2025-06-18"}"#);
const UNKNOWN: Does = Does::Answer(r#""error":{"code":-32601,"message":"Method not found"}"#);
const LOCKED: Does =
    Does::Answer(r#""error":{"code":-32022,"message":"","data":{"supported":["2026-07-28"]}}"#);

async fn act(mut child: FakeChild, script: Script, n_started: usize) {
    let mut first = true;
    while let Some(said) = child.hear().await {
        let method = said["method"].as_str().unwrap();
        if method == "notifications/initialized" || method == "notifications/cancelled" {
            continue;
        }
        match script(method, std::mem::take(&mut first), n_started) {
            Does::Answer(body) => child.answer(&said["id"], body).await,
            Does::Nothing => {}
            Does::Exit => return,
        }
    }
}

async fn shake(script: Script, era: Option<Era>) -> (Result<Era, ConnectError>, usize) {
    let (latch, _dir) = latch();
    let target = Target::Stdio(StdioTarget {
        program: Program::SelfExe,
        args: Vec::new(),
        env: std::collections::BTreeMap::new(),
        cwd: None,
    });
    let server = ServerConfig {
        startup_timeout: WAIT,
        ..ServerConfig::new(ServerName::parse("fake").unwrap(), target)
    };
    let n_started = Arc::new(AtomicUsize::new(0));
    let children = Arc::new(Mutex::new(JoinSet::new()));
    let launch = || async {
        let n = n_started.fetch_add(1, Ordering::Relaxed) + 1;
        let (stdio, child) = FakeChild::start(&latch);
        children.lock().unwrap().spawn(act(child, script, n));
        Ok(stdio)
    };
    let shaken = shake_hands(&server, &handshake::face(), era, launch).await;
    let era = shaken.map(|(_, greeting)| greeting.version.era());
    (era, n_started.load(Ordering::Relaxed))
}

async fn check(what: &str, script: Script, want: Era, n_children: usize) {
    let (era, n_started) = shake(script, None).await;
    assert_eq!((era.unwrap(), n_started), (want, n_children), "{what}");
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_child_is_met_in_its_own_era() {
    check(
        "modern",
        |method, _, _| if method == "server/discover" { DISCOVERED } else { LOCKED },
        Era::Modern,
        1,
    )
    .await;
    check(
        "legacy that answers what it does not know",
        |method, _, _| if method == "initialize" { INITIALIZED } else { UNKNOWN },
        Era::Legacy,
        1,
    )
    .await;
    check(
        "legacy that keeps silent before initialize",
        |method, first, _| match (method, first) {
            ("initialize", true) => INITIALIZED,
            _ => Does::Nothing,
        },
        Era::Legacy,
        2,
    )
    .await;
    check(
        "legacy that answers what it does not know with what is no answer",
        |method, _, _| match method {
            "initialize" => INITIALIZED,
            _ => Does::Answer(r#""result":null"#),
        },
        Era::Legacy,
        1,
    )
    .await;
    check(
        "legacy that dies of what it does not know",
        |method, _, _| if method == "initialize" { INITIALIZED } else { Does::Exit },
        Era::Legacy,
        2,
    )
    .await;
    check(
        "both, but locked by the first message",
        |method, first, _| match (method, first) {
            ("initialize", true) => INITIALIZED,
            ("initialize", false) => LOCKED,
            _ => UNKNOWN,
        },
        Era::Legacy,
        2,
    )
    .await;
    check(
        "modern, but slow to start at first",
        |method, _, n_started| match (method, n_started) {
            ("server/discover", 1) => Does::Nothing,
            ("server/discover", _) => DISCOVERED,
            _ => UNKNOWN,
        },
        Era::Modern,
        3,
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_pinned_era_takes_one_child_and_no_probe() {
    let both: Script = |method, first, _| match (method, first) {
        ("server/discover", true) => DISCOVERED,
        ("initialize", true) => INITIALIZED,
        _ => LOCKED,
    };
    for era in [Era::Legacy, Era::Modern] {
        let (got, n_started) = shake(both, Some(era)).await;
        assert_eq!((got.unwrap(), n_started), (era, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_that_will_not_do_says_why() {
    let (failed, _) = shake(|_, _, _| Does::Exit, None).await;
    let failed = failed.unwrap_err();
    assert!(matches!(failed, ConnectError::Ended { .. }), "{failed:?}");
    assert!(failed.to_string().contains("the server closed its stdout"), "{failed}");
    let (failed, _) = shake(|_, _, _| UNKNOWN, None).await;
    assert!(matches!(failed.unwrap_err(), ConnectError::Refused { code: -32601, .. }));
    let malformed = |_: &str, _, _| Does::Answer(r#""result":7"#);
    let (failed, _) = shake(malformed, None).await;
    assert!(matches!(failed.unwrap_err(), ConnectError::Protocol { .. }));
    let (failed, _) = shake(malformed, Some(Era::Modern)).await;
    assert!(matches!(failed.unwrap_err(), ConnectError::Protocol { .. }));
    let (failed, _) = shake(|_, _, _| Does::Nothing, None).await;
    assert!(matches!(failed.unwrap_err(), ConnectError::Silent { .. }));
    let (failed, _) = shake(
        |_, _, _| Does::Answer(r#""result":{"protocolVersion":"1.0","supportedVersions":["x"]}"#),
        None,
    )
    .await;
    assert!(matches!(failed.unwrap_err(), ConnectError::NoCommonVersion { .. }));
}
