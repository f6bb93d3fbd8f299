//! The files of other programs under `tests/fixtures/clients`, and what becomes of each.
//!
//! The wanted texts are in `snapshots/`. Change one on purpose with `INSTA_UPDATE=always cargo test
//! config::foreign`, and read the difference.

use std::{fs, path::Path};

use super::{Dialect, Foreign, ForeignError, Remark, read_foreign};
use crate::config::{Config, Surroundings};

const INTO: &str = "/etc/portcullis/servers.toml";
const FILES: [(&str, Dialect); 13] = [
    ("claude-desktop.json", Dialect::McpServers),
    ("claude-code.json", Dialect::McpServers),
    ("cursor.json", Dialect::McpServers),
    ("windsurf.json", Dialect::McpServers),
    ("lm-studio.json", Dialect::McpServers),
    ("gemini.json", Dialect::McpServers),
    ("kiro.json", Dialect::McpServers),
    ("mcpo.json", Dialect::McpServers),
    ("vscode.json", Dialect::VsCode),
    ("codex.toml", Dialect::Codex),
    ("zed.json", Dialect::Zed),
    ("opencode.json", Dialect::Opencode),
    ("goose.yaml", Dialect::Goose),
];
/// Every literal secret of the files.
const SECRETS: [&str; 10] = [
    "BSA-not-a-real-one",
    "abcdefgh12345678",
    "hunter2",
    "k-secret-1",
    "literal-and-secret",
    "hf_0123456789",
    "value-of-the-key",
    "bWU6c2VjcmV0",
    "token-of-somebody",
    "me:pw",
];

fn machine() -> Surroundings {
    let variables =
        [("HOME", "/home/op"), ("PATH", "/bin"), ("TOKEN", "t0ken"), ("SEARCH_TOKEN", "s1")];
    Surroundings::imagined(&[&variables[..], &[("SEARCH_TENANT", "s2")]].concat())
}

fn text_of(file: &str) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/clients");
    fs::read_to_string(dir.join(file)).unwrap()
}

fn read(text: &str) -> Result<Foreign, ForeignError> {
    read_foreign(text, None, (Path::new(INTO), &machine()))
}

/// Blocks and remarks as a person would read them.
fn told(foreign: &Foreign) -> String {
    let line = |remark: &Remark| {
        let words = format!("# {} {}", remark.what.as_str(), remark.key);
        format!("{}: {}\n", words.trim_end(), remark.why)
    };
    let mut out: String = foreign.remarks.iter().map(line).collect();
    for server in &foreign.servers {
        out += &format!("\n# --- {:?}\n", server.written);
        out.extend(server.remarks.iter().map(line));
        let block = server.block.as_ref().map(|block| block.to_toml(&server.name));
        out += &block.unwrap_or_else(|| "# not imported\n".to_owned());
    }
    out
}

#[test]
fn every_program_s_file_is_known_by_itself_and_becomes_these_blocks() {
    for (file, dialect) in FILES {
        let foreign = read(&text_of(file)).unwrap();
        assert_eq!(foreign.dialect, dialect, "{file}");
        insta::assert_snapshot!(file, told(&foreign));
    }
}

#[test]
fn every_block_passes_the_check_and_no_secret_is_repeated() {
    for (file, _) in FILES {
        let foreign = read(&text_of(file)).unwrap();
        let blocks = foreign.servers.iter().filter_map(|server| {
            let block = server.block.as_ref()?;
            Some(block.to_toml(&server.name))
        });
        let text: String = blocks.collect();
        let config = Config::from_str_at(&text, Path::new(INTO), &machine());
        let config = config.unwrap_or_else(|errors| panic!("{file}\n{text}\n{errors}"));
        let n_blocks = foreign.servers.iter().filter(|server| server.block.is_some()).count();
        assert_eq!(config.servers.len() + config.disabled.len(), n_blocks, "{file}");
        let told = told(&foreign);
        let found: Vec<_> = SECRETS.iter().filter(|secret| told.contains(**secret)).collect();
        assert!(found.is_empty(), "{file} repeats {found:?}:\n{told}");
    }
}

/// So the list above is not one of secrets that are nowhere.
#[test]
fn the_files_hold_the_secrets_that_are_looked_for() {
    let all: String = FILES.iter().map(|(file, _)| text_of(file)).collect();
    for secret in SECRETS {
        assert!(all.contains(secret), "{secret}");
    }
}

#[track_caller]
fn refused(text: &str, want: &str) {
    let error = read(text).unwrap_err().to_string();
    assert!(error.starts_with(want), "{error}");
}

#[test]
fn a_file_without_servers_is_refused_and_so_is_our_own() {
    refused("{\"editor.fontSize\": 12}", "no MCP servers found: looked for `mcpServers`, ");
    refused("{\"mcpServers\": {}}", "no MCP servers found");
    refused("", "no MCP servers found");
    refused("just words\n", "1:6: not TOML");
    refused("[servers.a]\ncommand = \"b\"\n", "this is a servers.toml already");
    let wanted = Some(Dialect::Zed);
    let error = read_foreign(&text_of("cursor.json"), wanted, (Path::new(INTO), &machine()));
    assert!(error.unwrap_err().to_string().ends_with("looked for `context_servers`"));
}

#[track_caller]
fn one(entry: &str, want: &str) {
    let foreign = read(&format!("{{\"mcpServers\": {{\"a\": {entry}}}}}")).unwrap();
    let server = &foreign.servers[0];
    let block = server.block.as_ref().map(|block| block.to_toml(&server.name));
    assert_eq!(block.unwrap_or_default(), want, "{:?}", server.remarks);
}

#[test]
fn what_is_not_on_this_machine_yet_is_disabled_and_what_is_wrong_is_left_out() {
    one(r#"{"command": "/opt/none"}"#, "[servers.a]\ncommand = \"/opt/none\"\nenabled = false\n");
    one(
        r#"{"command": "x", "cwd": "/nowhere/b"}"#,
        "[servers.a]\ncommand = \"x\"\ncwd = \"/nowhere/b\"\nenabled = false\n",
    );
    one(
        r#"{"command": "x", "env": {"A": "${env:NOPE}"}}"#,
        "[servers.a]\ncommand = \"x\"\nenv = { A = \"${env:NOPE}\" }\nenabled = false\n",
    );
    one(r#"{"url": "ftp://a.example/"}"#, "");
    one(r#"{"url": "https://me:pw@a.example/"}"#, "");
    one(r#"{"command": "@self", "args": ["provide", "files", "--root", "/"]}"#, "");
    one(r#"{"command": ""}"#, "");
    one(r#"{"command": 5}"#, "");
}

#[test]
fn texts_of_any_kind_stay_what_they_were() {
    one(
        r#"{"command": "x", "args": ["a\"b\\c", "d\ne\tf", "é\u001b", "--n=1", "--token", "/t"]}"#,
        "[servers.a]\ncommand = \"x\"\nargs = [\"a\\\"b\\\\c\", \"d\\ne\\tf\", \"é\\u001b\", \
         \"--n=1\", \"--token\", \"/t\"]\n",
    );
}
