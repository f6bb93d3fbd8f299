//! What follows the end of a life, as a table; and whole lives on a clock that is not waited for.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    State,
    restarts::{Next, Restarts},
};
use crate::{
    config::{HttpTarget, Names, Program, ServerConfig, StdioTarget, Target},
    domain::{
        Generation, ServerName,
        limits::{CRASH_LOOP_PAUSE, RESTART_BACKOFF_MIN},
    },
    fleet::Fleet,
    gate::Latch,
    jail::Jail,
    upstream::Connector,
};

/// No process comes of it, and no system is asked.
fn impossible() -> Target {
    Target::Stdio(StdioTarget {
        program: Program::Path("/no\0such".into()),
        args: Vec::new(),
        env: Default::default(),
        cwd: None,
    })
}

fn elsewhere() -> Target {
    Target::Http(HttpTarget { url: "http://127.0.0.1:9/".parse().unwrap(), headers: Vec::new() })
}

/// Lives as (seconds until it was ready or failed, seconds ready), each begun after the pause of
/// the one before, which chance makes as long as it can be; what follows each.
#[track_caller]
fn check(target: &Target, lives: &[(u64, u64)], want: &str) {
    let mut restarts = Restarts::of(target);
    let mut now = Instant::now();
    let told: Vec<_> = lives
        .iter()
        .map(|(opening, ready)| {
            let ready = Duration::from_secs(*ready);
            now += Duration::from_secs(*opening) + ready;
            let next = restarts.after(ready, now, u32::MAX);
            now += next.pause();
            match next {
                Next::Backoff(pause) => pause.as_millis().to_string(),
                Next::CrashLoop => "loop".to_owned(),
            }
        })
        .collect();
    assert_eq!(told.join(" "), want, "{lives:?}");
}

#[test]
fn five_failures_in_a_minute_are_a_crash_loop_until_a_minute_goes_well() {
    let (child, address) = (impossible(), elsewhere());
    check(&child, &[(0, 0); 7], "200 400 800 1600 loop loop loop");
    // Also if it was ready for a while each time.
    check(&child, &[(0, 10); 6], "200 400 800 1600 loop loop");
    // Spread over more than a minute they are none, and the pause grows to its end.
    check(&child, &[(20, 0); 9], "200 400 800 1600 3200 6400 12800 25600 30000");
    // A minute that goes well ends it, a minute of waiting for a server that never comes does not.
    check(
        &child,
        &[(0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (0, 60), (0, 0)],
        "200 400 800 1600 loop 200 400",
    );
    check(&child, &[(0, 0), (0, 0), (90, 0), (0, 60), (0, 0)], "200 400 800 200 400");
    check(
        &child,
        &[(0, 0), (0, 0), (0, 0), (0, 0), (0, 0), (90, 0), (0, 59)],
        "200 400 800 1600 loop loop loop",
    );
    // An address is asked again and again, but never given a rest of five minutes.
    check(&address, &[(0, 0); 9], "200 400 800 1600 3200 6400 12800 25600 30000");
}

/// A server that cannot be started, watched for so long; how it is then.
async fn after(time: Duration) -> (State, u64) {
    let dir = tempfile::tempdir().unwrap();
    let connector = Connector::new(Jail::start().unwrap(), Latch::open(dir.path()));
    let server = ServerConfig::new(ServerName::parse("a").unwrap(), impossible());
    let fleet = Fleet::start(Generation(1), vec![server], Names::Prefixed, &connector, drop);
    tokio::time::sleep(time).await;
    let status = fleet.status().remove(0);
    fleet.shut_down(Duration::from_secs(1)).await;
    (status.state, status.replicas[0].restarts)
}

#[tokio::test(start_paused = true)]
async fn a_child_in_a_crash_loop_is_started_every_five_minutes_and_never_given_up() {
    let first = RESTART_BACKOFF_MIN / 2;
    let (state, failed) = after(first).await;
    assert!(matches!(state, State::Backoff { .. }) && failed == 1, "{state:?} {failed}");

    // The pauses of the first four are at most 200, 400, 800 and 1600 ms.
    let soon = Duration::from_secs(4);
    let (state, failed) = after(soon).await;
    assert!(matches!(&state, State::CrashLoop { why } if why.contains("NUL")), "{state:?}");
    assert_eq!(failed, 5);
    for n in [1, 2, 100] {
        let (state, failed) = after(soon + n * CRASH_LOOP_PAUSE).await;
        assert!(matches!(state, State::CrashLoop { .. }), "{state:?}");
        assert_eq!(failed, 5 + u64::from(n));
    }
}
