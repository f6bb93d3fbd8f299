//! Reloads under load: no call fails, none is made twice, nothing is left behind.
//!
//! `PORTCULLIS_DRILL_RELOADS=1000 cargo test --test it -- reload::drill --nocapture` is the long
//! form, whose figures stand in docs/LIMITS.md.

use std::{
    collections::HashMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;

use super::{pid, reload};
use crate::{
    client::{Client, Kind},
    harness::{Gateway, journal, stdio_server, wait_until},
};

const CALLERS: usize = 4;
const COMES_AND_GOES: &str = "now__echo";
const TOOLS: [&str; 3] = ["moved__echo", "kept__echo", COMES_AND_GOES];
/// Connections of the command line, and other things that come and go.
const FDS_SLACK: usize = 8;

fn reloads() -> usize {
    let asked = std::env::var("PORTCULLIS_DRILL_RELOADS").ok();
    asked.map_or(20, |text| text.parse().unwrap())
}

/// Descriptors of the gateway, and processes below it.
fn held(gateway: &Gateway) -> (usize, usize) {
    let fds = fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap().count();
    let parent = format!("PPid:\t{}\n", gateway.pid());
    let below = fs::read_dir("/proc").unwrap().filter(|entry| {
        let path = entry.as_ref().unwrap().path().join("status");
        fs::read_to_string(path).is_ok_and(|status| status.contains(&parent))
    });
    (fds, below.count())
}

#[derive(Default)]
struct Load {
    over: AtomicBool,
    made: AtomicUsize,
}

/// Calls in turn a server that changes, one that stays, and one that comes and goes, and expects
/// every answer. Gives the texts that were answered; each was sent once.
async fn keep_calling(n: usize, port: u16, load: Arc<Load>) -> Vec<String> {
    let kind = if n.is_multiple_of(2) { Kind::ModernHttp } else { Kind::LegacyHttp };
    let client = Client::http(kind, port).await;
    let mut texts = Vec::new();
    while !load.over.load(Ordering::Relaxed) {
        let nth = load.made.fetch_add(1, Ordering::Relaxed);
        let (text, tool) = (format!("{n}-{nth}"), TOOLS[nth % TOOLS.len()]);
        let answer = client.call(tool, json!({ "text": text })).await.response;
        if tool == COMES_AND_GOES && answer["error"]["code"] == -32602 {
            continue;
        }
        assert_eq!(answer["result"]["content"][0]["text"], *text, "{answer}");
        texts.push(text);
    }
    texts
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_under_load_fail_and_repeat_no_call_and_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let journaled = ["--journal", path.to_str().unwrap()];
    let kept = stdio_server("kept", &journaled);
    // `moved` is another one in each round, `now` is there in every second.
    let tables = |round: usize| {
        let name = format!("round-{round}");
        let moved = stdio_server("moved", &[&journaled[..], &["--name", &name]].concat());
        let now = if round % 2 == 1 { stdio_server("now", &journaled) } else { String::new() };
        format!("{kept}{moved}{now}")
    };
    let gateway = Gateway::start_in(dir, &tables(0));
    let kept_pid = pid(&gateway, "kept");
    let load = Arc::new(Load::default());
    let callers: Vec<_> =
        (0..CALLERS).map(|n| tokio::spawn(keep_calling(n, gateway.port, load.clone()))).collect();
    let mut took = Vec::new();
    let at_rest = held(&gateway);
    for round in 1..=reloads() {
        let calls = load.made.load(Ordering::Relaxed);
        let begun = Instant::now();
        let (output, told) = reload(&gateway, &tables(round));
        took.push(begun.elapsed());
        assert!(output.status.success(), "{output:?}\n{}", gateway.log());
        assert_eq!(told["down"], json!([]), "{told}");
        let goes_on = || (load.made.load(Ordering::Relaxed) > calls).then_some(());
        wait_until("calls to go on", goes_on, || gateway.log());
    }
    load.over.store(true, Ordering::Relaxed);
    let mut counted: HashMap<String, usize> = HashMap::new();
    for caller in callers {
        counted.extend(caller.await.unwrap().into_iter().map(|text| (text, 0)));
    }
    for event in journal(&path).iter().filter(|event| event["tool"] == "echo") {
        let arguments: serde_json::Value =
            serde_json::from_str(event["arguments"].as_str().unwrap()).unwrap();
        *counted.get_mut(arguments["text"].as_str().unwrap()).unwrap() += 1;
    }
    let odd: Vec<_> = counted.iter().filter(|(_, n)| **n != 1).collect();
    assert!(odd.is_empty(), "{odd:?}");
    assert_eq!(pid(&gateway, "kept"), kept_pid);
    let is_left = |(fds, below): &(usize, usize)| {
        *fds <= at_rest.0 + FDS_SLACK && *below <= at_rest.1 + 2 * (reloads() % 2)
    };
    let settled = || Some(held(&gateway)).filter(is_left);
    let left = wait_until("the old servers to end", settled, || format!("{:?}", held(&gateway)));
    took.sort();
    let (median, worst): (Duration, Duration) = (took[took.len() / 2], took[took.len() - 1]);
    eprintln!(
        "{} reloads, {} calls, 0 failed, 0 repeated; a reload took {median:?}, at most {worst:?}; \
         descriptors and processes {at_rest:?} then {left:?}",
        took.len(),
        counted.len(),
    );
}
