//! The tree of commands: each teaches, each that says `--json` prints JSON of a real gateway, and
//! each ends with a code of the contract.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::{Command, Output},
};

use serde_json::Value;

use crate::harness::{Gateway, PORTCULLIS, stdio_server};

/// What the operator was promised, besides what commands of one word there are.
const PROMISED: [&str; 35] = [
    "doctor",
    "serve",
    "check",
    "status",
    "tools",
    "call",
    "reload",
    "diff",
    "stop",
    "estop engage",
    "estop reset",
    "estop resume",
    "estop status",
    "estop drill",
    "why",
    "policy test",
    "policy explain",
    "policy replay",
    "policy show",
    "pins list",
    "pins diff",
    "pins approve",
    "approvals list",
    "approvals allow",
    "approvals deny",
    "approvals forget",
    "audit verify",
    "audit tail",
    "audit prove",
    "audit export",
    "import",
    "export",
    "schema",
    "completions",
    "man",
];

/// What they print has a form of its own, or they run until they are told to end.
const WITHOUT_JSON: [&str; 4] = ["serve", "provide files", "completions", "man"];

fn help(words: &[&str]) -> String {
    let output = Command::new(PORTCULLIS).args(words).arg("--help").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{words:?} --help");
    String::from_utf8(output.stdout).unwrap()
}

/// Every command that does something, with its help.
fn commands() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut groups = vec![Vec::<String>::new()];
    while let Some(words) = groups.pop() {
        let text = help(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let Some((_, list)) = text.split_once("\nCommands:\n") else {
            found.insert(words.join(" "), text);
            continue;
        };
        let rows = list.lines().take_while(|line| !line.is_empty());
        let names = rows.filter(|row| row.starts_with("  ") && !row.starts_with("   "));
        for name in names.filter_map(|row| row.split_whitespace().next()) {
            groups.extend((name != "help").then(|| [&words[..], &[name.to_owned()]].concat()));
        }
    }
    found
}

#[test]
fn every_promised_command_is_there_and_teaches() {
    let commands = commands();
    for name in PROMISED {
        assert!(commands.contains_key(name), "there is no `{name}`");
    }
    for (name, help) in &commands {
        assert!(help.contains(&format!("portcullis {name}")), "`{name}` shows no example:\n{help}");
        let has_json = help.contains("--json");
        assert_eq!(has_json, !WITHOUT_JSON.contains(&name.as_str()), "`{name}` and --json");
    }
}

