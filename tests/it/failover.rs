//! A replica dies under load: which calls that costs, and what becomes of the rest.

use std::{
    collections::HashMap,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    client::{Client, Kind},
    harness::{Gateway, HttpFixture, journal, stdio_server, wait_until},
    replicas::{replicas, wait_replicas},
};

const CALLERS: usize = 6;

/// Calls one after the other, each with a text of its own, until told to stop; what failed, with
/// the answer.
async fn load(
    port: u16,
    caller: usize,
    goes_on: Arc<AtomicBool>,
    n_done: Arc<AtomicUsize>,
) -> Vec<(String, Value)> {
    let client = Client::http(Kind::ModernHttp, port).await;
    let mut failed = Vec::new();
    for n in 0.. {
        if !goes_on.load(Ordering::Relaxed) {
            break;
        }
        let text = format!("{caller}-{n}");
        let arguments = json!({ "ms": 30, "text": text });
        let answer = client.call("up__sleep", arguments).await;
        n_done.fetch_add(1, Ordering::Relaxed);
        if answer.response["result"]["content"][0]["text"] != text.as_str() {
            failed.push((text, answer.response));
        }
    }
    failed
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_replica_costs_its_calls_in_flight_and_none_is_done_twice() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let server = stdio_server("up", &["--journal", path.to_str().unwrap()]);
    let gateway = Gateway::start(&format!("{server}replicas = 3\n"));
    wait_replicas(&gateway, "three", |all| all.iter().all(|r| r["state"] == "ready"));
    let (goes_on, n_done) = (Arc::new(AtomicBool::new(true)), Arc::<AtomicUsize>::default());
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        callers.spawn(load(gateway.port, caller, goes_on.clone(), n_done.clone()));
    }
    let done = |n: usize| move |now: usize| now >= n;
    let wait_done = |is: Box<dyn Fn(usize) -> bool>| {
        let look = || is(n_done.load(Ordering::Relaxed)).then_some(());
        wait_until("calls", look, || gateway.log());
    };
    wait_done(Box::new(done(100)));
    let victim = replicas(&gateway)[0]["pid"].to_string();
    let signal = |signal: &str| Command::new("kill").args([signal, &victim]).status().unwrap();
    // So that it surely has calls when it dies.
    signal("-STOP");
    // What it had answered before may still be in the pipe at the first look, and not at the third.
    for _ in 0..3 {
        wait_replicas(&gateway, "calls in flight", |all| all[0]["in_flight"].as_u64() > Some(0));
    }
    let killed = Instant::now();
    signal("-KILL");
    wait_replicas(&gateway, "the end", |all| all[0]["restarts"] == 1);
    let noticed = killed.elapsed();
    wait_replicas(&gateway, "the new one", |all| all[0]["state"] == "ready");
    let back = killed.elapsed();
    let so_far = n_done.load(Ordering::Relaxed);
    wait_done(Box::new(done(so_far + 100)));
    goes_on.store(false, Ordering::Relaxed);
    let failed: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
    eprintln!("noticed after {noticed:?}, back after {back:?}, {} failed", failed.len());
    assert!((1..=CALLERS).contains(&failed.len()), "not those in flight: {failed:?}");
    for (text, response) in &failed {
        let sent = &response["error"]["data"]["sent"];
        assert!(sent == "unknown" || sent == "yes", "{text}: {response}");
    }
    assert!(noticed < Duration::from_secs(5), "{noticed:?}");
    let mut taken = HashMap::<String, usize>::new();
    for event in journal(&path).iter().filter(|event| event["tool"] == "sleep") {
        *taken.entry(event["arguments"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert!(taken.len() >= 200, "{}", taken.len());
    let twice: Vec<_> = taken.iter().filter(|(_, n)| **n != 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_did_not_leave_goes_to_another_replica_on_record() {
    let (one, other) =
        (HttpFixture::start(&["--era", "modern"]), HttpFixture::start(&["--era", "modern"]));
    let table = format!(
        "[servers.up]\nurl = \"{}\"\n[[servers.up.replica]]\nurl = \"{}\"\n",
        one.url, other.url
    );
    let gateway = Gateway::start(&table);
    wait_replicas(&gateway, "both", |all| all.iter().all(|r| r["state"] == "ready"));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    drop(other);
    for n in 0..10 {
        let text = n.to_string();
        assert_eq!(client.text("up__echo", json!({ "text": text })).await, text);
    }
    let resent = gateway.wait_audit("the second try", |record| record["kind"] == "resent");
    assert_eq!((&resent["from"], &resent["to"]), (&json!(1), &json!(0)));
    let records = gateway.audit();
    let of = |kind: &str| {
        let mut of = records.iter().filter(|r| r["kind"] == kind && r["call"] == resent["call"]);
        of.next().map(|record| record["seq"].as_u64().unwrap())
    };
    assert!(of("intent") < of("resent") && of("resent") < of("outcome"), "{records:?}");
}
