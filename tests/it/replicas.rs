//! Several processes or addresses that are one server: who gets a call, and what becomes of the
//! others when one dies or lies.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::{
    client::{Client, Kind},
    harness::{Gateway, HttpFixture, fixture, journal, stdio_server, wait_until},
    tasks,
};

/// Who answered each of so many calls.
async fn answering(client: &Client, n_calls: usize) -> Vec<String> {
    let mut pids = Vec::new();
    for _ in 0..n_calls {
        pids.push(client.text("up__pid", json!({})).await);
    }
    pids
}

/// How many of so many calls each took.
async fn shares(client: &Client, n_calls: usize) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for pid in answering(client, n_calls).await {
        *shares.entry(pid).or_default() += 1;
    }
    shares
}

pub(crate) fn replicas(gateway: &Gateway) -> Vec<Value> {
    gateway.status()["servers"][0]["replicas"].as_array().unwrap().clone()
}

pub(crate) fn wait_replicas(gateway: &Gateway, what: &str, are: impl Fn(&[Value]) -> bool) {
    let look = || are(&replicas(gateway)).then_some(());
    wait_until(what, look, || format!("{:?} {}", replicas(gateway), gateway.log()));
}

fn all_ready(replicas: &[Value]) -> bool {
    replicas.iter().all(|replica| replica["state"] == "ready")
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_shared_out_over_all_replicas_of_either_transport() {
    let remote = HttpFixture::start(&[]);
    let server = stdio_server("up", &[]);
    let table = format!("[[servers.up.replica]]\nurl = \"{}\"\n", remote.url);
    let gateway = Gateway::start(&format!("{server}replicas = 2\n{table}"));
    wait_replicas(&gateway, "three replicas", all_ready);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let shares = shares(&client, 60).await;
    // They became ready one after the other, and whoever came last is spared for a while.
    assert!(shares.len() == 3 && shares.values().all(|n| *n >= 5), "{shares:?}");
    let known: BTreeSet<_> = replicas(&gateway).iter().filter_map(|r| r["pid"].as_u64()).collect();
    assert_eq!(known.len(), 2, "the processes have numbers, the address has none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_dies_takes_no_call_of_the_others_with_it_and_comes_back() {
    let gateway = Gateway::start(&format!("{}replicas = 3\n", stdio_server("up", &[])));
    wait_replicas(&gateway, "three replicas", all_ready);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let before: BTreeSet<_> = shares(&client, 30).await.into_keys().collect();
    assert_eq!(before.len(), 3);
    let victim = before.first().unwrap().clone();
    std::process::Command::new("kill").args(["-9", &victim]).status().unwrap();
    wait_replicas(&gateway, "the death", |all| all.iter().any(|r| r["restarts"] == 1));
    let during = answering(&client, 6).await;
    assert!(!during.contains(&victim), "{during:?}");
    wait_replicas(&gateway, "the new one", all_ready);
    let after: BTreeSet<_> = shares(&client, 60).await.into_keys().collect();
    assert_eq!(after.len(), 3);
    assert_eq!(after.intersection(&before).count(), 2, "{before:?} {after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_lists_other_tools_than_most_has_no_calls() {
    let (server, liar) = (stdio_server("up", &[]), fixture());
    let liar = format!(
        "[[servers.up.replica]]\ncommand = {:?}\nargs = [\"--extra-tools\", \"1\"]\n",
        liar.display().to_string()
    );
    let gateway = Gateway::start(&format!("{server}replicas = 2\n{liar}"));
    let settled = |all: &[Value]| {
        let agrees: Vec<_> = all.iter().map(|r| r["agrees"].as_bool().unwrap()).collect();
        all_ready(all) && agrees == [true, true, false]
    };
    wait_replicas(&gateway, "the two that agree", settled);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let liar = replicas(&gateway)[2]["pid"].to_string();
    let answering = answering(&client, 6).await;
    assert!(!answering.contains(&liar), "{answering:?} {liar}");
    let listed = client.ask("tools/list", json!({})).await.response;
    assert!(!listed.to_string().contains("extra"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_together_meets_at_one_replica() {
    let server = stdio_server("up", &[]);
    let gateway = Gateway::start(&format!("{server}replicas = 3\naffinity = \"session\"\n"));
    wait_replicas(&gateway, "three replicas", all_ready);
    let mut met = BTreeSet::new();
    for _ in 0..8 {
        let client = Client::http(Kind::LegacyHttp, gateway.port).await;
        let shares = shares(&client, 5).await;
        assert_eq!(shares.len(), 1, "{shares:?}");
        met.extend(shares.into_keys());
    }
    assert!(met.len() > 1, "eight conversations met at one of three");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_argument_decides_who_gets_the_call() {
    let server = stdio_server("up", &[]);
    let gateway = Gateway::start(&format!("{server}replicas = 3\naffinity = \"arg:text\"\n"));
    wait_replicas(&gateway, "three replicas", all_ready);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let mut met = BTreeSet::new();
    for text in 0..8 {
        let mut pids = BTreeSet::new();
        for _ in 0..4 {
            pids.insert(client.text("up__pid", json!({ "text": text })).await);
        }
        assert_eq!(pids.len(), 1, "{text}: {pids:?}");
        met.extend(pids);
    }
    assert!(met.len() > 1, "eight values met at one of three");
}

#[tokio::test(flavor = "multi_thread")]
async fn least_connections_and_weights_are_obeyed() {
    let server = stdio_server("up", &[]);
    let heavy = format!(
        "[[servers.up.replica]]\ncommand = {:?}\nweight = 9\n",
        fixture().display().to_string()
    );
    for (balance, heavy_min) in [("weighted", 27), ("round-robin", 5), ("least-connections", 5)] {
        let table = format!("{server}balance = \"{balance}\"\n{heavy}");
        let gateway = Gateway::start(&table);
        wait_replicas(&gateway, "two replicas", all_ready);
        let client = Client::http(Kind::ModernHttp, gateway.port).await;
        let shares = shares(&client, 40).await;
        let heavy = replicas(&gateway)[1]["pid"].to_string();
        let got = shares.get(&heavy).copied().unwrap_or_default();
        let most = if balance == "round-robin" { 35 } else { 40 };
        assert!((heavy_min..=most).contains(&got), "{balance}: {shares:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_a_replica_that_is_down_is_not_asked_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let (path, may_start) = (dir.path().join("journal.jsonl"), dir.path().join("may-start"));
    std::fs::write(&may_start, "").unwrap();
    let script = format!(
        "[ -e {} ] && exec {} --transport stdio --era modern --journal {}",
        may_start.display(),
        fixture().display(),
        path.display()
    );
    let server = format!("[servers.up]\ncommand = \"sh\"\nargs = [\"-c\", {script:?}]\n");
    let gateway = Gateway::start_in(dir, &format!("{server}replicas = 2\n"));
    wait_replicas(&gateway, "two replicas", all_ready);
    let client = Client::able_http(Kind::ModernHttp, gateway.port, tasks::able()).await;
    // Both name their first task `task-1`.
    let mut of = BTreeMap::new();
    while of.len() < 2 {
        let long = json!({ "seconds": 600, "label": "x" });
        let id = tasks::begin(&client, "up__slow_compute", long).await;
        let mut calls = journal(&path).into_iter().filter(|one| one["method"] == "tools/call");
        of.entry(calls.next_back().unwrap()["pid"].to_string()).or_insert(id);
    }
    let [(victim, lost), (_, kept)] = of.into_iter().collect::<Vec<_>>().try_into().unwrap();
    std::fs::remove_file(&may_start).unwrap();
    std::process::Command::new("kill").args(["-9", &victim]).status().unwrap();
    wait_replicas(&gateway, "the death", |all| all.iter().any(|one| one["state"] == "down"));
    let about = async |id| client.ask("tasks/get", json!({ "taskId": id })).await.response;
    let answer = about(lost).await;
    assert_eq!(answer["error"]["code"], -31002, "{answer}");
    assert_eq!(answer["error"]["data"]["sent"], "no", "{answer}");
    assert_eq!(about(kept).await["result"]["status"], "working");
}
