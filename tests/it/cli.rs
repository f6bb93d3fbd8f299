//! The command line as a contract: exit codes, what stands on which stream, and in which words.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};

use crate::harness::{Gateway, PORTCULLIS, stdio_server, wait_until, write_config};

/// Ends with 124 what does not end by itself.
pub(crate) fn run(dir: &Path, words: &[&str]) -> Output {
    Command::new("timeout").args(["20", PORTCULLIS]).args(words).current_dir(dir).output().unwrap()
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
pub(crate) fn ends(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}\n{}", out(output), err(output));
}

/// Two mistakes in a file that would otherwise start a journalling server.
fn mistaken(dir: &Path) -> String {
    let journal = dir.join("journal.jsonl");
    let server = stdio_server("up", &["--journal", journal.to_str().unwrap()]);
    let tables = format!("{server}enabled_toolz = []\ntool_timeout_sec = 0\n");
    fs::read_to_string(write_config(dir, &tables)).unwrap()
}

fn line_of(text: &str, key: &str) -> usize {
    1 + text.lines().position(|line| line.starts_with(key)).unwrap()
}

#[test]
fn serve_with_mistakes_says_where_and_starts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let text = mistaken(dir.path());
    let output = run(dir.path(), &["serve"]);
    ends(&output, 2);
    assert_eq!(out(&output), "");
    for (key, column) in [("enabled_toolz", 1), ("tool_timeout_sec", 20)] {
        let place = format!("servers.toml:{}:{column}", line_of(&text, key));
        assert!(err(&output).contains(&place), "{place} is not in\n{}", err(&output));
    }
    for name in ["state", "admin.sock", "journal.jsonl"] {
        assert!(!dir.path().join(name).exists(), "{name} is there");
    }
    // The file may also be missing altogether.
    let output = run(dir.path(), &["serve", "--config", "none.toml"]);
    ends(&output, 2);
    assert!(err(&output).contains("none.toml"), "{}", err(&output));
}

#[test]
fn check_shows_every_mistake_at_once_in_words_and_as_json() {
    let dir = tempfile::tempdir().unwrap();
    let text = mistaken(dir.path());
    let output = run(dir.path(), &["check"]);
    ends(&output, 2);
    assert!(err(&output).contains("did you mean `enabled_tools`?"), "{}", err(&output));
    assert!(err(&output).contains("C003") && err(&output).contains("C006"), "{}", err(&output));

    let output = run(dir.path(), &["check", "--json"]);
    ends(&output, 2);
    let told: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(told["ok"], false);
    let errors = told["errors"].as_array().unwrap();
    let places: Vec<_> = errors.iter().map(|e| (e["code"].clone(), e["line"].clone())).collect();
    let want = [("C003", "enabled_toolz"), ("C006", "tool_timeout_sec")]
        .map(|(code, key)| (json!(code), json!(line_of(&text, key))));
    assert_eq!(places, want, "{told}");

    write_config(dir.path(), &stdio_server("up", &[]));
    let output = run(dir.path(), &["check"]);
    ends(&output, 0);
    assert!(out(&output).contains("fine (1 server, 0 disabled)"), "{}", out(&output));
    let output = run(dir.path(), &["check", "--json"]);
    ends(&output, 0);
    let told: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(told, json!({ "ok": true, "errors": [], "warnings": [] }));
    assert!(!dir.path().join("state").exists(), "a check changed something");
}

#[test]
fn wrong_words_end_with_2_and_a_gateway_that_does_not_run_with_3() {
    let dir = tempfile::tempdir().unwrap();
    // Port 9 is reserved for a service that nobody runs.
    write_config(dir.path(), "[gateway]\nlisten = \"127.0.0.1:9\"\n");
    for words in [&["frobnicate"][..], &["call"], &["serve", "--nope"], &["estop", "reset"]] {
        ends(&run(dir.path(), words), 2);
    }
    for words in [&["tools"][..], &["call", "up__echo", "text=x"], &["status"], &["stop"]] {
        let output = run(dir.path(), words);
        ends(&output, 3);
        assert!(err(&output).contains("is it running?"), "{}", err(&output));
        assert_eq!(out(&output), "");
    }
}

