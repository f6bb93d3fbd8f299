//! What follows the end of a life, as a table; whole lives, and what becomes of one that falls
//! silent, on a clock that is not waited for.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{
    Replica, Running, State,
    restarts::{Next, Restarts},
};
use crate::{
    audit::Audit,
    config::{Durability, HttpTarget, Names, Program, ServerConfig, StdioTarget, Target},
    domain::{
        CallError, Generation, Sent, ServerName,
        limits::{
            BREAKER_IN_A_ROW, CRASH_LOOP_PAUSE, EJECTION, HEALTH_AGAIN, HEALTH_INTERVAL,
            HEALTH_TIMEOUT, RESTART_BACKOFF_MIN,
        },
    },
    fleet::{
        Fleet,
        health::breaker::{Entry, Standing},
    },
    gate::{Latch, Pins},
    jail::Jail,
    upstream::{Connector, FakeChild, Session, session},
    wire::Version,
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
    let (audit, _thread) = Audit::open(&dir.path().join("audit"), Durability::Cached).unwrap();
    let pins = Pins::open(dir.path().join("pins.lock"), audit);
    let fleet = Fleet::start(
        Generation(1),
        (vec![server], Default::default()),
        (Names::Prefixed, &connector),
        pins,
        drop,
    );
    sleep(time).await;
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

/// A replica that is up, and the far end of its session.
struct Rig {
    replica: Arc<Replica>,
    session: Arc<Session>,
    child: Option<FakeChild>,
    _dir: tempfile::TempDir,
}

impl Rig {
    fn new(version: Version) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let latch = Latch::open(dir.path());
        let config = ServerConfig::new(ServerName::parse("a").unwrap(), impossible());
        let (mut replicas, _) = Replica::all(&Arc::new(config));
        let (replica, (session, child)) = (replicas.remove(0), session(&latch, version));
        let session = Arc::new(session);
        replica.open(session.clone());
        Self { replica, session, child: Some(child), _dir: dir }
    }

    fn take_child(&mut self) -> FakeChild {
        self.child.take().unwrap()
    }

    fn call(&self) -> Running {
        let up = self.replica.up().unwrap();
        self.replica.enter(&up, Entry::Chosen, Instant::now()).expect("calls are let in")
    }

    fn fail(&self) {
        self.call().conclude(&Err::<(), _>(CallError::Deadline { sent: Sent::Yes }));
    }

    fn standing(&self) -> Standing {
        self.replica.standing(&self.replica.up().unwrap(), Instant::now())
    }

    /// Looks after the replica until it is given up or `during` is over; which of the two.
    async fn looked_after<T>(&self, during: impl Future<Output = T>) -> Result<T, String> {
        let either = async {
            tokio::select! {
                over = during => Ok(over),
                why = self.replica.look_after(&self.session) => Err(why),
            }
        };
        timeout(Duration::from_secs(3600), either).await.expect("neither happens")
    }
}

/// Hears for so long; what is said in that time.
async fn overheard(child: &mut FakeChild, time: Duration) -> Option<serde_json::Value> {
    timeout(time, child.hear()).await.ok().flatten()
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_asked_in_its_own_era_and_any_answer_will_do() {
    for (version, method) in
        [(Version::MODERN, "server/discover"), (Version::LATEST_LEGACY, "ping")]
    {
        let mut rig = Rig::new(version);
        let mut child = rig.take_child();
        let answering = async {
            for n in 1..=10 {
                let begun = Instant::now();
                let asked = child.hear().await.unwrap();
                assert_eq!((&asked["method"], begun.elapsed()), (&json!(method), HEALTH_INTERVAL));
                // As late as it may be: slow is not dead.
                sleep(HEALTH_TIMEOUT - Duration::from_millis(1)).await;
                let body = [r#""result":{}"#, r#""error":{"code":-32601,"message":"what?"}"#];
                child.answer(&asked["id"], body[n % 2]).await;
            }
        };
        rig.looked_after(answering).await.unwrap();
        assert_eq!(rig.standing(), Standing::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_speaks_or_has_a_call_is_not_asked() {
    let mut rig = Rig::new(Version::LATEST_LEGACY);
    let mut child = rig.take_child();
    let speaking = async {
        for _ in 0..100 {
            child.say("{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n").await;
            assert_eq!(overheard(&mut child, HEALTH_INTERVAL / 2).await, None);
        }
        let call = rig.call();
        assert_eq!(overheard(&mut child, 100 * HEALTH_INTERVAL).await, None);
        drop(call);
        assert_eq!(overheard(&mut child, 2 * HEALTH_INTERVAL).await.unwrap()["method"], "ping");
    };
    rig.looked_after(speaking).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hung_child_is_ejected_and_given_up_after_its_second_chance() {
    let rig = Rig::new(Version::MODERN);
    let begun = Instant::now();
    // One silence after the other.
    let first = HEALTH_INTERVAL + HEALTH_TIMEOUT;
    let ejected = first + (BREAKER_IN_A_ROW - 1) * (HEALTH_AGAIN + HEALTH_TIMEOUT);
    let watching = async {
        sleep_until(begun + ejected - HEALTH_TIMEOUT).await;
        assert_eq!(rig.standing(), Standing::Closed, "too early");
        sleep_until(begun + ejected + Duration::from_millis(1)).await;
        assert_eq!(rig.standing(), Standing::Open { until: begun + ejected + EJECTION });
        std::future::pending::<()>().await;
    };
    let why = rig.looked_after(watching).await.unwrap_err();
    assert!(why.contains("second chance"), "{why}");
    let patience = ejected + EJECTION + 2 * HEALTH_TIMEOUT;
    assert!((patience..=patience + HEALTH_INTERVAL).contains(&begun.elapsed()), "{begun:?}");
}

#[tokio::test(start_paused = true)]
async fn a_child_whose_calls_fail_is_not_given_up_while_it_answers() {
    let mut rig = Rig::new(Version::MODERN);
    let mut child = rig.take_child();
    let failing = async {
        // While it has this call its silence is not asked about.
        let _call = rig.call();
        for _ in 0..BREAKER_IN_A_ROW {
            rig.fail();
        }
        let Standing::Open { until } = rig.standing() else { panic!("it stays in") };
        sleep_until(until).await;
        // Its second chance, in the moment that it has one.
        rig.fail();
        let asked = child.hear().await.unwrap();
        assert_eq!(Instant::now(), until, "it is asked at once");
        child.answer(&asked["id"], r#""result":{}"#).await;
        sleep(EJECTION).await;
        assert!(matches!(rig.standing(), Standing::Open { .. }), "a sign of life is no good call");
    };
    rig.looked_after(failing).await.unwrap();
}
