//! The status tells how things are, and why: for people, for programs, for each replica.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    client::{Client, Kind},
    harness::{Gateway, PORTCULLIS, fixture, journal, stdio_server, wait_until, write_config},
};

/// A server that says so when it starts, and does not start while there is a file `bad`.
fn moody(dir: &Path) -> String {
    let (bad, fixture) = (dir.join("bad"), fixture());
    let (bad, fixture) = (bad.display(), fixture.display());
    let script = format!(
        "test -e {bad} && {{ echo 'the disk is full' >&2; exit 7; }}; \
         echo 'here I am' >&2; exec {fixture} --transport stdio"
    );
    format!("[servers.up]\ncommand = \"sh\"\nargs = [\"-c\", {script:?}]\n")
}

fn server(gateway: &Gateway) -> Value {
    gateway.status()["servers"][0].clone()
}

fn wait_server(gateway: &Gateway, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let look = || Some(server(gateway)).filter(&is);
    wait_until(what, look, || format!("{:#} {}", gateway.status(), gateway.log()))
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros().try_into().unwrap()
}

fn since(of: &Value) -> u64 {
    of["since_us"].as_u64().unwrap()
}

/// What people see of one server.
fn told(gateway: &Gateway, name: &str) -> String {
    let output = gateway.cli(&["status", name]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn kill(pid: &Value) {
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
}

#[test]
fn a_server_that_dies_is_told_with_the_reason_since_when_and_its_last_words() {
    let dir = tempfile::tempdir().unwrap();
    let (bad, began) = (dir.path().join("bad"), now_us());
    let table = moody(dir.path());
    let gateway = Gateway::start_in(dir, &table);
    let well = wait_server(&gateway, "the server", |up| up["state"] == "ready");
    assert!((began..=now_us()).contains(&since(&well)), "{well}");
    assert_eq!((&well["restarts"], &well["generation"]), (&json!(0), &json!(1)));
    assert_eq!((&well["why"], &well["replicas"][0]["last_error"]), (&json!(null), &json!(null)));
    assert_eq!(well["replicas"][0]["connection"], 1);

    fs::write(&bad, "").unwrap();
    let killed = now_us();
    kill(&well["replicas"][0]["pid"]);
    let full = |up: &Value| up["why"].as_str().is_some_and(|why| why.contains("the disk is full"));
    let dead = wait_server(&gateway, "the failed start", full);
    assert_ne!(dead["state"], "ready", "{dead}");
    assert!((killed..=now_us()).contains(&since(&dead)), "{dead}");
    // It has not been up since: the last failure is not when it began.
    assert!(dead["replicas"][0]["last_error"]["at_us"].as_u64().unwrap() > since(&dead), "{dead}");
    assert!(dead["restarts"].as_u64() >= Some(2), "{dead}");
    assert_eq!(dead["replicas"][0]["pid"], json!(null));
    // What it said before it died, and what the next one said.
    assert_eq!(dead["stderr"][0], "here I am");
    assert_eq!(dead["stderr"][1], "the disk is full");
    let people = told(&gateway, "up");
    for part in ["| here I am", "| the disk is full", "replica 0", "last words were"] {
        assert!(people.contains(part), "{part}: {people}");
    }

    fs::remove_file(&bad).unwrap();
    // Should it have given up for a while.
    gateway.cli(&["reload"]);
    let back = wait_server(&gateway, "the end of it", |up| up["state"] == "ready");
    assert!(since(&back) > since(&dead), "{back}");
    let error = &back["replicas"][0]["last_error"];
    assert!(error["why"].as_str().unwrap().contains("the disk is full"), "{back}");
    assert!((killed..=since(&back)).contains(&error["at_us"].as_u64().unwrap()), "{back}");
    assert_eq!((&back["why"], &back["replicas"][0]["connection"]), (&json!(null), &json!(2)));
    assert!(told(&gateway, "up").contains("last error"), "{}", told(&gateway, "up"));
}

#[test]
fn a_server_of_which_a_replica_has_no_calls_is_degraded() {
    let (server, liar) = (stdio_server("up", &[]), fixture());
    let liar = format!(
        "[[servers.up.replica]]\ncommand = {:?}\nargs = [\"--extra-tools\", \"1\"]\n",
        liar.display().to_string()
    );
    let gateway = Gateway::start(&format!("{server}replicas = 2\n{liar}"));
    let differs = "1 of 3 replicas without calls; replica 2: it lists other tools than its server \
                   is known for";
    let up = wait_server(&gateway, "the liar to be found out", |up| up["why"] == differs);
    assert_eq!(up["state"], "degraded");
    assert_eq!(up["replicas"][0]["why"], json!(null));
    let people = told(&gateway, "up");
    assert!(people.contains("degraded") && people.contains(differs), "{people}");
    for n in 0..3 {
        assert!(people.contains(&format!("\n    replica {n} ")), "{people}");
    }
    // It serves, and that is what who asks whether it is ready wants to know.
    assert!(gateway.get("/ready").contains(r#""up":"ready""#));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_calls_took_lately_is_told_of_replicas_and_of_own_sessions() {
    let own = format!("{}isolation = \"per-principal\"\n", stdio_server("own", &[]));
    let gateway = Gateway::start(&format!("{own}{}", stdio_server("up", &[])));
    let servers = || gateway.status()["servers"].as_array().unwrap().clone();
    for idle in servers() {
        assert_eq!((&idle["calls"], &idle["p50_us"]), (&json!(0), &json!(null)));
    }
    assert!(told(&gateway, "up").contains("no calls lately"));
    let client = Client::http(Kind::LegacyHttp, gateway.port).await;
    for name in ["own", "up"] {
        for _ in 0..20 {
            client.text(&format!("{name}__echo"), json!({ "text": "x" })).await;
        }
        client.text(&format!("{name}__sleep"), json!({ "ms": 700, "text": "z" })).await;
    }
    for busy in servers() {
        let us = |key: &str| busy[key].as_u64().unwrap();
        assert_eq!(busy["calls"], 21, "{busy}");
        assert!(us("p99_us") >= 700_000 && us("p50_us") < us("p99_us"), "{busy}");
        let is_own = busy["name"] == "own";
        assert_eq!(busy["own_sessions"]["open"], u64::from(is_own));
        assert_eq!(busy["replicas"][0]["calls"], if is_own { 0 } else { 21 });
    }
    assert!(told(&gateway, "up").contains("p99"), "{}", told(&gateway, "up"));
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_of_the_old_generation_are_draining_until_their_processes_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    let args = ["--journal", path.to_str().unwrap()];
    let tables = format!("{}{}", stdio_server("gone", &args), stdio_server("moved", &args));
    let gateway = Gateway::start_in(dir, &tables);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let long = json!({ "ms": 600_000, "text": "z" });
    let gone = client.begin("gone__sleep", long.clone(), None).await;
    let moved = client.begin("moved__sleep", long, None).await;
    let begun = || journal(&path).iter().filter(|event| event["tool"] == "sleep").count();
    wait_until("both calls", || (begun() == 2).then_some(()), || gateway.log());
    assert_eq!(gateway.status()["draining"], json!([]));

    let (before, began) = (gateway.status(), now_us());
    write_config(gateway.dir.path(), &stdio_server("moved", &["--name", "anew"]));
    assert!(gateway.cli(&["reload"]).status.success());
    let status = gateway.status();
    let names: Vec<_> = status["servers"].as_array().unwrap().iter().map(|s| &s["name"]).collect();
    assert_eq!(names, ["moved"]);
    assert_eq!(status["servers"][0]["generation"], 2);
    let whys = ["no longer in servers.toml", "replaced by the one of generation 2"];
    for (n, why) in whys.into_iter().enumerate() {
        let draining = &status["draining"];
        let find = |name: &Value| {
            let mut all = draining.as_array().unwrap().iter();
            all.find(|server| server["name"] == *name).cloned().unwrap()
        };
        let was = &before["servers"][n];
        let old = find(&was["name"]);
        assert_eq!((&old["state"], &old["why"]), (&json!("draining"), &json!(why)), "{status}");
        assert_eq!((&old["in_flight"], &old["generation"]), (&json!(1), &json!(1)));
        assert_eq!(old["replicas"][0]["pid"], was["replicas"][0]["pid"]);
        assert!((began..=now_us()).contains(&since(&old)), "{old}");
    }
    assert!(told(&gateway, "gone").contains("draining"));
    let both = told(&gateway, "moved");
    assert!(both.starts_with("  moved") && both.contains("\n  moved"), "{both}");

    for call in [gone, moved] {
        client.cancel(call).await;
    }
    let over = || (gateway.status()["draining"] == json!([])).then_some(());
    wait_until("the old servers to end", over, || gateway.log());
    for server in before["servers"].as_array().unwrap() {
        let pid = &server["replicas"][0]["pid"];
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{server}");
    }
    let output = gateway.cli(&["status", "gone"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("no server `gone` is running; there is: moved"), "{told}");
}

/// What the status shows of the credentials of a server.
fn fingerprints(gateway: &Gateway) -> BTreeMap<String, String> {
    serde_json::from_value(server(gateway)["replicas"][0]["credentials"].clone()).unwrap()
}

#[test]
fn which_credentials_are_in_use_is_seen_and_what_they_are_is_not() {
    let (dir, old, new) = (tempfile::tempdir().unwrap(), "old-7c1f-value", "new-93ae-value");
    let write = |dir: &Path, name: &str, value: &str| {
        let path = dir.join(name);
        fs::write(&path, format!("{value}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    };
    fs::create_dir(dir.path().join("creds")).unwrap();
    write(dir.path(), "creds/TOKEN", old);
    write(dir.path(), "key", old);
    let env = "env = { KEY = \"${file:key}\", SAME = \"x-${cred:TOKEN}\", MODE = \"plain\" }\n";
    let tables = stdio_server("up", &[]) + env;
    let config = write_config(dir.path(), &tables);
    let start = |dir: tempfile::TempDir| {
        let mut command = Command::new(PORTCULLIS);
        command.args(["serve", "--config"]).arg(&config);
        command.env("CREDENTIALS_DIRECTORY", dir.path().join("creds"));
        let gateway = Gateway::spawn(dir, command);
        gateway.wait_ready();
        gateway
    };
    let gateway = start(dir);
    let first = fingerprints(&gateway);
    assert_eq!(first.keys().collect::<Vec<_>>(), ["env KEY", "env SAME"], "what stands elsewhere");
    assert!(first.values().all(|one| one.len() == 8 && u32::from_str_radix(one, 16).is_ok()));
    // The same text at two places, and nobody without the salt can try texts.
    let bare: String = Sha256::digest(old).iter().take(4).map(|b| format!("{b:02x}")).collect();
    assert!(first["env KEY"] != first["env SAME"] && first["env KEY"] != bare, "{first:?}");
    let text = told(&gateway, "up");
    assert!(text.contains(&format!("env KEY: {}", first["env KEY"])), "{text}");

    // One is rotated: it is seen, of that one alone, once the configuration is read again.
    write(gateway.dir.path(), "key", new);
    let reload = gateway.cli(&["reload"]);
    assert!(reload.status.success(), "{reload:?}");
    let look = || Some(fingerprints(&gateway)).filter(|now| now["env KEY"] != first["env KEY"]);
    let second = wait_until("the new credential", look, || gateway.log());
    assert_eq!(second["env SAME"], first["env SAME"]);
    write(gateway.dir.path(), "creds/TOKEN", new);
    assert!(gateway.cli(&["reload"]).status.success());
    let look = || Some(fingerprints(&gateway)).filter(|now| now["env SAME"] != first["env SAME"]);
    wait_until("the other new credential", look, || gateway.log());
    for value in [old, new] {
        for place in [gateway.status().to_string(), told(&gateway, "up"), gateway.log()] {
            assert!(!place.contains(value), "{place}");
        }
    }
    // A restart does not make the same secret look like another one; other state does.
    let before = fingerprints(&gateway);
    let (status, dir) = gateway.end();
    assert!(status.success());
    let salt = dir.path().join("state/fingerprint.salt");
    assert_eq!(fs::metadata(&salt).unwrap().permissions().mode() & 0o777, 0o600);
    let gateway = start(dir);
    assert_eq!(fingerprints(&gateway), before);
    let (_, dir) = gateway.end();
    fs::remove_file(&salt).unwrap();
    assert_ne!(fingerprints(&start(dir))["env KEY"], before["env KEY"]);
}