#[test]
fn what_says_json_prints_json_of_a_real_gateway() {
    let gateway = Gateway::start(&stdio_server("up", &[]));
    assert!(gateway.cli(&["call", "up__echo", "text=x"]).status.success());
    let intent = gateway.wait_audit("the outcome", |record| record["kind"] == "outcome");
    let id = intent["call"].as_str().unwrap();
    let file = gateway.dir.path().join("mcp.json");
    fs::write(&file, r#"{"mcpServers": {"a": {"command": "true"}}}"#).unwrap();
    let file = file.to_str().unwrap();
    // In this order: a stop would keep the others from having anything to say.
    let rows: [(&str, &[&str], &[i32]); 34] = [
        ("check", &[], &[0]),
        ("status", &[], &[0]),
        ("tools", &[], &[0]),
        ("call", &["up__echo", "text=x"], &[0]),
        ("reload", &[], &[0]),
        ("diff", &[], &[0]),
        ("doctor", &[], &[0]),
        ("why", &[id], &[0]),
        ("policy show", &[], &[0]),
        ("policy test", &[], &[0]),
        ("policy explain", &["up/echo", "text=x"], &[0, 1]),
        ("policy replay", &["--since", "1h"], &[0, 1]),
        ("pins list", &[], &[0]),
        ("pins diff", &[], &[0]),
        ("pins approve", &["up", "--seen", "0"], &[1, 2]),
        ("keys add", &["bob"], &[0]),
        ("keys list", &[], &[0]),
        ("keys revoke", &["0"], &[1, 2]),
        ("approvals list", &[], &[0]),
        ("approvals allow", &["apr-0"], &[1]),
        ("approvals deny", &["apr-0"], &[1]),
        ("approvals forget", &["rem-0"], &[1]),
        ("audit verify", &["--pubkey", "none"], &[1, 2]),
        ("audit payload", &[id], &[0]),
        // A gateway that runs holds its log.
        ("audit init", &["--for-witness"], &[0]),
        ("audit tail", &["-n", "3"], &[0]),
        ("audit export", &["--kind", "intent"], &[0]),
        ("audit prove", &["--seq", "1"], &[0]),
        ("import", &[file], &[0]),
        ("export", &["--client", "zed"], &[0]),
        ("estop drill", &["--scope", "server:up"], &[0]),
        ("stop", &["--scope", "server:up"], &[0]),
        ("estop engage", &["--scope", "server:up"], &[0]),
        ("estop status", &[], &[4]),
    ];
    for (name, more, codes) in rows {
        prints_json(name, codes, &run(&gateway, name, more));
    }
    let state: Value = serde_json::from_slice(&run(&gateway, "estop status", &[]).stdout).unwrap();
    let stop = state["stops"][0]["id"].as_str().unwrap().to_owned();
    let more = ["--id", &stop, "--reason", "over"];
    prints_json("estop reset", &[0], &run(&gateway, "estop reset", &more));
    prints_json("estop resume", &[0], &run(&gateway, "estop resume", &more[..2]));
    let output = Command::new(PORTCULLIS).args(["schema", "--json"]).output().unwrap();
    prints_json("schema", &[0], &output);

    let tried: BTreeSet<_> = rows.iter().map(|(name, ..)| *name).collect();
    let elsewhere = ["estop reset", "estop resume", "schema"];
    for name in commands().keys().map(String::as_str) {
        let is_tried = tried.contains(name) || elsewhere.contains(&name);
        assert!(is_tried || WITHOUT_JSON.contains(&name), "`{name}` is not tried");
    }
}

fn run(gateway: &Gateway, name: &str, more: &[&str]) -> Output {
    let words: Vec<&str> = name.split(' ').collect();
    gateway.cli(&[&words[..], more, &["--json"]].concat())
}

/// What was refused may say so on standard error alone, but never half of it.
#[track_caller]
fn prints_json(name: &str, codes: &[i32], output: &Output) {
    let code = output.status.code().unwrap();
    assert!(codes.contains(&code), "`{name}` ended with {code}: {output:?}");
    let printed = String::from_utf8_lossy(&output.stdout);
    let is_silent = printed.is_empty() && code != 0 && !output.stderr.is_empty();
    let is_json = printed.lines().all(|line| serde_json::from_str::<Value>(line).is_ok());
    assert!(is_silent || (is_json && !printed.is_empty()), "`{name}` printed {printed}");
}

#[test]
fn completions_and_pages_are_made_for_every_command() {
    for (shell, sign) in [("bash", "_portcullis"), ("zsh", "#compdef"), ("fish", "complete -c")] {
        let output = Command::new(PORTCULLIS).args(["completions", shell]).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && script.contains(sign), "{shell}");
        assert!(script.contains("estop") && script.contains("json"), "{shell}");
    }
    let dir = tempfile::tempdir().unwrap();
    let words = ["man", "--dir", dir.path().to_str().unwrap()];
    assert!(Command::new(PORTCULLIS).args(words).status().unwrap().success());
    for name in commands().keys() {
        let page = dir.path().join(format!("portcullis-{}.1", name.replace(' ', "-")));
        let text = fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        assert!(text.starts_with(".ie") || text.contains(".TH"), "{name}");
    }
    assert!(dir.path().join("portcullis.1").exists());
}

#[test]
fn the_audit_is_read_by_other_programs() {
    let gateway = Gateway::start(&stdio_server("up", &[]));
    assert!(gateway.cli(&["call", "up__echo", "text=x"]).status.success());
    gateway.wait_audit("the outcome", |record| record["kind"] == "outcome");
    let lines = |words: &[&str]| {
        let output = gateway.cli(words);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        let read = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        text.lines().map(read).collect::<Vec<Value>>()
    };
    let told = lines(&["audit", "init", "--json"]);
    let pubkey = told[0]["pubkey"].as_str().unwrap();
    assert!(pubkey.starts_with("portcullis/audit/") && told.len() == 1, "{told:?}");
    assert!(told[0]["dir"].as_str().unwrap().ends_with("state/audit"), "{told:?}");
    let told = lines(&["audit", "init", "--for-witness", "--json"]);
    assert!(told[0]["pubkey"].is_null(), "{told:?}");
    assert_ne!(told[0]["witness_pubkey"].as_str().unwrap(), pubkey);
    assert_eq!(lines(&["audit", "export", "--json", "--kind", "intent"])[0]["tool"], "echo");
    assert_eq!(
        gateway.cli(&["audit", "export", "--json", "--format", "cef"]).status.code(),
        Some(2)
    );
    let last = lines(&["audit", "tail", "--json", "-n", "1", "--kind", "outcome"]);
    assert_eq!((last.len(), &last[0]["outcome"]), (1, &Value::from("answered")));
    // What is signed already is the beginning.
    let proof = lines(&["audit", "prove", "--seq", "1", "--json"]);
    assert_eq!(proof[0]["seq"], 1);
    let file = gateway.dir.path().join("proof");
    fs::write(&file, proof[0]["proof"].as_str().unwrap()).unwrap();
    let words = ["audit", "prove", "--check", file.to_str().unwrap(), "--pubkey", pubkey, "--json"];
    let checked = lines(&words);
    assert_eq!(
        (&checked[0]["ok"], &checked[0]["record"]["kind"]),
        (&true.into(), &"log_begun".into())
    );
}
