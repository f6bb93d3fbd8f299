//! Servers that crash again and again, hang, or are gone for a while.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    client::{Client, Kind},
    harness::{Gateway, fixture, stdio_server, wait_until, write_config},
};

const TOOLS: &str = "notifications/tools/list_changed";

/// Waits until the status of this server is as wanted.
fn wait_server(gateway: &Gateway, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let look = || {
        let status = gateway.status();
        let mut servers = status["servers"].as_array().unwrap().iter();
        servers.find(|server| server["name"] == name).filter(|server| is(server)).cloned()
    };
    wait_until(what, look, || gateway.log())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_is_seen_harms_nobody_and_ends_with_a_reload() {
    let (good, bad) = (stdio_server("good", &[]), "[servers.bad]\ncommand = \"/bin/false\"\n");
    let gateway = Gateway::start(&format!("{good}{bad}"));
    let looping = |server: &Value| server["state"] == "crash-loop";
    let bad = wait_server(&gateway, "bad", "the crash loop", looping);
    assert_eq!((&bad["restarts"], &bad["replicas"][0]["state"]), (&json!(5), &json!("crash-loop")));
    assert!(bad["why"].as_str().unwrap().contains("ended before it was ready"), "{bad}");
    assert!(gateway.log().contains("\"Server is in a crash loop\""), "{}", gateway.log());
    assert!(gateway.get("/ready").starts_with("HTTP/1.1 200"));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    assert_eq!(client.text("good__echo", json!({ "text": "x" })).await, "x");

    // Nothing is different in the file, but the program may be another.
    assert!(gateway.cli(&["reload"]).status.success());
    wait_server(&gateway, "bad", "another start", |server| server["restarts"] == 6);
    write_config(gateway.dir.path(), &format!("{good}{}", stdio_server("bad", &[])));
    assert!(gateway.cli(&["reload"]).status.success());
    assert_eq!(client.text("bad__echo", json!({ "text": "x" })).await, "x");
}

fn kill(signal: &str, pid: &Value) {
    let words = [format!("-{signal}"), pid.to_string()];
    assert!(Command::new("kill").args(words).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_child_has_no_calls_while_another_replica_is_well() {
    let health = "health = { interval_sec = 0.2, timeout_sec = 0.2 }";
    let gateway = Gateway::start(&format!("{}replicas = 2\n{health}\n", stdio_server("up", &[])));
    let ready = |server: &Value| {
        let mut replicas = server["replicas"].as_array().unwrap().iter();
        replicas.all(|replica| replica["state"] == "ready")
    };
    let up = wait_server(&gateway, "up", "both replicas", ready);
    let [hung, well] = [0, 1].map(|n| up["replicas"][n]["pid"].clone());
    kill("STOP", &hung);
    let ejected = |server: &Value| server["replicas"][0]["breaker"] == "open";
    let up = wait_server(&gateway, "up", "the ejection", ejected);
    assert_eq!(
        (&up["state"], &up["replicas"][1]["breaker"]),
        (&json!("degraded"), &json!("closed"))
    );
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    for _ in 0..20 {
        assert_eq!(client.text("up__pid", json!({})).await, well.to_string());
    }
    // It was neither killed nor given up for that, and comes back by itself.
    kill("CONT", &hung);
    let up = wait_server(&gateway, "up", "it to be as before", ready);
    assert_eq!((&up["replicas"][0]["pid"], &up["restarts"]), (&hung, &json!(0)));
}

/// Once ejected it has its second chance; what it does not take is killed, and another one started.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_stays_hung_is_replaced_by_another_process() {
    let health = "health = { interval_sec = 0.1, timeout_sec = 0.1 }";
    let gateway = Gateway::start(&format!("{}replicas = 2\n{health}\n", stdio_server("up", &[])));
    let both = |server: &Value| server["replicas"].as_array().unwrap().iter().all(is_well);
    let up = wait_server(&gateway, "up", "both replicas", both);
    let [hung, well] = [0, 1].map(|n| up["replicas"][n]["pid"].clone());
    kill("STOP", &hung);
    let ejected = |server: &Value| server["replicas"][0]["breaker"] == "open";
    wait_server(&gateway, "up", "the ejection", ejected);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    assert_eq!(client.text("up__pid", json!({})).await, well.to_string());
    // The ejection itself takes longer than anything else here.
    let begun = Instant::now();
    let another = |server: &Value| both(server) && server["replicas"][0]["pid"] != hung;
    let up = loop {
        let status = gateway.status();
        let up = status["servers"].as_array().unwrap()[0].clone();
        if another(&up) {
            break up;
        }
        assert!(begun.elapsed() < PATIENCE, "{up}\n{}", gateway.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(up["replicas"][0]["pid"].is_u64(), "a process that is not there is ready: {up}");
    eprintln!("another process {:?} after the ejection", begun.elapsed());
    assert_eq!((&up["restarts"], &up["replicas"][1]["pid"]), (&json!(1), &well));
    assert!(!std::path::Path::new(&format!("/proc/{hung}")).exists());
    let mut answered = BTreeSet::new();
    for _ in 0..20 {
        answered.insert(client.text("up__pid", json!({})).await);
    }
    assert_eq!(answered.len(), 2, "{answered:?}");
}

const PATIENCE: Duration = Duration::from_secs(90);

fn is_well(replica: &Value) -> bool {
    replica["state"] == "ready" && replica["breaker"] == "closed"
}

/// Answers the first two requests as a modern server without tools, and every other one by 401.
fn locked_server(n_refused: Arc<AtomicUsize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let answers = [r#""supportedVersions":["2026-07-28"],"capabilities":{}"#, r#""tools":[]"#];
    thread::spawn(move || {
        let mut answers = (1..).zip(answers).map(|(id, result)| {
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete",{result}}}}}"#
            )
        });
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut length = 0;
            for line in stream.by_ref().lines().map_while(Result::ok) {
                if line.is_empty() {
                    break;
                }
                let line = line.to_lowercase();
                let told = line.strip_prefix("content-length:");
                length = told.map_or(length, |n| n.trim().parse().unwrap());
            }
            stream.read_exact(&mut vec![0; length]).unwrap();
            let (status, body) = match answers.next() {
                Some(body) => ("200 OK", body),
                None => ("401 Unauthorized", String::new()),
            };
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n\
                 Content-Length: {length}\r\nConnection: close\r\n\r\n"
            );
            stream.get_mut().write_all([head, body.clone()].concat().as_bytes()).unwrap();
            n_refused.fetch_add(usize::from(body.is_empty()), Ordering::SeqCst);
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_wants_authorisation_is_not_ejected_for_it() {
    let n_refused = Arc::<AtomicUsize>::default();
    let url = locked_server(n_refused.clone());
    let health = "health = { interval_sec = 0.1 }";
    let gateway = Gateway::start(&format!("[servers.locked]\nurl = {url:?}\n{health}\n"));
    let asked = || (n_refused.load(Ordering::SeqCst) >= 8).then_some(());
    wait_until("eight probes", asked, || gateway.log());
    let locked = wait_server(&gateway, "locked", "its state", |_| true);
    let replica = &locked["replicas"][0];
    assert_eq!((&replica["state"], &replica["breaker"]), (&json!("ready"), &json!("closed")));
}

async fn lists(client: &Client, tool: &str) -> bool {
    let list = client.ask("tools/list", json!({})).await.response;
    let mut tools = list["result"]["tools"].as_array().unwrap().iter();
    tools.any(|listed| listed["name"] == tool)
}

/// A server that can be started only while the file `there` exists.
fn server_of(dir: &std::path::Path, health: &str) -> String {
    let there = dir.join("there");
    fs::write(&there, "").unwrap();
    let script = format!("test -e {} && exec {}", there.display(), fixture().display());
    format!("[servers.up]\ncommand = \"/bin/sh\"\nargs = [\"-c\", {script:?}]\n{health}\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn tools_of_a_server_that_stays_away_are_withdrawn_after_the_grace() {
    let dir = tempfile::tempdir().unwrap();
    let table = server_of(dir.path(), "health = { grace_sec = 4 }");
    let gateway = Gateway::start_in(dir, &table);
    let up = wait_server(&gateway, "up", "it", |server| server["state"] == "ready");
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let (mut ear, _) = client.hear(&[]).await;
    fs::remove_file(gateway.dir.path().join("there")).unwrap();
    kill("KILL", &up["replicas"][0]["pid"]);
    wait_server(&gateway, "up", "its end", |server| server["state"] != "ready");
    // Within the grace it is merely down.
    let echo = json!({ "text": "x" });
    let refused = client.call("up__echo", echo.clone()).await.response;
    assert_eq!(refused["error"]["code"], -31002, "{refused}");
    assert!(lists(&client, "up__echo").await);
    ear.next(TOOLS).await;
    assert!(!lists(&client, "up__echo").await);
    let unknown = client.call("up__echo", echo.clone()).await.response;
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    fs::write(gateway.dir.path().join("there"), "").unwrap();
    // It may be in a crash loop by now.
    assert!(gateway.cli(&["reload"]).status.success());
    ear.next(TOOLS).await;
    assert!(lists(&client, "up__echo").await);
    assert_eq!(client.text("up__echo", echo).await, "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_back_within_the_grace_is_nobodys_news() {
    let up = stdio_server("up", &[]);
    let gateway = Gateway::start(&up);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let mut listen = client.begin_listen(&[]).await;
    listen.next().await.unwrap();
    for n in 1..=3 {
        client.call("up__crash", json!({})).await;
        let is_back = |server: &Value| server["state"] == "ready" && server["restarts"] == n;
        wait_server(&gateway, "up", "its return", is_back);
    }
    write_config(gateway.dir.path(), &format!("{up}{}", stdio_server("more", &[])));
    assert!(gateway.cli(&["reload"]).status.success());
    let first = listen.next().await.unwrap();
    assert_eq!(first["method"], TOOLS);
    gateway.signal("TERM");
    // What was told before the other server was there would come before this.
    let rest = listen.finish().await.notices;
    assert!(!rest.iter().any(|told| told["method"] == TOOLS), "{rest:?}");
}
