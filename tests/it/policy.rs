//! Policies before real servers: what they allow gets there, what they do not never does.

use std::fs;

use serde_json::{Value, json};

use crate::{
    client::{Client, Kind},
    harness::{Gateway, PORTCULLIS, journal, stdio_server, wait_until},
};

/// A gateway whose server `up` keeps a journal, under these policies.
fn gateway(policies: &[(&str, &str)]) -> Gateway {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.jsonl");
    put(&dir.path().join("policies"), policies);
    let up = stdio_server("up", &["--journal", path.to_str().unwrap()]);
    Gateway::start_in(dir, &up)
}

fn put(dir: &std::path::Path, files: &[(&str, &str)]) {
    fs::create_dir_all(dir.join("tests")).unwrap();
    for (name, text) in files {
        fs::write(dir.join(name), text).unwrap();
    }
}

async fn tools(client: &Client) -> Vec<String> {
    let list = client.ask("tools/list", json!({})).await.response;
    let tools = list["result"]["tools"].as_array().unwrap().iter();
    tools.map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

/// How often the server was asked to call that tool.
fn calls(gateway: &Gateway, tool: &str) -> usize {
    let entries = journal(&gateway.dir.path().join("journal.jsonl"));
    let is_call = |entry: &&Value| entry["method"] == "tools/call" && entry["tool"] == tool;
    entries.iter().filter(is_call).count()
}

const ECHO_SHORT: &str = "@id(\"short\")
permit(principal, action == Gw::Action::\"up/echo\", resource)
when { context.input.text like \"ok*\" };
";

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_no_policy_allows_never_reaches_the_server() {
    let gateway = gateway(&[("a.cedar", ECHO_SHORT)]);
    for kind in [Kind::ModernHttp, Kind::LegacyHttp] {
        let client = Client::http(kind, gateway.port).await;
        let before = calls(&gateway, "echo");
        assert_eq!(client.text("up__echo", json!({ "text": "ok then" })).await, "ok then");
        assert_eq!(calls(&gateway, "echo"), before + 1);
        let refused = client.call("up__echo", json!({ "text": "no" })).await.response;
        let result = &refused["result"];
        assert_eq!(
            (&result["isError"], &result["_meta"]["portcullis/reason"]),
            (&json!(true), &json!("policy"))
        );
        let told = result["content"][0]["text"].as_str().unwrap();
        assert_eq!(told, "the gateway's policies do not allow this call");
        assert_eq!(calls(&gateway, "echo"), before + 1);
    }
    let records = gateway.audit();
    let of =
        |kind: &str| records.iter().find(|r| r["kind"] == kind && r["tool"] == "echo").unwrap();
    let by = of("intent")["policies"].as_str().unwrap();
    assert!(by.starts_with("short ") && by.ends_with("policies/a.cedar:1"), "{by}");
    assert_eq!(of("denied")["reason"], "policy");
    let why = |record: &Value| {
        let output = gateway.cli(&["why", record["call"].as_str().unwrap()]);
        String::from_utf8(output.stdout).unwrap()
    };
    let told = why(of("intent"));
    assert!(told.contains("passed   decided by short ") && told.contains("a.cedar:1"), "{told}");
    assert!(told.contains("then: outcome (") && told.contains("outcome \"answered\""), "{told}");
    let told = why(of("denied"));
    assert!(
        told.trim_end().ends_with("refused  policy: the gateway's policies do not allow this call"),
        "{told}"
    );
    assert_eq!(gateway.cli(&["why", "nope"]).status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_out_of_scope_is_neither_listed_nor_told_apart_from_nothing() {
    let gateway = gateway(&[("a.cedar", ECHO_SHORT)]);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    assert_eq!(tools(&client).await, ["up__echo"]);
    let ask =
        async |name: &str| client.call(name, json!({ "text": 1 })).await.response["error"].clone();
    let (hidden, nothing) = (ask("up__test_tool_with_logging").await, ask("up__nope").await);
    assert_eq!(hidden["code"], nothing["code"]);
    let named = |error: &Value, name: &str| error["message"].as_str().unwrap().replace(name, "X");
    assert_eq!(named(&hidden, "up__test_tool_with_logging"), named(&nothing, "up__nope"));
    let reason = |name: &str| {
        let records = gateway.audit();
        records.iter().find(|r| r["tool"] == name || r["asked"] == name).unwrap()["reason"].clone()
    };
    assert_eq!(
        (reason("test_tool_with_logging"), reason("up__nope")),
        (json!("out_of_scope"), json!("unknown"))
    );
    for (method, member) in [("prompts/list", "prompts"), ("resources/list", "resources")] {
        let list = client.ask(method, json!({})).await.response;
        assert_eq!(list["result"][member], json!([]), "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_policies_nothing_is_allowed_and_the_operator_is_told() {
    let gateway = gateway(&[]);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    assert_eq!(tools(&client).await, [""; 0]);
    let refused = client.call("up__echo", json!({ "text": "x" })).await.response;
    assert_eq!(refused["error"]["code"], -32602);
    assert_eq!(calls(&gateway, "echo"), 0);
    assert!(gateway.log().contains("no call is allowed"), "{}", gateway.log());
    let output = gateway.cli(&["check"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("C104"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_of_a_policy_is_noticed_and_whoever_it_touches_is_told() {
    let all = "permit(principal, action, resource);\n";
    let gateway = gateway(&[("a.cedar", all)]);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let (mut ear, _) = client.hear(&[]).await;
    assert!(tools(&client).await.len() > 1);
    fs::write(gateway.dir.path().join("policies/a.cedar"), ECHO_SHORT).unwrap();
    ear.next("notifications/tools/list_changed").await;
    assert_eq!(tools(&client).await, ["up__echo"]);
    assert_eq!(gateway.status()["generation"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_with_a_mistake_refuses_the_reload_and_says_where() {
    let gateway = gateway(&[("a.cedar", ECHO_SHORT)]);
    let policies = gateway.dir.path().join("policies");
    for (name, text, place) in [
        ("b.cedar", "permit(principal, action);", "b.cedar:1:"),
        // Only what the server lists shows this.
        (
            "b.cedar",
            "permit(principal, action == Gw::Action::\"up/echo\", resource)\nwhen { context.input.txt == \"x\" };",
            "b.cedar:2:8",
        ),
        (
            "b.cedar",
            "permit(principal, action == Gw::Action::\"up/ecko\", resource);",
            "there is no `up/ecko`",
        ),
        (
            "tests/a.toml",
            "[[case]]\nname = \"c\"\nprincipal = \"local\"\ntool = \"up/echo\"\nargs = { text = \"ok\" }\nexpect = \"deny\"\n",
            "a.toml:1:1",
        ),
    ] {
        fs::write(policies.join(name), text).unwrap();
        let output = gateway.cli(&["reload"]);
        assert_eq!(output.status.code(), Some(1), "{text}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains(place), "{told}");
        fs::remove_file(policies.join(name)).unwrap();
    }
    assert!(gateway.cli(&["reload"]).status.success());
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    assert_eq!(client.text("up__echo", json!({ "text": "ok" })).await, "ok");
    assert_eq!(gateway.status()["generation"], 1, "nothing was taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_shadow_mode_policies_only_say_what_they_would_refuse() {
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("policies"), &[("a.cedar", ECHO_SHORT)]);
    let up = stdio_server("up", &[]);
    let gateway = Gateway::start_in(dir, &format!("[gateway]\npolicy_mode = \"shadow\"\n{up}"));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    assert_eq!(client.text("up__echo", json!({ "text": "no" })).await, "no");
    assert_eq!(gateway.wait_audit("the call", |r| r["kind"] == "intent")["shadow"], "deny");
    assert_eq!(client.text("up__echo", json!({ "text": "ok" })).await, "ok");
    let records = gateway.audit();
    let last = records.iter().rfind(|r| r["kind"] == "intent").unwrap();
    assert_eq!(last["shadow"], Value::Null);
    // And a reload makes them count.
    crate::harness::write_config(gateway.dir.path(), &up);
    let enforced = || (gateway.status()["generation"] == 2).then_some(());
    wait_until("the reload", enforced, || gateway.log());
    let refused = client.call("up__echo", json!({ "text": "no" })).await.response;
    assert_eq!(refused["result"]["isError"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_that_no_policy_allows_is_neither_read_nor_watched() {
    let text = "permit(principal, action in Gw::Action::\"resources\", resource)
        when { context.uri == \"test://static-text\" };
        permit(principal, action in Gw::Action::\"prompts\", resource) when { context.client == \"x\" };";
    let gateway = gateway(&[("a.cedar", text)]);
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let read = async |uri: &str| client.ask("resources/read", json!({ "uri": uri })).await.response;
    assert!(read("test://static-text").await["result"].is_object());
    let refused = read("test://static-binary").await;
    let error = &refused["error"];
    assert_eq!(
        (&error["code"], &error["data"]["reason"]),
        (&json!(-32602), &json!("policy")),
        "{refused}"
    );
    let (_ear, heard) = client.hear(&["test://static-text", "test://static-binary"]).await;
    assert_eq!(heard, ["test://static-text"]);
    let prompt =
        client.ask("prompts/get", json!({ "name": "up__test_simple_prompt" })).await.response;
    assert_eq!(prompt["error"]["data"]["reason"], "policy", "{prompt}");
}

/// What a command said, and how it ended.
fn ends(gateway_dir: &std::path::Path, words: &[&str]) -> (Option<i32>, String) {
    let mut command = std::process::Command::new(crate::harness::PORTCULLIS);
    let config = gateway_dir.join("servers.toml");
    let output = command.args(words).arg("--config").arg(config).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn policies_are_shown_tested_and_explained_without_a_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let rules =
        "[[deny]]\nname = \"no-secrets\"\ntools = [\"up/echo\"]\nargs.text.like = \"*secret*\"\n";
    let case = |text: &str, expect: &str| {
        format!(
            "[[case]]\nprincipal = \"local\"\ntool = \"up/echo\"\nargs = {{ text = \"{text}\" }}\nexpect = \"{expect}\"\n"
        )
    };
    let good = case("ok", "allow") + &case("ok secret", "deny") + &case("no", "deny");
    let files = [("a.cedar", ECHO_SHORT), ("rules.toml", rules), ("tests/t.toml", &good)];
    put(&dir.path().join("policies"), &files);
    crate::harness::write_config(dir.path(), &stdio_server("up", &[]));
    let run = |words: &[&str]| ends(dir.path(), words);
    let (code, said) = run(&["policy", "show"]);
    assert_eq!(code, Some(0));
    assert!(
        said.contains("a.cedar:1")
            && said.contains("forbid (")
            && said.contains("@id(\"no-secrets\")"),
        "{said}"
    );
    assert_eq!(run(&["policy", "test"]), (Some(0), "3 cases, as expected\n".to_owned()));

    let (code, said) = run(&["policy", "explain", "up/echo", "text=ok"]);
    assert_eq!((code, said.lines().next()), (Some(0), Some("allow")));
    assert!(said.contains("permit `short`  holds") && said.contains("rules.toml:1"), "{said}");
    let (code, said) = run(&["policy", "explain", "up/echo", "text=ok secret"]);
    assert_eq!((code, said.lines().next()), (Some(1), Some("deny")));
    assert!(said.contains("in the way: forbid `no-secrets` at"), "{said}");
    let (code, said) = run(&["policy", "explain", "up/echo", "text=no", "--json"]);
    let told: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, &told["says"], &told["policies"][0]["fits"]),
        (Some(1), &json!("deny"), &json!("its conditions do not hold"))
    );
    let (code, said) = run(&["policy", "explain", "up/other"]);
    assert_eq!((code, said.lines().next()), (Some(1), Some("hidden")));
    assert!(said.contains("no policy permits such a call to anybody"), "{said}");
    assert_eq!(run(&["policy", "explain", "nope/x"]).0, Some(2));

    put(&dir.path().join("policies"), &[("tests/t.toml", &case("no", "allow"))]);
    let (code, said) = run(&["policy", "test"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("t.toml:1:1") && said.contains("no policy permits it"), "{said}");
    assert_eq!(run(&["check"]).0, Some(2), "policies that fail a case are not taken");
    put(&dir.path().join("policies"), &[("a.cedar", "permit(")]);
    assert_eq!(run(&["policy", "test"]).0, Some(2));
}

/// What `policy replay` says under this policy instead, and how it ends.
fn replayed(dir: &std::path::Path, policy: &str) -> (Option<i32>, Value) {
    put(&dir.join("policies"), &[("a.cedar", policy)]);
    let mut command = std::process::Command::new(PORTCULLIS);
    command.args(["policy", "replay", "--since", "1h", "--json", "--config"]);
    let output = command.arg(dir.join("servers.toml")).output().unwrap();
    let told = serde_json::from_slice(&output.stdout);
    (output.status.code(), told.unwrap_or_else(|e| panic!("{e}: {output:?}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_says_which_recorded_calls_other_policies_would_change() {
    const ECHO_ALL: &str =
        "@id(\"all\")\npermit(principal, action == Gw::Action::\"up/echo\", resource);\n";
    let swapped = ECHO_SHORT.replace("ok*", "no*");
    let local = format!(
        "{ECHO_SHORT}forbid(principal, action, resource)\nwhen {{ context.era == \"legacy\" || context.transport != \"http\" }};\n"
    );
    for payloads in ["full", "shape"] {
        let dir = tempfile::tempdir().unwrap();
        put(&dir.path().join("policies"), &[("a.cedar", ECHO_SHORT)]);
        let audit = format!("[audit]\npayloads = \"{payloads}\"\n{}", stdio_server("up", &[]));
        let gateway = Gateway::start_in(dir, &audit);
        let client = Client::http(Kind::ModernHttp, gateway.port).await;
        for text in ["ok 1", "ok 2", "no"] {
            client.call("up__echo", json!({ "text": text })).await;
        }
        drop(client);
        let (status, dir) = gateway.end();
        assert!(status.success());
        let told = |policy: &str| {
            let (code, told) = replayed(dir.path(), policy);
            let changes: Vec<_> = told["changes"].as_array().unwrap().iter().map(change).collect();
            (code, told["same"].as_u64(), told["untold"].as_u64(), changes.join(", "))
        };
        // What looks at no argument can be told without them.
        let all = "1 deny -> allow".to_owned();
        assert_eq!(told(ECHO_ALL), (Some(1), Some(2), Some(0), all), "{payloads}");
        let none = "2 allow -> hidden, 1 deny -> hidden".to_owned();
        assert_eq!(told("// nothing"), (Some(1), Some(0), Some(0), none), "{payloads}");
        let (same, other) = match payloads {
            "full" => (
                (Some(0), Some(3), Some(0), String::new()),
                (Some(1), Some(0), Some(0), "2 allow -> deny, 1 deny -> allow".to_owned()),
            ),
            _ => {
                let untold = (Some(0), Some(0), Some(3), String::new());
                (untold.clone(), untold)
            }
        };
        assert_eq!(told(ECHO_SHORT), same, "{payloads}");
        assert_eq!(told(&local), same, "{payloads}");
        assert_eq!(told(&swapped), other, "{payloads}");
    }
}

/// A permit that hangs on what the server says of its tool, and one with a name that no tool has.
const READERS: &str = "permit(principal, action in Gw::Action::\"tools\", resource)
when { context.annotations.readOnlyHint };
";
const MISSPELT: &str = "forbid(principal, action == Gw::Action::\"files/read_file\", resource)
when { context.input.pth like \"x*\" };
";

#[tokio::test(flavor = "multi_thread")]
async fn without_a_gateway_types_and_annotations_are_those_of_what_is_approved() {
    let dir = tempfile::tempdir().unwrap();
    put(&dir.path().join("policies"), &[("a.cedar", READERS)]);
    fs::write(dir.path().join("note.md"), "of no matter").unwrap();
    let files = "[servers.files]\ncommand = \"@self\"\nargs = [\"provide\", \"files\", \"--root\", \".\"]\n";
    let pins = "[gateway]\npins = \"trust-on-first-use\"\n[audit]\npayloads = \"full\"\n";
    let gateway = Gateway::start_in(dir, &format!("{pins}{files}"));
    let client = Client::http(Kind::ModernHttp, gateway.port).await;
    let path = json!({ "path": "note.md" });
    assert!(client.text("files__read_file", path).await.contains("of no matter"));
    drop(client);
    let (_, dir) = gateway.end();
    let run = |words: &[&str]| ends(dir.path(), words);
    let read = ["policy", "explain", "files/read_file", "path=note.md"];
    assert_eq!(run(&read).0, Some(0));
    assert_eq!(replayed(dir.path(), READERS).1["same"], 1);

    // What would be refused at a reload is told before it.
    put(&dir.path().join("policies"), &[("b.cedar", MISSPELT)]);
    let (code, said) = run(&["policy", "test"]);
    assert!(said.contains("b.cedar:2:") && said.contains("pth"), "{said}");
    assert!(said.starts_with("0 cases, as expected\n") && said.contains("pins.lock"), "{said}");
    assert_eq!(code, Some(0));
    fs::remove_file(dir.path().join("policies/b.cedar")).unwrap();

    // Of what is not there, nobody has said that it only reads.
    let lock = dir.path().join("pins.lock");
    fs::write(&lock, "{").unwrap();
    let (code, said) = run(&read);
    assert_eq!(code, Some(1));
    assert!(said.contains("types are not known: ") && said.contains("pins.lock:1"), "{said}");
    fs::remove_file(&lock).unwrap();
    assert_eq!(run(&read).0, Some(1));
    assert_eq!(replayed(dir.path(), READERS).1["changes"][0]["would_be"], "deny");
}

fn change(of: &Value) -> String {
    let word = |key: &str| of[key].as_str().unwrap().to_owned();
    format!("{} {} -> {}", of["calls"], word("was"), word("would_be"))
}