#[test]
fn right_after_the_start_the_servers_that_are_still_starting_are_named() {
    let tables = "[servers.slow]\ncommand = \"sleep\"\nargs = [\"600\"]\n";
    let gateway = Gateway::launch(tempfile::tempdir().unwrap(), tables);
    let output = gateway.cli(&["tools"]);
    ends(&output, 0);
    assert!(err(&output).contains("still starting") && err(&output).contains("slow"), "{output:?}");
    let output = gateway.cli(&["tools", "--json"]);
    let told: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(told, serde_json::json!({ "tools": [], "starting": ["slow"] }));
}

#[test]
fn tools_and_call_speak_as_an_application_would() {
    let gateway = Gateway::start(&stdio_server("up", &[]));
    let output = gateway.cli(&["tools"]);
    ends(&output, 0);
    let listed = out(&output);
    let echo = listed.lines().find(|line| line.starts_with("up__echo ")).unwrap();
    assert!(echo.ends_with("Answers with exactly the text"), "{echo}");
    let output = gateway.cli(&["tools", "--json"]);
    ends(&output, 0);
    let tools: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(tools["starting"], serde_json::json!([]));
    let names: Vec<&str> = tools["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap())
        .collect();
    assert_eq!(names.len(), listed.lines().count());
    assert!(names.contains(&"up__echo"));

    let answers = |words: &[&str], want: &str| {
        let output = gateway.cli(&[&["call"], words].concat());
        ends(&output, 0);
        assert_eq!(out(&output).trim_end(), want, "{words:?}");
    };
    // Text stays text where the schema wants text, and becomes a number where it wants one.
    answers(&["up__echo", "text=5"], "5");
    answers(&["up__sleep", "ms=1", "text=z"], "z");
    answers(&["up__raw_echo", "list:=[1,2]", "text=a=b"], r#"{"list":[1,2],"text":"a=b"}"#);
    answers(&["up__raw_echo", "--args", r#"{"deep":{"x":null}}"#], r#"{"deep":{"x":null}}"#);
    let output = gateway.cli(&["call", "up__echo", "text=x", "--json"]);
    ends(&output, 0);
    let result: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(result["content"], json!([{ "type": "text", "text": "x" }]), "{result}");
}

#[test]
fn a_call_that_fails_ends_with_1_and_one_that_cannot_be_read_with_2() {
    let gateway = Gateway::start(&stdio_server("up", &[]));
    // The server's own error result, a schema that does not fit, no such tool, a JSON-RPC error.
    let output = gateway.cli(&["call", "up__fail"]);
    ends(&output, 1);
    assert_eq!(out(&output).trim_end(), "failed as asked");
    ends(&gateway.cli(&["call", "up__sleep", "ms=soon", "text=z"]), 1);
    let output = gateway.cli(&["call", "up__nothing"]);
    ends(&output, 1);
    assert!(err(&output).contains("Unknown tool: up__nothing"), "{}", err(&output));
    let output = gateway.cli(&["call", "up__rpc_error"]);
    ends(&output, 1);
    assert!(err(&output).contains("(-4711)"), "{}", err(&output));
    assert_eq!(out(&output), "");

    for words in [&["text"][..], &["text:=nope"], &["--args", "[1]"], &["a=b", "--args", "{}"]] {
        ends(&gateway.cli(&[&["call", "up__echo"], words].concat()), 2);
    }
}

#[test]
fn status_tells_of_all_servers_or_of_one() {
    let dead = "[servers.dead]\nurl = \"http://127.0.0.1:9/mcp\"\n";
    let gateway = Gateway::start(&format!("{}{dead}", stdio_server("up", &["--era", "modern"])));
    let output = gateway.cli(&["status"]);
    ends(&output, 0);
    let told = out(&output);
    assert!(told.starts_with("portcullis ") && told.contains("audit healthy"), "{told}");
    let line = |name: &str| {
        let start = format!("  {name} ");
        told.lines().find(|line| line.starts_with(&start)).unwrap().to_owned()
    };
    assert!(line("up").contains("ready") && line("up").contains("2026-07-28"), "{told}");
    assert!(line("dead").contains("127.0.0.1:9"), "{told}");

    let all = gateway.status();
    assert_eq!(all["servers"].as_array().unwrap().len(), 2, "{all}");
    let output = gateway.cli(&["status", "up", "--json"]);
    ends(&output, 0);
    let one: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!((&one["name"], &one["state"]), (&json!("up"), &json!("ready")), "{one}");
    let output = gateway.cli(&["status", "up"]);
    ends(&output, 0);
    assert!(out(&output).starts_with("  up ") && !out(&output).contains("dead"));
    let output = gateway.cli(&["status", "nobody"]);
    ends(&output, 1);
    assert!(err(&output).contains("`nobody`"), "{}", err(&output));
}

#[test]
fn audit_verify_names_the_record_that_was_changed() {
    let gateway = Gateway::start(&stdio_server("up", &[]));
    ends(&gateway.cli(&["call", "up__echo", "text=x"]), 0);
    let outcome = gateway.wait_audit("the outcome", |record| record["kind"] == "outcome");
    let last = outcome["seq"].as_u64().unwrap();
    assert_eq!(last, 4, "log_begun, started, intent, outcome");
    let output = gateway.cli(&["audit", "verify"]);
    ends(&output, 0);
    assert!(out(&output).contains("4 records, chain intact"), "{}", out(&output));
    let (status, dir) = gateway.end();
    assert!(status.success());

    let path = dir.path().join("state/audit/current/seg/000001.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(r#""tool":"echo""#));
    fs::write(&path, text.replace(r#""tool":"echo""#, r#""tool":"blob""#)).unwrap();
    let output = run(dir.path(), &["audit", "verify"]);
    ends(&output, 1);
    assert!(err(&output).contains("record 3 "), "{}", err(&output));
    // Also without a configuration, by its directory, and for programs.
    let place = dir.path().join("state/audit");
    let words = ["audit", "verify", place.to_str().unwrap(), "--json"];
    let output = run(Path::new("/"), &words);
    ends(&output, 1);
    let told: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(told["ok"], false);
    assert!(told["error"].as_str().unwrap().contains("record 3 "), "{told}");
    // A record that is gone breaks the next one.
    let without: Vec<&str> =
        text.lines().enumerate().filter(|(n, _)| *n != 2).map(|l| l.1).collect();
    fs::write(&path, without.join("\n") + "\n").unwrap();
    let output = run(dir.path(), &["audit", "verify"]);
    ends(&output, 1);
    assert!(err(&output).contains("record 3 "), "{}", err(&output));
}

#[test]
fn the_shipped_file_serves_the_files_below_docs() {
    let dir = tempfile::tempdir().unwrap();
    let shipped = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/servers.toml")).unwrap();
    // As a newcomer has it, but in a place of our own and on any port.
    let place = dir.path().display().to_string();
    let text = shipped
        .replace("#listen = \"127.0.0.1:7411\"", "listen = \"127.0.0.1:0\"")
        .replace("#admin = \"unix:admin.sock\"", &format!("admin = \"unix:{place}/admin.sock\""))
        .replace("#state_dir = \"state\"", "state_dir = \"state\"");
    assert_eq!(text.matches("\nlisten =").count(), 1);
    assert_eq!(text.matches("\nadmin =").count(), 1);
    assert_eq!(text.matches("\nstate_dir =").count(), 1);
    for file in ["files.cedar", "groups.toml", "rules.toml", "tests/files.toml"] {
        let (from, to) = (Path::new(env!("CARGO_MANIFEST_DIR")), dir.path().join("policies"));
        fs::create_dir_all(to.join("tests")).unwrap();
        fs::copy(from.join("policies").join(file), to.join(file)).unwrap();
    }
    fs::create_dir(dir.path().join("docs")).unwrap();
    fs::write(dir.path().join("docs/HELLO.md"), "# Hello from docs\n").unwrap();
    fs::write(dir.path().join("outside.md"), "outside").unwrap();
    fs::write(dir.path().join("servers.toml"), text).unwrap();
    let mut command = Command::new(PORTCULLIS);
    command.arg("serve").current_dir(dir.path());
    let gateway = Gateway::spawn(dir, command);
    gateway.wait_ready();

    let listed = out(&gateway.cli(&["tools"]));
    for tool in ["files__list_directory", "files__read_file", "files__search"] {
        assert!(listed.contains(tool), "{tool} is not in\n{listed}");
    }
    let output = gateway.cli(&["call", "files__read_file", "path=HELLO.md"]);
    ends(&output, 0);
    assert!(out(&output).contains("# Hello from docs"), "{}", out(&output));
    let output = gateway.cli(&["call", "files__read_file", "path=../outside.md"]);
    ends(&output, 1);
    assert!(!out(&output).contains("outside\n"), "{}", out(&output));
    let read = || {
        let records = gateway.audit();
        records.into_iter().find(|r| r["kind"] == "intent" && r["tool"] == "read_file")
    };
    let intent = wait_until("the intent", read, || gateway.log());
    assert_eq!(intent["client"], "portcullis-cli", "{intent}");
}
