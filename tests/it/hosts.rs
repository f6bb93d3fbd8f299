//! `import` and `export` with real files: what is written, what is refused, and that a gateway
//! whose snippet was imported is reached.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use serde_json::Value;

use crate::{
    cli::{ends, err, out, run},
    harness::{Gateway, stdio_server, wait_until, write_config},
};

/// A `servers.toml` with comments, and a file of another program beside it.
fn workplace(entries: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = write_config(dir.path(), "[servers.git]\ncommand = \"true\" # stays\n");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(dir.path().join("mcp.json"), format!("{{\"mcpServers\": {{{entries}}}}}")).unwrap();
    dir
}

/// Everything in the directory, by name.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_look_changes_nothing_and_what_is_printed_checks() {
    let dir =
        workplace(r#""a": {"command": "true", "envFile": ".env"}, "b": {"command": "none!"}"#);
    let before = names(dir.path());
    let output = run(dir.path(), &["import", "mcp.json"]);
    ends(&output, 0);
    assert_eq!(names(dir.path()), before);
    let blocks = "[servers.a]\ncommand = \"true\"\n\n[servers.b]\ncommand = \"none!\"\n\
                  enabled = false\n";
    assert_eq!(out(&output), blocks);
    assert!(err(&output).contains("dropped envFile: "), "{}", err(&output));
    write_config(dir.path(), &out(&output));
    ends(&run(dir.path(), &["check"]), 0);

    let output = run(dir.path(), &["import", "mcp.json", "b", "--json", "--config", "none.toml"]);
    ends(&output, 0);
    let told: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(told["format"], "mcp-servers");
    assert_eq!(told["servers"][0]["name"], "b");
    assert_eq!(told["servers"][0]["enabled"], false);
    assert_eq!(told["written"], false);
    assert_eq!(told["servers"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_written_keeps_comments_and_mode_and_leaves_a_backup() {
    let dir = workplace(r#""a": {"command": "true"}"#);
    let path = dir.path().join("servers.toml");
    let link = dir.path().join("link.toml");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let old = fs::read_to_string(&path).unwrap();
    let output = run(dir.path(), &["import", "mcp.json", "--write", "--config", "link.toml"]);
    ends(&output, 0);
    let new = fs::read_to_string(&path).unwrap();
    assert!(new.starts_with(old.trim_end()), "{new}");
    assert!(new.ends_with("# Imported from mcp.json.\n[servers.a]\ncommand = \"true\"\n"), "{new}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let backup = dir.path().join("servers.toml.before-import-1");
    assert_eq!(fs::read_to_string(&backup).unwrap(), old);
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    ends(&run(dir.path(), &["check"]), 0);

    // Another time under another name: the first backup stays.
    ends(&run(dir.path(), &["import", "mcp.json", "--write", "--rename", "a=c"]), 0);
    assert_eq!(fs::read_to_string(&backup).unwrap(), old);
    assert_eq!(fs::read_to_string(dir.path().join("servers.toml.before-import-2")).unwrap(), new);
}

#[test]
fn what_would_not_check_or_clashes_is_refused_with_the_way_out() {
    let dir = workplace(r#""git": {"command": "true"}, "x y": {"command": "true"}"#);
    let path = dir.path().join("servers.toml");
    let before = (names(dir.path()), fs::read(&path).unwrap());
    let unchanged = || assert_eq!((names(dir.path()), fs::read(&path).unwrap()), before);
    for words in [&["import", "mcp.json"][..], &["import", "mcp.json", "--write"]] {
        let output = run(dir.path(), words);
        ends(&output, 1);
        assert!(err(&output).contains("--rename \"git=git-2\""), "{}", err(&output));
        unchanged();
    }
    ends(&run(dir.path(), &["import", "mcp.json", "git", "--rename", "git=x__y"]), 2);
    ends(&run(dir.path(), &["import", "mcp.json", "none"]), 2);
    ends(&run(dir.path(), &["import", "none.json"]), 2);
    ends(&run(dir.path(), &["import", "mcp.json", "x y", "--write"]), 0);
    let broken = fs::read_to_string(&path).unwrap() + "[wat]\n";
    fs::write(&path, &broken).unwrap();
    let output = run(dir.path(), &["import", "mcp.json", "git", "--write", "--rename", "git=g"]);
    ends(&output, 2);
    assert!(err(&output).contains("unknown key `wat`"), "{}", err(&output));
    assert_eq!(fs::read_to_string(&path).unwrap(), broken);
    fs::write(dir.path().join("bad.json"), "{\n \"mcpServers\": nope}").unwrap();
    let output = run(dir.path(), &["import", "bad.json"]);
    ends(&output, 2);
    assert!(err(&output).contains("bad.json: 2:17: not JSON"), "{}", err(&output));
}

/// What one gateway exports for a client another imports, and calls go through both.
#[test]
fn an_exported_snippet_imports_as_a_server_that_is_this_gateway() {
    let inner = Gateway::start(&stdio_server("up", &[]));
    let outer = Gateway::start(&stdio_server("own", &[]));
    for (client, name) in [("cursor", "one"), ("codex", "two"), ("goose", "three")] {
        let output = inner.cli(&["export", "--client", client, "--name", name]);
        ends(&output, 0);
        assert!(err(&output).starts_with("# into ~/."), "{}", err(&output));
        let file = outer.dir.path().join("snippet");
        fs::write(&file, &output.stdout).unwrap();
        ends(&outer.cli(&["import", file.to_str().unwrap(), "--write"]), 0);
        let call = || {
            let tool = format!("{name}__up__echo");
            let output = outer.cli(&["call", &tool, "text=through"]);
            (output.status.code() == Some(0)).then(|| out(&output))
        };
        assert_eq!(wait_until("the imported server", call, || outer.log()).trim(), "through");
    }
    let output = inner.cli(&["export", "--client", "zed", "--json"]);
    ends(&output, 0);
    let told: Value = serde_json::from_str(&out(&output)).unwrap();
    assert_eq!(told["transport"], "http");
    let snippet: Value = serde_json::from_str(told["snippet"].as_str().unwrap()).unwrap();
    let url = format!("http://127.0.0.1:{}/mcp", inner.port);
    assert_eq!(snippet["context_servers"]["portcullis"]["url"], url);
}

#[test]
fn an_export_says_where_the_gateway_is_and_what_has_to_be_brought() {
    let dir = tempfile::tempdir().unwrap();
    let told = |tables: &str| {
        let config = write_config(dir.path(), tables);
        let words = ["export", "--client", "cursor", "--json", "--config"];
        let output = run(dir.path(), &[&words[..], &[config.to_str().unwrap()]].concat());
        ends(&output, 0);
        let told: Value = serde_json::from_str(&out(&output)).unwrap();
        let remarks = told["remarks"].to_string();
        let snippet: Value = serde_json::from_str(told["snippet"].as_str().unwrap()).unwrap();
        (snippet["mcpServers"]["portcullis"]["url"].as_str().unwrap().to_owned(), remarks)
    };
    let listen = "[gateway]\nlisten = \"127.0.0.1:7411\"\n";
    assert_eq!(told(listen), ("http://127.0.0.1:7411/mcp".to_owned(), "[]".to_owned()));
    let tls = "tls = { cert = \"c.pem\", key = \"k.pem\", client_ca = \"ca.pem\" }\n";
    let hosts = "hosts = [\"gate.example\"]\n";
    let auth = "[auth]\nmodes = [\"keys\", \"mtls\"]\n";
    let (url, remarks) = told(&format!("{listen}{tls}{hosts}{auth}"));
    assert_eq!(url, "https://gate.example:7411/mcp");
    for part in ["portcullis keys add", "Authorization: Bearer", "PORTCULLIS_KEY", "client_ca"] {
        assert!(remarks.contains(part), "{part}: {remarks}");
    }
}
