//! Servers that lie, flood, hang and die, beside one that does not: each fails its own calls only.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    client::{Client, Kind},
    harness::{Gateway, stdio_server, wait_until},
};

/// How a call to a hostile server may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The oddity is survived and the answer arrives.
    Answer,
    /// No usable answer came: deadline.
    Deadline,
    /// The session is gone.
    Unavailable,
    /// It was seen that the server broke the protocol.
    Protocol,
}

fn end_of(answer: &Value) -> Option<End> {
    match answer["error"]["code"].as_i64() {
        None => answer["result"]["content"].is_array().then_some(End::Answer),
        Some(-31004) => Some(End::Deadline),
        Some(-31002) => Some(End::Unavailable),
        Some(-31006) => Some(End::Protocol),
        Some(_) => None,
    }
}

fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

async fn a_hostile_server_fails_alone(mode: &str, want: &[End]) {
    let bad = stdio_server("bad", &["--hostile", mode]);
    let good = stdio_server("good", &[]);
    let gateway = Gateway::start(&format!("{bad}tool_timeout_sec = 1.5\n{good}"));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let attacked = client.begin("bad__echo", json!({ "text": "x" }), None).await;
    for n in 0..20 {
        let text = format!("still here {n}");
        assert_eq!(client.text("good__echo", json!({ "text": text })).await, text);
    }
    let answer = attacked.finish().await.response;
    let end = end_of(&answer);
    assert!(end.is_some_and(|end| want.contains(&end)), "{mode}: {answer}");
    assert_eq!(client.text("good__echo", json!({ "text": "after" })).await, "after");
    assert!(resident_mib(gateway.pid()) < 150, "the gateway grew");
    if end == Some(End::Unavailable) {
        let back = || {
            let server = &gateway.status()["servers"][0];
            (server["state"] == "ready" && server["restarts"].as_u64() >= Some(1)).then_some(())
        };
        wait_until("the hostile server's next life", back, || gateway.log());
    }
    let (status, _dir) = gateway.end();
    assert!(status.success());
}

/// What the process has used so far of any core.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2).map(|n| n.parse::<u32>().unwrap());
    Duration::from_millis(10) * ticks.sum::<u32>()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flooding_server_costs_the_gateway_little() {
    let bad = stdio_server("bad", &["--hostile", "flood"]);
    let gateway = Gateway::start(&format!("{bad}tool_timeout_sec = 1.0\n"));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let mut spent = Vec::new();
    // At first it may say more: that is over in the last second.
    for _ in 0..3 {
        let (begun, before) = (Instant::now(), cpu(gateway.pid()));
        client.call("bad__echo", json!({ "text": "x" })).await;
        tokio::time::sleep_until((begun + Duration::from_secs(1)).into()).await;
        spent.push((cpu(gateway.pid()) - before).div_duration_f64(begun.elapsed()));
    }
    assert!(gateway.log().contains("Server wrote more to stderr than is logged"));
    assert!(spent[2] < 0.5, "the gateway is busy with the flood: {spent:?} of a core");
}

macro_rules! hostile {
    ($($name:ident: $mode:literal => $want:expr;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                a_hostile_server_fails_alone($mode, &$want).await;
            }
        )*
    };
}

hostile! {
    noise_on_stdout_is_dropped: "stdout-noise" => [End::Answer];
    an_answer_without_a_newline_meets_the_deadline: "no-newline" => [End::Deadline];
    a_line_of_64_mib_is_skipped: "huge-line" => [End::Answer, End::Deadline];
    partial_utf8_is_not_an_answer: "partial-utf8" => [End::Deadline, End::Protocol];
    an_answer_with_a_wrong_id_answers_nobody: "wrong-id" => [End::Deadline];
    a_repeated_answer_counts_once: "repeat-id" => [End::Answer];
    answers_to_nobody_are_dropped: "answer-nobody" => [End::Answer];
    a_flood_on_stderr_holds_up_nothing: "stderr-flood" => [End::Answer];
    a_closed_stdout_ends_the_session_though_the_process_lives: "close-stdout" => [End::Unavailable];
    an_exit_in_the_answer_ends_the_session: "exit-mid-answer" => [End::Unavailable];
    a_server_that_never_reads_meets_the_deadline: "never-read" => [End::Deadline];
    a_server_that_ignores_sigterm_is_killed_at_the_end: "ignore-sigterm" => [End::Answer];
    json_nested_too_deep_is_not_an_answer: "deep-json" => [End::Deadline, End::Protocol];
    an_answer_with_duplicate_keys_is_not_an_answer: "dup-keys" => [End::Deadline, End::Protocol];
    a_flood_of_notifications_holds_up_nothing: "notification-flood" => [End::Answer];
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_list_and_a_dead_server_never_fail_the_list_of_the_others() {
    let endless = stdio_server("endless", &["--hostile", "list-forever"]);
    let good = stdio_server("good", &[]);
    let dead = "[servers.dead]\nurl = \"http://127.0.0.1:9/mcp\"\n";
    let gateway = Gateway::start(&format!("{endless}startup_timeout_sec = 2\n{good}{dead}"));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let answer = client.ask("tools/list", json!({})).await.response;
    let tools = answer["result"]["tools"].as_array().unwrap().clone();
    assert!(tools.iter().any(|tool| tool["name"] == "good__echo"), "{answer}");
    assert!(!tools.iter().any(|tool| tool["name"].as_str().unwrap().starts_with("dead__")));
    let status = gateway.status();
    let dead = status["servers"].as_array().unwrap().iter().find(|s| s["name"] == "dead").unwrap();
    assert_eq!(dead["state"], "down", "{status}");
    assert!(dead["why"].as_str().unwrap().len() > 10, "{dead}");
    assert_eq!(client.text("good__echo", json!({ "text": "x" })).await, "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn listed_names_fit_every_host_and_bad_schemas_are_not_offered() {
    let odd = stdio_server("odd", &["--hostile", "bad-names"]);
    let schema = stdio_server("schema", &["--hostile", "bad-schema"]);
    let gateway = Gateway::start(&format!("{odd}{schema}"));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let answer = client.ask("tools/list", json!({})).await.response;
    let names: Vec<String> = answer["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap().to_owned())
        .collect();
    let fits = |name: &String| {
        (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    };
    assert!(names.iter().all(fits), "{names:?}");
    let mut sorted = names.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(names, sorted, "not in order, or twice");
    let status = gateway.status();
    let problems = status["servers"][1]["problems"].as_array().unwrap();
    assert!(problems.iter().any(|p| p.as_str().unwrap().contains("not offered")), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_fails_later_leaves_the_one_before_in_its_place() {
    let gateway = Gateway::start(&stdio_server("up", &["--hostile", "prompts-once"]));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let prompts = async || client.ask("prompts/list", json!({})).await.response["result"].take();
    let before = prompts().await;
    assert!(!before["prompts"].as_array().unwrap().is_empty(), "{before}");
    client.call("up__test_trigger_tool_change", json!({})).await;
    let failed = || {
        let status = gateway.status().to_string();
        status.contains("prompts/list failed").then_some(())
    };
    wait_until("the failure", failed, || gateway.log());
    assert_eq!(prompts().await, before);
    let got = client.ask("prompts/get", json!({ "name": "up__test_simple_prompt" })).await;
    assert!(got.response["result"]["messages"].is_array(), "{got:?}");
}
